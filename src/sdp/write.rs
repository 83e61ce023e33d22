//! How we describe our end.

use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

use crate::media::sdes::Crypto;
use crate::media::{Codec, Direction, Payload};

use super::Local;

/// Opus as Meta's client speaks it: wideband, mono at 20 kbit/s, 20 ms, with forward error correction. Said on both
/// legs, since a packet from one leg is the packet of the other.
const OPUS: &str = "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1";

/// The sixteen keys of a telephone (RFC 4733 §2.3); hook flash means nothing here.
const DIGITS: &str = "0-15";

/// Milliseconds of sound in a packet; Meta takes nothing else.
const PTIME: u8 = 20;

/// What our audio section says.
pub(super) struct Section<'a> {
    pub proto: &'a str,
    pub payloads: &'a [Payload],
    /// Tag and key; `None`: clear.
    pub crypto: Option<&'a Crypto>,
    pub rtcp_mux: bool,
    pub direction: Direction,
    pub mid: Option<&'a str>,
}

/// The session part: ours is the address for every stream.
pub(super) fn session(local: &Local) -> Session {
    let address = local.ports.rtp.ip();
    let mut session = Session::new(
        Origin::with_ip_addr(local.session, local.version, address),
        "-",
    );
    session.connection = Some(Connection::from_ip_addr(address));
    session.times = vec![Time::new(0, 0)];
    session
}

/// The audio section.
pub(super) fn audio(local: &Local, section: &Section<'_>) -> Media {
    let numbers: Vec<String> = section
        .payloads
        .iter()
        .map(|p| p.number.to_string())
        .collect();
    let mut media = empty(
        "audio",
        local.ports.rtp.port(),
        section.proto,
        &numbers.join(" "),
    );
    let mut say =
        |name: &str, value: String| media.attributes.push(Attribute::with_value(name, value));
    if let Some(mid) = section.mid {
        say("mid", mid.to_owned());
    }
    if let Some(crypto) = section.crypto {
        say("crypto", crypto.to_value());
    }
    for payload in section.payloads {
        say("rtpmap", format!("{} {}", payload.number, payload.codec));
        say(
            "fmtp",
            format!("{} {}", payload.number, parameters(payload.codec)),
        );
    }
    say("ptime", PTIME.to_string());
    say("maxptime", PTIME.to_string());
    // RFC 3605: only a port that the peer could not guess is worth a line.
    if let Some(rtcp) = local
        .ports
        .rtcp
        .filter(|r| Some(r.port()) != local.ports.rtp.port().checked_add(1))
    {
        say("rtcp", rtcp.port().to_string());
    }
    if section.rtcp_mux {
        media.attributes.push(Attribute::new("rtcp-mux"));
    }
    media
        .attributes
        .push(Attribute::new(direction(section.direction)));
    media
}

/// RFC 3264 §6: a stream that we do not take is answered with its own format and port 0.
pub(super) fn refused(offered: &Media) -> Media {
    empty(&offered.media, 0, &offered.proto, &offered.fmt)
}

fn parameters(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => OPUS,
        Codec::TelephoneEvent { .. } => DIGITS,
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

fn empty(kind: &str, port: u16, proto: &str, fmt: &str) -> Media {
    Media {
        media: kind.to_owned(),
        port,
        num_ports: None,
        proto: proto.to_owned(),
        fmt: fmt.to_owned(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}
