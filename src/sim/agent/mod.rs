//! What both far ends do alike: place calls, take calls, end them. No socket, no clock.
//!
//! ```text
//!   caller   Calling ──2xx──▶ Talking ─────────────────┬─ BYE of theirs ──▶ gone
//!            (407 again; CANCEL)                       ├─ BYE of ours ──▶ Closing ──200──▶ gone
//!   callee   Ringing ──▶ Answered ──ACK──▶ Talking ────┘
//! ```
//!
//! How Meta and a PBX differ is said by their [`Manners`]: the shape of messages, and what they refuse.

mod callee;
mod caller;
mod dialogue;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

pub use plan::{Answering, Outcome, Outgoing, Plan};

use super::body::{Demands, Listening, Ours, Peer, Theirs};
use super::dialog::Dialog;
use super::report::{CallReport, EndedBy};
use crate::leg::Leg;
use crate::sip::message::Common;
use crate::sip::transaction::{self, ClientId, ServerId, Table};
use crate::sip::transport::{Arrival, Flow, Target};
use crate::sip::{Message, Request, Response};

/// Names a call of one far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What happens to a far end.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message came in.
    Arrived(Box<Arrival>),
    /// A message could not be sent.
    Failed {
        /// The request's transaction.
        client: ClientId,
        /// What the transport said.
        reason: String,
    },
    /// The time of [`Agent::deadline`] has come.
    Tick,
    /// The person hangs up.
    HangUp(CallId),
    /// The line heard nothing for so long that the app hangs up (§8); the text says how long.
    Silent(CallId, String),
}

/// What a far end wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Put a message on the wire.
    Send {
        /// The message.
        message: Message,
        /// Where it goes.
        target: Target,
        /// Whom to tell when it cannot be sent.
        client: Option<ClientId>,
        /// Whether a connection other than that of the first INVITE must be used (§2.8).
        elsewhere: bool,
    },
    /// Tell the line of a call something.
    Line(CallId, Order),
    /// A call is over, or was refused. What its line heard is for the driver to add.
    Ended(CallId, Box<CallReport>),
}

/// What the line of a call is told.
#[derive(Clone, Debug)]
pub enum Order {
    /// There is a call whose media comes in here. What comes before `Answered` comes too early.
    Open(Listening, Plan),
    /// Where media goes, and its keys.
    Agree(Peer),
    /// We may send before the answer: early media.
    Speak,
    /// The bridge may send from now on.
    Answered,
    /// The call is over; [`Action::Ended`] follows.
    Close,
}

/// Where media of the next call shall come in; `None`: no port is left.
pub type Ports = Box<dyn FnMut() -> Option<Listening> + Send>;

/// What becomes of an INVITE from the bridge.
#[derive(Debug)]
pub enum Verdict {
    /// The phone rings.
    Welcome(Vec<String>),
    /// Credentials are asked for, or for others; the caller tries again, so this is not the end of a call.
    Challenge(Box<Response>),
    /// It is refused, for these reasons.
    Refuse(Box<Response>, Vec<String>),
}

/// How one kind of far end behaves.
pub trait Manners {
    /// Which side of the bridge it is on.
    const LEG: Leg;

    /// Our side of the media of a call that has this number at the business's end.
    fn ours(&self, media: Listening, business: &str) -> Ours;
    /// What is demanded of the bridge's SDP in such a call.
    fn demands(&self, business: &str) -> Demands;
    /// Our SDP.
    fn print(&self, ours: &Ours) -> String;
    /// The first INVITE of a call, without body.
    fn invite(&self, call: &Outgoing) -> Request;
    /// The INVITE that answers a challenge. The error says what is wrong with the challenge.
    fn authorise(&self, invite: &Request, challenge: &Response) -> Result<Request, String>;
    /// Where all our requests go.
    fn target(&self) -> Target;
    /// What is wrong with a response to our INVITE.
    fn judge(&self, invite: &Request, response: &Response) -> Vec<String>;
    /// What becomes of an INVITE, given what is wrong with its SDP. `busy` tells whether the two users talk already.
    fn admit(&mut self, invite: &Request, sdp: &Theirs, busy: bool) -> Verdict;
    /// Completes a request in a dialog: Via, and what else this kind of far end adds.
    fn dress_request(&self, request: &mut Request, call: &CallReport, seconds: Option<u64>);
    /// Completes a response: what this kind of far end adds to each.
    fn dress_response(&self, request: &Request, response: &mut Response);
    /// What is wrong with a request or ACK in a dialog; anything makes it fail with 404.
    fn judge_in_dialog(&self, dialog: &Dialog, request: &Request) -> Vec<String>;
    /// Status for a request that is no INVITE and belongs to no call, and what is wrong with it.
    fn stray(&self, request: &Request) -> (u16, Option<String>);
}

/// A far end with all its calls.
pub struct Agent<M> {
    manners: M,
    table: Table,
    ports: Ports,
    answering: Answering,
    calls: BTreeMap<CallId, Call>,
    /// Which call a transaction of ours belongs to.
    clients: HashMap<ClientId, (CallId, Purpose)>,
    alarms: BTreeSet<(Instant, CallId, Alarm)>,
    last_id: u64,
    /// What was wrong outside of any call.
    complaints: Vec<String>,
}

/// What a request of ours was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Invite,
    Reinvite,
    Bye,
    Cancel,
}

impl Purpose {
    fn method(self) -> &'static str {
        match self {
            Purpose::Invite => "INVITE",
            Purpose::Reinvite => "re-INVITE",
            Purpose::Bye => "BYE",
            Purpose::Cancel => "CANCEL",
        }
    }
}

/// What becomes due in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Ring,
    Answer,
    /// The 200 goes out again until it is acknowledged (§13.3.1.4).
    Repeat,
    /// No ACK has come for 64 × T1.
    NoAck,
    /// The caller gives up.
    Cancel,
    HangUp,
    Reinvite,
    /// The CANCEL was answered, but the INVITE never.
    Forget,
}

struct Call {
    plan: Plan,
    ours: Ours,
    report: CallReport,
    started: Instant,
    answered: Option<Instant>,
    stage: Stage,
}

enum Stage {
    Calling {
        client: ClientId,
        invite: Request,
        rounds: u32,
        /// A CANCEL may go out, or has to as soon as a provisional response is here (§9.1).
        provisional: bool,
        cancel: bool,
    },
    Ringing {
        server: ServerId,
        invite: Request,
        dialog: Dialog,
        peer: Box<Peer>,
    },
    Answered {
        server: ServerId,
        ok: Response,
        dialog: Dialog,
        invite: u32,
    },
    Talking {
        dialog: Dialog,
        /// Our ACK, to be sent again for each copy of the 200; `None` where we were called.
        ack: Option<Request>,
    },
    /// Our BYE is out; theirs may cross it.
    Closing { dialog: Option<Dialog> },
}

impl<M: Manners> Agent<M> {
    /// A far end without calls.
    pub fn new(manners: M, ports: Ports, answering: Answering) -> Agent<M> {
        Agent {
            manners,
            table: Table::new(transaction::Settings::default()),
            ports,
            answering,
            calls: BTreeMap::new(),
            clients: HashMap::new(),
            alarms: BTreeSet::new(),
            last_id: 0,
            complaints: Vec::new(),
        }
    }

    /// Takes one event; returns what must be done now, in order.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Arrived(arrival) => {
                let actions = self.table.receive(*arrival, now);
                self.take(actions, now, &mut out);
            }
            Event::Failed { client, reason } => {
                let actions = self.table.failed(client, &reason, now);
                self.take(actions, now, &mut out);
            }
            Event::Tick => {
                let actions = self.table.tick(now);
                self.take(actions, now, &mut out);
                while let Some((call, alarm)) = self.next_alarm(now) {
                    self.ring_alarm(call, alarm, now, &mut out);
                }
            }
            Event::HangUp(call) => self.hang_up(call, now, &mut out),
            Event::Silent(call, what) => {
                self.complain(call, what);
                self.hang_up(call, now, &mut out);
            }
        }
        out
    }

    /// When [`Event::Tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        let alarm = self.alarms.first().map(|(at, ..)| *at);
        [self.table.deadline(), alarm].into_iter().flatten().min()
    }

    /// Replaces what is done with calls that come in from now on.
    pub fn answer(&mut self, answering: Answering) {
        self.answering = answering;
    }

    /// The calls under way.
    pub fn calls(&self) -> impl Iterator<Item = CallId> {
        self.calls.keys().copied()
    }

    /// What was wrong outside of any call, so far.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Notes what was wrong outside of any call.
    pub fn note(&mut self, what: String) {
        if self.complaints.len() < 1000 {
            self.complaints.push(what);
        }
    }

    /// How the far end behaves.
    pub fn manners(&mut self) -> &mut M {
        &mut self.manners
    }

    /// Carries out what the transaction table asks for.
    fn take(&mut self, actions: Vec<transaction::Action>, now: Instant, out: &mut Vec<Action>) {
        use transaction::Action as Tx;
        for action in actions {
            match action {
                Tx::Send {
                    message,
                    target,
                    client,
                } => out.push(Action::Send {
                    message,
                    target,
                    client,
                    elsewhere: self.goes_elsewhere(client),
                }),
                Tx::Request {
                    server,
                    request,
                    flow,
                } => self.request(server, request, flow, now, out),
                Tx::Cancelled { server, .. } => self.cancelled(server, now, out),
                Tx::Ack { request, .. } => self.ack(&request, now, out),
                Tx::Response {
                    client, response, ..
                } => self.response(client, response, now, out),
                Tx::TimedOut { client } => self.no_answer(client, "no answer in time", now, out),
                Tx::Failed { client, reason } => self.no_answer(client, &reason, now, out),
            }
        }
    }

    fn request(
        &mut self,
        server: ServerId,
        request: Request,
        _flow: Flow,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let call_id = request.call_id();
        let dialog = self.calls.iter().find(|(_, call)| {
            let dialog = call.stage.dialog();
            dialog.is_some_and(|d| d.call_id == call_id && d.owns(&request))
        });
        match dialog.map(|(id, _)| *id) {
            Some(call) => self.in_dialog(call, server, &request, now, out),
            None => self.out_of_dialog(server, request, now, out),
        }
    }

    fn response(
        &mut self,
        client: ClientId,
        response: Response,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(&(call, purpose)) = self.clients.get(&client) else {
            return;
        };
        match purpose {
            Purpose::Invite => self.invite_answered(call, client, response, now, out),
            Purpose::Reinvite => self.reinvite_answered(call, &response, now, out),
            Purpose::Bye => self.bye_answered(call, response.status, out),
            Purpose::Cancel => {}
        }
    }

    fn no_answer(&mut self, client: ClientId, why: &str, now: Instant, out: &mut Vec<Action>) {
        let Some((call, purpose)) = self.clients.remove(&client) else {
            return;
        };
        self.complain(call, format!("{}: {why}", purpose.method()));
        match purpose {
            Purpose::Invite | Purpose::Bye => self.end(call, None, out),
            Purpose::Reinvite => self.hang_up(call, now, out),
            Purpose::Cancel => {}
        }
    }

    /// Sends a request of a call with all that belongs to it.
    fn send(
        &mut self,
        call: CallId,
        purpose: Purpose,
        request: Request,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> ClientId {
        let (client, actions) = self.table.request(request, self.manners.target(), now);
        self.clients.insert(client, (call, purpose));
        self.take(actions, now, out);
        client
    }

    fn respond(
        &mut self,
        server: ServerId,
        response: Response,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let actions = self.table.respond(server, response, now);
        self.take(actions, now, out);
    }

    /// What [`Agent::next_id`] gives next.
    fn upcoming_id(&self) -> CallId {
        CallId(self.last_id + 1)
    }

    fn next_id(&mut self) -> CallId {
        self.last_id += 1;
        CallId(self.last_id)
    }

    fn next_alarm(&mut self, now: Instant) -> Option<(CallId, Alarm)> {
        let (at, ..) = self.alarms.first()?;
        if *at > now {
            return None;
        }
        let (_, call, alarm) = self.alarms.pop_first()?;
        Some((call, alarm))
    }

    fn ring_alarm(&mut self, call: CallId, alarm: Alarm, now: Instant, out: &mut Vec<Action>) {
        match alarm {
            Alarm::Ring => self.ring(call, now, out),
            Alarm::Answer => self.answer_call(call, now, out),
            Alarm::Repeat => self.repeat_answer(call, now, out),
            Alarm::NoAck => self.no_ack(call, now, out),
            Alarm::Cancel | Alarm::HangUp => self.hang_up(call, now, out),
            Alarm::Reinvite => self.reinvite(call, now, out),
            Alarm::Forget => {
                self.complain(call, "INVITE: no final response after CANCEL");
                self.end(call, None, out);
            }
        }
    }

    fn goes_elsewhere(&self, client: Option<ClientId>) -> bool {
        let call = client.and_then(|client| self.clients.get(&client));
        call.and_then(|(call, _)| self.calls.get(call))
            .is_some_and(|call| call.plan.other_connection)
    }

    fn complain(&mut self, call: CallId, what: impl Into<String>) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.report.complain(what);
        }
    }

    fn complain_all(&mut self, call: CallId, what: Vec<String>) {
        for what in what {
            self.complain(call, what);
        }
    }

    /// Forgets a call and reports it.
    fn end(&mut self, id: CallId, by: Option<EndedBy>, out: &mut Vec<Action>) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        call.report.ended_by = call.report.ended_by.or(by);
        self.alarms.retain(|(_, owner, _)| *owner != id);
        self.clients.retain(|_, (owner, _)| *owner != id);
        out.push(Action::Line(id, Order::Close));
        out.push(Action::Ended(id, Box::new(call.report)));
    }
}

impl Stage {
    fn dialog(&self) -> Option<&Dialog> {
        match self {
            Stage::Ringing { dialog, .. }
            | Stage::Answered { dialog, .. }
            | Stage::Talking { dialog, .. } => Some(dialog),
            Stage::Closing { dialog } => dialog.as_ref(),
            Stage::Calling { .. } => None,
        }
    }
}
