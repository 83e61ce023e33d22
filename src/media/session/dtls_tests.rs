//! Calls with a Meta that is keyed by DTLS, from `Start` to the first word and beyond.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::far::*;
use super::fixtures::*;
use super::{Session, Side};
use crate::leg::Leg;
use crate::media::across::Across;
use crate::media::agreed::Agreed;
use crate::media::demux::Kind;
use crate::media::dtls::Role;
use crate::media::ice::Credentials;
use crate::media::ice::lite::{self, Manner};
use crate::media::outbox::News;
use crate::media::peer::Peer;
use crate::media::{Settings, SideSpec, srtp};

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
    line.agree();
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
        line.agree();
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

/// `handshake_failure`, not encrypted, as anybody can make it, and later than all records before it.
const ALERT: &[u8] = &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40];
const STRANGER: &str = "203.0.113.66:9";

#[test]
fn before_start_meta_is_sent_nothing_whatever_it_sends() {
    let mut line = Line::new(Role::Server);
    line.call.start(Leg::Pbx).wait(100);
    let username = format!("{}:RmDDkfzkwbexPfbC", line.far.lite.theirs);
    let pwd = line.dtls_spec().local.pwd().to_owned();
    let check = lite::request(&username, &pwd, [7; 12], &[(0x0024, &[0, 0, 1, 0])]);
    line.injects(V6, &check);
    line.injects(V6, &hello(line.call.now));
    line.call.wait(1_000);
    assert!(line.call.sent.iter().all(|sent| sent.leg == Leg::Pbx));
    let stats = line.call.session.stats().meta;
    assert_eq!((stats.unusable, stats.keyed_after), (2, None));
}

#[test]
fn the_path_is_looked_for_at_once_whichever_of_agreement_and_start_comes_last() {
    let mut line = Line::new(Role::Client);
    line.start();
    assert_eq!(line.sent(Kind::Stun), 1);

    let mut line = Line::silent(bare(), Role::Client);
    line.start().run(300);
    assert!(line.call.sent.iter().all(|sent| sent.leg == Leg::Pbx));
    line.agree();
    assert_eq!(line.sent(Kind::Stun), 1);
    line.run(1_000);
    let keyed_after = line.call.session.stats().meta.keyed_after;
    assert_eq!(keyed_after, Some(Duration::from_millis(300 + 160)));
}

#[test]
fn a_hello_that_overtakes_the_answer_to_our_nomination_is_not_lost() {
    let mut line = Line::new(Role::Server);
    line.once = true;
    line.start().run_to_nomination();
    // Only the hello arrives; the answer is asked for once more, 100 ms after the first time.
    line.lose(Kind::Stun);
    line.run(1_000);
    let keyed_after = line.call.session.stats().meta.keyed_after;
    assert_eq!(keyed_after, Some(Duration::from_millis(180 + 40)));
}

#[test]
fn an_equal_agreement_in_any_phase_disturbs_nothing() {
    for role in [Role::Client, Role::Server] {
        let mut line = Line::new(role);
        line.start();
        for _ in 0..100 {
            line.run(3);
            line.agree();
            line.call.start(Leg::Meta);
        }
        let heard = line.far.everything().len();
        assert!(heard > 5, "{heard}");
        assert_eq!(line.call.told.len(), 1);
        line.run(1_000);
        let numbers: Vec<_> = line
            .far
            .heard
            .iter()
            .map(|(_, said)| number_of(said))
            .collect();
        let counted: Vec<_> = (1..=numbers.len() as u16).map(Some).collect();
        assert_eq!(numbers, counted);
    }
}

#[test]
fn another_agreement_in_mid_call_is_another_path_and_loses_no_word_either() {
    let mut line = Line::new(Role::Client);
    line.start().run(1_000);
    // What is on its way under the old keys is lost.
    line.lose(Kind::Rtp);
    line.far.forget();
    line.dtls_spec().local = Credentials::generate();
    line.far.lite.theirs = line.dtls_spec().local.ufrag().to_owned();
    line.agree();
    line.run(1_000);
    let told = line.call.told.iter();
    let told: Vec<_> = told.map(|(at, _, news)| (at.as_millis(), news)).collect();
    assert_eq!(told, [(160, &News::Keyed), (1_160, &News::Keyed)]);
    let all = line.far.everything();
    let numbers: Vec<_> = all.iter().filter_map(|(_, said)| number_of(said)).collect();
    assert_eq!(numbers, (52..=100).collect::<Vec<_>>());
    assert!(
        all.windows(2)
            .all(|pair| pair[1].0.seq == pair[0].0.seq.next())
    );
    assert_eq!(line.call.session.stats().meta.not_kept, 0);
}

#[test]
fn dtls_of_strangers_and_forged_stun_change_nothing_in_any_phase() {
    for role in [Role::Client, Role::Server] {
        let mut line = Line::new(role);
        line.start();
        let mut strange = 0;
        for nth in 0..100u8 {
            let hello = hello(line.call.now);
            for datagram in [&hello[..], ALERT, &[22; 40], &[23; 1_500]] {
                line.injects(STRANGER, datagram);
                strange += 1;
            }
            let forged = lite::success(&[nth; 20], at(V6), "AAAAAAAAAAAAAAAAAAAAAA==");
            line.injects(V6, &forged);
            line.injects(STRANGER, &forged);
            line.run(2);
        }
        line.run(800);
        let stats = line.call.session.stats().meta;
        assert_eq!(stats.strangers, strange);
        let whole = if role == Role::Client { 160 } else { 120 };
        assert_eq!(stats.keyed_after, Some(Duration::from_millis(whole)));
        assert_eq!(line.call.told.len(), 1);
        assert!(line.call.sent.iter().all(|sent| sent.to != at(STRANGER)));
        assert!(line.sent(Kind::Stun) < 10 && line.sent(Kind::Dtls) < 10);
    }
}

#[test]
fn an_alert_in_the_middle_of_the_handshake_ends_it_with_the_alerts_name() {
    for role in [Role::Client, Role::Server] {
        let mut line = Line::new(role);
        line.start().run(85);
        line.injects(V6, ALERT);
        let (when, why) = failed(&mut line);
        assert_eq!(when, Duration::from_millis(85));
        let said = "the peer ended the DTLS handshake with alert \"handshake failure\"";
        assert_eq!(why, said);
    }
}

#[test]
fn a_meta_that_signs_with_another_password_is_given_up_with_the_reason() {
    let mut line = Line::new(Role::Client);
    line.far.lite.manner = Manner::WrongPassword;
    line.start().run(20_000);
    let (_, why) = failed(&mut line);
    let said = "ICE: the peer answered without the signature that its SDP promises";
    assert_eq!(why, said);
}

#[test]
fn a_meta_that_is_found_and_never_shakes_hands_is_given_up() {
    for role in [Role::Client, Role::Server] {
        let mut line = Line::new(role);
        line.far.deaf = true;
        line.start().run(20_000);
        let (when, why) = failed(&mut line);
        assert_eq!(when, Duration::from_millis(10_080));
        let said = "the DTLS handshake was given up after 10.0s: no datagram came from the peer";
        assert_eq!(why, said);
    }
}

#[test]
fn a_path_that_is_never_found_is_told_as_such_however_little_silence_is_allowed() {
    let settings = Settings {
        silence_timeout: 2,
        ..Settings::default()
    };
    let mut line = Line::of(with(settings), Role::Client);
    line.cut = true;
    line.start().run(20_000);
    let silent = line.call.silent();
    assert!(silent.iter().all(|(_, leg)| *leg == Leg::Pbx), "{silent:?}");
    assert!(
        failed(&mut line)
            .1
            .contains("no candidate of the peer answered")
    );
}

#[test]
fn a_flood_of_hellos_from_the_selected_address_does_not_make_us_flood_anybody() {
    // From the first check on, in the middle of the handshake, and once there are keys.
    for when in [0, 45, 85, 1_000] {
        for role in [Role::Client, Role::Server] {
            let mut line = Line::new(role);
            line.start().run(when);
            let before = line.sent(Kind::Dtls);
            for _ in 0..1_000 {
                let hello = hello(line.call.now);
                line.injects(V6, &hello);
            }
            line.run(20_000);
            // Somebody who can send from Meta's address can end a handshake, but no more than that.
            assert!(line.sent(Kind::Dtls) - before <= 4, "{when} {role:?}");
            assert_eq!(line.call.told.len(), 1, "{when} {role:?}");
            let keyed = line.call.told[0].2 == News::Keyed;
            assert!(keyed || when < 1_000, "{:?}", line.call.told);
        }
    }
}

#[test]
fn one_call_that_fails_disturbs_no_other() {
    let common = common(&Settings::default());
    let mut well = Line::of(sharing(&common), Role::Server);
    let mut ill = Line::silent(sharing(&common), Role::Server);
    ill.dtls_spec().fingerprints = vec![ill.call.fingerprint];
    ill.agree();
    well.start();
    ill.start();
    for _ in 0..1_000 {
        well.run(1);
        ill.run(1);
        let hello = hello(ill.call.now);
        ill.injects(V6, &hello);
    }
    assert_eq!(ill.call.told.len(), 1);
    assert!(matches!(ill.call.told[0].2, News::Failed(_)));
    let stats = well.call.session.stats().meta;
    assert_eq!(stats.keyed_after, Some(Duration::from_millis(120)));
    assert_eq!(well.far.heard.len(), 50);
}

#[test]
fn a_call_without_dtls_pays_a_pointer_for_it() {
    let pointer = size_of::<usize>();
    let parts = size_of::<SideSpec>()
        + size_of::<Peer>()
        + size_of::<Option<srtp::Sender>>()
        + size_of::<Option<srtp::Receiver>>();
    let aligned = (parts + pointer).next_multiple_of(align_of::<Agreed>());
    assert_eq!(size_of::<Agreed>(), aligned);
    let parts = 2 * size_of::<Side>() + 2 * size_of::<Across>() + 3 * pointer;
    assert!(size_of::<Session>() <= parts.next_multiple_of(align_of::<Session>()));
}

/// A call that has come so far.
fn in_phase(phase: u8, role: Role) -> Line {
    let mut line = Line::new(role);
    match phase {
        0 => {}
        1 => drop(line.start().run(10)),
        2 => drop(line.start().run(50)),
        3 => drop(line.start().run(90)),
        4 => drop(line.start().run(500)),
        _ => {
            line.cut = true;
            line.start().run(16_000);
        }
    }
    line
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_datagram_makes_a_session_panic_in_any_phase_of_dtls(
        phase in 0u8..6,
        client: bool,
        datagrams in vec((0u8..5, vec(any::<u8>(), 0..200), 0usize..3, 0u64..40), 1..30),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let mut line = in_phase(phase, role);
        for (kind, octets, from, wait) in datagrams {
            let length = octets.len() as u8;
            let header: &[u8] = match kind {
                0 => &[],
                1 => &[1, 1, 0, length & !3, 0x21, 0x12, 0xa4, 0x42],
                2 => &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, length],
                3 => &[21 + 2 * (length & 1), 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, length],
                _ => &[0x80, 111],
            };
            line.injects([V6, V4, STRANGER][from], &[header, &octets].concat());
            line.run(wait);
        }
        line.run(30_000);
        prop_assert!(line.call.told.iter().filter(|(_, _, news)| *news != News::Silent).count() <= 2);
    }
}
