//! Transactions (RFC 3261 §17, RFC 6026): each request and its responses, repeated as often as the network needs.
//!
//! ```text
//!   Arrival ──▶ key ──┬─ finds its transaction ──▶ invite_client, client, invite_server, server
//!                     ├─ a request that finds none opens one, an ACK goes to the dialog
//!                     └─ a response that finds none is a stray, and dropped
//!   now     ──▶ timers ── whoever is due
//! ```
//!
//! [`Table`] holds no socket and asks no clock. Each call costs the same however many transactions there are.

mod action;
mod client;
#[cfg(test)]
mod fixtures;
mod invite_client;
mod invite_server;
mod key;
mod machine;
mod server;
#[cfg(test)]
mod tests;
mod timers;
mod turned_away;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub use action::{Action, ClientId, ServerId};
pub use timers::Settings;

use crate::leg::Leg;

use super::message::Common;
use super::transport::{Arrival, Flow, Protocol, Target};
use super::{Message, Method, Request, Response, Via, build};
use action::reply;
use client::Client;
use invite_client::InviteClient;
use invite_server::{Acked, InviteServer};
use key::Key;
use machine::Machine;
use server::Server;
use timers::{Deadlines, Timers};
use turned_away::TurnedAway;

/// After how many seconds to ask again whom there was no room for.
const LATER: &str = "5";
/// After how many who came when there was no time: there is some each second.
const SOON: &str = "1";

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Responses and ACKs that belong to nothing.
    pub strays: u64,
    /// Requests that came again and were absorbed.
    pub copies: u64,
    /// Requests answered 503 because there were `max_transactions` already, by leg.
    pub refused: [u64; 2],
}

/// All transactions under way, of both legs.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    lossy: Arc<Timers>,
    reliable: Arc<Timers>,
    /// What outsiders do not know, so that they cannot foretell our tags.
    seed: u64,
    last_id: u64,
    entries: HashMap<u64, Entry>,
    index: HashMap<Arc<Key>, u64>,
    deadlines: Deadlines,
    turned_away: TurnedAway,
    stats: Stats,
}

#[derive(Debug)]
struct Entry {
    key: Arc<Key>,
    machine: Machine,
}

impl Table {
    /// An empty table.
    pub fn new(settings: Settings) -> Table {
        let seed = std::hash::RandomState::new().hash_one("tags");
        Table::with_seed(settings, seed)
    }

    /// An empty table whose To tags follow from `seed`.
    pub fn with_seed(settings: Settings, seed: u64) -> Table {
        Table {
            lossy: Arc::new(Timers::new(&settings, Protocol::Udp)),
            reliable: Arc::new(Timers::new(&settings, Protocol::Tls)),
            settings,
            seed,
            last_id: 0,
            entries: HashMap::new(),
            index: HashMap::new(),
            deadlines: Deadlines::default(),
            turned_away: TurnedAway::default(),
            stats: Stats::default(),
        }
    }

    /// Sends a request with all that belongs to it. It has its Via already, with a branch of its own; a CANCEL has
    /// that of its INVITE. An ACK never comes here: that of a 2xx is sent as it is.
    pub fn request(
        &mut self,
        request: Request,
        target: Target,
        now: Instant,
    ) -> (ClientId, Vec<Action>) {
        let leg = leg(&target);
        if request.method == Method::CANCEL {
            self.note_cancel(&request, leg, now);
        }
        let key = Key::of_ours(&request, leg);
        let timers = self.timers(target.protocol());
        let id = ClientId(self.next_id());
        let (machine, actions) = if request.method == Method::INVITE {
            let (client, actions) = InviteClient::open(id, request, target, timers, now);
            (Machine::InviteClient(client), actions)
        } else {
            let (client, actions) = Client::open(id, request, target, timers, now);
            (Machine::Client(client), actions)
        };
        self.insert(id.0, key, machine);
        (id, actions)
    }

    fn note_cancel(&mut self, cancel: &Request, leg: Leg, now: Instant) {
        if let Some(&id) = self.index.get(&Key::of_cancelled(cancel, leg)) {
            self.drive(id, now, |machine| {
                if let Machine::InviteClient(client) = machine {
                    client.cancelled(now);
                }
                Vec::new()
            });
        }
    }

    /// Sends a response. One to a transaction that is over, or that has had its final response, goes nowhere; only
    /// a 2xx to an INVITE may be repeated.
    pub fn respond(&mut self, server: ServerId, response: Response, now: Instant) -> Vec<Action> {
        self.drive(server.0, now, |machine| machine.respond(response, now))
    }

    /// Takes what came in.
    pub fn receive(&mut self, arrival: Arrival, now: Instant) -> Vec<Action> {
        match arrival.message {
            Message::Request(request) => self.incoming(request, arrival.flow, now),
            Message::Response(response) => self.answer(response, arrival.flow, now),
        }
    }

    fn answer(&mut self, response: Response, flow: Flow, now: Instant) -> Vec<Action> {
        let id = Key::of_answered(&response, flow.leg).and_then(|key| self.index.get(&key));
        let Some(&id) = id else {
            self.stats.strays += 1;
            return Vec::new();
        };
        self.drive(id, now, |machine| machine.response(response, flow, now))
    }

    fn incoming(&mut self, request: Request, flow: Flow, now: Instant) -> Vec<Action> {
        let Some(via) = request.via() else {
            self.stats.strays += 1;
            return Vec::new();
        };
        let target = reply_target(&via, &flow);
        let key = Key::of_theirs(&request, &via, flow.leg);
        let id = self.index.get(&key).copied();
        match (&request.method, id) {
            (m, Some(id)) if *m == Method::ACK => self.ack(id, request, flow, now),
            (m, None) if *m == Method::ACK => vec![Action::Ack { request, flow }],
            (m, _) if *m == Method::CANCEL => self.cancel(&key, id, request, &target, now),
            (_, Some(id)) => self.copy(id, target, now),
            (_, None) if self.was_turned_away(&key, &flow, now) => {
                vec![self.refuse(&key, &request, &target, SOON)]
            }
            (_, None) => self.open(key, request, target, flow, now),
        }
    }

    fn ack(&mut self, id: u64, request: Request, flow: Flow, now: Instant) -> Vec<Action> {
        let mut meaning = None;
        let mut actions = self.drive(id, now, |machine| {
            if let Machine::InviteServer(server) = machine {
                meaning = server.ack(now);
            }
            Vec::new()
        });
        match meaning {
            Some(Acked::Success) => actions.push(Action::Ack { request, flow }),
            Some(Acked::Refusal) => {}
            None => self.stats.strays += 1,
        }
        actions
    }

    /// §9.2. A CANCEL needs no transaction of its own: the same answer can be made again for each copy.
    fn cancel(
        &mut self,
        key: &Key,
        id: Option<u64>,
        cancel: Request,
        target: &Target,
        now: Instant,
    ) -> Vec<Action> {
        let mut tag = key.tag(self.seed);
        let Some(id) = id else {
            return vec![reply(build::response(&cancel, 481, Some(&tag)), target)];
        };
        let mut effective = false;
        let mut actions = self.drive(id, now, |machine| {
            if let Machine::InviteServer(server) = machine {
                effective = server.cancel();
                if let Some(sent) = server.to_tag() {
                    tag = sent.to_owned();
                }
            }
            Vec::new()
        });
        actions.push(reply(build::response(&cancel, 200, Some(&tag)), target));
        if effective {
            let server = ServerId(id);
            actions.push(Action::Cancelled { server, cancel });
        }
        actions
    }

    fn copy(&mut self, id: u64, target: Target, now: Instant) -> Vec<Action> {
        self.stats.copies += 1;
        self.drive(id, now, |machine| machine.copy(target))
    }

    fn open(
        &mut self,
        key: Key,
        request: Request,
        target: Target,
        flow: Flow,
        now: Instant,
    ) -> Vec<Action> {
        if self.entries.len() >= self.most() {
            self.stats.refused[flow.leg as usize] += 1;
            return vec![self.refuse(&key, &request, &target, LATER)];
        }
        let timers = self.timers(flow.protocol);
        let id = self.next_id();
        let machine = match request.method == Method::INVITE {
            true => Machine::InviteServer(InviteServer::open(target, timers)),
            false => Machine::Server(Server::open(target, timers, now)),
        };
        self.insert(id, key, machine);
        vec![Action::Request {
            server: ServerId(id),
            request,
            flow,
        }]
    }

    /// §8.2.7: without a transaction, since there is no room for one. The ACK will be a stray.
    fn refuse(&self, key: &Key, request: &Request, target: &Target, retry_after: &str) -> Action {
        let mut response = build::response(request, 503, Some(&key.tag(self.seed)));
        response.headers.push("Retry-After", retry_after);
        reply(response, target)
    }

    fn was_turned_away(&mut self, key: &Key, flow: &Flow, now: Instant) -> bool {
        !flow.protocol.is_reliable() && self.turned_away.has(key.hash(self.seed), now)
    }

    /// Refuses a request with 503, as a stateless UAS does (§8.2.7); `None` if it is part of a transaction already. If it comes
    /// again, it hears the same: what was refused must not become a call after all.
    pub fn turn_away(&mut self, request: &Request, flow: Flow, now: Instant) -> Option<Action> {
        let via = request.via()?;
        let key = Key::of_theirs(request, &via, flow.leg);
        if self.index.contains_key(&key) {
            return None;
        }
        if !flow.protocol.is_reliable() {
            let until = now + self.lossy.h;
            self.turned_away.note(key.hash(self.seed), now, until);
        }
        Some(self.refuse(&key, request, &reply_target(&via, &flow), SOON))
    }

    /// The transport says: a request could not be sent.
    pub fn failed(&mut self, client: ClientId, reason: &str, now: Instant) -> Vec<Action> {
        self.drive(client.0, now, |machine| machine.failed(reason))
    }

    /// Nobody wants to know the answer to a request of ours any more: it is not repeated. An answer that comes all the same
    /// is a stray; but an INVITE waits for it, because a 2xx must be acknowledged.
    pub fn abandon(&mut self, client: ClientId) {
        let id = client.0;
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        match &mut entry.machine {
            Machine::Client(_) => self.remove(id),
            Machine::InviteClient(invite) => {
                invite.quiet();
                self.deadlines.set(id, invite.deadline());
            }
            Machine::InviteServer(_) | Machine::Server(_) => {}
        }
    }

    /// When [`Table::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Does what has become due, and looks at nothing else.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(id) = self.deadlines.due(now) {
            actions.extend(self.drive(id, now, |machine| machine.tick(now)));
        }
        actions
    }

    /// How many transactions are under way, those included that only absorb repetitions.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there may be, [`Settings::max_transactions`]: beyond it what others ask is refused.
    pub fn most(&self) -> usize {
        self.settings.max_transactions
    }

    /// What has been counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Gives an event to a machine; then sets its next deadline, or forgets it.
    fn drive(
        &mut self,
        id: u64,
        now: Instant,
        event: impl FnOnce(&mut Machine) -> Vec<Action>,
    ) -> Vec<Action> {
        let Some(entry) = self.entries.get_mut(&id) else {
            return Vec::new();
        };
        let mut actions = event(&mut entry.machine);
        // Over a stream most lingering times are nothing (§17, Table 4): they are over as they begin.
        if entry.machine.deadline().is_some_and(|at| at <= now) {
            actions.extend(entry.machine.tick(now));
        }
        if entry.machine.is_over() {
            self.remove(id);
        } else {
            self.deadlines.set(id, entry.machine.deadline());
        }
        actions
    }

    fn insert(&mut self, id: u64, key: Key, machine: Machine) {
        let key = Arc::new(key);
        self.deadlines.set(id, machine.deadline());
        self.index.insert(Arc::clone(&key), id);
        self.entries.insert(id, Entry { key, machine });
    }

    fn remove(&mut self, id: u64) {
        self.deadlines.set(id, None);
        // A request of ours that repeats a branch takes its place in the index.
        if let Some(entry) = self.entries.remove(&id)
            && self.index.get(&entry.key) == Some(&id)
        {
            self.index.remove(&entry.key);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn timers(&self, protocol: Protocol) -> Arc<Timers> {
        Arc::clone(match protocol.is_reliable() {
            true => &self.reliable,
            false => &self.lossy,
        })
    }
}

/// Where the response to a request goes that came in on `flow` with this top Via (§18.2.2, RFC 3581 §4).
///
/// Never to an address that only the Via names (`maddr`, `received`): who forges one would have us flood it.
pub fn reply_target(via: &Via, flow: &Flow) -> Target {
    let mut flow = *flow;
    if !flow.protocol.is_reliable() && !via.params.has("rport") {
        let port = via.port.unwrap_or(flow.protocol.default_port());
        flow.remote = SocketAddr::new(flow.remote.ip(), port);
    }
    Target::Flow(flow)
}

fn leg(target: &Target) -> Leg {
    match target {
        Target::Flow(flow) => flow.leg,
        Target::Hop(hop) => hop.leg,
    }
}
