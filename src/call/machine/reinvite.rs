//! A PBX that changes its session in the middle of a call: hold, resume, another address, codec or key, by re-INVITE or
//! UPDATE (RFC 3261 §14, RFC 3311). It is answered on the PBX's leg alone: Meta knows nothing of the kind, and hears
//! nothing of it.
//!
//! ```text
//!   re-INVITE with an offer ──▶ 200 with our answer ── agreed ──ACK──▶ settled
//!   re-INVITE without one   ──▶ 200 with our offer  ──ACK with the answer──▶ agreed
//!                                 └── repeated until the ACK; 64·T1 without one: BYE on both legs
//!   UPDATE                  ──▶ 200, with our answer where there was an offer
//! ```

use std::time::Instant;

use super::turn::Turn;
use super::{Call, State};
use crate::call::refused::{Refused, check_body, extensions, too_small};
use crate::call::summary::EndedBy;
use crate::leg::Leg;
use crate::media::{Command, Direction, SideSpec};
use crate::peer::Refusal;
use crate::policy::Reinvite;
use crate::sdp::{Agreement, Offer};
use crate::sip::dialog::refresh::{Interval, SessionTimer, TooSmall};
use crate::sip::dialog::{ServerInvite, Unacknowledged};
use crate::sip::grammar::quote;
use crate::sip::message::{Common, Headers, Method, Request, Response};
use crate::sip::token::Tokens;
use crate::sip::transaction::ServerId;
use crate::sip::{NameAddr, build};

/// What a PBX may change, where it may.
#[derive(Debug)]
pub(super) struct PbxSession {
    pub(super) agreement: Agreement,
    /// Where the PBX reaches us in this dialog.
    pub(super) contact: Option<NameAddr>,
    /// A re-INVITE of the PBX that has our 200.
    open: Option<Open>,
    pub(super) timer: Option<SessionTimer>,
    /// Whether the PBX takes UPDATE.
    pub(super) takes_update: bool,
    /// Whether our last refresh got no answer at all.
    pub(super) unheard: bool,
}

/// A re-INVITE whose 200 has no ACK yet.
#[derive(Debug)]
struct Open {
    invite: ServerInvite,
    /// Our offer in that 200, where the re-INVITE had none.
    offer: Option<Offer>,
}

impl PbxSession {
    /// Of a leg that has just been agreed with.
    pub(super) fn begin(
        agreement: Agreement,
        contact: Option<NameAddr>,
        timer: Option<SessionTimer>,
    ) -> PbxSession {
        PbxSession {
            agreement,
            contact,
            open: None,
            timer,
            takes_update: false,
            unheard: false,
        }
    }

    /// The PBX has hung up: nothing more is said, and nothing expected.
    pub(super) fn ends(&mut self) {
        (self.open, self.timer) = (None, None);
    }

    /// When something is next to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let open = self.open.as_ref().and_then(|open| open.invite.deadline());
        let timer = self.timer.as_ref().map(SessionTimer::deadline);
        open.into_iter().chain(timer).min()
    }

    /// Keeps what a message of the PBX tells of its abilities.
    pub(super) fn hears(&mut self, headers: &Headers) {
        if headers.get("Allow").is_some() {
            self.takes_update = headers.list("Allow").any(|method| method == "UPDATE");
        }
    }

    pub(super) fn awaits_ack(&self) -> bool {
        self.open.is_some()
    }
}

impl Call {
    /// Whether requests of this leg that change its session are served.
    pub(super) fn modifies(&self, leg: Leg) -> bool {
        leg == Leg::Pbx && self.parties.pbx.reinvite == Reinvite::Local
    }

    /// What a call that has just been answered needs to change the PBX's session later; our 200 to a PBX that calls says
    /// what it is granted. `ours`: our answer to the caller; `theirs`: the callee's 200.
    pub(super) fn modifiable(
        &mut self,
        ours: &str,
        theirs: &Response,
        now: Instant,
    ) -> Option<Box<PbxSession>> {
        let State::Ringing(ringing) = &self.state else {
            return None;
        };
        if !self.modifies(Leg::Pbx) {
            return None;
        }
        let side = ringing.pbx_side.clone()?;
        let (agreement, granted, contact, headers) = match self.callee_leg() {
            Leg::Pbx => (
                Agreement::new(
                    ringing.our_offer.ours(),
                    ringing.our_offer.text().to_owned(),
                    side,
                ),
                Interval::granted_by(theirs),
                self.callee.request().contact(),
                &theirs.headers,
            ),
            Leg::Meta => {
                let can = ringing.offer.capabilities();
                let invite = &self.caller.request;
                (
                    Agreement::new((&ringing.caller_local, can), ours.to_owned(), side),
                    // What is too small was refused when the INVITE came.
                    Interval::granted_to(invite).unwrap_or_default(),
                    Some(self.to_pbx().contact(invite.uri.user())),
                    &invite.headers,
                )
            }
        };
        let timer = granted.map(|interval| SessionTimer::begin(interval, now));
        let mut session = PbxSession::begin(agreement, contact, timer);
        session.hears(headers);
        if let (Leg::Pbx, Some(granted)) = (self.caller_leg(), granted) {
            self.caller.say(granted.in_response());
        }
        Some(Box::new(session))
    }

    /// A re-INVITE or an UPDATE of the PBX.
    pub(super) fn modify(&mut self, server: ServerId, request: &Request, turn: &mut Turn<'_>) {
        let done = self
            .may_modify(request, turn.tokens)
            .and_then(|granted| self.modified(server, request, granted, turn));
        if let Err(refused) = done {
            self.refuse_within(server, request, refused, turn);
        }
    }

    /// Refuses a request in the PBX's dialog; the call goes on.
    pub(super) fn refuse_within(
        &mut self,
        server: ServerId,
        request: &Request,
        refused: Refused,
        turn: &mut Turn<'_>,
    ) {
        let mut response = build::response(request, refused.status, None);
        for (name, value) in refused.headers {
            response.headers.push(name, value);
        }
        if !refused.why.is_empty() {
            let (method, status, why) = (&request.method, refused.status, &refused.why);
            tracing::info!(pbx = self.parties.pbx.name, %method, status, why, "refused to the PBX; the call goes on as it was");
            response
                .headers
                .push("Warning", format!("399 wabridge {}", quote(why)));
        }
        turn.respond(server, response);
    }

    /// What must be so before anything is looked at; gives what is granted of a session timer.
    fn may_modify(
        &self,
        request: &Request,
        tokens: &mut Tokens,
    ) -> Result<Option<Interval>, Refused> {
        self.is_talking(tokens)?;
        extensions(request, self.parties.pbx.abilities())?;
        let has_offer = !request.body.is_empty();
        if (request.method == Method::INVITE || has_offer) && self.exchange_is_open() {
            return Err(Refused::new(491, ""));
        }
        if has_offer {
            check_body(request)?;
        }
        Interval::granted_to(request).map_err(|TooSmall| too_small())
    }

    /// Whether the call has an answer and no end yet.
    pub(super) fn is_talking(&self, tokens: &mut Tokens) -> Result<(), Refused> {
        match &self.state {
            // RFC 3261 §14.2, RFC 3311 §5.2: there is no answer yet that could be changed.
            State::Ringing(_) => {
                let seconds = tokens.number() % 11;
                Err(Refused::new(500, "").with("Retry-After", seconds.to_string()))
            }
            State::Closing(_) => Err(Refused::new(481, "")),
            State::Talking(_) => Ok(()),
        }
    }

    /// Whether an INVITE on the PBX's leg is still waiting for its answer or its ACK (§14.1, §14.2).
    pub(super) fn exchange_is_open(&self) -> bool {
        let State::Talking(talking) = &self.state else {
            return false;
        };
        let first = match self.callee_leg() {
            Leg::Pbx => talking.ack_by.is_some(),
            Leg::Meta => self.caller.awaits_ack(),
        };
        let theirs = talking.pbx.as_ref().is_some_and(|pbx| pbx.awaits_ack());
        first || theirs || self.own.as_ref().is_some_and(|own| own.offers())
    }

    /// Agrees to it.
    fn modified(
        &mut self,
        server: ServerId,
        request: &Request,
        granted: Option<Interval>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refused> {
        let (identity, pace) = (self.to_pbx(), self.caller.pace());
        let gone = || Refused::new(481, "");
        let (dialog, pbx) = self.pbx_session().ok_or_else(gone)?;
        let before = pbx.agreement.side().clone();
        let (sdp, offer) = match (request.body.is_empty(), &request.method) {
            (true, &Method::INVITE) => {
                let offer = pbx.agreement.offer();
                (Some(offer.text().to_owned()), Some(offer))
            }
            (true, _) => (None, None),
            (false, _) => {
                let rejected = |reject: crate::sdp::Reject| {
                    Refused::new(reject.status(), format!("{}: {reject}", Leg::Pbx))
                };
                let answered = pbx.agreement.answer(&request.body).map_err(rejected)?;
                (Some(answered.text), None)
            }
        };
        let tag = dialog.id().local_tag.clone();
        let mut theirs = ServerInvite::new(server, request.clone(), identity, tag, pace);
        theirs.say(granted.map(|it| it.in_response()).unwrap_or_default());
        let ok = match (&request.method, &sdp) {
            (&Method::INVITE, Some(sdp)) => {
                let malformed = || Refused::new(400, "");
                theirs.answer(sdp, turn.now).ok_or_else(malformed)?.0
            }
            _ => theirs.ok(sdp.as_deref()),
        };
        dialog.retarget(request);
        pbx.hears(&request.headers);
        pbx.timer = granted.map(|interval| SessionTimer::begin(interval, turn.now));
        if request.method == Method::INVITE {
            pbx.open = Some(Open {
                invite: theirs,
                offer,
            });
        }
        turn.respond(server, ok);
        self.agreed_anew(&before, turn);
        Ok(())
    }

    /// Tells the media session what it does not know yet.
    pub(super) fn agreed_anew(&mut self, before: &SideSpec, turn: &mut Turn<'_>) {
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        let side = pbx.agreement.side().clone();
        if side == *before {
            return;
        }
        self.codecs.pbx = side.sound();
        let resumes = is_held(before) && !is_held(&side);
        let (leg, direction) = (Leg::Pbx, side.direction);
        tracing::debug!(pbx = self.parties.pbx.name, ?direction, remote = %side.remote_rtp, "the PBX has changed its session");
        turn.media(Command::Agree { leg, side });
        if resumes {
            // A PBX on hold owed us nothing; from now on its silence counts.
            turn.media(Command::Start { leg });
        }
    }

    /// Whether nothing is expected of the PBX: it has said so, being on hold, or it is about to be another.
    pub(super) fn may_be_silent(&mut self, leg: Leg) -> bool {
        let session = self.pbx_session();
        let is_held = session.is_some_and(|(_, pbx)| is_held(pbx.agreement.side()));
        leg == Leg::Pbx && (is_held || self.is_transferring())
    }

    /// An ACK of the PBX that is not for its first INVITE.
    pub(super) fn reinvite_acked(&mut self, ack: &Request, turn: &mut Turn<'_>) {
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        let Some(open) = pbx.open.take_if(|open| open.invite.is_acked_by(ack)) else {
            return;
        };
        let Some(offer) = open.offer else { return };
        let before = pbx.agreement.side().clone();
        match pbx.agreement.accept(&offer, &ack.body) {
            Ok(_) => self.agreed_anew(&before, turn),
            Err(reject) => {
                let pbx = &self.parties.pbx.name;
                tracing::warn!(pbx, %reject, "the ACK of the PBX has no answer to our offer: its session stays as it was");
            }
        }
    }

    /// Repeats our 200 to a re-INVITE while it has no ACK.
    pub(super) fn repeat_to_pbx(&mut self, turn: &mut Turn<'_>) {
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        let Some(open) = &mut pbx.open else { return };
        match open.invite.tick(turn.now) {
            Ok(Some(ok)) => turn.respond(open.invite.id, ok),
            Ok(None) => {}
            Err(Unacknowledged) => {
                let why = format!("{} never acknowledged our 200 to its re-INVITE", Leg::Pbx);
                self.end(EndedBy::Bridge, &Refusal::new(408, 102, why), turn);
            }
        }
    }
}

/// Whether the PBX has put the call on hold. One that may play music meanwhile (`a=sendonly`, or 0.0.0.0) need not have any
/// (RFC 3264 §8.4).
fn is_held(side: &SideSpec) -> bool {
    side.direction != Direction::SendRecv
}
