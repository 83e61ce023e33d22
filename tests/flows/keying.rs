//! How Meta's leg is keyed: as Meta offers, and as the number's setting says where we offer.

use wabridge::leg::Leg::{self, Meta, Pbx};
use wabridge::media::Security;
use wabridge::media::dtls::Role;
use wabridge::policy::{KeyExchange, Keying};
use wabridge::sdp;
use wabridge::sip::digest::server::Demand;
use wabridge::sip::{Request, Response, build};

use crate::log::warnings;
use crate::world::*;

const KINDS: [KeyExchange; 2] = [KeyExchange::Dtls, KeyExchange::Sdes];

/// Every setting that a number may have.
fn settings() -> [Keying; 4] {
    let [dtls, sdes] = KINDS;
    [
        Keying::Set(dtls),
        Keying::Set(sdes),
        Keying::Auto { offer: dtls },
        Keying::Auto { offer: sdes },
    ]
}

fn body(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

/// A description towards Meta is keyed in this way and in no other.
#[track_caller]
fn is_keyed(sdp: &str, kind: KeyExchange) {
    let has = |line: &str| sdp.contains(line);
    let dtls = [
        " UDP/TLS/RTP/SAVPF ",
        "\r\na=fingerprint:sha-256 ",
        "\r\na=setup:",
        "\r\na=ice-ufrag:",
        "\r\na=ice-pwd:",
        "\r\na=candidate:",
    ];
    let sdes = [" RTP/SAVP ", "\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 "];
    let (there, absent) = match kind {
        KeyExchange::Dtls => (&dtls[..], &sdes[..]),
        KeyExchange::Sdes => (&sdes[..], &dtls[..]),
    };
    assert!(there.iter().all(|line| has(line)), "{kind}: {sdp}");
    assert!(!absent.iter().any(|line| has(line)), "{kind}: {sdp}");
}

/// Our end of the handshake that was agreed with a leg; `None` where there is none.
fn role(w: &World, leg: Leg) -> Option<Role> {
    match w.media.lock().unwrap().security(leg) {
        Security::Dtls(spec) => Some(spec.role),
        Security::Plain | Security::Sdes(_) => None,
    }
}

fn plain(w: &World, leg: Leg) -> bool {
    matches!(w.media.lock().unwrap().security(leg), Security::Plain)
}

// ---- user-initiated ------------------------------------------------------------------------------------------------

#[test]
fn an_offer_of_either_kind_is_answered_in_its_own_and_warned_about_if_we_offer_the_other() {
    for keying in settings() {
        for kind in KINDS {
            let mut w = World::with(with_keying(keying));
            let invite = w.metas_invite_keyed(kind);
            let (theirs, ours) = w.user_calls_with(invite);
            assert!(
                body(&ours.body).contains(" RTP/AVP 111 101\r\n"),
                "the PBX's leg"
            );
            let their_ok = pbx_ok(&ours);
            let up = w.answers(Meta, theirs, ours, their_ok);
            is_keyed(body(&up.our_ok.body), kind);
            // RFC 5763 §5: actpass is answered with active, so that nobody waits for nobody.
            let expected = (kind == KeyExchange::Dtls).then_some(Role::Client);
            assert_eq!(role(&w, Meta), expected);
            assert!(plain(&w, Pbx));
            let ack = w.ack(&up);
            w.sends(Meta, ack);
            w.hangs_up(&up, Meta);
            let summary = w.leaves_nothing_behind();
            assert_eq!(summary.keying, Some(sdp::Keying::from(kind)));
            let told = warnings();
            let ours = keying.offered();
            if ours == kind {
                assert_eq!(told, Vec::<String>::new(), "{keying:?} {kind}");
                continue;
            }
            let [told] = told.as_slice() else {
                panic!("one warning for one call: {told:?}")
            };
            for part in [
                "number=+1214*****69",
                &format!("ours={ours}"),
                &format!("metas={kind}"),
                "srtp_key_exchange_protocol",
            ] {
                assert!(told.contains(part), "{part}: {told}");
            }
        }
    }
}

#[test]
fn a_call_that_is_refused_before_it_is_one_warns_of_nothing() {
    let mut w = World::with(with_keying(Keying::Set(KeyExchange::Sdes)));
    let invite = w.metas_invite_keyed(KeyExchange::Dtls);
    w.sends(Meta, invite.clone());
    let challenge = w.is_refused(Meta, &invite, 407);
    let wrong = w.answers_challenge(&invite, &challenge, "guessed");
    w.sends(Meta, wrong.clone());
    w.next(Meta);
    w.sends(Meta, build::ack(&wrong, &respond(&wrong, 403)));
    w.is_left_empty();
    assert_eq!(warnings(), Vec::<String>::new());
}

#[test]
fn a_dtls_call_of_metas_own_dialog_goes_through() {
    for caller_hangs_up in [true, false] {
        let mut settings = with_keying(Keying::default());
        std::sync::Arc::make_mut(&mut settings.meta)
            .digest
            .challenge = Demand::Server;
        let mut w = World::with(settings);
        let invite = w.metas_invite_keyed(KeyExchange::Dtls);
        w.sends(Meta, invite.clone());
        let challenge = w.is_refused(Meta, &invite, 401);
        let theirs = w.answers_challenge(&invite, &challenge, PASSWORD);
        w.sends(Meta, theirs.clone());
        w.gets(Meta, 100);
        let ours = w.gets_request(Pbx, "INVITE");
        w.sends(Pbx, respond(&ours, 180));
        w.gets(Meta, 180);
        let their_ok = pbx_ok(&ours);
        let up = w.answers(Meta, theirs, ours, their_ok);
        // What Meta's page asks of an answer to its offer, line by line (fixture of our side's answer).
        let expected = fixture_text("sdp/bridge-answer-dtls-derived.sdp");
        let ours_has = body(&up.our_ok.body);
        for line in [
            "a=group:BUNDLE audio",
            "a=mid:audio",
            "a=setup:active",
            "a=rtcp-mux",
            "a=sendrecv",
            "a=rtpmap:111 opus/48000/2",
            "a=rtpmap:126 telephone-event/8000",
        ] {
            let line = format!("{line}\r\n");
            assert!(
                expected.contains(&line) && ours_has.contains(&line),
                "{line}{ours_has}"
            );
        }
        assert!(!ours_has.contains("ice-lite"), "{ours_has}");
        assert_eq!(w.media.lock().unwrap().started, [Pbx, Meta]);
        let ack = w.ack(&up);
        w.sends(Meta, ack);
        w.is_keyed();
        w.is_quiet();
        w.wait(secs(3));
        match caller_hangs_up {
            true => {
                let bye = w.metas_bye(&up, "dialogs/uic-dtls-401/09b-bye-from-meta.sip");
                w.sends(Meta, bye);
                w.gets(Meta, 200);
                w.agrees_to(Pbx, "BYE");
            }
            false => {
                w.hangs_up(&up, Pbx);
            }
        }
        assert_eq!(w.leaves_nothing_behind().talked(), secs(3));
        assert_eq!(warnings(), Vec::<String>::new());
    }
}

// ---- business-initiated --------------------------------------------------------------------------------------------

#[test]
fn a_call_to_a_user_offers_what_the_number_says_in_every_copy_of_the_invite() {
    for keying in settings() {
        let kind = keying.offered();
        let mut w = World::with(with_keying(keying));
        let (theirs, first) = w.business_starts();
        w.challenges(&first, 407, CHALLENGE);
        let ours = w.gets_request(Meta, "INVITE");
        is_keyed(body(&ours.body), kind);
        assert_eq!(first.body, ours.body);
        let their_ok = metas_ok(&ours);
        let up = w.answers(Pbx, theirs, ours, their_ok);
        // Meta's documented answer to actpass is active: the ClientHello is its.
        let expected = (kind == KeyExchange::Dtls).then_some(Role::Server);
        assert_eq!(role(&w, Meta), expected);
        assert!(plain(&w, Pbx));
        let ack = w.ack(&up);
        w.sends(Pbx, ack);
        w.hangs_up(&up, Pbx);
        let summary = w.leaves_nothing_behind();
        assert_eq!(summary.keying, Some(sdp::Keying::from(kind)));
        assert_eq!(warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_setting_takes_the_clients_end_of_the_handshake_upon_us() {
    for (setup, answer, expected) in [
        (sdp::Setup::Actpass, "active", Role::Server),
        (sdp::Setup::Actpass, "passive", Role::Client),
        (sdp::Setup::Active, "passive", Role::Client),
    ] {
        let mut settings = with_keying(Keying::default());
        std::sync::Arc::make_mut(&mut settings.meta).dtls_setup = setup;
        let mut w = World::with(settings);
        let (_, ours) = w.business_calls();
        let said = match setup {
            sdp::Setup::Actpass => "a=setup:actpass\r\n",
            sdp::Setup::Active => "a=setup:active\r\n",
        };
        assert!(body(&ours.body).contains(said), "{}", body(&ours.body));
        let mut their_ok = metas_ok(&ours);
        their_ok.body = fixture(&format!("sdp/bic-answer-dtls-{answer}-derived.sdp"));
        w.sends(Meta, their_ok);
        w.gets(Meta, "ACK");
        w.gets(Pbx, 200);
        assert_eq!(role(&w, Meta), Some(expected));
    }
}

#[test]
fn a_dtls_call_to_a_user_goes_through_in_metas_own_words() {
    for dialog in ["bic-dtls", "bic-dtls-sha256"] {
        let mut w = World::with(with_keying(Keying::default()));
        let (theirs, first) = w.business_starts();
        let words =
            |request: &Request, file| metas_words(request, &format!("dialogs/{dialog}/{file}"));
        w.sends(Meta, words(&first, "02-407.sip"));
        w.gets(Meta, "ACK");
        let ours = w.gets_request(Meta, "INVITE");
        w.sends(Meta, words(&ours, "05-100.sip"));
        w.gets_nothing(Pbx);
        w.sends(Meta, words(&ours, "06-180.sip"));
        assert!(w.gets_response(Pbx, 180).body.is_empty());
        let their_ok = words(&ours, "07-200.sip");
        let up = w.answers(Pbx, theirs, ours, their_ok);
        assert!(
            body(&up.our_ok.body).contains(" RTP/AVP "),
            "{}",
            body(&up.our_ok.body)
        );
        assert_eq!(w.media.lock().unwrap().started, [Pbx, Meta]);
        let ack = w.ack(&up);
        w.sends(Pbx, ack);
        w.is_keyed();
        w.is_quiet();
        w.wait(secs(42));
        let bye = w.metas_bye(&up, &format!("dialogs/{dialog}/09-bye-from-meta.sip"));
        w.sends(Meta, bye);
        w.gets(Meta, 200);
        w.agrees_to(Pbx, "BYE");
        assert_eq!(w.leaves_nothing_behind().talked(), secs(42));
    }
}

#[test]
fn what_meta_would_play_before_its_answer_cannot_be_heard_so_the_pbx_is_told_to_ring() {
    let mut w = World::with(with_keying(Keying::default()));
    let (theirs, ours) = w.business_calls();
    let mut early = metas_ok(&ours);
    early.status = 183;
    w.sends(Meta, early);
    let ringing = w.gets_response(Pbx, 180);
    assert!(ringing.body.is_empty());
    assert!(w.media.lock().unwrap().started.is_empty());
    // Its answer counts all the same.
    let mut their_ok = metas_ok(&ours);
    their_ok.body.clear();
    their_ok.headers.remove("Content-Type");
    let up = w.answers(Pbx, theirs, ours, their_ok);
    assert!(
        body(&up.our_ok.body).contains(" RTP/AVP "),
        "{}",
        body(&up.our_ok.body)
    );
    assert_eq!(w.media.lock().unwrap().started, [Pbx, Meta]);
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

// ---- what cannot be ------------------------------------------------------------------------------------------------

/// What may be wrong in Meta's description: what it has, what is there instead, a word of the complaint.
const FAULTS: [(&str, &str, &str); 6] = [
    ("a=fingerprint:", "a=x-fingerprint:", "fingerprint"),
    (
        "a=fingerprint:sha-256 7F:",
        "a=fingerprint:sha-256 ",
        "fingerprint",
    ),
    ("a=ice-ufrag:", "a=x-ufrag:", "ice-ufrag"),
    ("a=ice-pwd:", "a=ice-pwd:ä", "ice-pwd"),
    ("a=setup:act", "a=setup:in", "setup"),
    ("a=candidate:", "a=x-candidate:", "candidate"),
];

fn with_fault(sdp: &str, (there, instead, _): (&str, &str, &str)) -> Vec<u8> {
    assert!(sdp.contains(there), "{there}: {sdp}");
    sdp.replace(there, instead).into_bytes()
}

#[test]
fn an_offer_that_no_handshake_can_follow_is_refused_with_the_reason() {
    for fault in FAULTS {
        let mut w = World::with(with_keying(Keying::default()));
        let mut invite = w.metas_invite_keyed(KeyExchange::Dtls);
        invite.body = with_fault(body(&invite.body), fault);
        w.sends(Meta, invite.clone());
        let refusal = w.is_refused(Meta, &invite, 488);
        let warning = refusal.headers.get("Warning").unwrap();
        assert!(warning.contains(fault.2), "{fault:?}: {warning}");
        assert_eq!(w.bridge.stats().refused, 1);
        w.is_left_empty();
    }
}

#[test]
fn an_answer_that_no_handshake_can_follow_is_acknowledged_and_hung_up_and_the_pbx_is_told_why() {
    for fault in FAULTS {
        let mut w = World::with(with_keying(Keying::default()));
        let (theirs, ours) = w.business_calls();
        let mut their_ok = metas_ok(&ours);
        their_ok.body = with_fault(body(&their_ok.body), fault);
        w.sends(Meta, their_ok);
        is_rejected(&mut w, &theirs, fault.2);
    }
}

#[test]
fn an_answer_of_the_other_kind_than_offered_is_no_answer() {
    let [dtls, sdes] = KINDS;
    for (offered, answered) in [(dtls, sdes), (sdes, dtls)] {
        let mut w = World::with(with_keying(Keying::Set(offered)));
        let (theirs, ours) = w.business_calls();
        let mut their_ok = metas_ok(&ours);
        their_ok.body = match answered {
            KeyExchange::Dtls => fixture("sdp/bic-answer-dtls-active-derived.sdp"),
            KeyExchange::Sdes => fixture("sdp/bic-answer-sdes-doc.sdp"),
        };
        w.sends(Meta, their_ok);
        is_rejected(&mut w, &theirs, "m= line");
    }
}

/// Meta's answer is of no use: Meta has ACK and BYE, the PBX 488, and both the reason.
#[track_caller]
fn is_rejected(w: &mut World, theirs: &Request, why: &str) {
    w.gets(Meta, "ACK");
    let bye = w.agrees_to(Meta, "BYE");
    let told = reason(&bye);
    assert!(told.starts_with("SIP;cause=488;text=\"Meta: "), "{told}");
    assert!(told.contains(why), "{why}: {told}");
    let refusal: Response = w.is_refused(Pbx, theirs, 488);
    let told = reason(&refusal);
    assert!(told.starts_with("Q.850;cause=88;text=\"Meta: "), "{told}");
    assert!(told.contains(why), "{why}: {told}");
    assert!(!w.media.lock().unwrap().started.contains(&Meta));
    let summary = w.leaves_nothing_behind();
    assert_eq!(summary.status, 488);
    assert!(summary.why.contains(why), "{}", summary.why);
}

#[test]
fn a_pbx_speaks_no_dtls() {
    let dtls = |sdp: &str| sdp.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
    let mut w = World::with(with_keying(Keying::default()));
    let mut invite = w.pbx_invite(USER);
    invite.body = dtls(PBX_SDP).into();
    w.sends(Pbx, invite.clone());
    let refusal = w.is_refused(Pbx, &invite, 488);
    let warning = refusal.headers.get("Warning").unwrap();
    assert!(warning.contains("UDP/TLS/RTP/SAVPF"), "{warning}");
    w.is_left_empty();

    let mut w = World::with(with_keying(Keying::default()));
    let invite = w.metas_invite_keyed(KeyExchange::Dtls);
    let (theirs, ours) = w.user_calls_with(invite);
    let mut their_ok = pbx_ok(&ours);
    their_ok.body = dtls(body(&their_ok.body)).into();
    w.sends(Pbx, their_ok);
    w.gets(Pbx, "ACK");
    w.agrees_to(Pbx, "BYE");
    let refusal = w.is_refused(Meta, &theirs, 488);
    assert!(
        reason(&refusal).contains("UDP/TLS/RTP/SAVPF"),
        "{}",
        reason(&refusal)
    );
    assert_eq!(w.leaves_nothing_behind().status, 488);
}
