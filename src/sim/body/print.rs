//! Our SDP as text: Meta's line for line, and a plain telephone's.

use std::net::SocketAddr;

use super::{OurDtls, Ours, Security};
use crate::media::{Codec, Payload};
use crate::sim::words;

const FMTP: &str = "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1";

/// Of a telephone that sounds like Meta's clients, whatever its packets hold.
const PHONES_FMTP: &str =
    "maxaveragebitrate=20000;maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1";

/// What Meta's samples have before an IPv4 address, and before an IPv6 one, which it prefers.
const FOUNDATIONS: [(&str, u32); 2] =
    [("1775469887", 2_122_260_223), ("3355715111", 2_122_262_783)];

impl Ours {
    /// As Meta prints it, line for line.
    pub fn as_meta(&self) -> String {
        let track = words::uuid();
        let Ours { media, mid, .. } = self;
        let (proto, dtls) = match &self.security {
            Security::Dtls(dtls) => ("UDP/TLS/RTP/SAVPF", Some(dtls)),
            _ => ("RTP/SAVP", None),
        };
        let mut lines = vec![
            "v=0".to_owned(),
            format!("o=- {} 2 IN IP4 127.0.0.1", self.session),
            "s=-".to_owned(),
            "t=0 0".to_owned(),
            format!("a=group:BUNDLE {mid}"),
            format!("a=msid-semantic: WMS {track}"),
        ];
        lines.extend(dtls.map(|_| "a=ice-lite".to_owned()));
        lines.push(format!(
            "m=audio {} {proto} {}",
            media.main.port(),
            self.numbers()
        ));
        lines.push(format!("c=IN IP4 {}", media.main.ip()));
        lines.push("a=rtcp:9 IN IP4 0.0.0.0".to_owned());
        lines.extend(dtls.into_iter().flat_map(|dtls| self.ice(dtls)));
        lines.push(format!("a=mid:{mid}"));
        lines.push("a=sendrecv".to_owned());
        lines.push(format!("a=msid:{track} WhatsAppTrack1"));
        lines.push("a=rtcp-mux".to_owned());
        if let Security::Sdes(crypto) = &self.security {
            lines.push(format!("a=crypto:{}", crypto.to_value()));
        }
        for Payload { number, codec } in &self.sound {
            lines.push(format!("a=rtpmap:{number} {codec}"));
            if *codec == Codec::Opus {
                lines.extend(dtls.map(|_| format!("a=rtcp-fb:{number} transport-cc")));
                lines.push(format!("a=fmtp:{number} {FMTP}"));
            }
        }
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
        let media = self.media.main;
        let version = if media.is_ipv4() { "IP4" } else { "IP6" };
        let mut lines = vec![
            "v=0".to_owned(),
            format!("o=- {} 1 IN {version} {}", self.session, media.ip()),
            "s=sim".to_owned(),
            format!("c=IN {version} {}", media.ip()),
            "t=0 0".to_owned(),
            format!("m=audio {} RTP/AVP {}", media.port(), self.numbers()),
        ];
        for Payload { number, codec } in &self.sound {
            lines.push(format!("a=rtpmap:{number} {codec}"));
            if *codec == Codec::Opus {
                lines.push(format!("a=fmtp:{number} {PHONES_FMTP}"));
            }
        }
        if let Some(events) = self.events {
            lines.push(format!("a=rtpmap:{events} telephone-event/8000"));
            lines.push(format!("a=fmtp:{events} 0-15"));
        }
        lines.push(format!("a=ptime:{}", self.ptime));
        lines.push("a=rtcp-mux".to_owned());
        lines.push("a=sendrecv".to_owned());
        lines.join("\r\n") + "\r\n"
    }

    fn numbers(&self) -> String {
        let sound = self.sound.iter().map(|payload| payload.number);
        let numbers = sound.chain(self.events).map(|number| number.to_string());
        numbers.collect::<Vec<_>>().join(" ")
    }

    fn ice(&self, dtls: &OurDtls) -> Vec<String> {
        let addresses = [Some(self.media.main), self.media.ipv6];
        let mut lines: Vec<String> = addresses.into_iter().flatten().map(candidate).collect();
        lines.push(format!("a=ice-ufrag:{}", dtls.ice.ufrag));
        lines.push(format!("a=ice-pwd:{}", dtls.ice.pwd));
        lines.push(format!("a=fingerprint:sha-256 {}", dtls.fingerprint));
        lines.push(format!("a=setup:{}", dtls.setup.name()));
        lines
    }
}

fn candidate(address: SocketAddr) -> String {
    let [ipv4, ipv6] = FOUNDATIONS;
    let (foundation, priority) = if address.is_ipv4() { ipv4 } else { ipv6 };
    let (ip, port) = (address.ip(), address.port());
    format!(
        "a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host generation 0 network-cost 50"
    )
}
