//! How we describe our end.

use std::time::Duration;

use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

use crate::media::sdes::Crypto;
use crate::media::{Codec, Direction, Payload};

use super::{FRAME, Local, dtls};

/// Opus as Meta's client speaks it: wideband, mono at 20 kbit/s, 20 ms, with forward error correction. Said on both
/// legs, since a packet from one leg is the packet of the other.
const OPUS: &str = "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1";

/// The sixteen keys of a telephone (RFC 4733 §2.3); hook flash means nothing here.
const DIGITS: &str = "0-15";

/// The longest packet of sound that we ask for where nothing is passed on as it comes.
const LONGEST: Duration = Duration::from_millis(60);

/// What our audio section says.
pub(super) struct Section<'a> {
    pub proto: &'a str,
    pub payloads: &'a [Payload],
    pub protection: Protection,
    pub rtcp_mux: bool,
    pub direction: Direction,
    pub mid: Option<&'a str>,
    /// How much sound a packet is to hold.
    pub ptime: Duration,
}

/// What keys the section.
pub(super) enum Protection {
    Clear,
    /// `a=crypto`.
    Crypto(Crypto),
    /// Our end of ICE and DTLS, and this `a=setup`.
    Dtls(&'static str),
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
    media.attributes = attributes(local, section);
    media
}

fn attributes(local: &Local, section: &Section<'_>) -> Vec<Attribute> {
    let mut lines = Vec::new();
    lines.extend(section.mid.map(|mid| Attribute::with_value("mid", mid)));
    match &section.protection {
        Protection::Clear => lines.extend(rtcp(local)),
        Protection::Crypto(crypto) => {
            lines.push(Attribute::with_value("crypto", crypto.to_value()));
            lines.extend(rtcp(local));
        }
        Protection::Dtls(setup) => lines.extend(dtls::ours(local, setup)),
    }
    for Payload { number, codec } in section.payloads {
        let meaning = format!("{number} {codec}");
        lines.push(Attribute::with_value("rtpmap", meaning));
        let fmtp = |parameters| Attribute::with_value("fmtp", format!("{number} {parameters}"));
        lines.extend(parameters(*codec).map(fmtp));
    }
    // Opus is passed on to Meta as it comes, and Meta takes 20 ms.
    let opus = section.payloads.iter().any(|p| p.codec == Codec::Opus);
    let longest = if opus { FRAME } else { LONGEST }.max(section.ptime);
    lines.push(Attribute::with_value("ptime", section.ptime.as_millis()));
    lines.push(Attribute::with_value("maxptime", longest.as_millis()));
    if section.rtcp_mux {
        lines.push(Attribute::new("rtcp-mux"));
    }
    lines.push(Attribute::new(direction(section.direction)));
    lines
}

/// RFC 3605: only a port that the peer could not guess is worth a line.
fn rtcp(local: &Local) -> Option<Attribute> {
    let next = local.ports.rtp.port().checked_add(1);
    let port = local.ports.rtcp?.port();
    (Some(port) != next).then(|| Attribute::with_value("rtcp", port))
}

/// A BUNDLE of our stream alone (RFC 9143).
pub(super) fn bundle(mid: &str) -> Attribute {
    Attribute::with_value("group", format!("BUNDLE {mid}"))
}

/// RFC 3264 §6: a stream that we do not take is answered with its own format and port 0. Its mid is repeated, by which
/// a browser knows it again (RFC 8829 §5.3.1).
pub(super) fn refused(offered: &Media) -> Media {
    let mut media = empty(&offered.media, 0, &offered.proto, &offered.fmt);
    let mid = offered.attributes.iter().find(|a| a.attribute == "mid");
    media.attributes.extend(mid.cloned());
    media
}

fn parameters(codec: Codec) -> Option<&'static str> {
    match codec {
        Codec::Opus => Some(OPUS),
        Codec::TelephoneEvent { .. } => Some(DIGITS),
        Codec::G722 | Codec::Pcma | Codec::Pcmu => None,
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
