//! Until the callee has answered: what it says, what the caller is told of it, and what is agreed about media.

use std::time::Duration;

use super::reinvite::PbxSession;
use super::teardown::sip_reason;
use super::turn::{Action, Purpose, Turn};
use super::{Call, State, Talking};
use crate::call::summary::{Codecs, Direction, EndedBy};
use crate::call::watch::Mark;
use crate::leg::Leg;
use crate::media::{Codec, Command};
use crate::peer::{Next, Refusal, meta, pbx};
use crate::sdp::{self, Keying};
use crate::sip::dialog::{Dialog, Outcome};
use crate::sip::message::Response;

/// Longest time for which the PBX's 200 waits for our ACK: it repeats the 200 meanwhile, and gives the call up after
/// 64·T1, which is 32 s (RFC 3261 §13.3.1.4).
const ACK_WAIT: Duration = Duration::from_secs(10);

impl Call {
    pub(super) fn outcome(&mut self, outcome: Outcome, turn: &mut Turn<'_>) {
        match outcome {
            Outcome::Progress(response) => self.progress(&response, turn),
            Outcome::Answered(dialog, response) => self.answer(*dialog, &response, turn),
            Outcome::Refused(response) => self.refused(&response, turn),
            Outcome::Cancelled => {}
        }
    }

    /// A user hears WhatsApp's own ringing, and the app takes the first media as "answered", so early media of the
    /// PBX is held back; a PBX may hear what Meta sends early.
    fn progress(&mut self, response: &Response, turn: &mut Turn<'_>) {
        if !self.caller.is_ringing() {
            return;
        }
        let (mut status, mut sdp) = (response.status, None);
        if self.parties.direction == Direction::BusinessInitiated && !response.body.is_empty() {
            match self.settle(&response.body, turn) {
                // The handshake begins with the answer, so nothing of this can be heard: the PBX rings by itself.
                Ok(_) if self.keying == Some(Keying::Dtls) => status = 180,
                Ok(answer) => {
                    turn.media(Command::Start { leg: Leg::Pbx });
                    sdp = Some(answer);
                }
                Err(reject) => {
                    tracing::warn!(%reject, "an SDP in Meta's provisional response is of no use")
                }
            }
        }
        self.status = status;
        if status > 100 {
            self.rang.get_or_insert(turn.now);
        }
        turn.mark(Mark::Progress(status));
        let response = self.caller.progress(status, sdp.as_deref());
        turn.respond(self.caller.id, response);
    }

    /// Comes to terms with the callee's SDP and tells the media session; gives our answer for the caller, which is
    /// the same each time: without 100rel an early answer is only a preview of the one in the 200 (RFC 6337 §3.1.1).
    fn settle(&mut self, body: &[u8], turn: &mut Turn<'_>) -> Result<String, sdp::Reject> {
        let (caller, callee) = (self.caller_leg(), self.callee_leg());
        let State::Ringing(ringing) = &mut self.state else {
            return Ok(String::new());
        };
        let side = ringing.our_offer.accept(body)?;
        let sound = spoken(caller, &ringing.offer, side.sound());
        let answered = ringing.offer.answer(&ringing.caller_local, sound)?;
        let metas = match caller {
            Leg::Meta => &answered.side,
            Leg::Pbx => &side,
        };
        let keying = Keying::of(&metas.security);
        let pbxs = match caller {
            Leg::Meta => &side,
            Leg::Pbx => &answered.side,
        };
        ringing.pbx_side = Some(pbxs.clone());
        self.codecs = Codecs {
            meta: metas.sound(),
            pbx: pbxs.sound(),
        };
        turn.media(Command::Agree { leg: callee, side });
        turn.media(Command::Agree {
            leg: caller,
            side: answered.side,
        });
        ringing.answer = Some(answered.text.clone());
        self.keying = Some(keying);
        Ok(answered.text)
    }

    fn answer(&mut self, mut callee: Dialog, response: &Response, turn: &mut Turn<'_>) {
        let leg = self.callee_leg();
        turn.actions.push(Action::Dialog(callee.id().clone(), leg));
        let early = match &mut self.state {
            State::Ringing(ringing) => ringing.answer.take(),
            _ => None,
        };
        let answer = match (response.body.is_empty(), early) {
            (true, Some(answer)) => Ok(answer),
            _ => self.settle(&response.body, turn),
        };
        let reject = match answer {
            Ok(answer) => {
                let pbx = self.modifiable(&answer, response, turn.now);
                match self.caller.answer(&answer, turn.now) {
                    Some((ok, caller)) => {
                        let ok = with_custom(ok, leg, response);
                        return self.talk(ok, (caller, callee), pbx, turn);
                    }
                    None => "the INVITE cannot make a dialog".to_owned(),
                }
            }
            Err(reject) => reject.to_string(),
        };
        let refusal = Refusal::new(488, 88, format!("{leg}: {reject}"));
        self.acknowledge(turn);
        self.bye(leg, &mut callee, sip_reason(488, &refusal.text), &[], turn);
        self.refuse(EndedBy::Bridge, &refusal, turn);
    }

    fn talk(
        &mut self,
        ok: Response,
        (caller, callee): (Dialog, Dialog),
        pbx: Option<Box<PbxSession>>,
        turn: &mut Turn<'_>,
    ) {
        self.answered = Some(turn.now);
        self.status = 200;
        turn.mark(Mark::Answered);
        let ack_by = self.waits_for_keys().then(|| turn.now + ACK_WAIT);
        if ack_by.is_none() {
            self.acknowledge(turn);
        }
        self.state = State::Talking(Box::new(Talking {
            caller,
            callee,
            meta_started: false,
            ack_by,
            pbx,
            former: Vec::new(),
        }));
        turn.media(Command::Start { leg: Leg::Pbx });
        turn.respond_and_tell(self.caller.id, ok);
        if self.callee_leg() == Leg::Meta {
            // Its ACK went out just before: from now on Meta waits for our first packet (SIP guide, 2025-12-15).
            self.start_meta(turn);
        }
    }

    /// A PBX that plays from our ACK on is to do so when it can be heard.
    fn waits_for_keys(&self) -> bool {
        self.callee_leg() == Leg::Pbx
            && self.parties.pbx.ack_when_keyed
            && self.keying == Some(Keying::Dtls)
    }

    /// Acknowledges the callee's 2xx, if that is still to be done.
    pub(super) fn acknowledge(&mut self, turn: &mut Turn<'_>) {
        let waited = match &mut self.state {
            State::Talking(talking) => talking.ack_by.take().is_some(),
            _ => false,
        };
        let steps = self.callee.acknowledge();
        self.take(steps, turn);
        if let (true, Some(answered)) = (waited, self.answered) {
            let waited = turn.now.saturating_duration_since(answered);
            self.ack_waited = Some(waited);
            turn.mark(Mark::AckWaited(waited));
        }
    }

    pub(super) fn keyed(&mut self, leg: Leg, turn: &mut Turn<'_>) {
        tracing::debug!(%leg, "the DTLS handshake is done");
        if leg == Leg::Meta {
            self.acknowledge(turn);
        }
    }

    pub(super) fn start_meta(&mut self, turn: &mut Turn<'_>) {
        if let State::Talking(talking) = &mut self.state
            && !talking.meta_started
        {
            talking.meta_started = true;
            turn.media(Command::Start { leg: Leg::Meta });
        }
    }

    fn refused(&mut self, response: &Response, turn: &mut Turn<'_>) {
        let leg = self.callee_leg();
        let (request, cnonce) = (self.callee.request(), turn.tokens.word());
        let next = match leg {
            Leg::Pbx => self
                .parties
                .pbx
                .next(&mut self.pbx_auth, request, response, cnonce),
            Leg::Meta => self
                .auth
                .next(request, response, &self.parties.number, cnonce),
        };
        match next {
            Next::Refuse(_) if leg == Leg::Pbx && pbx::is_fault_of_address(response) => {
                if self.tries_another(&pbx::words(response), turn) {
                    return;
                }
                let (by, refusal) = match self.none_takes_it() {
                    Some(refusal) => (EndedBy::Bridge, refusal),
                    None => (EndedBy::Leg(leg), pbx::refusal(response)),
                };
                self.refuse(by, &refusal, turn);
            }
            Next::Refuse(refusal) => {
                if leg == Leg::Meta {
                    self.told.words = Some(refusal.text.clone());
                }
                self.refuse(EndedBy::Leg(leg), &refusal, turn);
            }
            Next::Retry(name, value) => {
                let again = self.callee.retry((name, value), turn.tokens);
                self.waits_anew(turn);
                let purpose = Purpose::Invite(self.abandoned.len());
                self.open(again, self.first_hop(leg), purpose, turn);
            }
        }
    }

    /// Tells the caller no, and closes.
    pub(super) fn refuse(&mut self, by: EndedBy, refusal: &Refusal, turn: &mut Turn<'_>) {
        if self.caller.is_ringing() {
            let mut response = self.caller.refuse(refusal.status);
            response.headers.push("Reason", refusal.reason());
            if refusal.status == 503 && by == EndedBy::Bridge {
                response.headers.push("Retry-After", "5");
            }
            self.status = refusal.status;
            turn.respond(self.caller.id, response);
        }
        self.close(by, &refusal.text, turn);
    }

    pub(super) fn caller_gave_up(&mut self, reason: Option<String>, turn: &mut Turn<'_>) {
        if !self.caller.is_ringing() {
            return;
        }
        let leg = self.caller_leg();
        if leg == Leg::Meta {
            self.told.words.clone_from(&reason);
        }
        self.refuse(
            EndedBy::Leg(leg),
            &Refusal::new(487, 31, format!("{leg} gave up")),
            turn,
        );
        self.cancel(reason, turn);
    }

    pub(super) fn cancel(&mut self, reason: Option<String>, turn: &mut Turn<'_>) {
        let steps = self.callee.cancel(reason);
        self.take(steps, turn);
    }
}

/// What the caller is spoken to with. A PBX has its preference; Meta has what the PBX speaks, if it offers that, because then
/// nothing is transcoded.
fn spoken(caller: Leg, offer: &sdp::RemoteOffer, other: Option<Codec>) -> Codec {
    let same = other.filter(|codec| caller == Leg::Meta && offer.codecs().contains(codec));
    same.or(offer.preferred()).unwrap_or(Codec::Opus)
}

/// Our 200 to a PBX, with what Meta's 200 tells of the user (BSUID page, 2026-02-06).
fn with_custom(mut ok: Response, callee: Leg, theirs: &Response) -> Response {
    if callee == Leg::Meta {
        for (name, value) in meta::custom_headers(&theirs.headers) {
            ok.headers.push(&name, value);
        }
    }
    ok
}
