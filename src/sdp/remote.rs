//! The peer's offer: checked when it comes, answered when the other leg has agreed.

use sdp_types::Session;

use crate::media::{Codec, Payload, SideSpec};

use super::reject::Reject;
use super::rtpmap::names;
use super::stream::{self, Stream};
use super::{Capabilities, Keying, Local, write};

/// An offer that we can answer.
#[derive(Clone)]
pub struct RemoteOffer {
    session: Session,
    /// Place of the stream that we take among the m= lines.
    index: usize,
    stream: Stream,
    /// What we have in common, in the peer's order and with its numbers.
    common: Vec<Payload>,
    capabilities: Capabilities,
}

/// An answer to send, and what it makes of the leg.
#[derive(Clone)]
pub struct Answered {
    /// The SDP. It holds our key: it belongs on the wire and in no log.
    pub text: String,
    /// What was agreed.
    pub side: SideSpec,
}

impl RemoteOffer {
    /// Reads and checks an offer: keyed as this leg may be, with a codec of sound that we carry.
    pub fn parse(offer: &[u8], capabilities: &Capabilities) -> Result<RemoteOffer, Reject> {
        let session = stream::session(offer)?;
        let (index, stream) = stream::audio(&session, &capabilities.keyings)?;
        let common = common(&stream, capabilities)?;
        Ok(RemoteOffer {
            session,
            index,
            stream,
            common,
            capabilities: capabilities.clone(),
        })
    }

    /// How the offer is keyed, and so the answer: one of [`Capabilities::keyings`].
    pub fn keying(&self) -> Keying {
        self.stream.keys.keying()
    }

    /// What we can do on this leg.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What both sides carry, in the peer's order of preference; at least one codec of sound.
    pub fn codecs(&self) -> Vec<Codec> {
        self.common.iter().map(|p| p.codec).collect()
    }

    /// Whether our media address speaks the peer's version of IP, or with ICE one of ours one of the peer's; asked early,
    /// so that nobody's telephone rings for a call that cannot be heard. [`answer`](Self::answer) asks again.
    pub fn reachable_from(&self, local: &Local) -> Result<(), Reject> {
        self.stream.rtp(&local.ports).map(drop)
    }

    /// What sound this side is best spoken to with: our own preference among what was offered.
    pub fn preferred(&self) -> Option<Codec> {
        self.capabilities.preferred(&self.codecs())
    }

    /// Answers with one codec of sound, so that the peer sends no other: the one that was offered. `telephone-event` stays
    /// whenever it was offered, even if the other leg has none: digits nobody takes are dropped by the relay, while a peer
    /// that was refused them would send them as tones.
    pub fn answer(&self, local: &Local, sound: Codec) -> Result<Answered, Reject> {
        let remote_rtp = self.stream.rtp(&local.ports)?;
        let remote_rtcp = self.stream.rtcp(&self.capabilities);
        let payloads = self.agreed(sound)?;
        let section = write::Section {
            proto: self.proto(),
            payloads: &payloads,
            protection: self.stream.keys.answered(local),
            rtcp_mux: remote_rtcp.is_none(),
            direction: self.stream.stated,
            mid: self.stream.mid.as_deref(),
            ptime: self.capabilities.ptime,
        };
        let text = self.describe(local, &section);
        let side = SideSpec {
            remote_rtp,
            remote_rtcp,
            send: payloads.clone(),
            receive: payloads,
            security: self.stream.keys.security(local),
            source: self.capabilities.source,
            direction: self.stream.direction(),
            ptime: self.stream.ptime,
            tones: self.capabilities.tones,
            extended_reports: self.stream.extended_reports,
        };
        Ok(Answered { text, side })
    }

    /// RFC 3264 §6: as many m= lines as offered, in the same order.
    fn describe(&self, local: &Local, section: &write::Section<'_>) -> String {
        let mut answer = write::session(local);
        if let (true, Some(mid)) = (self.stream.bundled, section.mid) {
            answer.attributes.push(write::bundle(mid));
        }
        answer.medias = self.session.medias.iter().map(write::refused).collect();
        if let Some(ours) = answer.medias.get_mut(self.index) {
            *ours = write::audio(local, section);
        }
        answer.to_string()
    }

    fn proto(&self) -> &str {
        self.session
            .medias
            .get(self.index)
            .map_or("RTP/AVP", |m| m.proto.as_str())
    }

    fn agreed(&self, sound: Codec) -> Result<Vec<Payload>, Reject> {
        let mut common = self.common.iter();
        let sound = common.find(|p| p.codec == sound && sound.is_audio());
        let sound = sound.ok_or_else(|| Reject::NoCommonCodec {
            theirs: names(&self.stream.formats),
            ours: list([]),
        })?;
        Ok([*sound].into_iter().chain(self.digits()).collect())
    }

    /// One format of digits, on the clock that Meta's have if there is a choice.
    fn digits(&self) -> Option<Payload> {
        let events = || self.common.iter().filter(|p| !p.codec.is_audio());
        let usual = events().find(|p| p.codec.clock_rate() == 8_000);
        usual.or(events().next()).copied()
    }
}

/// The peer's formats that we carry; an error if none of them is sound.
pub(super) fn common(stream: &Stream, capabilities: &Capabilities) -> Result<Vec<Payload>, Reject> {
    let mut common: Vec<Payload> = Vec::new();
    for payload in stream.formats.iter().filter_map(|f| f.payload()) {
        // A codec under two numbers is used under the one the peer likes better.
        if capabilities.carries(payload.codec) && common.iter().all(|p| p.codec != payload.codec) {
            common.push(payload);
        }
    }
    if common.iter().any(|p| p.codec.is_audio()) {
        return Ok(common);
    }
    Err(Reject::NoCommonCodec {
        theirs: names(&stream.formats),
        ours: list(capabilities.payloads.iter().map(|p| p.codec)),
    })
}

fn list(codecs: impl IntoIterator<Item = Codec>) -> String {
    let sound = codecs.into_iter().filter(|codec| codec.is_audio());
    let names: Vec<String> = sound.map(|codec| codec.to_string()).collect();
    if names.is_empty() {
        "nothing else".into()
    } else {
        names.join(", ")
    }
}

// The SDP of either side holds keys, so neither type can print it.
impl std::fmt::Debug for RemoteOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteOffer")
            .field("stream", &self.stream)
            .field("common", &self.common)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answered")
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::{Direction, Security};
    use crate::sdp::tests::{local, plain, sdp};

    const OPUS: &str = "m=audio 4000 RTP/AVP 0 96 97\na=rtpmap:96 opus/48000/2\na=rtpmap:97 telephone-event/8000\n";
    const KEYED: &str = "m=audio 4000 RTP/SAVP 96\na=rtpmap:96 opus/48000/2\n\
        a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ\n";
    const DIGITS: Codec = Codec::TelephoneEvent { rate: 8000 };

    fn offer(rest: &str) -> RemoteOffer {
        RemoteOffer::parse(&sdp(rest), &plain()).unwrap()
    }

    fn answer(rest: &str) -> Answered {
        offer(rest).answer(&local(5000), Codec::Opus).unwrap()
    }

    #[test]
    fn the_answer_keeps_the_offers_numbers_and_only_what_both_carry() {
        let answered = answer(OPUS);
        assert!(
            answered.text.contains("m=audio 5000 RTP/AVP 96 97\r\n"),
            "{}",
            answered.text
        );
        assert!(answered.text.contains("a=rtpmap:96 opus/48000/2\r\n"));
        let expected = [
            Payload {
                number: 96,
                codec: Codec::Opus,
            },
            Payload {
                number: 97,
                codec: DIGITS,
            },
        ];
        assert_eq!(answered.side.send, expected);
        assert_eq!(answered.side.receive, expected);
        assert_eq!(offer(OPUS).codecs(), [Codec::Pcmu, Codec::Opus, DIGITS]);
    }

    #[test]
    fn digits_are_answered_wherever_they_were_offered() {
        let carried_without = offer(OPUS).answer(&local(5000), Codec::Opus).unwrap();
        assert!(carried_without.text.contains("telephone-event"));
        let none_offered = "m=audio 4000 RTP/AVP 96\na=rtpmap:96 opus/48000/2\n";
        let answered = offer(none_offered)
            .answer(&local(5000), Codec::Opus)
            .unwrap();
        assert!(!answered.text.contains("telephone-event"));
    }

    #[test]
    fn the_answer_has_the_one_sound_that_we_prefer_and_digits_on_the_clock_that_meta_has() {
        let many = "m=audio 4000 RTP/AVP 0 8 97 98 99\na=rtpmap:97 opus/48000/2\n\
            a=rtpmap:98 telephone-event/48000\na=rtpmap:99 telephone-event/8000\na=ptime:30\n";
        let offer = RemoteOffer::parse(
            &sdp(many),
            &plain().preferring(&[Codec::Pcma, Codec::Opus, DIGITS]),
        )
        .unwrap();
        assert_eq!(offer.preferred(), Some(Codec::Pcma));
        let answered = offer.answer(&local(5000), Codec::Pcma).unwrap();
        assert!(answered.text.contains("m=audio 5000 RTP/AVP 8 99\r\n"));
        assert_eq!(answered.side.ptime, Duration::from_millis(30));
        let fast = many.replace(" 99", "");
        let offer = RemoteOffer::parse(&sdp(&fast), &plain()).unwrap();
        let answered = offer.answer(&local(5000), Codec::Opus).unwrap();
        let numbers: Vec<u8> = answered.side.send.iter().map(|p| p.number).collect();
        assert_eq!(numbers, [97, 98], "better those than none");
    }

    #[test]
    fn nothing_but_g729_is_refused_with_both_lists() {
        let error = RemoteOffer::parse(&sdp("m=audio 4000 RTP/AVP 18\n"), &plain()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no codec in common: the peer has G729/8000; we carry opus/48000/2, G722/8000, PCMA/8000, PCMU/8000"
        );
        assert_eq!(error.status(), 488);
    }

    #[test]
    fn digits_alone_are_no_call() {
        let digits = sdp("m=audio 4000 RTP/AVP 97\na=rtpmap:97 telephone-event/8000\n");
        assert!(matches!(
            RemoteOffer::parse(&digits, &plain()),
            Err(Reject::NoCommonCodec { .. })
        ));
    }

    #[test]
    fn what_the_other_leg_did_not_agree_to_is_not_answered() {
        let error = offer(OPUS).answer(&local(5000), DIGITS).unwrap_err();
        assert!(
            error.to_string().ends_with("we carry nothing else"),
            "{error}"
        );
    }

    #[test]
    fn our_key_goes_out_under_the_offers_tag_and_theirs_opens_what_comes() {
        let capabilities = Capabilities {
            keyings: vec![crate::sdp::Keying::Sdes],
            ..plain()
        };
        let offer = RemoteOffer::parse(&sdp(KEYED), &capabilities).unwrap();
        let answered = offer.answer(&local(5000), Codec::Opus).unwrap();
        let ours = "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\r\n";
        assert!(answered.text.contains(ours), "{}", answered.text);
        let Security::Sdes(keys) = answered.side.security else {
            panic!("keyed by SDES")
        };
        assert_eq!((keys.send.0, keys.receive.0), (vec![7; 30], vec![9; 30]));
    }

    #[test]
    fn neither_key_is_printed_with_an_offer_or_an_answer() {
        let capabilities = Capabilities {
            keyings: vec![crate::sdp::Keying::Sdes],
            ..plain()
        };
        let offer = RemoteOffer::parse(&sdp(KEYED), &capabilities).unwrap();
        let printed = format!("{offer:?} {:?}", offer.answer(&local(5000), Codec::Opus));
        assert!(
            !printed.contains("CQkJ") && !printed.contains("BwcH") && !printed.contains("9, 9"),
            "{printed}"
        );
    }

    #[test]
    fn the_direction_is_answered_turned_round() {
        for (offered, answered) in [
            ("sendonly", "recvonly"),
            ("recvonly", "sendonly"),
            ("inactive", "inactive"),
            ("sendrecv", "sendrecv"),
        ] {
            let text = answer(&format!("{OPUS}a={offered}\n")).text;
            assert!(text.ends_with(&format!("a={answered}\r\n")), "{text}");
        }
        assert_eq!(
            answer(&format!("{OPUS}a=sendonly\n")).side.direction,
            Direction::RecvOnly
        );
    }

    #[test]
    fn other_streams_are_refused_in_their_places() {
        let text = answer(&format!(
            "m=video 7000 RTP/AVP 99\na=mid:v\n{OPUS}m=audio 4002 RTP/AVP 0\n"
        ))
        .text;
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("m=")).collect();
        assert_eq!(
            lines,
            [
                "m=video 0 RTP/AVP 99",
                "m=audio 5000 RTP/AVP 96 97",
                "m=audio 0 RTP/AVP 0"
            ]
        );
    }

    #[test]
    fn rtcp_is_multiplexed_only_if_both_want_it() {
        let both = Capabilities {
            rtcp_mux: true,
            ..plain()
        };
        let side = |offered: &str, capabilities: &Capabilities| {
            let offer =
                RemoteOffer::parse(&sdp(&format!("{OPUS}{offered}")), capabilities).unwrap();
            let answered = offer.answer(&local(5000), Codec::Opus).unwrap();
            (
                answered.text.contains("a=rtcp-mux\r\n"),
                answered.side.remote_rtcp.map(|a| a.port()),
            )
        };
        assert_eq!(side("a=rtcp-mux\n", &both), (true, None));
        assert_eq!(side("a=rtcp-mux\n", &plain()), (false, Some(4001)));
        assert_eq!(side("", &both), (false, Some(4001)));
    }

    #[test]
    fn a_bundle_is_answered_only_if_ours_is_in_it() {
        let bundled = |group: &str, mid: &str| {
            let text = format!("v=0\nc=IN IP4 203.0.113.9\na=group:{group}\n{OPUS}{mid}")
                .replace('\n', "\r\n");
            let offer = RemoteOffer::parse(text.as_bytes(), &plain()).unwrap();
            offer.answer(&local(5000), Codec::Opus).unwrap().text
        };
        let text = bundled("BUNDLE 0 1", "a=mid:0\n");
        assert!(
            text.contains("a=group:BUNDLE 0\r\n") && text.contains("a=mid:0\r\n"),
            "{text}"
        );
        let text = bundled("BUNDLE 1", "a=mid:0\n");
        assert!(
            !text.contains("a=group") && text.contains("a=mid:0\r\n"),
            "{text}"
        );
        assert!(!bundled("BUNDLE 0", "").contains("BUNDLE"));
    }

    #[test]
    fn a_peer_on_the_other_ip_version_is_refused_before_anybody_rings() {
        let offer = offer(&format!("{OPUS}c=IN IP6 2001:db8::7\n"));
        let error = offer.reachable_from(&local(5000)).unwrap_err();
        assert!(error.to_string().contains("2001:db8::7"), "{error}");
        assert_eq!(offer.answer(&local(5000), Codec::Opus).unwrap_err(), error);
    }
}
