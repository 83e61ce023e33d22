use std::time::Duration;

use wabridge::media::dtls::Failure as Dtls;
use wabridge::media::ice::Failure as Ice;

/// What the guide quotes of it. A new failure needs a line here, and one in the guide.
fn ice(failure: Ice) -> Option<&'static str> {
    Some(match failure {
        // The SDP is refused for it, with 488, before any check.
        Ice::NoCandidate => return None,
        Ice::Unanswered => "ICE: no candidate of the peer answered",
        Ice::Unauthentic => "ICE: the peer answered without the signature",
        Ice::Refused(_) => "ICE: the peer refused our checks with 401",
        Ice::NominationUnanswered => "ICE: the peer fell silent",
    })
}

fn dtls(failure: &Dtls) -> &'static str {
    match failure {
        Dtls::Fingerprint { .. } => "the peer's certificate is",
        Dtls::NoCertificate => "the peer showed no certificate",
        Dtls::NoCommonProfile => "no common SRTP profile",
        Dtls::Alert { .. } => "the peer ended the DTLS handshake with alert",
        Dtls::GaveUp { heard: false, .. } => "the DTLS handshake was given up",
        Dtls::GaveUp { heard: true, .. } => "it did not complete",
        Dtls::Protocol { .. } => "the DTLS handshake failed",
    }
}

#[track_caller]
fn is_in_the_guide(said: &str, quoted: &str) {
    assert!(said.contains(quoted), "{said:?} has no {quoted:?}");
    let guide = include_str!("../../docs/operating.md");
    let row = |line: &&str| line.starts_with('|') && line.contains(&format!("`{quoted}`"));
    assert!(
        guide.lines().any(|line| row(&line)),
        "no row for {quoted:?}"
    );
}

#[test]
fn each_reason_for_which_there_is_no_path_to_meta_has_a_row_in_the_guide() {
    for failure in [
        Ice::NoCandidate,
        Ice::Unanswered,
        Ice::Unauthentic,
        Ice::Refused(401),
        Ice::NominationUnanswered,
    ] {
        if let Some(quoted) = ice(failure) {
            is_in_the_guide(&failure.to_string(), quoted);
        }
    }
    let fingerprint = format!("sha-256 {}", ["AB"; 32].join(":"));
    let gave_up = |heard| Dtls::GaveUp {
        after: Duration::from_secs(10),
        heard,
    };
    for failure in [
        Dtls::Fingerprint {
            presented: fingerprint.parse().unwrap(),
            expected: vec![fingerprint.parse().unwrap()],
        },
        Dtls::NoCertificate,
        Dtls::NoCommonProfile,
        Dtls::Alert {
            description: "bad certificate".into(),
        },
        gave_up(false),
        gave_up(true),
        Dtls::Protocol {
            reason: "unexpected message".into(),
        },
    ] {
        is_in_the_guide(&failure.to_string(), dtls(&failure));
    }
}
