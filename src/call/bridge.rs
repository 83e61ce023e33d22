//! Signalling as one machine: what arrives finds its call, and what calls want goes out.
//!
//! ```text
//!   Event ──▶ source admitted? ──▶ transaction table ──▶ dialog ──▶ call machine ──▶ Action
//!                                                   └──▶ arrival: a new call, or why not
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::closing::Doors;
use super::errands::{Errands, Place, Turn};
use super::event::{Action, Event, Receipt, Stats};
use super::live::{CallId, Live};
use super::machine;
use super::quality;
use super::refused::late;
use super::setup::Setup;
use super::snapshot::{PbxAddress, Registered, Snapshot};
use super::watch::{Mark, Note};
use crate::leg::Leg;
use crate::media::{MediaEvent, Plane};
use crate::policy::sources::Refusal;
use crate::sip::build;
use crate::sip::dialog::DialogId;
use crate::sip::digest::server::Server as Nonces;
use crate::sip::message::{Common, Malformed, Message, Method, Request};
use crate::sip::register::Standing;
use crate::sip::seldom::Seldom;
use crate::sip::token::Tokens;
use crate::sip::transaction::{self, ClientId, ServerId, Table};
use crate::sip::transport::{Arrival, Flow, Hop, Protocol, Target};

/// The signalling of all calls.
pub struct Bridge {
    pub(super) setup: Arc<Setup>,
    pub(super) table: Table,
    pub(super) live: Live,
    pub(super) errands: Errands,
    pub(super) media: Box<dyn Plane + Send>,
    pub(super) nonces: Nonces,
    pub(super) admission: Admission,
    pub(super) tokens: Tokens,
    pub(super) doors: Doors,
    pub(super) stats: Stats,
    /// Sides whose requests there was no room for.
    crowded: Seldom<Leg>,
    /// Directions of calls that have turned bad, or good again.
    pub(super) turned: quality::Named,
}

impl Bridge {
    /// A bridge without calls. `nonce_key` must be random.
    pub fn new(
        setup: Arc<Setup>,
        table: Table,
        media: Box<dyn Plane + Send>,
        tokens: Tokens,
        nonce_key: [u8; 32],
        now: Instant,
    ) -> Bridge {
        let mut bridge = Bridge {
            nonces: Nonces::new(&setup.meta.digest, nonce_key, now),
            admission: Admission::new(&setup),
            setup,
            table,
            live: Live::default(),
            errands: Errands::default(),
            media,
            tokens,
            doors: Doors::Open,
            stats: Stats::default(),
            crowded: Seldom::new(Leg::BOTH.len()),
            turned: quality::unnamed(),
        };
        // What is registered at the start is asked for at the first deadline, which is now.
        let mut turn = Turn::new(&mut bridge.tokens, now);
        bridge.errands.configure(&bridge.setup, &mut turn);
        bridge
    }

    /// Takes one event; returns what must be done now, in order.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Arrived(arrival) => self.arrived(arrival, true, now, &mut out),
            Event::Excess(arrival) => self.arrived(arrival, false, now, &mut out),
            Event::Malformed { malformed, flow } => self.malformed(&malformed, flow, &mut out),
            Event::Sent(Receipt::Answer(call)) => {
                self.tell(call, machine::Event::AnswerSent, now, &mut out)
            }
            Event::Sent(Receipt::Client(_)) => {}
            Event::Unsent(receipt, reason) => self.unsent(receipt, &reason, now, &mut out),
            Event::Media(event) => self.heard_of_media(event, now, &mut out),
            Event::Reload(setup) => self.reload(setup, now, &mut out),
            Event::Drain { until } => self.drain(until, now, &mut out),
            Event::Stop => self.stop(now, &mut out),
            Event::Deadline => self.tick(now, &mut out),
        }
        out
    }

    /// When [`Event::Deadline`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.doors.deadline().filter(|_| self.calls() > 0);
        [
            self.table.deadline(),
            self.live.deadline(),
            self.errands.deadline(),
            waiting,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How long new calls may wait for it; zero: for ever.
    pub fn overload_delay(&self) -> Duration {
        self.setup.overload_delay
    }

    /// Whether nobody may call from there.
    pub fn is_stranger(&self, flow: Flow) -> bool {
        self.admission.is_stranger(flow)
    }

    /// Calls that are up, those that are being closed included.
    pub fn calls(&self) -> usize {
        self.live.len()
    }

    /// Whether no call, registration, transaction or anything of one is left.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.errands.is_empty() && self.table.is_empty()
    }

    /// Where the bridge registers, and how each registration stands.
    pub fn registrations(&self) -> impl Iterator<Item = (&Place, Standing)> {
        self.errands.registrations.standings()
    }

    /// What has been counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn pbx_addresses(&self) -> Vec<PbxAddress> {
        let told = |(pbx, hop, is_up): (&str, &Hop, bool)| PbxAddress {
            pbx: pbx.to_owned(),
            hop: hop.clone(),
            is_up,
        };
        self.errands.upkeep.addresses().map(told).collect()
    }

    fn registered(&self) -> Vec<Registered> {
        let told = |(place, standing): (&Place, Standing)| Registered {
            pbx: place.pbx.clone(),
            registrar: place.hop.clone(),
            standing,
        };
        self.registrations().map(told).collect()
    }

    /// What it is doing now.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let mut calls: Vec<_> = self.live.all().map(|(id, call)| call.live(id)).collect();
        calls.sort_unstable_by_key(|call| call.who.call);
        Snapshot {
            taken: now,
            calls,
            pbxs: self.pbx_addresses(),
            registrations: self.registered(),
            max_calls: self.setup.max_calls,
            transactions: self.table.len(),
            max_transactions: self.table.most(),
            turned_away: self.table.stats().refused,
            stopping: self.doors != Doors::Open,
            stats: self.stats,
        }
    }

    // ---- what comes in -----------------------------------------------------------------------------------------

    /// A message came in; `in_time`: a new call may become of it.
    fn arrived(&mut self, arrival: Arrival, in_time: bool, now: Instant, out: &mut Vec<Action>) {
        if let Message::Request(request) = &arrival.message
            && let Err(refusal) = self.admit(Some(request), arrival.flow)
        {
            let may_answer = request.method != Method::ACK;
            if let Some(status) = refusal.status().filter(|_| may_answer) {
                let tag = self.tokens.tag();
                out.push(send(
                    build::response(request, status, Some(&tag)),
                    arrival.flow,
                ));
            }
            return;
        }
        if !in_time && self.turn_away(&arrival, now, out) {
            return;
        }
        let (leg, before) = (arrival.flow.leg, self.table.stats().refused);
        let actions = self.table.receive(arrival, now);
        if self.table.stats().refused != before {
            self.turned_away(leg, now);
        }
        self.transactions(actions, now, out);
    }

    /// Refuses a new call before anything is done for it, not even a transaction opened. One that is known already goes on.
    fn turn_away(&mut self, arrival: &Arrival, now: Instant, out: &mut Vec<Action>) -> bool {
        let Message::Request(invite) = &arrival.message else {
            return false;
        };
        let Some(answer) = self.table.turn_away(invite, arrival.flow, now) else {
            return false;
        };
        self.note_refused(invite, arrival.flow, &late(), out);
        self.transactions(vec![answer], now, out);
        true
    }

    /// A full table is no call's affair: without this line nothing would say why Meta or the PBX is told 503.
    fn turned_away(&mut self, leg: Leg, now: Instant) {
        if let Some(more) = self.crowded.tell(leg, now) {
            let transactions = self.table.len();
            tracing::warn!(
                ?leg,
                transactions,
                more,
                "requests get 503: as many transactions are under way as transactions.max_transactions allows; raise it, or see \
                 who sends so much"
            );
        }
    }

    fn admit(&mut self, request: Option<&Request>, flow: Flow) -> Result<(), Refusal> {
        self.admission.admit(request, flow).inspect_err(|_| {
            match flow.leg {
                Leg::Meta => self.stats.strangers_meta += 1,
                Leg::Pbx => self.stats.strangers_pbx += 1,
            };
        })
    }

    fn malformed(&mut self, malformed: &Malformed, flow: Flow, out: &mut Vec<Action>) {
        if self.admit(None, flow).is_err() {
            if flow.protocol != Protocol::Udp {
                out.push(Action::Close(flow));
            }
            return;
        }
        match flow.leg {
            Leg::Meta => self.stats.malformed_meta += 1,
            Leg::Pbx => self.stats.malformed_pbx += 1,
        };
        tracing::warn!(leg = ?flow.leg, peer = %flow.remote, fault = %malformed, "cannot read what came in");
        if let Some(response) = build::refusal(malformed, &self.tokens.tag()) {
            out.push(send(response, flow));
        }
    }

    fn unsent(&mut self, receipt: Receipt, reason: &str, now: Instant, out: &mut Vec<Action>) {
        match receipt {
            Receipt::Client(client) => {
                let actions = self.table.failed(client, reason, now);
                self.transactions(actions, now, out);
            }
            // It is repeated until it is acknowledged, and the call ends if it never is.
            Receipt::Answer(_) => tracing::warn!(reason, "our 200 could not be sent"),
        }
    }

    fn heard_of_media(&mut self, event: MediaEvent, now: Instant, out: &mut Vec<Action>) {
        let (session, event) = match event {
            MediaEvent::Silent { id, leg } => (id, machine::Event::Silent(leg)),
            MediaEvent::Keyed { id, leg } => (id, machine::Event::Keyed(leg)),
            MediaEvent::Pressed { id, leg, press } => (id, machine::Event::Pressed(leg, press)),
            MediaEvent::Failed { id, leg, why } => (id, machine::Event::MediaFailed(leg, why)),
            MediaEvent::Closed { id, stats } => (id, machine::Event::MediaClosed(stats)),
            // A call goes on as it is.
            MediaEvent::Measured { id, leg, measured } => {
                return self.measured(id, leg, measured, now, out);
            }
            // Whoever watches has it already, and a call is none the wiser.
            MediaEvent::Recorded { .. } => return,
        };
        if let Some(call) = self.live.of_session(session) {
            if let Some(mark) = mark_of(&event) {
                out.push(Action::Note(Note::Mark { call, mark }));
            }
            self.tell(call, event, now, out);
        }
    }

    fn reload(&mut self, setup: Arc<Setup>, now: Instant, out: &mut Vec<Action>) {
        self.nonces.configure(&setup.meta.digest);
        self.admission
            .reload(&self.setup, &setup, self.live.newest());
        self.setup = setup.clone();
        self.run_errands(now, out, |errands, turn| errands.configure(&setup, turn));
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        let actions = self.table.tick(now);
        self.transactions(actions, now, out);
        while let Some(call) = self.live.next_due(now) {
            self.tell(call, machine::Event::Deadline, now, out);
        }
        self.run_errands(now, out, Errands::tick);
        self.tick_doors(now, out);
    }

    // ---- transactions ------------------------------------------------------------------------------------------

    pub(super) fn transactions(
        &mut self,
        actions: Vec<transaction::Action>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        use transaction::Action as T;
        for action in actions {
            match action {
                T::Send {
                    message,
                    target,
                    client,
                } => {
                    out.push(Action::Send {
                        message,
                        target,
                        receipt: client.map(Receipt::Client),
                    });
                }
                T::Request {
                    server,
                    request,
                    flow,
                } => self.request(server, request, flow, now, out),
                T::Cancelled { server, cancel } => {
                    if let Some(call) = self.live.of_server(server) {
                        self.tell(call, machine::Event::Cancelled(cancel), now, out);
                    }
                }
                T::Ack { request, flow } => {
                    if let Some((call, leg)) = self.dialog(&request, flow) {
                        self.tell(call, machine::Event::Ack(leg, request), now, out);
                    }
                }
                T::Response {
                    client, response, ..
                } => {
                    if let Some((call, purpose)) = self.live.of_client(client) {
                        if !response.is_provisional() {
                            self.live.settled(client);
                        }
                        self.tell(call, machine::Event::Response(purpose, response), now, out);
                    } else {
                        self.errand_answered(client, response, now, out);
                    }
                }
                T::TimedOut { client } => self.lost(client, "no answer in time".into(), now, out),
                T::Failed { client, reason } => self.lost(client, reason, now, out),
            }
        }
    }

    fn lost(&mut self, client: ClientId, why: String, now: Instant, out: &mut Vec<Action>) {
        if let Some((call, purpose)) = self.live.of_client(client) {
            self.live.settled(client);
            self.tell(call, machine::Event::Lost(purpose, why), now, out);
        } else {
            self.errand_lost(client, why, now, out);
        }
    }

    /// The call and leg of a request's dialog, if it came in on that leg's side.
    fn dialog(&self, request: &Request, flow: Flow) -> Option<(CallId, Leg)> {
        let id = DialogId::of(request)?;
        self.live.of_dialog(&id).filter(|(_, leg)| *leg == flow.leg)
    }

    fn request(
        &mut self,
        server: ServerId,
        request: Request,
        flow: Flow,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        if let Some((call, leg)) = self.dialog(&request, flow) {
            return self.tell(
                call,
                machine::Event::Request(leg, server, request),
                now,
                out,
            );
        }
        let in_dialog = request.to_tag().is_some();
        match in_dialog && request.method != Method::REGISTER {
            true => {
                let response = build::response(&request, 481, None);
                self.respond(server, response, now, out);
            }
            false => self.outside_dialogs(server, request, flow, now, out),
        }
    }

    pub(super) fn respond(
        &mut self,
        server: ServerId,
        response: crate::sip::Response,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let actions = self.table.respond(server, response, now);
        self.transactions(actions, now, out);
    }
}

fn mark_of(event: &machine::Event) -> Option<Mark> {
    match event {
        machine::Event::Silent(leg) => Some(Mark::Silent(*leg)),
        machine::Event::Keyed(leg) => Some(Mark::Keyed(*leg)),
        machine::Event::MediaFailed(leg, why) => Some(Mark::MediaFailed(*leg, why.clone())),
        _ => None,
    }
}

fn send(response: crate::sip::Response, flow: Flow) -> Action {
    Action::Send {
        message: response.into(),
        target: Target::Flow(flow),
        receipt: None,
    }
}
