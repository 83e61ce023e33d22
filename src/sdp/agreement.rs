//! What stands agreed with a peer, and how it may be changed while the call goes on (RFC 3264 §8).
//!
//! ```text
//!   their offer ──▶ answer ──▶ text and SideSpec     their wish for an offer ──▶ offer ──▶ their answer ──▶ accept
//!                                                    nothing new to say      ──▶ repeat ──▶ their answer ──▶ accept
//! ```
//!
//! The session id of our `o=` line stays, and its version grows only with what we say. Whatever is rejected leaves the
//! agreement as it was.

use super::{Answered, Capabilities, Keying, Local, Offer, Reject, RemoteOffer, stream};
use crate::media::sdes::Crypto;
use crate::media::{Codec, SideSpec};

/// The description that is in force on one leg, and what may take its place.
pub struct Agreement {
    local: Local,
    /// What we could do when the call began, and so can still.
    capabilities: Capabilities,
    /// Our latest description. It holds our key.
    latest: String,
    /// Our description that the peer has agreed to: not the latest where that was an offer without a good answer.
    agreed: String,
    side: SideSpec,
}

impl Agreement {
    /// After the first offer and answer: `ours` is our description of the two, `side` what they have settled.
    pub fn new(
        (local, capabilities): (&Local, &Capabilities),
        ours: String,
        side: SideSpec,
    ) -> Agreement {
        let mut local = local.clone();
        local.crypto.tag = tag(&ours).unwrap_or(local.crypto.tag);
        Agreement {
            local,
            capabilities: capabilities.clone(),
            latest: ours.clone(),
            agreed: ours,
            side,
        }
    }

    /// What is agreed.
    pub fn side(&self) -> &SideSpec {
        &self.side
    }

    /// Answers another offer of the peer's.
    pub fn answer(&mut self, offer: &[u8]) -> Result<Answered, Reject> {
        // Multiplexed RTCP is taken where it is offered, by whomever the call was begun.
        let capabilities = Capabilities {
            rtcp_mux: true,
            ..self.capabilities.clone()
        };
        let offer = RemoteOffer::parse(offer, &capabilities)?;
        let answered = offer.answer(&self.local, offer.preferred().unwrap_or(Codec::Opus))?;
        let text = self.say(answered.text);
        self.settle(text.clone(), answered.side.clone());
        Ok(Answered { text, ..answered })
    }

    /// An offer of all that we can do, for a peer that asks for one (RFC 3261 §14.2).
    pub fn offer(&mut self) -> Offer {
        let capabilities = Capabilities {
            rtcp_mux: self.multiplexes(),
            ..self.capabilities.clone()
        };
        let offer = Offer::new(&self.local, &capabilities);
        let text = in_place(offer.text(), &self.latest);
        let text = self.say(text.unwrap_or_else(|| offer.text().to_owned()));
        let index = ours(&text);
        offer.saying(text, index)
    }

    /// An offer of what is agreed already, for a re-INVITE that is to change nothing (RFC 4028 §7.4).
    pub fn repeat(&mut self) -> Offer {
        let capabilities = Capabilities {
            payloads: self.side.receive.clone(),
            keyings: vec![Keying::of(&self.side.security)],
            rtcp_mux: self.multiplexes(),
            ..self.capabilities.clone()
        };
        let text = self.say(self.agreed.clone());
        let index = ours(&text);
        Offer::new(&self.local, &capabilities).saying(text, index)
    }

    /// An offer of the same end to another peer: another session, with a key of its own.
    pub fn elsewhere(&self, session: u64) -> Offer {
        let local = Local {
            session,
            version: 1,
            crypto: Crypto::generate(1),
            ..self.local.clone()
        };
        let capabilities = Capabilities {
            rtcp_mux: false,
            ..self.capabilities.clone()
        };
        Offer::new(&local, &capabilities)
    }

    /// Takes the answer to an offer of ours.
    pub fn accept(&mut self, offer: &Offer, answer: &[u8]) -> Result<SideSpec, Reject> {
        let side = offer.accept(answer)?;
        self.settle(offer.text().to_owned(), side.clone());
        Ok(side)
    }

    fn settle(&mut self, text: String, side: SideSpec) {
        self.local.crypto.tag = tag(&text).unwrap_or(self.local.crypto.tag);
        self.agreed = text;
        self.side = side;
    }

    /// The text as it is to be said now: under the present version if it is what was said last, else under the next.
    fn say(&mut self, text: String) -> String {
        let mut text = versioned(&text, self.local.version);
        if text != self.latest {
            self.local.version = self.local.version.saturating_add(1);
            text = versioned(&text, self.local.version);
            self.latest.clone_from(&text);
        }
        text
    }

    fn multiplexes(&self) -> bool {
        self.side.remote_rtcp.is_none()
    }
}

/// A description of ours with another version in its `o=` line (RFC 8866 §5.2).
fn versioned(text: &str, version: u64) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            [user, session, _, rest] if user.starts_with("o=") => {
                format!("{user} {session} {version} {rest}")
            }
            _ => line.to_owned(),
        }
    };
    text.split_inclusive("\r\n").map(line).collect()
}

/// The tag that our key has in a description of ours.
fn tag(text: &str) -> Option<u32> {
    let mut lines = text.lines();
    let crypto = lines.find_map(|line| line.strip_prefix("a=crypto:"))?;
    crypto.split(' ').next()?.parse().ok()
}

/// Place of the stream that a description of ours takes among its m= lines.
fn ours(text: &str) -> usize {
    let taken = |medias: &[sdp_types::Media]| medias.iter().position(|media| media.port != 0);
    let session = stream::session(text.as_bytes()).ok();
    session
        .and_then(|session| taken(&session.medias))
        .unwrap_or_default()
}

/// A description of one stream, among all that an earlier description of ours has, in the place of that which it took: there
/// may not be fewer of them afterwards (RFC 3264 §8). `None`: one of the two cannot be read.
fn in_place(text: &str, before: &str) -> Option<String> {
    let mut session = stream::session(text.as_bytes()).ok()?;
    let medias = stream::session(before.as_bytes()).ok()?.medias;
    let mut all = std::mem::replace(&mut session.medias, medias);
    *session.medias.get_mut(ours(before))? = all.pop()?;
    Some(session.to_string())
}

// What we say holds our key.
impl std::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreement")
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Direction, Security};
    use crate::sdp::tests::{local, plain, sdp};

    const OPUS: &str = "m=audio 4000 RTP/AVP 96\na=rtpmap:96 opus/48000/2\n";

    /// The peer offered, and we have answered.
    fn standing() -> Agreement {
        begun(OPUS, &plain())
    }

    fn begun(offer: &str, capabilities: &Capabilities) -> Agreement {
        let offer = RemoteOffer::parse(&sdp(offer), capabilities).unwrap();
        let first = offer.answer(&local(5000), Codec::Opus).unwrap();
        Agreement::new((&local(5000), capabilities), first.text, first.side)
    }

    fn origin(text: &str) -> &str {
        text.lines().find(|line| line.starts_with("o=")).unwrap()
    }

    #[test]
    fn the_version_grows_only_with_what_we_say() {
        let mut agreement = standing();
        let mut said = |rest: &str| {
            let answered = agreement.answer(&sdp(rest)).unwrap();
            origin(&answered.text).to_owned()
        };
        let same = said(OPUS);
        assert_eq!(same, "o=- 1000 1 IN IP4 192.0.2.1");
        assert_eq!(said(&OPUS.replace("4000", "4008")), same, "only theirs");
        let held = said(&format!("{OPUS}a=sendonly\n"));
        assert_eq!(held, "o=- 1000 2 IN IP4 192.0.2.1");
        assert_eq!(said(&format!("{OPUS}a=sendonly\n")), held);
        assert_eq!(said(OPUS), "o=- 1000 3 IN IP4 192.0.2.1");
    }

    #[test]
    fn what_cannot_be_taken_leaves_the_agreement_as_it_was() {
        let mut agreement = standing();
        let before = (agreement.latest.clone(), agreement.side.clone());
        for bad in ["m=audio 4000 RTP/AVP 18\n", "m=audio 0 RTP/AVP 96\n", ""] {
            assert!(agreement.answer(&sdp(bad)).is_err(), "{bad}");
        }
        assert_eq!((agreement.latest.clone(), agreement.side.clone()), before);
    }

    #[test]
    fn an_offer_names_all_that_we_can_do_under_the_next_version() {
        let mut agreement = begun(&format!("{OPUS}a=rtcp-mux\n"), &{
            Capabilities {
                rtcp_mux: true,
                ..plain()
            }
        });
        let offer = agreement.offer();
        assert!(
            offer
                .text()
                .contains("m=audio 5000 RTP/AVP 111 9 8 0 101\r\n"),
            "{}",
            offer.text()
        );
        assert!(offer.text().contains("a=rtcp-mux\r\n"), "as it is agreed");
        assert_eq!(origin(offer.text()), "o=- 1000 2 IN IP4 192.0.2.1");
        let answer = sdp("m=audio 4010 RTP/AVP 111\na=rtpmap:111 opus/48000/2\na=sendonly\n");
        let side = agreement.accept(&offer, &answer).unwrap();
        assert_eq!(side.direction, Direction::RecvOnly);
        assert_eq!(agreement.side(), &side);
        assert_eq!(
            agreement.repeat().text(),
            offer.text(),
            "nothing new is said"
        );
    }

    #[test]
    fn an_offer_of_ours_has_every_stream_that_there_was_in_its_place() {
        let video = "m=video 7000 RTP/AVP 99\n";
        let mut agreement = begun(&format!("{video}{OPUS}"), &plain());
        let offer = agreement.offer();
        let medias = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with("m="));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            medias(offer.text()),
            ["m=video 0 RTP/AVP 99", "m=audio 5000 RTP/AVP 111 9 8 0 101"]
        );
        let refused = video.replace("7000", "0");
        let answer = sdp(&format!("{refused}{OPUS}"));
        assert!(agreement.accept(&offer, &answer).is_ok());
    }

    #[test]
    fn after_an_offer_in_vain_what_is_agreed_is_said_again_under_a_newer_version() {
        let mut agreement = standing();
        let agreed = agreement.agreed.clone();
        let offer = agreement.offer();
        assert!(agreement.accept(&offer, b"").is_err());
        let again = agreement.repeat();
        assert_eq!(origin(again.text()), "o=- 1000 3 IN IP4 192.0.2.1");
        assert_eq!(versioned(again.text(), 1), agreed);
    }

    #[test]
    fn what_is_repeated_keeps_their_numbers_their_tag_and_the_place_of_the_stream() {
        let keyed = Capabilities {
            keyings: vec![Keying::Sdes],
            ..plain()
        };
        let theirs = "m=audio 4000 RTP/SAVP 96\na=rtpmap:96 opus/48000/2\n\
            a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ\n";
        let video = "m=video 7000 RTP/AVP 99\n";
        let mut agreement = begun(&format!("{video}{theirs}"), &keyed);
        let before = agreement.side().clone();
        let offer = agreement.repeat();
        assert!(offer.text().contains("m=audio 5000 RTP/SAVP 96\r\n"));
        let refused = video.replace("7000", "0");
        let side = agreement
            .accept(&offer, &sdp(&format!("{refused}{theirs}")))
            .unwrap();
        assert_eq!(side, before);
    }

    #[test]
    fn another_key_of_theirs_leaves_ours_as_it_was() {
        let keyed = Capabilities {
            keyings: vec![Keying::Sdes],
            ..plain()
        };
        let theirs = |key: &str| {
            format!(
                "m=audio 4000 RTP/SAVP 96\na=rtpmap:96 opus/48000/2\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\n"
            )
        };
        let mut agreement = begun(&theirs(&"CQkJ".repeat(10)), &keyed);
        let side = agreement
            .answer(&sdp(&theirs(&"CAgI".repeat(10))))
            .unwrap()
            .side;
        let Security::Sdes(keys) = side.security else {
            panic!("keyed by SDES")
        };
        assert_eq!((keys.send.0, keys.receive.0), (vec![7; 30], vec![8; 30]));
        assert!(!format!("{agreement:?}").contains("BwcH"));
    }
}
