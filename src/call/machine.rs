//! One call: two legs, the media between them, and what each leg is told of the other.
//!
//! ```text
//!   Ringing ── callee's 2xx ──▶ Talking ── BYE, silence, no ACK, stop ──▶ Closing ──▶ gone
//!      └────── refusal, CANCEL, BYE, ring timeout, fault ────────────────────▲
//! ```
//!
//! Closing lasts until every transaction of the call has ended and its media session is closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::summary::{Direction, EndedBy, Summary};
use crate::leg::Leg;
use crate::media::{Codec, Command, Opened, SessionId, SessionStats};
use crate::number::User;
use crate::peer::meta::{Authenticator, Next};
use crate::peer::{Meta, Pbx, Refusal, meta, pbx, printable};
use crate::policy::Number;
use crate::sdp;
use crate::sip::dialog::{
    ClientInvite, Dialog, DialogId, Outcome, ServerInvite, Step, Unacknowledged,
};
use crate::sip::grammar::quote;
use crate::sip::message::{Common, Method, Request, Response};
use crate::sip::token::Tokens;
use crate::sip::transaction::ServerId;
use crate::sip::transport::{Flow, Hop, Protocol, Target};
use crate::sip::{ALLOW, Via, build};

/// How long a call may take to close: longer than any transaction of it (64·T1) by some.
const CLOSING: Duration = Duration::from_secs(40);

/// The parties and rules of one call, fixed when it began: a reload does not touch it.
#[derive(Debug)]
pub struct Parties {
    /// Who called whom.
    pub direction: Direction,
    /// The rules of Meta's side.
    pub meta: Arc<Meta>,
    /// The PBX.
    pub pbx: Arc<Pbx>,
    /// The business number.
    pub number: Number,
    /// The WhatsApp user.
    pub user: Option<User>,
    /// The transport that the PBX's leg is spoken over.
    pub pbx_protocol: Protocol,
}

/// What a call begins with.
#[derive(Debug)]
pub struct Beginning {
    /// Who and how.
    pub parties: Parties,
    /// The INVITE that came in.
    pub caller: ServerInvite,
    /// Where it came in.
    pub caller_flow: Flow,
    /// Its SDP, which the callee's leg must come to terms with.
    pub offer: sdp::RemoteOffer,
    /// Our end towards the caller.
    pub caller_local: sdp::Local,
    /// The INVITE that goes out.
    pub callee: ClientInvite,
    /// The SDP in it.
    pub our_offer: sdp::Offer,
    /// The media session, which listens already.
    pub media: Opened,
    /// When the callee's phone has rung enough.
    pub ring_until: Instant,
}

/// What happens to a call.
#[derive(Debug)]
pub enum Event {
    /// A response in a client transaction of the call.
    Response(Purpose, Response),
    /// A client transaction ended without a final response; why.
    Lost(Purpose, String),
    /// The caller cancelled; its CANCEL.
    Cancelled(Request),
    /// An ACK came in the dialog with a leg.
    Ack(Leg, Request),
    /// Another request came in the dialog with a leg.
    Request(Leg, ServerId, Request),
    /// Our 200 to the caller is on the wire.
    AnswerSent,
    /// Nothing comes from a leg any more.
    Silent(Leg),
    /// The media session is closed.
    MediaClosed(Box<SessionStats>),
    /// The bridge stops.
    Stop,
    /// [`Call::deadline`] has come.
    Deadline,
}

/// What a client transaction of a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The callee's INVITE.
    Invite,
    /// A BYE.
    Bye,
    /// A CANCEL, or a BYE that has credentials: whatever it is answered, nothing follows.
    Errand,
}

/// What must be done for a call.
#[derive(Debug)]
pub enum Action {
    /// Open a client transaction.
    Request {
        /// What is sent.
        request: Request,
        /// Where to.
        target: Target,
        /// What for.
        purpose: Purpose,
    },
    /// Send an ACK, which has no transaction.
    Ack(Request, Target),
    /// Respond in a server transaction; `tell` asks for [`Event::AnswerSent`].
    Respond {
        /// The transaction.
        server: ServerId,
        /// The response.
        response: Response,
        /// Whether the call waits for it to be on the wire.
        tell: bool,
    },
    /// Tell the media session something.
    Media(Command),
    /// Close the media session.
    CloseMedia,
    /// Requests in this dialog are for this call and leg.
    Dialog(DialogId, Leg),
}

/// One call across the bridge.
#[derive(Debug)]
pub struct Call {
    parties: Parties,
    caller: ServerInvite,
    caller_flow: Flow,
    callee: ClientInvite,
    auth: Authenticator,
    session: SessionId,
    state: State,
    /// A BYE to the caller that waits for its ACK (RFC 3261 §15).
    held: Option<Box<(Request, Target)>>,
    /// The latest BYE to Meta, as long as it has given no credentials.
    unproven: Option<Box<Request>>,
    /// Client transactions that have not ended.
    pending: usize,
    began: Instant,
    answered: Option<Instant>,
    /// What the caller was told last.
    status: u16,
    media: Option<SessionStats>,
}

#[derive(Debug)]
enum State {
    Ringing(Box<Ringing>),
    Talking(Box<Talking>),
    Closing(Closing),
}

#[derive(Debug)]
struct Ringing {
    offer: sdp::RemoteOffer,
    caller_local: sdp::Local,
    our_offer: sdp::Offer,
    /// Our answer to the caller, once an early or final answer of the callee has settled it.
    answer: Option<String>,
    until: Instant,
}

#[derive(Debug)]
struct Talking {
    caller: Dialog,
    callee: Dialog,
    meta_started: bool,
}

#[derive(Debug)]
struct Closing {
    ended: Instant,
    /// When what is left of the call is forgotten.
    until: Instant,
    ended_by: EndedBy,
    why: String,
}

/// Tokens, time and the actions so far: what every step of the machine needs.
struct Turn<'a> {
    now: Instant,
    tokens: &'a mut Tokens,
    actions: Vec<Action>,
}

impl Turn<'_> {
    fn respond(&mut self, server: ServerId, response: Response) {
        self.actions.push(Action::Respond {
            server,
            response,
            tell: false,
        });
    }

    fn respond_and_tell(&mut self, server: ServerId, response: Response) {
        self.actions.push(Action::Respond {
            server,
            response,
            tell: true,
        });
    }

    fn media(&mut self, command: Command) {
        self.actions.push(Action::Media(command));
    }
}

impl Call {
    /// Begins a call: the caller hears 100, the callee is invited.
    pub fn begin(beginning: Beginning, tokens: &mut Tokens, now: Instant) -> (Call, Vec<Action>) {
        let Beginning {
            parties,
            caller,
            caller_flow,
            offer,
            caller_local,
            callee,
            our_offer,
            media,
            ring_until,
        } = beginning;
        let mut turn = Turn {
            now,
            tokens,
            actions: Vec::new(),
        };
        turn.respond(caller.id, caller.trying());
        if let Some(dialog) = Dialog::from_request(&caller.request, caller.tag()) {
            // A caller may say BYE before it is answered (§15), so its early dialog is known from the start.
            turn.actions.push(Action::Dialog(
                dialog.id().clone(),
                parties.direction.caller(),
            ));
        }
        let ringing = Ringing {
            offer,
            caller_local,
            our_offer,
            answer: None,
            until: ring_until,
        };
        let mut call = Call {
            parties,
            caller,
            caller_flow,
            callee,
            auth: Authenticator::default(),
            session: media.id,
            state: State::Ringing(Box::new(ringing)),
            held: None,
            unproven: None,
            pending: 0,
            began: now,
            answered: None,
            status: 100,
            media: None,
        };
        let invite = call.callee.request().clone();
        call.open(
            invite,
            call.first_hop(call.callee_leg()),
            Purpose::Invite,
            &mut turn,
        );
        (call, turn.actions)
    }

    /// Takes one event; returns what must be done now, in order.
    #[must_use]
    pub fn handle(&mut self, event: Event, tokens: &mut Tokens, now: Instant) -> Vec<Action> {
        let mut turn = Turn {
            now,
            tokens,
            actions: Vec::new(),
        };
        match event {
            Event::Response(purpose, response) => self.response(purpose, response, &mut turn),
            Event::Lost(purpose, why) => self.lost(purpose, why, &mut turn),
            Event::Cancelled(cancel) => self.caller_gave_up(reason_of(&cancel), &mut turn),
            Event::Ack(leg, ack) => self.ack(leg, &ack, &mut turn),
            Event::Request(leg, server, request) => self.request(leg, server, &request, &mut turn),
            Event::AnswerSent => self.start_meta(&mut turn),
            Event::Silent(leg) => self.silent(leg, &mut turn),
            Event::MediaClosed(stats) => self.media_closed(*stats, &mut turn),
            Event::Stop => self.end(
                EndedBy::Bridge,
                &Refusal::new(503, 41, "the bridge stops"),
                &mut turn,
            ),
            Event::Deadline => self.tick(&mut turn),
        }
        turn.actions
    }

    /// When [`Event::Deadline`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Ringing(ringing) => Some(ringing.until),
            State::Talking(_) => self.caller.deadline(),
            State::Closing(_) if self.held.is_some() => self.caller.deadline(),
            State::Closing(closing) => Some(closing.until),
        }
    }

    /// Names the media session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The transaction of the caller's INVITE.
    pub fn server(&self) -> ServerId {
        self.caller.id
    }

    /// What is left of the call, once nothing of it is left; `None` while it lives.
    pub fn over(&self, now: Instant) -> Option<Summary> {
        let State::Closing(closing) = &self.state else {
            return None;
        };
        let done = self.pending == 0 && self.media.is_some();
        if self.held.is_some() || !(done || now >= closing.until) {
            return None;
        }
        Some(Summary {
            direction: self.parties.direction,
            number: self.parties.number.number.clone(),
            user: self.parties.user.clone(),
            caller_call_id: self.caller.request.call_id().to_owned(),
            callee_call_id: self.callee.request().call_id().to_owned(),
            began: self.began,
            answered: self.answered,
            ended: closing.ended,
            ended_by: closing.ended_by,
            status: self.status,
            why: closing.why.clone(),
            media: self.media.clone().unwrap_or_default(),
        })
    }

    fn caller_leg(&self) -> Leg {
        self.parties.direction.caller()
    }

    fn callee_leg(&self) -> Leg {
        self.parties.direction.callee()
    }

    // ---- transactions ------------------------------------------------------------------------------------------

    fn open(&mut self, request: Request, target: Target, purpose: Purpose, turn: &mut Turn<'_>) {
        self.pending += 1;
        turn.actions.push(Action::Request {
            request,
            target,
            purpose,
        });
    }

    /// Where a request outside a dialog goes.
    fn first_hop(&self, leg: Leg) -> Target {
        Target::Hop(match leg {
            Leg::Meta => self.parties.meta.hop(),
            Leg::Pbx => self.parties.pbx.hop.clone(),
        })
    }

    /// Where a request in a dialog goes whose next hop would be `hop`.
    fn target(&self, leg: Leg, hop: Option<Hop>) -> Target {
        match (leg, hop) {
            // A PBX that called us over a stream is reached by that stream, whatever its Contact says.
            (Leg::Pbx, _)
                if self.caller_leg() == Leg::Pbx && self.caller_flow.protocol.is_reliable() =>
            {
                Target::Flow(self.caller_flow)
            }
            (Leg::Pbx, Some(hop)) => Target::Hop(hop),
            // Route sets of Meta name hosts that are Meta's own affair.
            _ => self.first_hop(leg),
        }
    }

    fn response(&mut self, purpose: Purpose, response: Response, turn: &mut Turn<'_>) {
        // A 2xx may come once more for an INVITE that is settled; it ends nothing a second time.
        let settled = purpose == Purpose::Invite && !self.callee.is_pending();
        if !response.is_provisional() && !settled {
            self.pending = self.pending.saturating_sub(1);
        }
        match purpose {
            Purpose::Invite => {
                let steps = self.callee.response(response, turn.tokens);
                self.take(steps, turn);
            }
            Purpose::Bye => self.bye_answered(&response, turn),
            Purpose::Errand => {}
        }
    }

    fn lost(&mut self, purpose: Purpose, why: String, turn: &mut Turn<'_>) {
        self.pending = self.pending.saturating_sub(1);
        if purpose != Purpose::Invite {
            return;
        }
        let steps = self.callee.lost();
        self.take(steps, turn);
        if self.caller.is_ringing() {
            let refusal = Refusal::new(
                503,
                38,
                format!("{} cannot be reached: {why}", self.callee_leg()),
            );
            self.refuse(EndedBy::Bridge, &refusal, turn);
        }
    }

    fn take(&mut self, steps: Vec<Step>, turn: &mut Turn<'_>) {
        for step in steps {
            match step {
                Step::Cancel(cancel) => {
                    let target = self.first_hop(self.callee_leg());
                    self.open(cancel, target, Purpose::Errand, turn);
                }
                Step::Bye(bye, hop) => {
                    let target = self.target(self.callee_leg(), hop);
                    self.open_bye(self.callee_leg(), bye, target, turn);
                }
                Step::Ack(ack, hop) => {
                    let target = self.target(self.callee_leg(), hop);
                    turn.actions.push(Action::Ack(ack, target));
                }
                Step::Outcome(outcome) => self.outcome(outcome, turn),
            }
        }
    }

    // ---- ringing -----------------------------------------------------------------------------------------------

    fn outcome(&mut self, outcome: Outcome, turn: &mut Turn<'_>) {
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
        let mut sdp = None;
        if self.parties.direction == Direction::BusinessInitiated && !response.body.is_empty() {
            match self.settle(&response.body, turn) {
                Ok(answer) => {
                    turn.media(Command::Start { leg: Leg::Pbx });
                    sdp = Some(answer);
                }
                Err(reject) => {
                    tracing::warn!(%reject, "an SDP in Meta's provisional response is of no use")
                }
            }
        }
        self.status = response.status;
        let response = self.caller.progress(response.status, sdp.as_deref());
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
        let carried: Vec<Codec> = side.send.iter().map(|payload| payload.codec).collect();
        let answered = ringing.offer.answer(&ringing.caller_local, &carried)?;
        turn.media(Command::Agree { leg: callee, side });
        turn.media(Command::Agree {
            leg: caller,
            side: answered.side,
        });
        ringing.answer = Some(answered.text.clone());
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
            Ok(answer) => match self.caller.answer(&answer, turn.now) {
                Some((ok, caller)) => {
                    return self.talk(with_custom(ok, leg, response), caller, callee, turn);
                }
                None => "the INVITE cannot make a dialog".to_owned(),
            },
            Err(reject) => reject.to_string(),
        };
        let refusal = Refusal::new(488, 88, format!("{leg}: {reject}"));
        self.bye(leg, &mut callee, sip_reason(488, &refusal.text), &[], turn);
        self.refuse(EndedBy::Bridge, &refusal, turn);
    }

    fn talk(&mut self, ok: Response, caller: Dialog, callee: Dialog, turn: &mut Turn<'_>) {
        self.answered = Some(turn.now);
        self.status = 200;
        self.state = State::Talking(Box::new(Talking {
            caller,
            callee,
            meta_started: false,
        }));
        turn.media(Command::Start { leg: Leg::Pbx });
        turn.respond_and_tell(self.caller.id, ok);
        if self.callee_leg() == Leg::Meta {
            // Its ACK went out just before: from now on Meta waits for our first packet (SIP guide, 2025-12-15).
            self.start_meta(turn);
        }
    }

    fn start_meta(&mut self, turn: &mut Turn<'_>) {
        if let State::Talking(talking) = &mut self.state
            && !talking.meta_started
        {
            talking.meta_started = true;
            turn.media(Command::Start { leg: Leg::Meta });
        }
    }

    fn refused(&mut self, response: &Response, turn: &mut Turn<'_>) {
        let leg = self.callee_leg();
        let refusal = match leg {
            Leg::Pbx => pbx::refusal(response),
            Leg::Meta => {
                let cnonce = turn.tokens.word();
                match self.auth.next(
                    self.callee.request(),
                    response,
                    &self.parties.number,
                    cnonce,
                ) {
                    Next::Refuse(refusal) => refusal,
                    Next::Retry(name, value) => {
                        let again = self.callee.retry((name, value), turn.tokens);
                        return self.open(again, self.first_hop(leg), Purpose::Invite, turn);
                    }
                }
            }
        };
        self.refuse(EndedBy::Leg(leg), &refusal, turn);
    }

    /// Tells the caller no, and closes.
    fn refuse(&mut self, by: EndedBy, refusal: &Refusal, turn: &mut Turn<'_>) {
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

    fn caller_gave_up(&mut self, reason: Option<String>, turn: &mut Turn<'_>) {
        if !self.caller.is_ringing() {
            return;
        }
        let leg = self.caller_leg();
        self.refuse(
            EndedBy::Leg(leg),
            &Refusal::new(487, 31, format!("{leg} gave up")),
            turn,
        );
        self.cancel(reason, turn);
    }

    fn cancel(&mut self, reason: Option<String>, turn: &mut Turn<'_>) {
        let steps = self.callee.cancel(reason);
        self.take(steps, turn);
    }

    // ---- in a dialog -------------------------------------------------------------------------------------------

    fn ack(&mut self, leg: Leg, ack: &Request, turn: &mut Turn<'_>) {
        if leg == self.caller_leg() && self.caller.is_acked_by(ack) && self.caller.acknowledged() {
            // Whoever has acknowledged our 200 has it, even if the transport never said so.
            self.start_meta(turn);
            self.send_held_bye(turn);
        }
    }

    fn request(&mut self, leg: Leg, server: ServerId, request: &Request, turn: &mut Turn<'_>) {
        let in_order = match (&mut self.state, leg == self.parties.direction.caller()) {
            (State::Talking(talking), true) => talking.caller.is_in_order(request),
            (State::Talking(talking), false) => talking.callee.is_in_order(request),
            _ => true,
        };
        let status = match request.method {
            _ if !in_order => 500,
            Method::BYE => 200,
            // Meta documents 500 for a re-INVITE and forwards none (FAQ, 2025-11-13); the call goes on.
            Method::INVITE => 500,
            Method::OPTIONS => 200,
            _ => 405,
        };
        let mut response = build::response(request, status, None);
        if status == 405 || request.method == Method::OPTIONS {
            response.headers.push("Allow", ALLOW);
        }
        turn.respond(server, response);
        if status == 200 && request.method == Method::BYE {
            self.hung_up(leg, request, turn);
        }
    }

    fn hung_up(&mut self, leg: Leg, bye: &Request, turn: &mut Turn<'_>) {
        match &self.state {
            State::Ringing(_) => self.caller_gave_up(reason_of(bye), turn),
            State::Talking(_) => {
                let custom = match leg {
                    Leg::Meta => meta::custom_headers(&bye.headers),
                    Leg::Pbx => Vec::new(),
                };
                let reason = reason_of(bye)
                    .unwrap_or_else(|| Refusal::new(200, 16, "NORMAL_CLEARING").reason());
                self.bye_leg(leg.other(), reason, &custom, turn);
                self.close(EndedBy::Leg(leg), &format!("{leg} hung up"), turn);
            }
            // Each side hung up before it knew of the other.
            State::Closing(_) if leg == self.caller_leg() => self.held = None,
            State::Closing(_) => {}
        }
    }

    /// BYE on one leg of a call that talks.
    fn bye_leg(
        &mut self,
        leg: Leg,
        reason: String,
        custom: &[(String, String)],
        turn: &mut Turn<'_>,
    ) {
        let State::Talking(talking) = &mut self.state else {
            return;
        };
        let dialog = if leg == self.parties.direction.caller() {
            &mut talking.caller
        } else {
            &mut talking.callee
        };
        let mut dialog = dialog.clone();
        self.bye(leg, &mut dialog, reason, custom, turn);
    }

    fn bye(
        &mut self,
        leg: Leg,
        dialog: &mut Dialog,
        reason: String,
        custom: &[(String, String)],
        turn: &mut Turn<'_>,
    ) {
        let protocol = self.parties.pbx_protocol;
        let identity = match leg {
            Leg::Meta => self.parties.meta.identity(&self.parties.number),
            Leg::Pbx => self.parties.pbx.identity(protocol),
        };
        let target = self.target(leg, dialog.next_hop(leg, protocol));
        let mut request = dialog.request(Method::BYE, &identity, &turn.tokens.branch());
        request.headers.push("Reason", reason);
        for (name, value) in custom {
            request.headers.push(name, value);
        }
        if leg == self.caller_leg() && self.caller.awaits_ack() {
            self.held = Some(Box::new((request, target)));
        } else {
            self.open_bye(leg, request, target, turn);
        }
    }

    fn open_bye(&mut self, leg: Leg, bye: Request, target: Target, turn: &mut Turn<'_>) {
        if leg == Leg::Meta {
            self.unproven = Some(Box::new(bye.clone()));
        }
        self.open(bye, target, Purpose::Bye, turn);
    }

    /// No page says that Meta challenges a BYE; if it does, the user would stay on the line (unverified).
    fn bye_answered(&mut self, response: &Response, turn: &mut Turn<'_>) {
        if !matches!(response.status, 401 | 407) {
            return;
        }
        let branch = |via: Option<Via>| via?.branch().map(str::to_owned);
        let answered = branch(response.via());
        let Some(bye) = self.unproven.take_if(|bye| branch(bye.via()) == answered) else {
            return;
        };
        let number = &self.parties.number;
        let mut auth = Authenticator::default();
        let next = auth.next(&bye, response, number, turn.tokens.word());
        if let Next::Retry(name, value) = next {
            let via = self
                .parties
                .meta
                .identity(number)
                .via(&turn.tokens.branch());
            let cseq = bye.cseq().map_or(0, |c| c.number) + 1;
            let mut again = build::again(&bye, &via, cseq);
            again.headers.set(name, value);
            self.open(again, self.first_hop(Leg::Meta), Purpose::Errand, turn);
        }
    }

    fn send_held_bye(&mut self, turn: &mut Turn<'_>) {
        let Some(held) = self.held.take() else {
            return;
        };
        if let State::Closing(closing) = &mut self.state {
            closing.until = turn.now + CLOSING;
        }
        let (request, target) = *held;
        self.open_bye(self.caller_leg(), request, target, turn);
    }

    // ---- the end -----------------------------------------------------------------------------------------------

    fn silent(&mut self, leg: Leg, turn: &mut Turn<'_>) {
        // Before the answer nobody owes us media: many phones send none while they wait for another to be picked up.
        if matches!(self.state, State::Ringing(_)) {
            return;
        }
        let refusal = Refusal::new(408, 102, format!("no media from {leg}"));
        self.end(EndedBy::Bridge, &refusal, turn);
    }

    /// Ends the call from our side, whatever it is doing.
    fn end(&mut self, by: EndedBy, why: &Refusal, turn: &mut Turn<'_>) {
        match &self.state {
            State::Ringing(_) => {
                self.refuse(by, why, turn);
                self.cancel(Some(why.reason()), turn);
            }
            State::Talking(_) => {
                self.bye_leg(self.callee_leg(), why.reason(), &[], turn);
                self.bye_leg(self.caller_leg(), why.reason(), &[], turn);
                self.close(by, &why.text, turn);
            }
            State::Closing(_) => {}
        }
    }

    fn close(&mut self, ended_by: EndedBy, why: &str, turn: &mut Turn<'_>) {
        if matches!(self.state, State::Closing(_)) {
            return;
        }
        self.state = State::Closing(Closing {
            ended: turn.now,
            until: turn.now + CLOSING,
            ended_by,
            why: why.to_owned(),
        });
        if self.media.is_none() {
            turn.actions.push(Action::CloseMedia);
        }
    }

    fn media_closed(&mut self, stats: SessionStats, turn: &mut Turn<'_>) {
        self.media = Some(stats);
        self.end(
            EndedBy::Bridge,
            &Refusal::new(503, 41, "the media engine ended the session"),
            turn,
        );
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        match &self.state {
            State::Ringing(ringing) if turn.now >= ringing.until => {
                let refusal = Refusal::new(
                    480,
                    19,
                    format!("{} did not answer in time", self.callee_leg()),
                );
                self.end(EndedBy::Bridge, &refusal, turn);
            }
            State::Talking(_) => self.repeat_our_200(turn),
            State::Closing(_) if self.held.is_some() => self.repeat_our_200(turn),
            _ => {}
        }
    }

    fn repeat_our_200(&mut self, turn: &mut Turn<'_>) {
        match self.caller.tick(turn.now) {
            // If the first copy never got onto the wire, this one starts the media.
            Ok(Some(ok)) => turn.respond_and_tell(self.caller.id, ok),
            Ok(None) => {}
            Err(Unacknowledged) => {
                let why = format!("{} never acknowledged our 200", self.caller_leg());
                self.end(EndedBy::Bridge, &Refusal::new(408, 102, why), turn);
                self.send_held_bye(turn);
            }
        }
    }
}

/// What a CANCEL or BYE says of its reason (RFC 3326), fit to be passed on.
fn reason_of(request: &Request) -> Option<String> {
    let reason = printable(request.headers.get("Reason")?, 256);
    (!reason.is_empty()).then_some(reason)
}

/// A Reason that carries a SIP status.
fn sip_reason(status: u16, text: &str) -> String {
    format!("SIP;cause={status};text={}", quote(&printable(text, 256)))
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
