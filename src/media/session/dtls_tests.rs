//! Calls with a Meta that is keyed by DTLS, from `Start` to the first word and beyond.

use std::time::Duration;

use super::far::*;
use super::fixtures::*;
use crate::leg::Leg;
use crate::media::dtls::Role;
use crate::media::outbox::News;

/// ICE takes two round trips; the handshake, begun by us, two more, and one more begun by Meta with its last answer.
fn one_way(role: Role, whole: Duration) -> Duration {
    match role {
        Role::Client => whole / 8,
        Role::Server => whole / 6,
    }
}

/// A call of five seconds whose DTLS takes `whole` where nothing is lost. Gives how long it took.
fn is_heard_from_the_first_word(line: &mut Line) -> Duration {
    line.start().run(5_000);
    let all = line.far.everything();
    let numbers: Vec<_> = all.iter().map(|(_, said)| number_of(said)).collect();
    let counted: Vec<_> = (1..=numbers.len() as u16).map(Some).collect();
    assert_eq!(
        numbers, counted,
        "each packet of the PBX once, from the first on"
    );
    assert!(numbers.len() >= 240);
    for pair in all.windows(2) {
        let [(a, _), (b, _)] = pair else {
            unreachable!()
        };
        assert_eq!((b.ssrc, b.seq), (a.ssrc, a.seq.next()));
        assert_eq!(b.timestamp.since(a.timestamp), 960);
    }
    assert_eq!(line.call.told.len(), 1, "{:?}", line.call.told);
    let (when, leg, news) = &line.call.told[0];
    assert_eq!((*leg, news), (Leg::Meta, &News::Keyed));
    let stats = line.call.session.stats().meta;
    assert_eq!(stats.keyed_after, Some(*when));
    // One every 20 ms, the first at once.
    assert_eq!(stats.kept, when.as_millis() as u64 / 20 + 1);
    assert_eq!(
        (stats.not_kept, stats.held_back, stats.silence_sent),
        (0, 0, 0)
    );
    *when
}

#[test]
fn what_the_user_hears_starts_with_the_first_packet_that_the_pbx_sent() {
    for role in [Role::Client, Role::Server] {
        for whole in [20, 200, 800].map(Duration::from_millis) {
            let mut line = Line::new(role).slow(one_way(role, whole));
            let took = is_heard_from_the_first_word(&mut line);
            assert!(whole - took < Duration::from_micros(1), "{took:?}");
            assert!(line.far.too_early.is_empty());
        }
    }
}

#[test]
fn a_fifth_of_stun_and_dtls_lost_costs_time_and_no_word() {
    for role in [Role::Client, Role::Server] {
        for (whole, median) in [(20, 200), (200, 320), (800, 1_000)] {
            let whole = Duration::from_millis(whole);
            let (mut took, mut too_early) = (Vec::new(), 0);
            for seed in 0..40 {
                let mut line = Line::new(role).losing(20, seed).slow(one_way(role, whole));
                took.push(is_heard_from_the_first_word(&mut line));
                too_early += usize::from(!line.far.too_early.is_empty());
            }
            took.sort();
            let median = Duration::from_millis(median);
            assert!(took[20] < median, "{role:?} {whole:?}: {took:?}");
            // A client cannot hear a server whose last flight it has not got; this one would be lost in eight of forty.
            let most = if role == Role::Server { 3 } else { 0 };
            assert!(too_early <= most, "{role:?} {whole:?}: {too_early}");
        }
    }
}

#[test]
fn meta_is_heard_wherever_it_sends_from_and_media_for_it_never_moves() {
    let mut line = Line::new(Role::Client);
    line.start().run(1_000);
    for (number, from) in [(1, V6), (2, V4), (3, "203.0.113.9:61000")] {
        let packet = line.far.says(number);
        let mut forged = packet.clone();
        forged[20] ^= 1;
        line.far_sends(at(from), forged);
        line.far_sends(at(from), packet);
    }
    let before = line.call.sent.len();
    line.run(1_000);
    let heard = line.call.rtp(Leg::Pbx);
    let numbers: Vec<_> = heard.iter().map(|(_, said)| number_of(said)).collect();
    assert_eq!(numbers, [1, 2, 3].map(Some));
    let stats = line.call.session.stats().meta;
    assert_eq!((stats.received, stats.refused, stats.strangers), (3, 3, 0));
    let mut later = line.call.sent[before..].iter();
    assert!(later.all(|sent| sent.leg == Leg::Pbx || sent.to == at(V6)));
}

/// All that was told of Meta is that it cannot be sent to: when, and why. Nothing is sent to it any more.
fn failed(line: &mut Line) -> (Duration, String) {
    let [(when, Leg::Meta, News::Failed(why))] = &line.call.told[..] else {
        panic!("{:?}", line.call.told)
    };
    let told = (*when, why.clone());
    let before = line.call.sent.len();
    line.run(10_000);
    line.call.agree(Leg::Meta, line.spec.clone());
    line.call.start(Leg::Meta);
    line.call.session.close(line.call.now, &mut line.call.out);
    line.call.collect();
    let mut later = line.call.sent[before..].iter();
    assert!(later.all(|sent| sent.leg == Leg::Pbx));
    let stats = line.call.session.stats().meta;
    assert!(stats.held_back >= 500, "{stats:?}");
    assert!(line.far.heard.is_empty() && line.far.too_early.is_empty());
    told
}

#[test]
fn a_meta_with_another_certificate_than_its_sdp_says_is_told_and_never_sent_to() {
    for role in [Role::Client, Role::Server] {
        let mut line = Line::silent(bare(), role);
        line.dtls_spec().fingerprints = vec![line.call.fingerprint];
        line.call.agree(Leg::Meta, line.spec.clone());
        line.call.agree(Leg::Pbx, pbx());
        line.start().run(1_000);
        let (when, why) = failed(&mut line);
        assert!(when < Duration::from_millis(200), "{when:?}");
        assert!(why.starts_with("the peer's certificate is "), "{why}");
        let told = line.far.failed.unwrap();
        assert!(told.contains("bad certificate"), "{told}");
        let stats = line.call.session.stats().meta;
        assert_eq!((stats.kept, stats.keyed_after), (0, None));
        assert_eq!(stats.not_kept, when.as_millis() as u64 / 20 + 1);
    }
}

#[test]
fn a_meta_that_never_answers_is_given_up() {
    let mut line = Line::new(Role::Client);
    line.cut = true;
    line.start().run(20_000);
    let (when, why) = failed(&mut line);
    assert_eq!(when, Duration::from_secs(15));
    assert!(
        why.starts_with("ICE: no candidate of the peer answered"),
        "{why}"
    );
}

#[test]
fn a_meta_that_is_cut_off_is_told_once_its_consent_has_run_out() {
    let mut line = Line::new(Role::Client);
    line.start().run(10_000);
    line.call.told.clear();
    line.cut = true;
    line.run(23_000).far.heard.clear();
    // It is silent too.
    line.call.told.retain(|(_, _, news)| *news != News::Silent);
    assert_eq!(line.call.told, []);
    line.run(8_000);
    line.call.told.retain(|(_, _, news)| *news != News::Silent);
    let (_, why) = failed(&mut line);
    assert_eq!(
        why,
        "ICE: no answer to our consent checks for 30s (RFC 7675)"
    );
}
