//! The value of one `a=candidate` line (RFC 8839 §5.1).
//!
//! ```text
//!     3355715111 1 udp 2122262783 2a03:2880:f343:131:face:b00c:0:699c 3480 typ host generation 0 network-cost 50
//!     foundation component  priority                address          port      type   extensions, ignored
//! ```

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An address at which the peer may be reached, or we.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The same for candidates that fare alike: 1 to 32 ice-chars.
    pub foundation: String,
    /// The higher, the sooner it is tried (RFC 8445 §5.1.2): 1 to 2^31 − 1.
    pub priority: u32,
    /// Where it is.
    pub address: SocketAddr,
    /// How its owner came by it.
    pub kind: Kind,
}

/// How the owner of a candidate came by it (RFC 8445 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address of its own.
    Host,
    /// What a STUN server saw.
    ServerReflexive,
    /// What a peer saw.
    PeerReflexive,
    /// An address at a TURN server.
    Relayed,
}

/// What is wrong with an `a=candidate` line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// Something ends too soon.
    #[error("a=candidate has no {0} (RFC 8839 §5.1)")]
    Missing(&'static str),
    /// Something is there and cannot be right.
    #[error("a=candidate has an unusable {field}: {value:?} (RFC 8839 §5.1)")]
    Invalid {
        /// What it should have been.
        field: &'static str,
        /// What it is, shortened.
        value: String,
    },
}

impl Candidate {
    /// Reads what follows `a=candidate:`. `Ok(None)` is a line that is well made and of no use to us, to be skipped as
    /// RFC 8839 §5.1 says: TCP, a component other than RTP, a host name (mDNS), a type we do not know.
    pub fn parse(value: &str) -> Result<Option<Candidate>, CandidateError> {
        let mut words = value.split_ascii_whitespace();
        let mut next = |field| words.next().ok_or(CandidateError::Missing(field));
        let foundation = next("foundation")?;
        let component = number("component", next("component")?, 256)?;
        let transport = next("transport")?;
        let priority = number("priority", next("priority")?, i32::MAX as u32)?;
        let address = next("address")?;
        let port = next("port")?;
        let typ = next("typ")?;
        let kind = next("type")?;
        let ice_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
        if foundation.len() > 32 || !foundation.bytes().all(ice_char) {
            return Err(invalid("foundation", foundation));
        }
        if typ != "typ" {
            return Err(invalid("typ", typ));
        }
        if component != 1 || !transport.eq_ignore_ascii_case("udp") {
            return Ok(None); // port 9 is usual with TCP, so the port is not looked at before
        }
        let port = number("port", port, u16::MAX.into())? as u16;
        let (Some(ip), Some(kind)) = (ip("address", address)?, Kind::of(kind)) else {
            return Ok(None);
        };
        Ok(Some(Candidate {
            foundation: foundation.to_owned(),
            priority,
            address: SocketAddr::new(ip, port),
            kind,
        }))
    }

    /// One of our own: `announced` is what the SDP says, with the public address where a one-to-one NAT stands before
    /// us. There may be one of each family; a lite peer does not weigh them, and sees from where our checks come.
    pub fn host(announced: SocketAddr) -> Candidate {
        Candidate {
            foundation: if announced.is_ipv4() { "1" } else { "2" }.to_owned(),
            priority: priority(Kind::Host, announced.is_ipv4()),
            address: announced,
            kind: Kind::Host,
        }
    }
}

/// What a candidate of ours is worth (RFC 8445 §5.1.2.1), with 255 for component 1.
pub(super) fn priority(kind: Kind, ipv4: bool) -> u32 {
    let preference = match kind {
        Kind::Host => 126,
        Kind::PeerReflexive => 110,
        Kind::ServerReflexive => 100,
        Kind::Relayed => 0,
    };
    let local = if ipv4 { 65_535 } else { 65_534 };
    (preference << 24) | (local << 8) | 255
}

/// The value of the line.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, port) = (self.address.ip(), self.address.port());
        let kind = self.kind.name();
        let (foundation, priority) = (&self.foundation, self.priority);
        write!(f, "{foundation} 1 udp {priority} {ip} {port} typ {kind}")
    }
}

impl Kind {
    fn of(name: &str) -> Option<Kind> {
        let all = [
            Kind::Host,
            Kind::ServerReflexive,
            Kind::PeerReflexive,
            Kind::Relayed,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Host => "host",
            Kind::ServerReflexive => "srflx",
            Kind::PeerReflexive => "prflx",
            Kind::Relayed => "relay",
        }
    }
}

/// A number from 1 to `most`.
fn number(field: &'static str, word: &str, most: u32) -> Result<u32, CandidateError> {
    let digits = word.bytes().all(|b| b.is_ascii_digit()); // `parse` would take a sign
    let number = word
        .parse()
        .ok()
        .filter(|n| digits && (1..=most).contains(n));
    number.ok_or_else(|| invalid(field, word))
}

/// `None`: a host name, which nobody here looks up.
fn ip(field: &'static str, word: &str) -> Result<Option<IpAddr>, CandidateError> {
    match word.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => Err(invalid(field, word)),
        Ok(ip) => Ok(Some(ip)),
        Err(_) if word.contains(':') || word.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            Err(invalid(field, word))
        }
        Err(_) => Ok(None),
    }
}

fn invalid(field: &'static str, word: &str) -> CandidateError {
    let value = word.chars().take(64).collect();
    CandidateError::Invalid { field, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every `a=candidate` value of the samples of Meta.
    fn of_the_samples() -> Vec<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/meta/sdp");
        let files = std::fs::read_dir(folder).unwrap();
        let text = |file: std::fs::DirEntry| std::fs::read_to_string(file.path()).unwrap();
        let texts: Vec<String> = files.map(|file| text(file.unwrap())).collect();
        let lines = texts.iter().flat_map(|text| text.lines());
        let values = lines.filter_map(|line| line.strip_prefix("a=candidate:"));
        values.map(str::to_owned).collect()
    }

    #[test]
    fn every_candidate_of_metas_samples_is_read_and_printed_without_its_extensions() {
        let samples = of_the_samples();
        assert!(samples.len() > 20, "only {} samples found", samples.len());
        for value in samples {
            let candidate = Candidate::parse(&value).unwrap().unwrap();
            let (core, extensions) = value.split_at(value.find(" generation").unwrap());
            assert_eq!(candidate.to_string(), core, "without{extensions}");
            assert_eq!(candidate.kind, Kind::Host);
        }
    }

    #[test]
    fn ours_are_those_of_our_own_samples() {
        for (announced, value) in [
            (
                "198.51.100.20:40100",
                "1 1 udp 2130706431 198.51.100.20 40100 typ host",
            ),
            (
                "[2001:db8:40::20]:40100",
                "2 1 udp 2130706175 2001:db8:40::20 40100 typ host",
            ),
        ] {
            let ours = Candidate::host(announced.parse().unwrap());
            assert_eq!(ours.to_string(), value);
            assert_eq!(Candidate::parse(value), Ok(Some(ours)));
        }
    }

    #[test]
    fn what_is_of_no_use_is_skipped() {
        for value in [
            "1 1 tcp 2105458943 198.51.100.20 9 typ host tcptype active",
            "1 2 udp 2130706430 198.51.100.20 40101 typ host",
            "1 1 udp 2130706431 5f1c6a7e-0000.local 40100 typ host",
            "1 1 udp 2130706431 198.51.100.20 40100 typ sideways",
        ] {
            assert_eq!(Candidate::parse(value), Ok(None), "{value}");
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (value, said) in [
            ("", "a=candidate has no foundation"),
            (
                "1 1 udp 2130706431 198.51.100.20",
                "a=candidate has no port",
            ),
            (
                "1 1 udp 2130706431 198.51.100.20 4 typ",
                "a=candidate has no type",
            ),
            (
                "1 0 udp 5 198.51.100.20 4 typ host",
                "unusable component: \"0\"",
            ),
            (
                "1 1 udp -5 198.51.100.20 4 typ host",
                "unusable priority: \"-5\"",
            ),
            (
                "1 1 udp 2147483648 198.51.100.20 4 typ host",
                "unusable priority",
            ),
            ("1 1 udp 5 198.51.100.20 0 typ host", "unusable port: \"0\""),
            (
                "1 1 udp 5 198.51.100.20 65536 typ host",
                "unusable port: \"65536\"",
            ),
            ("1 1 udp 5 198.51.100.256 4 typ host", "unusable address"),
            ("1 1 udp 5 2a03:::1 4 typ host", "unusable address"),
            ("1 1 udp 5 0.0.0.0 4 typ host", "unusable address"),
            ("1 1 udp 5 ff02::1 4 typ host", "unusable address"),
            (
                "1 1 udp 5 198.51.100.20 4 type host",
                "unusable typ: \"type\"",
            ),
            (
                "a=b 1 udp 5 198.51.100.20 4 typ host",
                "unusable foundation",
            ),
        ] {
            let error = Candidate::parse(value).unwrap_err().to_string();
            assert!(error.contains(said), "{value}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,120}") {
            let _ = Candidate::parse(&text);
        }

        #[test]
        fn any_words_in_the_right_places_are_read_or_refused(
            words in prop::collection::vec("[0-9a-f:.+-]{1,40}|udp|typ|host", 0..10),
        ) {
            if let Ok(Some(candidate)) = Candidate::parse(&words.join(" ")) {
                prop_assert_eq!(Candidate::parse(&candidate.to_string()), Ok(Some(candidate)));
            }
        }
    }
}
