//! Descriptions compared with files: `tests/golden/sdp/<case>/{offer.sdp, answer.sdp, side.txt}`.
//! `UPDATE_GOLDEN=1 cargo test --test golden` rewrites them; the reviewer reads that diff.

use std::path::{Path, PathBuf};

use wabridge::media::dtls::Role;
use wabridge::media::ice::Credentials;
use wabridge::media::sdes::Crypto;
use wabridge::media::{Codec, DtlsSpec, LocalPorts, Security, SideSpec, Source, SrtpKeys};
use wabridge::sdp::{Capabilities, Keying, Local, Offer, RemoteOffer, Setup};

/// Our end as the fixtures of our own side describe it.
fn local() -> Local {
    Local {
        ports: LocalPorts {
            rtp: "198.51.100.20:40100".parse().unwrap(),
            rtcp: Some("198.51.100.20:40101".parse().unwrap()),
            other_family: None,
        },
        session: 1_763_751_600,
        version: 1_763_751_600,
        crypto: key_of("bridge-offer-sdes-derived"),
        ice: credentials_of("bridge-answer-dtls-derived"),
        fingerprint: value_of("bridge-answer-dtls-derived", "fingerprint")
            .parse()
            .unwrap(),
    }
}

/// Our end where it listens on both versions of IP.
fn local_of_two_families() -> Local {
    let mut local = local();
    local.ports.other_family = Some("[2001:db8:40::20]:40100".parse().unwrap());
    local
}

/// A number that Meta has set to SDES, and one that it has not: either kind of offer is answered.
fn towards_meta() -> Capabilities {
    Capabilities::meta(vec![Keying::Sdes, Keying::Dtls], Setup::Actpass)
}

fn towards_meta_by_dtls() -> Capabilities {
    Capabilities::meta(vec![Keying::Dtls, Keying::Sdes], Setup::Actpass)
}

fn keys(side: SideSpec) -> SrtpKeys {
    match side.security {
        Security::Sdes(keys) => keys,
        other => panic!("keyed by SDES: {other:?}"),
    }
}

fn dtls(side: SideSpec) -> DtlsSpec {
    match side.security {
        Security::Dtls(spec) => *spec,
        other => panic!("keyed by DTLS: {other:?}"),
    }
}

/// The value of a line in one of Meta's sample descriptions.
fn value_of(fixture: &str, name: &str) -> String {
    let text = String::from_utf8(meta(fixture)).unwrap();
    let start = format!("a={name}:");
    let mut lines = text.lines();
    let line = lines.find_map(|l| l.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("{fixture} has no {start}"))
        .to_owned()
}

fn key_of(fixture: &str) -> Crypto {
    Crypto::parse(&value_of(fixture, "crypto")).unwrap()
}

fn credentials_of(fixture: &str) -> Credentials {
    let pwd = value_of(fixture, "ice-pwd");
    Credentials::new(&value_of(fixture, "ice-ufrag"), &pwd).unwrap()
}

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(path)
}

fn meta(fixture: &str) -> Vec<u8> {
    std::fs::read(data(&format!("data/meta/sdp/{fixture}.sdp"))).unwrap()
}

/// Compares with a golden file, or rewrites it.
fn golden(case: &str, name: &str, text: &str) {
    let path = data(&format!("golden/sdp/{case}/{name}"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden,
        "{} differs; UPDATE_GOLDEN=1 rewrites it",
        path.display()
    );
}

/// An offer from a peer, our answer to it and what both agreed.
fn answered(case: &str, offer: &[u8], local: &Local, capabilities: &Capabilities) -> SideSpec {
    golden(case, "offer.sdp", std::str::from_utf8(offer).unwrap());
    let remote = RemoteOffer::parse(offer, capabilities).unwrap();
    let answered = remote.answer(local, Codec::Opus).unwrap();
    golden(case, "answer.sdp", &answered.text);
    golden(case, "side.txt", &format!("{:#?}\n", answered.side));
    answered.side
}

/// Our offer, a peer's answer to it and what both agreed.
fn accepted(case: &str, local: &Local, capabilities: &Capabilities, answer: &[u8]) -> SideSpec {
    let offer = Offer::new(local, capabilities);
    golden(case, "offer.sdp", offer.text());
    golden(case, "answer.sdp", std::str::from_utf8(answer).unwrap());
    let side = offer.accept(answer).unwrap();
    golden(case, "side.txt", &format!("{side:#?}\n"));
    side
}

/// A file of the case that is written by hand, because it is the peer's.
fn by_hand(case: &str, name: &str) -> Vec<u8> {
    std::fs::read(data(&format!("golden/sdp/{case}/{name}"))).unwrap()
}

#[test]
fn meta_offers_are_answered() {
    for fixture in [
        "uic-offer-sdes-doc",
        "uic-offer-sdes-digest-doc",
        "uic-offer-sdes-g711-derived",
    ] {
        let side = answered(fixture, &meta(fixture), &local(), &towards_meta());
        let keys = keys(side);
        assert_eq!(
            keys.receive,
            key_of(fixture).key,
            "{fixture}: what Meta sends is opened with Meta's key"
        );
        assert_eq!(
            keys.send,
            local().crypto.key,
            "{fixture}: what we send is protected with ours"
        );
    }
}

#[test]
fn meta_answers_our_offer_with_its_numbers() {
    let mut capabilities = towards_meta();
    // Meta's sample answers an offer that had Opus as 107 and digits as 101.
    for (payload, number) in capabilities.payloads.iter_mut().zip([107, 101]) {
        payload.number = number;
    }
    let side = accepted(
        "bic-answer-sdes-doc",
        &local(),
        &capabilities,
        &meta("bic-answer-sdes-doc"),
    );
    assert_eq!(keys(side).receive, key_of("bic-answer-sdes-doc").key);
}

#[test]
fn business_gateways_answer_without_multiplexing() {
    // Printed by Meta as answers of a business; here they stand for any far end that ignores a=rtcp-mux.
    for fixture in ["uic-answer-sdes-doc", "uic-answer-sdes-digest-doc"] {
        let side = accepted(fixture, &local(), &towards_meta(), &meta(fixture));
        assert_eq!(
            side.remote_rtcp.map(|a| a.port()),
            Some(side.remote_rtp.port() + 1)
        );
    }
}

#[test]
fn the_offer_to_meta_is_the_one_in_our_fixtures() {
    let offer = Offer::new(&local(), &towards_meta());
    assert_eq!(offer.text().as_bytes(), meta("bridge-offer-sdes-derived"));
}

#[test]
fn a_pbx_is_offered_opus_in_clear_or_keyed() {
    let plain = Capabilities::pbx(Keying::Plain, Source::First);
    accepted(
        "pbx-answers-plain",
        &local(),
        &plain,
        &by_hand("pbx-answers-plain", "answer.sdp"),
    );
    let keyed = Capabilities::pbx(Keying::Sdes, Source::Negotiated);
    accepted(
        "pbx-answers-keyed",
        &local(),
        &keyed,
        &by_hand("pbx-answers-keyed", "answer.sdp"),
    );
}

#[test]
fn a_pbx_that_calls_is_answered() {
    let plain = Capabilities {
        rtcp_mux: true,
        ..Capabilities::pbx(Keying::Plain, Source::Negotiated)
    };
    for case in [
        "pbx-offers-many-codecs",
        "pbx-offers-on-hold",
        "pbx-offers-video-too",
    ] {
        answered(case, &by_hand(case, "offer.sdp"), &local(), &plain);
    }
}

/// Meta's offers keyed by DTLS, documented, observed and derived; and ours, which any far end may be sent.
const DTLS_OFFERS: [&str; 7] = [
    "uic-offer-dtls-doc",
    "uic-offer-dtls-g711-derived",
    "uic-offer-webrtc-legacy-doc",
    "field-2025-10-offer",
    "field-2025-11-offer",
    "freeswitch-2904-offer",
    "bridge-offer-dtls-derived",
];

/// Answers to an offer of ours, and what they leave us to be.
const DTLS_ANSWERS: [(&str, Role); 4] = [
    ("bic-answer-dtls-active-derived", Role::Server),
    ("bic-answer-dtls-passive-derived", Role::Client),
    ("bic-answer-webrtc-legacy-doc", Role::Server),
    ("bridge-answer-dtls-derived", Role::Server),
];

/// Printed by Meta for its Graph API: candidates were to follow, and SIP has no place for them.
const WITHOUT_ADDRESS: [&str; 2] = ["bic-offer-webrtc-browser-doc", "uic-answer-webrtc-doc"];

#[test]
fn meta_offers_keyed_by_dtls_are_answered_though_the_number_says_sdes() {
    for fixture in DTLS_OFFERS {
        let side = answered(fixture, &meta(fixture), &local(), &towards_meta());
        assert!(side.remote_rtp.is_ipv4(), "{fixture}: we have IPv4 only");
        let spec = dtls(side);
        assert_eq!(
            spec.role,
            Role::Client,
            "{fixture}: actpass leaves us the first word"
        );
        assert_eq!(spec.remote, credentials_of(fixture), "{fixture}");
        assert_eq!(spec.local, local().ice, "{fixture}");
        assert_eq!(spec.candidates.len(), 2, "{fixture}");
        let fingerprint = value_of(fixture, "fingerprint").parse().unwrap();
        assert_eq!(spec.fingerprints, [fingerprint], "{fixture}");
    }
}

#[test]
fn an_offer_is_known_by_its_keying() {
    for fixture in DTLS_OFFERS {
        let offer = RemoteOffer::parse(&meta(fixture), &towards_meta()).unwrap();
        assert_eq!(offer.keying(), Keying::Dtls, "{fixture}");
    }
    let offer = RemoteOffer::parse(&meta("uic-offer-sdes-doc"), &towards_meta_by_dtls()).unwrap();
    assert_eq!(offer.keying(), Keying::Sdes);
}

#[test]
fn meta_answers_our_offer_as_either_end_of_the_handshake() {
    for (fixture, role) in DTLS_ANSWERS {
        let side = accepted(fixture, &local(), &towards_meta_by_dtls(), &meta(fixture));
        let spec = dtls(side);
        assert_eq!(spec.role, role, "{fixture}");
        assert_eq!(spec.remote, credentials_of(fixture), "{fixture}");
    }
}

#[test]
fn where_we_listen_on_both_versions_of_ip_both_are_said() {
    let (local, capabilities) = (local_of_two_families(), towards_meta_by_dtls());
    let case = "two-families-answered";
    let side = answered(case, &meta("uic-offer-dtls-doc"), &local, &capabilities);
    assert!(side.remote_rtp.is_ipv6(), "Meta prefers it");
    let case = "two-families-offered";
    let answer = meta("bic-answer-dtls-passive-derived");
    let side = accepted(case, &local, &capabilities, &answer);
    assert!(side.remote_rtp.is_ipv6(), "Meta prefers it");
}

/// The lines of a description without their order, and without what means nothing to Meta's relay: names of tracks and
/// sources, and the generation of a candidate.
fn meaning(text: &[u8]) -> Vec<String> {
    let idle = |line: &&str| {
        !["a=msid", "a=ssrc:"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let text = std::str::from_utf8(text).unwrap();
    let lines = text.lines().filter(idle);
    let mut lines: Vec<_> = lines
        .map(|line| line.replace(" generation 0", ""))
        .collect();
    lines.sort();
    lines
}

#[test]
fn what_we_say_by_dtls_means_what_our_fixtures_say() {
    let mut local = local_of_two_families();
    let offer = RemoteOffer::parse(&meta("uic-offer-dtls-doc"), &towards_meta()).unwrap();
    let answer = offer.answer(&local, Codec::Opus).unwrap().text;
    let fixture = meta("bridge-answer-dtls-derived");
    assert_eq!(meaning(answer.as_bytes()), meaning(&fixture));

    local.ice = credentials_of("bridge-offer-dtls-derived");
    let offer = Offer::new(&local, &towards_meta_by_dtls());
    let fixture = meta("bridge-offer-dtls-derived");
    assert_eq!(meaning(offer.text().as_bytes()), meaning(&fixture));
}

#[test]
fn browsers_samples_without_an_address_are_refused_in_plain_words() {
    let [offer, answer] = WITHOUT_ADDRESS.map(meta);
    let words = "there is no a=candidate: the peer must list its UDP addresses at once (RFC 8839)";
    let reject = RemoteOffer::parse(&offer, &towards_meta()).unwrap_err();
    assert_eq!((reject.status(), reject.to_string().as_str()), (488, words));
    let offer = Offer::new(&local(), &towards_meta_by_dtls());
    assert_eq!(offer.accept(&answer).unwrap_err().to_string(), words);
}

/// Written by hand in the shapes that Chromium 126 and Firefox 128 print, and as aiortc 1.16 printed them, the addresses
/// exchanged: mDNS names and TCP to pass over, hashes that we do not compute, extensions and sources that mean nothing here.
#[test]
fn browsers_and_aiortc_are_understood_in_both_directions() {
    let capabilities = towards_meta_by_dtls();
    for (case, remote, candidates) in [
        ("chromium-offers-video-too", "203.0.113.77:50123", 3),
        ("firefox-offers", "192.0.2.45:51022", 3),
        ("aiortc-offers", "192.0.2.46:33394", 2),
    ] {
        let offer = by_hand(case, "offer.sdp");
        let side = answered(case, &offer, &local(), &capabilities);
        assert_eq!(side.remote_rtp, remote.parse().unwrap(), "{case}");
        assert_eq!(dtls(side).candidates.len(), candidates, "{case}");
    }
    for (case, remote) in [
        ("chromium-answers", "203.0.113.78:47110"),
        ("firefox-answers", "192.0.2.45:60848"),
        ("aiortc-answers", "192.0.2.46:39246"),
    ] {
        let side = accepted(case, &local(), &capabilities, &by_hand(case, "answer.sdp"));
        assert_eq!(side.remote_rtp, remote.parse().unwrap(), "{case}");
        let spec = dtls(side);
        assert_eq!(
            (spec.role, spec.fingerprints.len()),
            (Role::Server, 1),
            "{case}"
        );
    }
}

#[test]
fn every_sample_keyed_by_dtls_is_in_one_of_these_tests() {
    let samples = std::fs::read_dir(data("data/meta/sdp")).unwrap();
    let samples = samples.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut by_dtls: Vec<String> = samples
        .filter_map(|name| name.strip_suffix(".sdp").map(str::to_owned))
        .filter(|name| {
            String::from_utf8(meta(name))
                .unwrap()
                .contains("a=fingerprint")
        })
        .collect();
    by_dtls.sort();
    let answers = DTLS_ANSWERS.iter().map(|(fixture, _)| fixture);
    let mut tested: Vec<_> = DTLS_OFFERS
        .iter()
        .chain(answers)
        .chain(&WITHOUT_ADDRESS)
        .collect();
    tested.sort();
    assert_eq!(by_dtls.iter().collect::<Vec<_>>(), tested);
}
