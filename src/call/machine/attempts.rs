//! A user's call at several addresses: the next one where an address does not take it (RFC 3263 §4.3).
//!
//! ```text
//!   INVITE to the first ── no response, 500–504, not sendable ──▶ CANCEL; INVITE to the next ── … ──▶ 503 to Meta
//!          └──────── 180 ──▶ this one, come what may
//! ```
//!
//! Every address gets an INVITE of its own, with its own Call-ID and offer. What was abandoned is listened to until it has
//! ended, for it may be answered late: such a 2xx gets ACK and BYE. Meta sees nothing of all this.
//!
//! Every attempt has media sockets of its own, at our address towards that PBX: what an address that was given up sends
//! late must not be taken for the next one's voice. [`Action::Face`] asks for them, and the INVITE follows on
//! [`Event::Faced`](super::Event::Faced).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::turn::{Action, Purpose, Turn};
use super::{Call, State};
use crate::call::errands::Place;
use crate::call::summary::EndedBy;
use crate::call::watch::Mark;
use crate::leg::Leg;
use crate::media::sdes::Crypto;
use crate::media::{Facing, LocalPorts, OpenError};
use crate::number::without_numbers;
use crate::peer::pbx::{self, Extension};
use crate::peer::{Fresh, Pbx, Refusal};
use crate::sdp::{self, Offer};
use crate::sip::dialog::{ClientInvite, Step};
use crate::sip::digest;
use crate::sip::message::{Common, Response};
use crate::sip::token::Tokens;
use crate::sip::transport::{Hop, Target};

/// One address of one PBX.
pub type Way = (Arc<Pbx>, Hop);

/// What a user's call may still be tried by.
#[derive(Debug)]
pub struct Attempts {
    call: Extension,
    /// Our end towards the PBX, for the next offer.
    local: sdp::Local,
    left: VecDeque<Way>,
    /// Which of our addresses the media session has on the PBX's side.
    facing: Facing,
    /// The next one, as long as the media session is on its way there; why the one before was given up.
    awaited: Option<(Way, String)>,
    /// Whether an address is given up that says nothing.
    impatient: bool,
    /// What became of those that did not take the call.
    fates: Vec<String>,
}

/// An INVITE to one address.
#[derive(Debug)]
pub struct Attempt {
    pbx: Arc<Pbx>,
    hop: Hop,
    /// The INVITE.
    pub invite: ClientInvite,
    /// The SDP in it.
    pub offer: Offer,
    /// How long it may go without any response, if that is limited.
    pub patience: Option<Duration>,
}

/// An INVITE that was given up, until nothing can come of it any more.
#[derive(Debug)]
pub struct Abandoned {
    pub(super) invite: ClientInvite,
    hop: Hop,
}

impl Attempts {
    /// The first attempt at a call, and what else it may be tried by, in this order. `doubtful`: the first is not thought to
    /// answer, so that nobody waits for it for long even where there is no other.
    pub fn begin(
        call: Extension,
        local: sdp::Local,
        (first, doubtful): (Way, bool),
        others: Vec<Way>,
        tokens: &mut Tokens,
    ) -> (Attempt, Attempts) {
        let attempts = Attempts {
            call,
            local,
            impatient: doubtful || !others.is_empty(),
            left: others.into(),
            facing: first.0.media,
            awaited: None,
            fates: Vec::new(),
        };
        (attempts.attempt(first, tokens), attempts)
    }

    /// The INVITE to another address.
    fn next(&mut self, way: Way, tokens: &mut Tokens) -> Attempt {
        // Whoever did not take the call has no business with its keys.
        self.local.crypto = Crypto::generate(1);
        self.local.session = tokens.number() >> 1;
        self.attempt(way, tokens)
    }

    fn attempt(&self, (pbx, hop): Way, tokens: &mut Tokens) -> Attempt {
        let offer = Offer::new(&self.local, &pbx.capabilities());
        let request = pbx.invite(&hop, &self.call, Fresh::draw(tokens), offer.text());
        let invite = ClientInvite::new(Leg::Pbx, request, pbx.identity(hop.protocol));
        Attempt {
            patience: self.impatient.then_some(pbx.try_timeout),
            pbx,
            hop,
            invite,
            offer,
        }
    }

    /// What the caller is told when several were tried and none is left. Where they are is not Meta's affair.
    fn exhausted(&self) -> Option<Refusal> {
        let fates = &self.fates;
        (fates.len() > 1).then(|| {
            let text = format!(
                "none of the {} addresses of the PBX takes the call: {}",
                fates.len(),
                fates.join("; ")
            );
            Refusal::new(503, 38, text)
        })
    }
}

impl Call {
    /// The address that was called has not answered at all: when that has lasted long enough.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        match &self.state {
            State::Ringing(ringing) if !self.heard => ringing.try_until,
            _ => None,
        }
    }

    pub(super) fn gives_up_waiting(&mut self, turn: &mut Turn<'_>) {
        let waited = self.parties.pbx.try_timeout.as_secs();
        let why = format!("no answer in {waited} s");
        self.seen(Err(format!("{why} to INVITE")), turn);
        if self.tries_another(&why, turn) {
            return;
        }
        self.give_up_on_all(&why, turn);
    }

    fn give_up_on_all(&mut self, why: &str, turn: &mut Turn<'_>) {
        let last = Purpose::Invite(self.abandoned.len());
        turn.actions.push(Action::Abandon(last));
        let refusal = self.unreachable(why);
        self.end(EndedBy::Bridge, &refusal, turn);
    }

    /// The address that was called does not take the call: calls the next one, if there is one and the caller has not heard
    /// of this one already.
    pub(super) fn tries_another(&mut self, why: &str, turn: &mut Turn<'_>) -> bool {
        if self.rang.is_some() || !self.caller.is_ringing() {
            return false;
        }
        let State::Ringing(ringing) = &mut self.state else {
            return false;
        };
        let Some(attempts) = &mut ringing.attempts else {
            return false;
        };
        attempts.fates.push(why.to_owned());
        let Some(way) = attempts.left.pop_front() else {
            return false;
        };
        turn.actions.push(Action::Face(way.0.media));
        attempts.awaited = Some((way, why.to_owned()));
        true
    }

    /// The media session listens where the next PBX can send to, or it cannot.
    pub(super) fn faced(&mut self, faced: Result<LocalPorts, OpenError>, turn: &mut Turn<'_>) {
        let State::Ringing(ringing) = &mut self.state else {
            return;
        };
        let Some(attempts) = &mut ringing.attempts else {
            return;
        };
        let Some((way, why)) = attempts.awaited.take() else {
            return;
        };
        match faced {
            Ok(ports) => {
                attempts.local.ports = ports;
                attempts.facing = way.0.media;
                self.goes_to(way, &why, turn);
            }
            // Better the old sockets than no call.
            Err(_) if way.0.media == attempts.facing => self.goes_to(way, &why, turn),
            Err(error) => {
                let (pbx, address) = (&way.0.name, &way.1);
                tracing::warn!(pbx, %address, %error, "the call cannot go to this address of the PBX");
                let why = "no media port for it";
                if !self.tries_another(why, turn) {
                    self.give_up_on_all(why, turn);
                }
            }
        }
    }

    fn goes_to(&mut self, way: Way, why: &str, turn: &mut Turn<'_>) {
        let State::Ringing(ringing) = &mut self.state else {
            return;
        };
        let Some(attempts) = &mut ringing.attempts else {
            return;
        };
        let next = attempts.next(way, turn.tokens);
        tracing::warn!(
            pbx = self.parties.pbx.name,
            address = %self.parties.pbx_hop,
            why = without_numbers(why),
            next_pbx = next.pbx.name,
            next = %next.hop,
            "the PBX does not take the call here, and it goes to the next address"
        );
        ringing.our_offer = next.offer;
        ringing.answer = None;
        ringing.try_until = next.patience.map(|patience| turn.now + patience);
        self.parties.pbx = next.pbx;
        let hop = std::mem::replace(&mut self.parties.pbx_hop, next.hop);
        let invite = std::mem::replace(&mut self.callee, next.invite);
        self.abandon(invite, hop, why, turn);
        (self.heard, self.judged) = (false, false);
        self.callee_status = None;
        self.pbx_auth = digest::client::Client::new();
        turn.mark(Mark::Redirected {
            why: why.to_owned(),
            pbx: self.parties.pbx.name.clone(),
            address: self.parties.pbx_hop.to_string(),
            call_id: self.callee.request().call_id().to_owned(),
        });
        let target = self.first_hop(Leg::Pbx);
        let purpose = Purpose::Invite(self.abandoned.len());
        self.open(self.callee.request().clone(), target, purpose, turn);
    }

    fn abandon(&mut self, mut invite: ClientInvite, hop: Hop, why: &str, turn: &mut Turn<'_>) {
        let place = self.abandoned.len();
        turn.actions.push(Action::Abandon(Purpose::Invite(place)));
        let refusal = Refusal::new(503, 41, why);
        let steps = invite.cancel(Some(refusal.reason()));
        self.abandoned.push(Abandoned { invite, hop });
        self.tidy(place, steps, turn);
    }

    /// What becomes of an INVITE that was given up.
    pub(super) fn late(&mut self, place: usize, response: Response, turn: &mut Turn<'_>) {
        let Some(abandoned) = self.abandoned.get_mut(place) else {
            return;
        };
        let steps = abandoned.invite.response(response, turn.tokens);
        self.tidy(place, steps, turn);
    }

    fn tidy(&mut self, place: usize, steps: Vec<Step>, turn: &mut Turn<'_>) {
        let Some(first) = self.abandoned.get(place).map(|a| a.hop.clone()) else {
            return;
        };
        let to = |hop: Option<Hop>| Target::Hop(hop.unwrap_or_else(|| first.clone()));
        for step in steps {
            match step {
                Step::Cancel(cancel) => self.open(cancel, to(None), Purpose::Errand, turn),
                Step::Bye(bye, hop) => self.open_bye(Leg::Pbx, bye, to(hop), turn),
                Step::Ack(ack, hop) => turn.actions.push(Action::Ack(ack, to(hop))),
                Step::Outcome(_) => {}
            }
        }
    }

    /// What the caller is told, if several addresses were tried in vain.
    pub(super) fn none_takes_it(&self) -> Option<Refusal> {
        match &self.state {
            State::Ringing(ringing) => ringing.attempts.as_ref()?.exhausted(),
            _ => None,
        }
    }

    /// What the caller is told where there is nobody left to be reached.
    pub(super) fn unreachable(&self, why: &str) -> Refusal {
        let text = format!("{} cannot be reached: {why}", self.callee_leg());
        let alone = || Refusal::new(503, 38, text);
        self.none_takes_it().unwrap_or_else(alone)
    }

    /// Whether nothing is waited for but the end of INVITEs that were given up, or that nobody has ever answered.
    pub(super) fn only_lingers(&self) -> bool {
        let given_up = self.abandoned.iter().filter(|a| a.invite.is_pending());
        let unheard = !self.heard && self.callee.is_pending();
        self.pending == given_up.count() + usize::from(unheard)
    }

    /// The same INVITE goes to the same address once more, with credentials: it is waited for as long as the first.
    pub(super) fn waits_anew(&mut self, turn: &Turn<'_>) {
        self.heard = false;
        if let State::Ringing(ringing) = &mut self.state
            && let Some(until) = &mut ringing.try_until
        {
            *until = turn.now + self.parties.pbx.try_timeout;
        }
    }

    /// What the INVITE to the PBX has come to tells of its address, once.
    pub(super) fn seen(&mut self, fate: Result<(), String>, turn: &mut Turn<'_>) {
        if self.callee_leg() == Leg::Pbx && !self.judged {
            self.judged = true;
            let place = Place {
                pbx: self.parties.pbx.name.clone(),
                hop: self.parties.pbx_hop.clone(),
            };
            turn.actions.push(Action::Seen(place, fate));
        }
    }
}

/// What a response tells of the address that it comes from, if anything: 100 and a challenge come from whatever stands in
/// front of it, and only 503 says that it serves nobody (RFC 3261 §21.5.4).
pub(super) fn fate(response: &Response) -> Option<Result<(), String>> {
    match response.status {
        100 | 401 | 407 => None,
        503 => Some(Err(format!("{} to INVITE", pbx::words(response)))),
        _ => Some(Ok(())),
    }
}
