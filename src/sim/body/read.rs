//! The bridge's SDP, read as strictly as the shape allows: what both keyings have in common, SDES, and plain legs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Demands, Keying, Ours, Security, Theirs};
use crate::media::sdes::Crypto;
use crate::media::{Codec, Payload};

/// Every codec that a far end may speak.
const KNOWN: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu];

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
        sdp.read_ptime(&attributes, demands);
        let mid = attributes.iter().find_map(|a| a.strip_prefix("mid:"));
        sdp.mid = mid.map(str::to_owned);
        match demands {
            Demands::Meta(keying) => {
                sdp.demand_metas(&attributes);
                match keying {
                    Keying::Sdes => sdp.demand_sdes(&attributes),
                    Keying::Dtls => sdp.demand_dtls(&attributes),
                }
            }
            Demands::Pbx => sdp.demand_plain(&lines, &attributes),
        }
        sdp
    }

    /// Complains unless this answer keeps what our offer said (RFC 3264 §6.1).
    pub fn must_mirror(&mut self, offer: &Ours) {
        for payload in self.sound.clone() {
            let offered = offer.sound.iter().find(|own| own.codec == payload.codec);
            let codec = payload.codec;
            match offered {
                Some(own) if own.number == payload.number => {}
                Some(_) => self.complain(format!(
                    "SDP: the answer gives {codec} another payload number than the offer"
                )),
                None => self.complain(format!(
                    "SDP: the answer has {codec}, which was not offered"
                )),
            }
        }
        if let (Some((number, _)), Some(offered)) = (self.events, offer.events)
            && number != offered
        {
            self.complain("SDP: the answer gives telephone-event another number than the offer");
        }
        let sound: Vec<u8> = offer.sound.iter().map(|own| own.number).collect();
        let known = |number: &u8| sound.contains(number) || Some(*number) == offer.events;
        if !self.payloads.iter().all(known) {
            self.complain("SDP: the answer has payload numbers that were not offered");
        }
        match (&offer.security, &self.crypto) {
            (Security::Sdes(ours), Some(theirs)) if ours.tag != theirs.tag => {
                self.complain("SDP: the answer's a=crypto has another tag than the offer's");
            }
            (Security::Dtls(_), _) => self.must_answer_dtls(&offer.mid),
            _ => {}
        }
    }

    pub(super) fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }

    fn read_media_line(&mut self, lines: &[(&str, &str)], demands: Demands) {
        let medias: Vec<&str> = values(lines, "m").collect();
        let &[media] = medias.as_slice() else {
            return self.complain("SDP: there is not exactly one m= line");
        };
        let mut words = media.split(' ');
        let (kind, port, proto) = (words.next(), words.next(), words.next());
        let expected = match demands {
            Demands::Meta(Keying::Sdes) => "RTP/SAVP",
            Demands::Meta(Keying::Dtls) => "UDP/TLS/RTP/SAVPF",
            Demands::Pbx => "RTP/AVP",
        };
        if kind != Some("audio") || proto != Some(expected) {
            self.complain(format!("SDP: the m= line is not audio over {expected}"));
        }
        self.payloads = words.filter_map(|number| number.parse().ok()).collect();
        let port = port.and_then(|p| p.parse::<u16>().ok()).filter(|p| *p > 0);
        let address = values(lines, "c").last().and_then(|c| {
            let ip: IpAddr = match c.strip_prefix("IN IP4 ") {
                Some(ip) => ip.parse::<Ipv4Addr>().ok()?.into(),
                None => c.strip_prefix("IN IP6 ")?.parse::<Ipv6Addr>().ok()?.into(),
            };
            // Meta's SDP names IPv4 addresses in c= lines, and IPv6 ones as candidates alone.
            let fits = ip.is_ipv4() || matches!(demands, Demands::Pbx);
            (!ip.is_unspecified() && fits).then_some(ip)
        });
        match (address, port) {
            (Some(ip), Some(port)) => self.media = Some(SocketAddr::new(ip, port)),
            _ => self.complain("SDP: no address and port to send to"),
        }
    }

    fn read_maps(&mut self, attributes: &[&str]) {
        let maps = attributes.iter().filter_map(|a| a.strip_prefix("rtpmap:"));
        let maps = maps.filter_map(|map| map.split_once(' '));
        let maps: Vec<(u8, String)> = maps
            .filter_map(|(number, format)| {
                Some((number.parse().ok()?, format.to_ascii_lowercase()))
            })
            .collect();
        for number in self.payloads.clone() {
            let Some((_, format)) = maps.iter().find(|(mapped, _)| *mapped == number) else {
                self.read_static(number);
                continue;
            };
            let of = |codec: &&Codec| codec.to_string().eq_ignore_ascii_case(format);
            match format.as_str() {
                "opus/48000" | "opus/48000/1" => {
                    self.complain("SDP: opus is always opus/48000/2 (RFC 7587)");
                }
                "telephone-event/8000" => self.events = Some((number, 8000)),
                "telephone-event/48000" if self.events.is_none() => {
                    self.events = Some((number, 48_000));
                }
                _ => {
                    let codec = KNOWN.iter().find(of).copied();
                    let payload = codec.map(|codec| Payload { number, codec });
                    self.sound.extend(payload);
                }
            }
        }
        if self.sound.is_empty() {
            self.complain("SDP: no codec that we know: opus/48000/2 first of all");
        }
        let held = ["sendonly", "recvonly", "inactive"];
        if attributes.iter().any(|a| held.contains(a)) {
            self.complain("SDP: the stream is not sendrecv");
        }
    }

    /// A number that needs no `a=rtpmap` (RFC 3551 §6).
    fn read_static(&mut self, number: u8) {
        let codec = KNOWN
            .iter()
            .find(|codec| codec.static_number() == Some(number));
        let payload = codec.map(|&codec| Payload { number, codec });
        self.sound.extend(payload);
    }

    fn read_ptime(&mut self, attributes: &[&str], demands: Demands) {
        let ptime = attributes.iter().find_map(|a| a.strip_prefix("ptime:"));
        let Some(ptime) = ptime.map(str::trim) else {
            return;
        };
        match demands {
            Demands::Meta(_) if ptime != "20" => self.complain("SDP: ptime is not 20"),
            Demands::Pbx if !["10", "20", "30", "40", "60"].contains(&ptime) => {
                self.complain("SDP: ptime is none of 10, 20, 30, 40 and 60");
            }
            _ => {}
        }
    }

    /// What Meta demands whatever the keying.
    fn demand_metas(&mut self, attributes: &[&str]) {
        if !attributes.contains(&"rtcp-mux") {
            self.complain("SDP: no a=rtcp-mux; Meta has one port only");
        }
        if self.events.is_some_and(|(_, rate)| rate != 8000) {
            self.complain("SDP: Meta has telephone-event at 8000 only");
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
            Err(error) => self.complain(format!("SDP: {error}")),
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
