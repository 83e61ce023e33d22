//! Descriptions compared with files: `tests/golden/sdp/<case>/{offer.sdp, answer.sdp, side.txt}`.
//! `UPDATE_GOLDEN=1 cargo test --test golden` rewrites them; the reviewer reads that diff.

use std::path::{Path, PathBuf};

use wabridge::media::ice::Credentials;
use wabridge::media::sdes::Crypto;
use wabridge::media::{Codec, LocalPorts, Security, SideSpec, Source, SrtpKeys};
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
        ice: Credentials::new("72OlpnQq", "bCVEBw/kxYNfwC+U9IW02bMm").unwrap(),
        fingerprint: format!("sha-256 {}", ["AB"; 32].join(":")).parse().unwrap(),
    }
}

fn towards_meta() -> Capabilities {
    Capabilities::meta(vec![Keying::Sdes], Setup::Actpass)
}

fn keys(side: SideSpec) -> SrtpKeys {
    match side.security {
        Security::Sdes(keys) => keys,
        other => panic!("keyed by SDES: {other:?}"),
    }
}

/// The key in one of Meta's sample descriptions.
fn key_of(fixture: &str) -> Crypto {
    let text = String::from_utf8(meta(fixture)).unwrap();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("a=crypto:"))
        .unwrap();
    Crypto::parse(line).unwrap()
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
fn answered(case: &str, offer: &[u8], capabilities: &Capabilities) -> SideSpec {
    golden(case, "offer.sdp", std::str::from_utf8(offer).unwrap());
    let remote = RemoteOffer::parse(offer, capabilities).unwrap();
    let answered = remote.answer(&local(), &[Codec::Opus]).unwrap();
    golden(case, "answer.sdp", &answered.text);
    golden(case, "side.txt", &format!("{:#?}\n", answered.side));
    answered.side
}

/// Our offer, a peer's answer to it and what both agreed.
fn accepted(case: &str, capabilities: &Capabilities, answer: &[u8]) -> SideSpec {
    let offer = Offer::new(&local(), capabilities);
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
        let side = answered(fixture, &meta(fixture), &towards_meta());
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
        &capabilities,
        &meta("bic-answer-sdes-doc"),
    );
    assert_eq!(keys(side).receive, key_of("bic-answer-sdes-doc").key);
}

#[test]
fn business_gateways_answer_without_multiplexing() {
    // Printed by Meta as answers of a business; here they stand for any far end that ignores a=rtcp-mux.
    for fixture in ["uic-answer-sdes-doc", "uic-answer-sdes-digest-doc"] {
        let side = accepted(fixture, &towards_meta(), &meta(fixture));
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
        &plain,
        &by_hand("pbx-answers-plain", "answer.sdp"),
    );
    let keyed = Capabilities::pbx(Keying::Sdes, Source::Negotiated);
    accepted(
        "pbx-answers-keyed",
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
        answered(case, &by_hand(case, "offer.sdp"), &plain);
    }
}
