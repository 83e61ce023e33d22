//! The SDP of a far end: printed as Meta and plain telephones print it, and the bridge's read line by line.
//!
//! Written apart from `sdp`, and stricter: it knows the one shape that both sides of a call are allowed (§7 of Meta's
//! rules) and names everything else.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::words;
use crate::media::SrtpKeys;
use crate::media::sdes::Crypto;

/// Payload number of Opus in our offers.
pub const OPUS: u8 = 111;
/// Payload number of digits in our offers.
pub const EVENTS: u8 = 126;

const FMTP: &str = "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1";

/// What we put into SDP: one stream of Opus and digits.
#[derive(Clone)]
pub struct Ours {
    /// Where we listen.
    pub media: SocketAddr,
    /// Our only source.
    pub ssrc: u32,
    /// How we protect what we send; `None`: plain RTP.
    pub crypto: Option<Crypto>,
    /// Payload number of Opus.
    pub opus: u8,
    /// Payload number of digits; `None`: not offered to us.
    pub events: Option<u8>,
    session: u64,
}

/// What the bridge put into its SDP.
#[derive(Clone, Debug, Default)]
pub struct Theirs {
    /// Where it listens.
    pub media: Option<SocketAddr>,
    /// Where its RTCP goes, if not with RTP.
    pub rtcp: Option<SocketAddr>,
    /// Payload number of Opus.
    pub opus: Option<u8>,
    /// Payload number and clock rate of digits.
    pub events: Option<(u8, u32)>,
    /// How it protects what it sends.
    pub crypto: Option<Crypto>,
    /// Payload numbers of the m= line in order.
    pub payloads: Vec<u8>,
    /// What is wrong with it.
    pub complaints: Vec<String>,
}

/// Where media goes and how it is protected, both ways.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where RTP goes.
    pub rtp: SocketAddr,
    /// Where RTCP goes; `None`: multiplexed.
    pub rtcp: Option<SocketAddr>,
    /// Payload number of Opus.
    pub opus: u8,
    /// Payload number and clock rate of digits.
    pub events: Option<(u8, u32)>,
    /// Our source.
    pub ssrc: u32,
    /// SRTP keys of both directions.
    pub keys: Option<SrtpKeys>,
}

impl Ours {
    /// An offer of ours, keyed as Meta's are.
    pub fn srtp(media: SocketAddr) -> Ours {
        Ours {
            crypto: Some(Crypto::generate(1)),
            ..Ours::plain(media)
        }
    }

    /// An offer of ours for a plain PBX.
    pub fn plain(media: SocketAddr) -> Ours {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Ours {
            media,
            ssrc: words::number() as u32,
            crypto: None,
            opus: OPUS,
            events: Some(EVENTS),
            session: epoch.map_or(0, |e| e.as_millis() as u64),
        }
    }

    /// The same as an answer: in the numbers that the bridge offered.
    #[must_use]
    pub fn answering(mut self, offer: &Theirs) -> Ours {
        self.opus = offer.opus.unwrap_or(OPUS);
        self.events = offer.events.map(|(number, _)| number);
        if let (Some(ours), Some(theirs)) = (&mut self.crypto, &offer.crypto) {
            ours.tag = theirs.tag;
        }
        self
    }

    /// As Meta prints it, line for line.
    pub fn as_meta(&self) -> String {
        let track = words::uuid();
        let Ours { media, opus, .. } = self;
        let mut lines = vec![
            "v=0".to_owned(),
            format!("o=- {} 2 IN IP4 127.0.0.1", self.session),
            "s=-".to_owned(),
            "t=0 0".to_owned(),
            "a=group:BUNDLE audio".to_owned(),
            format!("a=msid-semantic: WMS {track}"),
            format!("m=audio {} RTP/SAVP {}", media.port(), self.numbers()),
            format!("c=IN IP4 {}", media.ip()),
            "a=rtcp:9 IN IP4 0.0.0.0".to_owned(),
            "a=mid:audio".to_owned(),
            "a=sendrecv".to_owned(),
            format!("a=msid:{track} WhatsAppTrack1"),
            "a=rtcp-mux".to_owned(),
        ];
        lines.extend(self.crypto_line());
        lines.push(format!("a=rtpmap:{opus} opus/48000/2"));
        lines.push(format!("a=fmtp:{opus} {FMTP}"));
        if let Some(events) = self.events {
            lines.push(format!("a=rtpmap:{events} telephone-event/8000"));
        }
        lines.push("a=maxptime:20".to_owned());
        lines.push("a=ptime:20".to_owned());
        lines.push(format!("a=ssrc:{} cname:WhatsAppAudioStream1", self.ssrc));
        lines.join("\r\n") + "\r\n"
    }

    /// As a plain telephone would print it.
    pub fn as_pbx(&self) -> String {
        let Ours { media, opus, .. } = self;
        let mut lines = vec![
            "v=0".to_owned(),
            format!("o=- {} 1 IN IP4 {}", self.session, media.ip()),
            "s=sim".to_owned(),
            format!("c=IN IP4 {}", media.ip()),
            "t=0 0".to_owned(),
            format!("m=audio {} RTP/AVP {}", media.port(), self.numbers()),
            format!("a=rtpmap:{opus} opus/48000/2"),
            format!("a=fmtp:{opus} useinbandfec=1"),
        ];
        if let Some(events) = self.events {
            lines.push(format!("a=rtpmap:{events} telephone-event/8000"));
            lines.push(format!("a=fmtp:{events} 0-15"));
        }
        lines.push("a=ptime:20".to_owned());
        lines.push("a=rtcp-mux".to_owned());
        lines.push("a=sendrecv".to_owned());
        lines.join("\r\n") + "\r\n"
    }

    /// Both ends put together. The error says what is missing.
    pub fn with(&self, theirs: &Theirs) -> Result<Peer, String> {
        let keys = match (&self.crypto, &theirs.crypto) {
            (None, None) => None,
            (Some(ours), Some(theirs)) => Some(SrtpKeys {
                profile: theirs.profile,
                send: ours.key.clone(),
                receive: theirs.key.clone(),
            }),
            (Some(_), None) => return Err("the SDP has no a=crypto that can be used".to_owned()),
            (None, Some(_)) => return Err("the SDP has a=crypto on a plain leg".to_owned()),
        };
        Ok(Peer {
            rtp: theirs.media.ok_or("the SDP says no address for audio")?,
            rtcp: theirs.rtcp,
            opus: theirs.opus.ok_or("the SDP has no opus/48000/2")?,
            events: theirs.events,
            ssrc: self.ssrc,
            keys,
        })
    }

    fn numbers(&self) -> String {
        match self.events {
            Some(events) => format!("{} {events}", self.opus),
            None => self.opus.to_string(),
        }
    }

    fn crypto_line(&self) -> Option<String> {
        Some(format!("a=crypto:{}", self.crypto.as_ref()?.to_value()))
    }
}

/// Holds a key.
impl std::fmt::Debug for Ours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ours")
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

/// What a far end demands of the bridge's SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demands {
    /// SDES, one line of one suite, RTCP multiplexed (§7).
    Meta,
    /// `RTP/AVP`.
    Pbx,
}

impl Theirs {
    /// Reads SDP of the bridge. Whatever is wrong is named in `complaints`.
    pub fn read(body: &[u8], demands: Demands) -> Theirs {
        let mut sdp = Theirs::default();
        let Ok(text) = std::str::from_utf8(body) else {
            sdp.complain("SDP: not UTF-8");
            return sdp;
        };
        if !text.ends_with("\r\n") || text.replace("\r\n", "").contains(['\r', '\n']) {
            sdp.complain("SDP: a line does not end with CRLF");
        }
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|l| l.split_once('=')).collect();
        let attributes: Vec<&str> = values(&lines, "a").collect();
        sdp.read_media_line(&lines, demands);
        sdp.read_maps(&attributes);
        match demands {
            Demands::Meta => sdp.demand_sdes(&attributes),
            Demands::Pbx => sdp.demand_plain(&lines, &attributes),
        }
        sdp
    }

    /// Complains unless this answer keeps the numbers of our offer (RFC 3264 §6.1).
    pub fn must_mirror(&mut self, offer: &Ours) {
        if self.opus.is_some_and(|number| number != offer.opus) {
            self.complain("SDP: the answer gives Opus another payload number than the offer");
        }
        if let (Some((number, _)), Some(offered)) = (self.events, offer.events)
            && number != offered
        {
            self.complain("SDP: the answer gives telephone-event another number than the offer");
        }
        let known = |number: &u8| *number == offer.opus || Some(*number) == offer.events;
        if !self.payloads.iter().all(known) {
            self.complain("SDP: the answer has payload numbers that were not offered");
        }
        if let (Some(ours), Some(theirs)) = (&offer.crypto, &self.crypto)
            && ours.tag != theirs.tag
        {
            self.complain("SDP: the answer's a=crypto has another tag than the offer's");
        }
    }

    fn complain(&mut self, what: &str) {
        self.complaints.push(what.to_owned());
    }

    fn read_media_line(&mut self, lines: &[(&str, &str)], demands: Demands) {
        let medias: Vec<&str> = values(lines, "m").collect();
        let &[media] = medias.as_slice() else {
            return self.complain("SDP: there is not exactly one m= line");
        };
        let mut words = media.split(' ');
        let (kind, port, proto) = (words.next(), words.next(), words.next());
        let expected = match demands {
            Demands::Meta => "RTP/SAVP",
            Demands::Pbx => "RTP/AVP",
        };
        if kind != Some("audio") || proto != Some(expected) {
            self.complaints
                .push(format!("SDP: the m= line is not audio over {expected}"));
        }
        self.payloads = words.filter_map(|number| number.parse().ok()).collect();
        let port = port.and_then(|p| p.parse::<u16>().ok()).filter(|p| *p > 0);
        let address = values(lines, "c").last().and_then(|c| {
            let ip = c
                .strip_prefix("IN IP4 ")?
                .parse::<std::net::Ipv4Addr>()
                .ok()?;
            (!ip.is_unspecified()).then_some(ip)
        });
        match (address, port) {
            (Some(ip), Some(port)) => self.media = Some(SocketAddr::from((ip, port))),
            _ => self.complain("SDP: no IPv4 address and port to send to"),
        }
    }

    fn read_maps(&mut self, attributes: &[&str]) {
        for map in attributes.iter().filter_map(|a| a.strip_prefix("rtpmap:")) {
            let Some((number, format)) = map.split_once(' ') else {
                continue;
            };
            let Some(number) = number.parse().ok().filter(|n| self.payloads.contains(n)) else {
                continue;
            };
            match format.to_ascii_lowercase().as_str() {
                "opus/48000/2" => self.opus = Some(number),
                "opus/48000" | "opus/48000/1" => {
                    self.complain("SDP: opus is always opus/48000/2 (RFC 7587)");
                }
                "telephone-event/8000" => self.events = Some((number, 8000)),
                "telephone-event/48000" if self.events.is_none() => {
                    self.events = Some((number, 48_000));
                }
                _ => {}
            }
        }
        if self.opus.is_none() {
            self.complain("SDP: no opus/48000/2");
        }
        let frame = |name| attributes.iter().find_map(|a| a.strip_prefix(name));
        if frame("ptime:").is_some_and(|ptime: &str| ptime.trim() != "20") {
            self.complain("SDP: ptime is not 20");
        }
        let held = ["sendonly", "recvonly", "inactive"];
        if attributes.iter().any(|a| held.contains(a)) {
            self.complain("SDP: the stream is not sendrecv");
        }
    }

    fn demand_sdes(&mut self, attributes: &[&str]) {
        let cryptos: Vec<&str> = attributes
            .iter()
            .filter_map(|a| a.strip_prefix("crypto:"))
            .collect();
        match cryptos.as_slice() {
            &[value] => self.read_crypto(value),
            [] => self.complain("SDP: no a=crypto, though keys are exchanged by SDES"),
            [first, ..] => {
                self.complain("SDP: more than one a=crypto");
                self.read_crypto(first);
            }
        }
        let has = |prefix: &str| attributes.iter().any(|a| a.starts_with(prefix));
        if has("fingerprint:") || has("setup:") || has("ice-") || has("candidate:") {
            self.complain("SDP: DTLS or ICE beside SDES; the two modes must be kept apart (§7)");
        }
        if !has("rtcp-mux") {
            self.complain("SDP: no a=rtcp-mux; Meta has one port only");
        }
        if self.events.is_some_and(|(_, rate)| rate != 8000) {
            self.complain("SDP: Meta has telephone-event at 8000 only");
        }
    }

    fn read_crypto(&mut self, value: &str) {
        // The printed form: tag, suite, inline: and 40 characters; no lifetime, no MKI, no session parameters.
        let words: Vec<&str> = value.split(' ').collect();
        let plain = match words.as_slice() {
            [_, suite, key] => {
                if *suite != "AES_CM_128_HMAC_SHA1_80" {
                    self.complain("SDP: a=crypto is not AES_CM_128_HMAC_SHA1_80");
                }
                key.strip_prefix("inline:")
                    .is_some_and(|key| key.len() == 40)
            }
            _ => false,
        };
        if !plain {
            self.complain("SDP: a=crypto has more than a tag, a suite and a key of 40 characters");
        }
        match Crypto::parse(value) {
            Ok(crypto) => self.crypto = Some(crypto),
            Err(error) => self.complaints.push(format!("SDP: {error}")),
        }
    }

    fn demand_plain(&mut self, lines: &[(&str, &str)], attributes: &[&str]) {
        if attributes.iter().any(|a| a.starts_with("crypto:")) {
            self.complain("SDP: a=crypto on a plain leg");
        }
        let mux = attributes.contains(&"rtcp-mux");
        self.rtcp = self.media.filter(|_| !mux).map(|mut media| {
            let stated = attributes.iter().find_map(|a| a.strip_prefix("rtcp:"));
            let port = stated.and_then(|value| value.split(' ').next()?.parse().ok());
            media.set_port(port.unwrap_or(media.port().wrapping_add(1)));
            media
        });
        if values(lines, "o").count() != 1 {
            self.complain("SDP: there is not exactly one o= line");
        }
    }
}

fn values<'a>(lines: &'a [(&str, &'a str)], kind: &'a str) -> impl Iterator<Item = &'a str> {
    lines
        .iter()
        .filter(move |(k, _)| *k == kind)
        .map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        std::fs::read_to_string(format!("tests/data/meta/sdp/{name}.sdp")).unwrap()
    }

    fn media() -> SocketAddr {
        "157.240.19.130:3480".parse().unwrap()
    }

    /// The text without what is random: ids, sources, keys.
    fn shape(sdp: &str) -> Vec<String> {
        let blank = |line: &str| {
            let random = ["o=- ", "a=msid", "a=ssrc:", "a=crypto:"];
            match random.iter().find(|r| line.starts_with(**r)) {
                Some(random) => format!("{random} {}", line.split(' ').count()),
                None => line.to_owned(),
            }
        };
        sdp.split("\r\n").map(blank).collect()
    }

    #[test]
    fn an_offer_is_printed_as_meta_prints_it() {
        let ours = Ours::srtp(media()).as_meta();
        let documented = fixture("uic-offer-sdes-digest-doc");
        let documented = documented.replace("57.144.219.49", "157.240.19.130");
        assert_eq!(shape(&ours), shape(&documented));
    }

    #[test]
    fn the_bridges_own_shapes_are_found_in_order() {
        for name in ["bridge-offer-sdes-derived", "bridge-answer-sdes-derived"] {
            let theirs = Theirs::read(fixture(name).as_bytes(), Demands::Meta);
            assert_eq!(theirs.complaints, Vec::<String>::new(), "{name}");
            assert_eq!(theirs.events.unwrap().1, 8000);
            let peer = Ours::srtp(media())
                .answering(&theirs)
                .with(&theirs)
                .unwrap();
            assert!(peer.keys.is_some() && peer.rtcp.is_none());
        }
    }

    /// What is complained about when `find` becomes `put` in an answer that is in order.
    fn changed(find: &str, put: &str) -> String {
        let sdp = fixture("bridge-answer-sdes-derived");
        assert!(sdp.contains(find), "{find}");
        let mut theirs = Theirs::read(sdp.replace(find, put).as_bytes(), Demands::Meta);
        theirs.must_mirror(&Ours::srtp(media()));
        theirs.complaints.join("\n")
    }

    #[test]
    fn everything_that_meta_would_not_understand_is_named() {
        for (find, put, complaint) in [
            ("RTP/SAVP", "RTP/AVP", "not audio over RTP/SAVP"),
            ("RTP/SAVP", "UDP/TLS/RTP/SAVPF", "not audio over RTP/SAVP"),
            (
                "HMAC_SHA1_80",
                "HMAC_SHA1_32",
                "not AES_CM_128_HMAC_SHA1_80",
            ),
            ("a=crypto:", "a=x-crypto:", "no a=crypto"),
            ("a=crypto:1", "a=crypto:2", "another tag"),
            (
                "a=ptime:20",
                "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:MVh+0N8l/WxBsz9pdEXPfc+0TYqUiOPqIqc3pcKI",
                "more than one a=crypto",
            ),
            ("a=rtcp-mux", "a=setup:active", "DTLS or ICE beside SDES"),
            ("a=rtcp-mux", "a=rtcp:40101", "no a=rtcp-mux"),
            ("a=rtcp-mux", "a=rtcp-mux\n", "does not end with CRLF"),
            ("opus/48000/2", "opus/48000", "always opus/48000/2"),
            (
                "telephone-event/8000",
                "telephone-event/48000",
                "at 8000 only",
            ),
            ("a=ptime:20", "a=ptime:40", "ptime is not 20"),
            ("a=sendrecv", "a=sendonly", "not sendrecv"),
            ("RTP/SAVP 111 126", "RTP/SAVP 111 126 0", "were not offered"),
            (
                "m=audio",
                "m=audio 9 RTP/SAVP 0\r\nm=audio",
                "not exactly one m= line",
            ),
        ] {
            let complaints = changed(find, put);
            assert!(complaints.contains(complaint), "{put}: {complaints}");
        }
        assert!(changed("111", "107").contains("another payload number"));
        assert!(changed("126", "101").contains("telephone-event another number"));
    }

    #[test]
    fn a_lifetime_after_the_key_is_more_than_meta_has() {
        let sdp = fixture("bridge-answer-sdes-derived");
        let line = sdp.lines().find(|l| l.starts_with("a=crypto")).unwrap();
        let longer = sdp.replace(line, &format!("{line}|2^20"));
        let theirs = Theirs::read(longer.as_bytes(), Demands::Meta);
        assert!(theirs.complaints.concat().contains("more than a tag"));
    }

    #[test]
    fn a_plain_leg_has_no_keys() {
        let ours = Ours::plain(media());
        let theirs = Theirs::read(ours.as_pbx().as_bytes(), Demands::Pbx);
        assert_eq!(theirs.complaints, Vec::<String>::new());
        assert!(ours.with(&theirs).unwrap().keys.is_none());
        let keyed = Theirs::read(
            fixture("bridge-offer-sdes-derived").as_bytes(),
            Demands::Pbx,
        );
        assert!(ours.with(&keyed).is_err() || !keyed.complaints.is_empty());
        let two_ports = ours.as_pbx().replace("a=rtcp-mux\r\n", "");
        let theirs = Theirs::read(two_ports.as_bytes(), Demands::Pbx);
        assert_eq!(theirs.rtcp.unwrap().port(), 3481);
    }
}
