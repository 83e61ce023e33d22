//! Our offer, and what the peer's answer makes of it.

use crate::media::sdes::Crypto;
use crate::media::{Codec, Direction, Payload, SideSpec};

use super::dtls::Turn;
use super::keys::PeerKeys;
use super::reject::Reject;
use super::remote::common;
use super::stream;
use super::write::Protection;
use super::{Capabilities, Keying, Local, Setup, write};

/// Names our stream where it is bundled; Meta's samples say the same.
const MID: &str = "audio";

/// What we offered. Kept for as long as answers may come: a forked INVITE has several, and a 183 one before the 200.
#[derive(Clone)]
pub struct Offer {
    text: String,
    keying: Keying,
    local: Local,
    capabilities: Capabilities,
    /// Place of the stream among our m= lines.
    index: usize,
}

impl Offer {
    /// Offers everything in `capabilities`, keyed by the first of their keyings.
    pub fn new(local: &Local, capabilities: &Capabilities) -> Offer {
        let keying = *capabilities.keyings.first().unwrap_or(&Keying::Plain);
        let dtls = keying == Keying::Dtls;
        let (proto, protection) = match keying {
            Keying::Plain => ("RTP/AVP", Protection::Clear),
            Keying::Sdes => ("RTP/SAVP", Protection::Crypto(local.crypto.clone())),
            Keying::Dtls => (
                "UDP/TLS/RTP/SAVPF",
                Protection::Dtls(capabilities.setup.word()),
            ),
        };
        let section = write::Section {
            proto,
            payloads: &capabilities.payloads,
            protection,
            rtcp_mux: capabilities.rtcp_mux || dtls,
            direction: Direction::SendRecv,
            mid: dtls.then_some(MID),
            ptime: capabilities.ptime,
        };
        let mut session = write::session(local);
        session.attributes.extend(section.mid.map(write::bundle));
        session.medias = vec![write::audio(local, &section)];
        Offer {
            text: session.to_string(),
            keying,
            local: local.clone(),
            capabilities: capabilities.clone(),
            index: 0,
        }
    }

    /// The same in other words: an offer that goes on from an earlier description of ours, whose m= lines stay in their
    /// places (RFC 3264 §8).
    #[must_use]
    pub(super) fn saying(self, text: String, index: usize) -> Offer {
        Offer {
            text,
            index,
            ..self
        }
    }

    /// Our end as it stands in the offer, and what it can do.
    pub fn ours(&self) -> (&Local, &Capabilities) {
        (&self.local, &self.capabilities)
    }

    /// The SDP. It holds our key: it belongs on the wire and in no log.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the answer; `Err` leaves the offer as it was.
    pub fn accept(&self, answer: &[u8]) -> Result<SideSpec, Reject> {
        let session = stream::session(answer)?;
        // We offer one stream, so only the m= line in its place answers it (RFC 3264 §6).
        let ours = session.medias.get(self.index);
        let ours = ours.filter(|m| m.media == "audio");
        let media = ours.ok_or_else(|| Reject::NoAudio(stream::kinds(&session)))?;
        let turn = Turn::Answer(self.capabilities.setup);
        let stream = stream::stream(&session, media, &[self.keying], turn)?;
        let remote_rtp = stream.rtp(&self.local.ports)?;
        let send = common(&stream, &self.capabilities)?;
        check_tag(&stream.keys, &self.local.crypto)?;
        Ok(SideSpec {
            remote_rtp,
            remote_rtcp: stream.rtcp(&self.capabilities),
            receive: self.receive(&send),
            send,
            security: stream.keys.security(&self.local),
            source: self.capabilities.source,
            direction: stream.direction(),
            ptime: stream.ptime,
            tones: self.capabilities.tones,
            extended_reports: stream.extended_reports,
        })
    }

    /// The numbers that the peer may use: ours for what was agreed (RFC 3264 §5.1), and its own where it answers
    /// with others and sends by them, as long as they mean nothing else here.
    fn receive(&self, send: &[Payload]) -> Vec<Payload> {
        let agreed = |codec: Codec| send.iter().any(|p| p.codec == codec);
        let ours = self
            .capabilities
            .payloads
            .iter()
            .filter(|p| agreed(p.codec));
        let mut receive: Vec<Payload> = ours.copied().collect();
        for theirs in send {
            if receive.iter().all(|p| p.number != theirs.number) {
                receive.push(*theirs);
            }
        }
        receive
    }
}

/// Whether the answer takes the key that we offered (RFC 4568 §5.1.3).
fn check_tag(theirs: &PeerKeys, ours: &Crypto) -> Result<(), Reject> {
    match theirs {
        PeerKeys::Sdes(theirs) if theirs.tag != ours.tag => Err(Reject::Tag {
            answered: theirs.tag,
            offered: ours.tag,
        }),
        _ => Ok(()),
    }
}

impl Setup {
    /// The value of the line.
    fn word(self) -> &'static str {
        match self {
            Setup::Actpass => "actpass",
            Setup::Active => "active",
        }
    }
}

// The text holds a key.
impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Security;
    use crate::sdp::tests::{local, plain, sdp};

    fn keyed() -> Capabilities {
        Capabilities {
            keyings: vec![Keying::Sdes],
            ..plain()
        }
    }

    fn payload(number: u8, codec: Codec) -> Payload {
        Payload { number, codec }
    }

    const DIGITS: Codec = Codec::TelephoneEvent { rate: 8000 };

    #[test]
    fn a_plain_offer_names_no_key() {
        let offer = Offer::new(&local(5000), &plain());
        assert!(
            offer
                .text()
                .contains("m=audio 5000 RTP/AVP 111 9 8 0 101\r\n"),
            "{}",
            offer.text()
        );
        assert!(!offer.text().contains("crypto") && !offer.text().contains("rtcp"));
    }

    #[test]
    fn an_rtcp_port_that_cannot_be_guessed_is_said() {
        let mut local = local(5000);
        local.ports.rtcp = Some("192.0.2.1:5007".parse().unwrap());
        assert!(
            Offer::new(&local, &plain())
                .text()
                .contains("a=rtcp:5007\r\n")
        );
    }

    #[test]
    fn an_ipv6_end_is_described_as_one() {
        let mut local = local(5000);
        local.ports.rtp = "[2001:db8::1]:5000".parse().unwrap();
        assert!(
            Offer::new(&local, &plain())
                .text()
                .contains("c=IN IP6 2001:db8::1\r\n")
        );
    }

    #[test]
    fn an_answer_without_digits_agrees_on_opus_alone() {
        let answer = sdp("m=audio 4000 RTP/AVP 111\na=rtpmap:111 opus/48000/2\n");
        let side = Offer::new(&local(5000), &plain()).accept(&answer).unwrap();
        assert_eq!(side.send, [payload(111, Codec::Opus)]);
        assert_eq!(side.receive, [payload(111, Codec::Opus)]);
        assert_eq!(side.remote_rtcp, Some("203.0.113.9:4001".parse().unwrap()));
    }

    #[test]
    fn an_answer_with_numbers_of_its_own_is_sent_to_by_those_and_heard_by_both() {
        let lines = "m=audio 4000 RTP/AVP 96 97\na=rtpmap:96 opus/48000/2\na=rtpmap:97 telephone-event/8000\n";
        let side = Offer::new(&local(5000), &plain())
            .accept(&sdp(lines))
            .unwrap();
        assert_eq!(side.send, [payload(96, Codec::Opus), payload(97, DIGITS)]);
        let (opus, digits) = (payload(111, Codec::Opus), payload(101, DIGITS));
        assert_eq!(
            side.receive,
            [opus, digits, payload(96, Codec::Opus), payload(97, DIGITS)]
        );
    }

    #[test]
    fn a_number_of_ours_keeps_its_meaning_whatever_the_answer_says() {
        let lines = "m=audio 4000 RTP/AVP 101 111\na=rtpmap:101 opus/48000/2\na=rtpmap:111 telephone-event/8000\n";
        let side = Offer::new(&local(5000), &plain())
            .accept(&sdp(lines))
            .unwrap();
        assert_eq!(
            side.receive,
            [payload(111, Codec::Opus), payload(101, DIGITS)]
        );
    }

    #[test]
    fn an_answer_in_a_codec_that_was_not_offered_is_refused_by_name() {
        let error = Offer::new(&local(5000), &plain().preferring(&[Codec::Opus]))
            .accept(&sdp("m=audio 4000 RTP/AVP 0\n"))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no codec in common: the peer has PCMU/8000; we carry opus/48000/2"
        );
    }

    #[test]
    fn an_answer_that_refuses_the_stream_agrees_on_nothing() {
        let error = Offer::new(&local(5000), &plain())
            .accept(&sdp("m=audio 0 RTP/AVP 111\n"))
            .unwrap_err();
        assert_eq!(error, Reject::Refused);
    }

    #[test]
    fn an_answer_under_another_tag_takes_a_key_that_we_never_offered() {
        let answer = |tag: u32| {
            let key = "AES_CM_128_HMAC_SHA1_80 inline:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ";
            sdp(&format!(
                "m=audio 4000 RTP/SAVP 111\na=rtpmap:111 opus/48000/2\na=crypto:{tag} {key}\n"
            ))
        };
        let offer = Offer::new(&local(5000), &keyed());
        let Security::Sdes(keys) = offer.accept(&answer(1)).unwrap().security else {
            panic!("keyed by SDES")
        };
        assert_eq!((keys.send.0, keys.receive.0), (vec![7; 30], vec![9; 30]));
        assert_eq!(
            offer.accept(&answer(2)).unwrap_err(),
            Reject::Tag {
                answered: 2,
                offered: 1
            }
        );
    }

    #[test]
    fn an_answer_in_clear_to_a_keyed_offer_is_refused() {
        let answer = sdp("m=audio 4000 RTP/AVP 111\na=rtpmap:111 opus/48000/2\n");
        let error = Offer::new(&local(5000), &keyed())
            .accept(&answer)
            .unwrap_err();
        assert!(
            matches!(error, Reject::Transport { keys: false, .. }),
            "{error}"
        );
    }

    #[test]
    fn our_key_is_not_printed_with_the_offer() {
        let offer = Offer::new(&local(5000), &keyed());
        assert!(offer.text().contains("BwcH") && !format!("{offer:?}").contains("BwcH"));
    }
}
