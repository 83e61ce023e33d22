//! The audio stream of a peer's description, read: where, what, keyed how, flowing which way.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sdp_types::{Attribute, Connection, Media, Session};

use crate::media::xr::Wanted;
use crate::media::{Direction, LocalPorts};

use super::dtls::Turn;
use super::keys::PeerKeys;
use super::reject::{Reject, quote};
use super::rtpmap::{Format, formats};
use super::{Capabilities, FRAME, Keying, MAX_LINES, MAX_OCTETS};

/// One RTP stream as its sender described it.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Keyed by DTLS, the best of several addresses.
    rtp: SocketAddr,
    /// Where RTCP goes if it does not share the RTP port.
    rtcp: SocketAddr,
    rtcp_mux: bool,
    pub formats: Vec<Format>,
    pub keys: PeerKeys,
    /// How much sound it wants a packet of ours to hold: 10 to 60 ms.
    pub ptime: Duration,
    /// As the peer said it, turned round: what we may do.
    pub stated: Direction,
    /// `a=mid`, to be repeated.
    pub mid: Option<String>,
    /// Whether `a=group:BUNDLE` lists that mid.
    pub bundled: bool,
    /// `a=rtcp-xr`.
    pub extended_reports: Wanted,
}

impl Stream {
    /// Where RTP goes, or goes until ICE knows better; an error if no socket of ours can send there.
    pub(super) fn rtp(&self, ours: &LocalPorts) -> Result<SocketAddr, Reject> {
        match &self.keys {
            PeerKeys::Dtls(peer) => peer.nearest(ours),
            PeerKeys::Plain | PeerKeys::Sdes(_) => same_family(ours.rtp.ip(), self.rtp),
        }
    }

    /// Where RTCP goes; `None`: where RTP goes.
    pub(super) fn rtcp(&self, ours: &Capabilities) -> Option<SocketAddr> {
        let shares = self.rtcp_mux && (ours.rtcp_mux || self.keys.keying() == Keying::Dtls);
        (!shares).then_some(self.rtcp)
    }

    /// What we do: as stated, but nothing is sent to 0.0.0.0 or ::, the hold of RFC 2543 (RFC 3264 §8.4).
    pub(super) fn direction(&self) -> Direction {
        match (self.rtp.ip().is_unspecified(), self.stated) {
            (true, Direction::SendRecv) => Direction::RecvOnly,
            (true, Direction::SendOnly) => Direction::Inactive,
            (_, stated) => stated,
        }
    }
}

/// Reads bytes as SDP, within the limits.
pub(super) fn session(bytes: &[u8]) -> Result<Session, Reject> {
    let lines = bytes.iter().filter(|b| **b == b'\n').count();
    if bytes.len() > MAX_OCTETS || lines > MAX_LINES {
        return Err(Reject::TooLarge {
            octets: bytes.len(),
            lines,
        });
    }
    Session::parse(bytes).map_err(|e| Reject::Unreadable(quote(&e.to_string())))
}

/// The first audio stream of an offer that a leg of these keyings can use, with its place among the m= lines. If there
/// is none, the reason is that of the first audio stream: a peer lists what it prefers first.
pub(super) fn audio(session: &Session, keyings: &[Keying]) -> Result<(usize, Stream), Reject> {
    let mut reason = None;
    for (index, media) in session
        .medias
        .iter()
        .enumerate()
        .filter(|(_, m)| m.media == "audio")
    {
        match stream(session, media, keyings, Turn::Offer) {
            Ok(stream) => return Ok((index, stream)),
            Err(e) => reason = reason.or(Some(e)),
        }
    }
    Err(reason.unwrap_or_else(|| Reject::NoAudio(kinds(session))))
}

/// What streams there are, for messages.
pub(super) fn kinds(session: &Session) -> String {
    let kinds: Vec<&str> = session.medias.iter().map(|m| m.media.as_str()).collect();
    if kinds.is_empty() {
        "no m= line".into()
    } else {
        quote(&kinds.join(", "))
    }
}

/// Reads one m= section.
pub(super) fn stream(
    session: &Session,
    media: &Media,
    keyings: &[Keying],
    turn: Turn,
) -> Result<Stream, Reject> {
    if media.port == 0 {
        return Err(Reject::Refused);
    }
    let keys = PeerKeys::read(session, media, keyings, turn)?;
    let formats = formats(media)?;
    let rtp = match &keys {
        PeerKeys::Dtls(peer) => peer.address,
        _ => SocketAddr::new(address(session, media)?, media.port),
    };
    let rtcp_mux = flag(&media.attributes, "rtcp-mux") || flag(&media.attributes, "rtcp-mux-only");
    // RFC 5761 §5.1.1 leaves the choice to the answerer. Without it, RTCP would need a path and a handshake of its own
    // (RFC 5764 §3), and Meta never goes without.
    if keys.keying() == Keying::Dtls && !rtcp_mux {
        return Err(Reject::NoRtcpMux);
    }
    let mid = value(&media.attributes, "mid")
        .map(str::trim)
        .filter(|mid| is_token(mid))
        .map(str::to_owned);
    Ok(Stream {
        rtp,
        rtcp: rtcp(media, rtp),
        rtcp_mux,
        formats,
        keys,
        ptime: ptime(&media.attributes),
        stated: direction(&media.attributes)
            .or(direction(&session.attributes))
            .unwrap_or(Direction::SendRecv),
        bundled: mid.as_deref().is_some_and(|mid| bundles(session, mid)),
        extended_reports: extended_reports(session, media),
        mid,
    })
}

/// RFC 3611 §5.1: that of the stream, else that of the session.
fn extended_reports(session: &Session, media: &Media) -> Wanted {
    let stated = value(&media.attributes, "rtcp-xr").or(value(&session.attributes, "rtcp-xr"));
    stated.map(Wanted::read).unwrap_or_default()
}

/// RFC 8866 §5.7: the c= line of the stream, else that of the session.
fn address(session: &Session, media: &Media) -> Result<IpAddr, Reject> {
    let line: &Connection = media
        .connections
        .first()
        .or(session.connection.as_ref())
        .ok_or(Reject::NoAddress)?;
    let unusable = || Reject::Address(quote(&line.connection_address));
    let ip: IpAddr = line.connection_address.parse().map_err(|_| unusable())?;
    if ip.is_multicast() {
        Err(unusable())
    } else {
        Ok(ip)
    }
}

/// The peer's address, if ours can send to it.
fn same_family(ours: IpAddr, theirs: SocketAddr) -> Result<SocketAddr, Reject> {
    // On hold there is nobody to send to, and 0.0.0.0 may come from a peer that otherwise speaks IPv6.
    if theirs.ip().is_unspecified() || ours.is_ipv4() == theirs.is_ipv4() {
        return Ok(theirs);
    }
    Err(Reject::Family {
        ours,
        theirs: theirs.ip(),
    })
}

/// RFC 3605: `a=rtcp:<port> [IN IP4 <address>]`, else the next port (RFC 3550 §11). Port 9 or address 0.0.0.0 is
/// the placeholder of a peer that multiplexes.
fn rtcp(media: &Media, rtp: SocketAddr) -> SocketAddr {
    let next = SocketAddr::new(rtp.ip(), rtp.port().checked_add(1).unwrap_or(rtp.port()));
    stated_rtcp(media, rtp.ip())
        .filter(|a| !matches!(a.port(), 0 | 9) && !a.ip().is_unspecified())
        .unwrap_or(next)
}

fn stated_rtcp(media: &Media, default: IpAddr) -> Option<SocketAddr> {
    let mut parts = value(&media.attributes, "rtcp")?.split_ascii_whitespace();
    let port = parts.next()?.parse().ok()?;
    match parts.nth(2) {
        Some(ip) => Some(SocketAddr::new(ip.parse().ok()?, port)),
        None => Some(SocketAddr::new(default, port)),
    }
}

/// RFC 3264 §6.1: the peer's direction, turned round.
fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|a| match a.attribute.as_str() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::RecvOnly),
        "recvonly" => Some(Direction::SendOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

/// RFC 8866 §6.4: `a=ptime` is what the peer would like, `a=maxptime` what it can bear; in steps of 10 ms, which every codec
/// of ours can do.
fn ptime(attributes: &[Attribute]) -> Duration {
    let stated = |name| value(attributes, name)?.trim().parse::<u64>().ok();
    let usual = FRAME.as_millis() as u64;
    let most = stated("maxptime").unwrap_or(60).clamp(10, 60);
    let wanted = stated("ptime").filter(|ms| *ms > 0).unwrap_or(usual);
    Duration::from_millis(wanted.clamp(10, most) / 10 * 10)
}

fn bundles(session: &Session, mid: &str) -> bool {
    let groups = session
        .attributes
        .iter()
        .filter(|a| a.attribute == "group")
        .filter_map(|a| a.value.as_deref());
    groups
        .map(str::split_ascii_whitespace)
        .any(|mut words| words.next() == Some("BUNDLE") && words.any(|w| w == mid))
}

fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes
        .iter()
        .find(|a| a.attribute == name)?
        .value
        .as_deref()
}

pub(super) fn flag(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|a| a.attribute == name)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::tests::sdp;

    fn read(rest: &str) -> Result<Stream, Reject> {
        read_as(Keying::Plain, rest)
    }

    fn read_as(keying: Keying, rest: &str) -> Result<Stream, Reject> {
        audio(&session(&sdp(rest))?, &[keying]).map(|(_, stream)| stream)
    }

    #[test]
    fn the_streams_own_address_goes_before_the_sessions() {
        assert_eq!(
            read("m=audio 4000 RTP/AVP 0\n").unwrap().rtp,
            "203.0.113.9:4000".parse().unwrap()
        );
        let own = read("m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::7\n").unwrap();
        assert_eq!(own.rtp, "[2001:db8::7]:4000".parse().unwrap());
    }

    #[test]
    fn how_much_sound_a_packet_holds_is_what_the_peer_asks_for_and_can_bear() {
        for (lines, ms) in [
            ("", 20),
            ("a=ptime:30\n", 30),
            ("a=ptime:35\n", 30),
            ("a=ptime:5\n", 10),
            ("a=ptime:200\n", 60),
            ("a=ptime:60\na=maxptime:40\n", 40),
            ("a=maxptime:10\n", 10),
            ("a=maxptime:0\na=ptime:0\n", 10),
            ("a=ptime:x\n", 20),
        ] {
            let stream = read(&format!("m=audio 4000 RTP/AVP 0\n{lines}")).unwrap();
            assert_eq!(stream.ptime, Duration::from_millis(ms), "{lines}");
        }
    }

    #[test]
    fn a_name_or_a_group_is_no_address_to_send_to() {
        for address in [
            "IP4 pbx.example.com",
            "IP4 224.0.0.1",
            "IP4 224.0.0.1/127",
            "IP6 ff02::1",
        ] {
            let error = read(&format!("m=audio 4000 RTP/AVP 0\nc=IN {address}\n")).unwrap_err();
            assert!(matches!(error, Reject::Address(_)), "{address}: {error}");
        }
        let none = b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n";
        assert_eq!(
            audio(&session(none).unwrap(), &[Keying::Plain]).unwrap_err(),
            Reject::NoAddress
        );
    }

    #[test]
    fn rtcp_goes_to_the_next_port_unless_said_otherwise() {
        let rtcp = |line: &str| {
            read(&format!("m=audio 4000 RTP/AVP 0\n{line}"))
                .unwrap()
                .rtcp
                .to_string()
        };
        assert_eq!(rtcp(""), "203.0.113.9:4001");
        assert_eq!(rtcp("a=rtcp:5000\n"), "203.0.113.9:5000");
        assert_eq!(
            rtcp("a=rtcp:5000 IN IP4 203.0.113.77\n"),
            "203.0.113.77:5000"
        );
        for placeholder in [
            "a=rtcp:9 IN IP4 0.0.0.0\n",
            "a=rtcp:5000 IN IP4 0.0.0.0\n",
            "a=rtcp:x\n",
            "a=rtcp\n",
        ] {
            assert_eq!(rtcp(placeholder), "203.0.113.9:4001", "{placeholder}");
        }
    }

    #[test]
    fn which_extended_reports_a_peer_asks_for_is_read_of_the_stream_or_the_session() {
        let wanted = |text: &str| read(text).unwrap().extended_reports;
        assert_eq!(wanted("m=audio 4000 RTP/AVP 0\n"), Wanted::default());
        let of_stream = "m=audio 4000 RTP/AVP 0\na=rtcp-xr:voip-metrics rcvr-rtt=all\n";
        assert_eq!(wanted(of_stream), Wanted::read("rcvr-rtt voip-metrics"));
        let of_session = "a=rtcp-xr:stat-summary=loss\nm=audio 4000 RTP/AVP 0\n";
        assert_eq!(wanted(of_session), Wanted::read("stat-summary"));
    }

    #[test]
    fn the_highest_port_has_no_next_one() {
        assert_eq!(
            read("m=audio 65535 RTP/AVP 0\n").unwrap().rtcp.port(),
            65535
        );
    }

    #[test]
    fn an_unspecified_address_is_of_no_ip_version() {
        let ours = IpAddr::from([192, 0, 2, 1]);
        assert!(same_family(ours, "[::]:4000".parse().unwrap()).is_ok());
        assert!(same_family(ours, "[2001:db8::1]:4000".parse().unwrap()).is_err());
    }

    #[test]
    fn every_hold_form_is_read_and_none_is_sent_to() {
        for (lines, direction) in [
            ("a=sendonly\n", Direction::RecvOnly),
            ("a=inactive\n", Direction::Inactive),
            ("c=IN IP4 0.0.0.0\n", Direction::RecvOnly),
            ("c=IN IP4 0.0.0.0\na=sendonly\n", Direction::RecvOnly),
            ("c=IN IP4 0.0.0.0\na=recvonly\n", Direction::Inactive),
            ("c=IN IP6 ::\n", Direction::RecvOnly),
        ] {
            let stream = read(&format!("m=audio 4000 RTP/AVP 0\n{lines}")).unwrap();
            assert_eq!(stream.direction(), direction, "{lines}");
            assert!(!stream.direction().sends());
        }
    }

    #[test]
    fn a_direction_for_the_session_holds_where_the_stream_has_none() {
        assert_eq!(
            read("m=audio 4000 RTP/AVP 0\n").unwrap().direction(),
            Direction::SendRecv
        );
        let whole = |own: &str| {
            let text =
                format!("v=0\r\nc=IN IP4 192.0.2.9\r\na=sendonly\r\nm=audio 4 RTP/AVP 0\r\n{own}");
            audio(&session(text.as_bytes()).unwrap(), &[Keying::Plain])
                .unwrap()
                .1
                .direction()
        };
        assert_eq!(whole(""), Direction::RecvOnly);
        assert_eq!(whole("a=sendrecv\r\n"), Direction::SendRecv);
    }

    #[test]
    fn of_two_audio_streams_the_one_we_can_use_is_taken() {
        let text = sdp(
            "m=video 1 RTP/AVP 96\nm=audio 2 RTP/SAVP 0\nm=audio 0 RTP/AVP 0\nm=audio 4 RTP/AVP 0\n",
        );
        let (index, stream) = audio(&session(&text).unwrap(), &[Keying::Plain]).unwrap();
        assert_eq!((index, stream.rtp.port()), (3, 4));
    }

    #[test]
    fn without_audio_the_reason_says_what_there_is() {
        let text = |rest: &str| read(rest).unwrap_err().to_string();
        assert_eq!(
            text("m=video 1 RTP/AVP 96\nm=image 2 udptl t38\n"),
            "no audio stream: the SDP has video, image"
        );
        assert_eq!(text(""), "no audio stream: the SDP has no m= line");
        assert_eq!(read("m=audio 0 RTP/AVP 0\n").unwrap_err(), Reject::Refused);
    }

    #[test]
    fn more_than_a_telephone_sends_is_not_read() {
        let many = sdp(&"a=x\n".repeat(MAX_LINES));
        assert!(matches!(session(&many), Err(Reject::TooLarge { .. })));
        let large = sdp(&format!("a=x:{}\n", "y".repeat(MAX_OCTETS)));
        assert_eq!(session(&large).unwrap_err().status(), 400);
    }
}
