//! Descriptions from files and from a hostile network: each is understood or refused with the right status.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use wabridge::media::ice::Credentials;
use wabridge::media::sdes::Crypto;
use wabridge::media::{Codec, LocalPorts, Source};
use wabridge::sdp::{Capabilities, Keying, Local, Offer, Reject, RemoteOffer, Setup};

fn folder(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Every sample description of Meta's and of ours, with its name.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder("meta/sdp"))
        .unwrap()
        .map(|entry| entry.unwrap());
    files
        .map(|f| {
            (
                f.file_name().into_string().unwrap(),
                std::fs::read(f.path()).unwrap(),
            )
        })
        .collect()
}

/// A number of either keying, and offers of both answered in their own.
fn towards_meta() -> Capabilities {
    Capabilities::meta(vec![Keying::Sdes, Keying::Dtls], Setup::Actpass)
}

fn local() -> Local {
    Local {
        ports: LocalPorts {
            rtp: "198.51.100.20:40100".parse().unwrap(),
            rtcp: None,
            other_family: None,
        },
        session: 1,
        version: 1,
        crypto: Crypto::generate(1),
        ice: Credentials::generate(),
        fingerprint: format!("sha-256 {}", ["AB"; 32].join(":")).parse().unwrap(),
    }
}

fn answer_as_meta(offer: &[u8]) -> Result<String, Reject> {
    answer_as(&towards_meta(), offer)
}

fn answer_as(capabilities: &Capabilities, offer: &[u8]) -> Result<String, Reject> {
    let remote = RemoteOffer::parse(offer, capabilities)?;
    Ok(remote.answer(&local(), Codec::Opus)?.text)
}

#[test]
fn every_sample_is_printed_as_it_was_read() {
    for (name, bytes) in fixtures() {
        let printed = sdp_types::Session::parse(&bytes).unwrap().to_string();
        assert_eq!(printed.as_bytes(), bytes, "{name}");
    }
}

#[test]
fn every_sample_is_taken_by_a_leg_that_takes_its_keying_and_else_refused_by_name() {
    for (name, bytes) in fixtures() {
        let by_dtls = String::from_utf8_lossy(&bytes).contains("UDP/TLS/RTP/SAVPF");
        let only = |keying| Capabilities::meta(vec![keying], Setup::Actpass);
        let (taken, refused) = match by_dtls {
            true => (only(Keying::Dtls), only(Keying::Sdes)),
            false => (only(Keying::Sdes), only(Keying::Dtls)),
        };
        match answer_as(&taken, &bytes) {
            Ok(text) => assert_eq!(text.contains("a=fingerprint"), by_dtls, "{name}"),
            Err(Reject::NoCandidate) => assert!(name.contains("webrtc"), "{name}"),
            Err(other) => panic!("{name}: {other}"),
        }
        match answer_as(&refused, &bytes) {
            Err(Reject::Dtls { .. }) if by_dtls => {}
            Err(Reject::Transport { .. }) if !by_dtls => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn every_torture_offer_gets_a_documented_status() {
    let index = std::fs::read(folder("torture/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let cases = index["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["file"].as_str().unwrap().contains("-sdp-"));
    let mut seen = 0;
    for case in cases {
        let file = case["file"].as_str().unwrap();
        let message = std::fs::read(folder("torture").join(file)).unwrap();
        let head = message.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let status = answer_as_meta(&message[head + 4..]).map_or_else(|e| e.status(), |_| 200);
        let allowed = case["expect"]["status"].as_array().unwrap();
        assert!(
            allowed.iter().any(|s| s == status),
            "{file}: {status}, allowed {allowed:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn a_refusal_says_what_was_wrong_with_the_key() {
    let reason = |file: &str| {
        let message = std::fs::read_to_string(folder("torture").join(file)).unwrap();
        answer_as_meta(message.split_once("\r\n\r\n").unwrap().1.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert!(
        reason("i40-sdp-short-key.sip").contains("29 octets"),
        "{}",
        reason("i40-sdp-short-key.sip")
    );
    assert!(reason("i41-sdp-bad-base64.sip").contains("base64"));
    assert!(reason("i42-sdp-unknown-suite.sip").contains("F8_999_NONE"));
    assert!(reason("i46-sdp-no-common-codec.sip").contains("G729/8000"));
    assert_eq!(
        reason("i47-sdp-dtls-bad-fingerprint.sip"),
        "a=fingerprint has 31 octets, where sha-256 has 32: the peer must send the SHA-256 of its certificate"
    );
    assert_eq!(
        reason("i48-sdp-dtls-no-fingerprint.sip"),
        "there is no a=fingerprint: the peer must send the SHA-256 of its certificate"
    );
}

/// One blow against a description.
#[derive(Clone, Debug)]
enum Blow {
    Octet(Index, u8),
    Cut(Index),
    DropWord(Index),
    DropLine(Index),
    DoubleLine(Index),
    SwapLines(Index, Index),
    Insert(Index, &'static str),
}

fn blow() -> impl Strategy<Value = Blow> {
    let lines = select(vec![
        "m=audio 9 RTP/SAVP 0 111 127 128",
        "m=audio 65535 RTP/AVP 111",
        "c=IN IP6 ::",
        "c=IN IP4 0.0.0.0",
        "a=rtpmap:111 opus/48000/2/9",
        "a=rtpmap:18446744073709551616 opus/48000/2",
        "a=rtcp:65536 IN IP4 300.1.1.1",
        "a=group:BUNDLE",
        "a=mid:audio audio",
        "a=crypto:4294967296 AES_CM_128_HMAC_SHA1_80 inline:",
        "a=inactive",
        "m=audio 9 UDP/TLS/RTP/SAVP 111",
        "m=audio 9 RTP/SAVPF 111 126",
        "a=fingerprint:sha-256 AB:CD",
        "a=fingerprint:sha-1 \u{e9}\u{1b}",
        "a=setup:active",
        "a=setup:holdconn",
        "a=ice-ufrag:\u{7}",
        "a=ice-pwd:this.is.no.password.at.all",
        "a=candidate:1 1 udp 2122260223 2001:db8::9 3480 typ host",
        "a=candidate:1 1 tcp 5 x.local 9 typ host tcptype active",
        "a=candidate:\u{e9} 1 udp 5 300.1.1.1 65536 typ \u{1b}[2J",
        "a=candidate",
        "a=rtcp-mux",
        "=",
    ]);
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(i, b)| Blow::Octet(i, b)),
        at().prop_map(Blow::Cut),
        at().prop_map(Blow::DropWord),
        at().prop_map(Blow::DropLine),
        at().prop_map(Blow::DoubleLine),
        (at(), at()).prop_map(|(a, b)| Blow::SwapLines(a, b)),
        (at(), lines).prop_map(|(i, l)| Blow::Insert(i, l)),
    ]
}

fn struck(bytes: &[u8], blow: &Blow) -> Vec<u8> {
    let mut octets = bytes.to_vec();
    let mut lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|b| *b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if lines.is_empty() {
        return octets;
    }
    match blow {
        Blow::Octet(i, b) => {
            let at = i.index(octets.len());
            octets[at] = *b;
            return octets;
        }
        Blow::Cut(i) => {
            octets.truncate(i.index(octets.len()));
            return octets;
        }
        Blow::DropWord(i) => {
            let mut words: Vec<_> = bytes.split(|b| *b == b' ').collect();
            words.remove(i.index(words.len()));
            return words.join(&b' ');
        }
        Blow::DropLine(i) => {
            lines.remove(i.index(lines.len()));
        }
        Blow::DoubleLine(i) => lines.push(lines[i.index(lines.len())].clone()),
        Blow::SwapLines(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        Blow::Insert(i, line) => {
            lines.insert(i.index(lines.len()), format!("{line}\r\n").into_bytes())
        }
    }
    lines.concat()
}

/// What nobody but the two ends may read: the password or key in a sample.
fn secrets(sample: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(sample);
    let lines = text.lines();
    let secrets = lines.filter_map(|line| {
        let pwd = line.strip_prefix("a=ice-pwd:");
        pwd.or(Some(line.split_once("inline:")?.1))
    });
    secrets.map(str::to_owned).collect()
}

/// Legs of every keying, and of several.
fn legs() -> [Capabilities; 4] {
    [
        towards_meta(),
        Capabilities::meta(vec![Keying::Dtls, Keying::Sdes], Setup::Active),
        Capabilities::meta(vec![Keying::Dtls], Setup::Actpass),
        Capabilities::pbx(Keying::Plain, Source::First),
    ]
}

/// Whatever comes: no panic, no secret in what is said of it, reasons that fit a log line, and answers that are SDP with
/// a line for each offered one.
fn survives(bytes: &[u8], secrets: &[String]) {
    let keeps_secrets = |text: &str| {
        let told = secrets.iter().find(|secret| text.contains(secret.as_str()));
        assert_eq!(told, None, "{text}");
    };
    for capabilities in legs() {
        let answered = RemoteOffer::parse(bytes, &capabilities).and_then(|remote| {
            keeps_secrets(&format!("{remote:?}"));
            Ok((remote.answer(&local(), Codec::Opus)?, remote))
        });
        match answered {
            Ok((answered, remote)) => {
                keeps_secrets(&format!("{answered:?}"));
                assert!(remote.codecs().contains(&Codec::Opus));
                assert!(capabilities.keyings.contains(&remote.keying()));
                let offer = sdp_types::Session::parse(bytes).unwrap();
                let answer = sdp_types::Session::parse(answered.text.as_bytes()).unwrap();
                assert_eq!(answer.medias.len(), offer.medias.len());
                assert_eq!(answer.medias.iter().filter(|m| m.port != 0).count(), 1);
                assert!(
                    !answered.side.direction.sends()
                        || !answered.side.remote_rtp.ip().is_unspecified()
                );
            }
            Err(reject) => keeps_secrets(&plain_words(&reject)),
        }
        if let Err(reject) = Offer::new(&local(), &capabilities).accept(bytes) {
            keeps_secrets(&plain_words(&reject));
        }
    }
}

fn plain_words(reject: &Reject) -> String {
    let text = reject.to_string();
    assert!(
        text.len() < 400 && !text.contains(char::is_control),
        "{text:?}"
    );
    assert!([400, 488].contains(&reject.status()));
    text
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        survives(&bytes, &[]);
    }

    #[test]
    fn no_damage_to_a_sample_makes_it_panic(
        sample in any::<Index>(),
        blows in proptest::collection::vec(blow(), 1..6),
    ) {
        let fixtures = fixtures();
        let (_, bytes) = &fixtures[sample.index(fixtures.len())];
        let damaged = blows.iter().fold(bytes.clone(), |bytes, blow| struck(&bytes, blow));
        survives(&damaged, &secrets(bytes));
    }
}
