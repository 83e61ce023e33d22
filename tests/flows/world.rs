//! The words that flow tests are written in: a bridge, a Meta and a PBX, and the wires between them.
//!
//! A failing ladder prints everything that went over the wires up to the message that is missing.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use wabridge::call::watch::{At, Note, Watch};
use wabridge::call::{Action, Bridge, Event, Receipt, Setup, Summary};
use wabridge::leg::Leg;
use wabridge::media::{MediaEvent, SessionId};
use wabridge::observe::trace::Traces;
use wabridge::peer::{Meta, pbx};
use wabridge::sip::message::Common;
use wabridge::sip::token::Tokens;
use wabridge::sip::transaction::{self, Table};
use wabridge::sip::transport::{Arrival, ConnectionId, Flow, Hop, Protocol, Target};
use wabridge::sip::{Limits, Message, Method, Request, Response, build};

pub use crate::calls::Up;
pub use crate::fake_media::{Engine, Media};
pub use crate::far_ends::*;
use crate::log;
pub use crate::metas_pages::fits_meta;
pub use crate::settings::*;

pub const PASSWORD: &str = "meta-generated-secret";
pub const BUSINESS: &str = "+12145551869";
pub const USER: &str = "+12195550714";
const META: &str = "31.13.66.215:62080";
const PBX: &str = "192.0.2.7:5060";

/// What a party waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Status(u16),
    Method(&'static str),
}

impl From<u16> for What {
    fn from(status: u16) -> What {
        What::Status(status)
    }
}

impl From<&'static str> for What {
    fn from(method: &'static str) -> What {
        What::Method(method)
    }
}

impl What {
    fn is(&self, message: &Message) -> bool {
        match (self, message) {
            (What::Status(status), Message::Response(response)) => response.status == *status,
            (What::Method(method), Message::Request(request)) => {
                request.method.to_string() == *method
            }
            _ => false,
        }
    }
}

/// A bridge between a Meta and a PBX.
pub struct World {
    pub bridge: Bridge,
    pub now: Instant,
    start: Instant,
    pub media: Arc<Mutex<Media>>,
    pub ended: Vec<Summary>,
    /// What whoever watches was told.
    pub notes: Vec<Note>,
    /// What has come to each party and was not looked at yet, and at which of its hosts: Meta, PBX.
    inbox: [VecDeque<(Message, String)>; 2],
    /// The host at which the message came that was looked at last.
    pub got_at: String,
    /// Further hosts of the PBX: port and protocol are those of `pbx_at`.
    pub more: Vec<&'static str>,
    /// Hosts where messages of the bridge get lost.
    pub silent: Vec<&'static str>,
    /// Hosts that nothing can be sent to.
    pub closed_hosts: Vec<&'static str>,
    /// Messages of the bridge to this leg that get lost from now on.
    pub losing: Option<Leg>,
    /// Streams to Meta cannot be written to.
    pub cut: bool,
    /// Our numbers have other hostnames than the usual one.
    pub any_hostname: bool,
    /// Responses may be as unreadable as what they answer.
    pub echoing: bool,
    /// Connections that the bridge has closed.
    pub closed: Vec<Flow>,
    /// Nothing can be sent to the PBX.
    pub unreachable: bool,
    /// A connection that is closed: what is sent on it comes back.
    pub gone: Option<ConnectionId>,
    /// Where the bridge may send what is for the PBX.
    pub pbx_at: Hop,
    /// What is kept of every call.
    pub traces: Traces,
    /// Other places where it may register.
    pub registrars: Vec<Hop>,
    /// Where it has sent its REGISTERs.
    pub registered_at: Vec<Hop>,
    ladder: String,
    branches: u32,
    /// The CSeq that a party used last in a dialog.
    pub cseqs: u32,
}

impl World {
    pub fn new() -> World {
        World::with(setup())
    }

    pub fn with(setup: Setup) -> World {
        World::with_room(setup, transaction::Settings::default().max_transactions)
    }

    /// Of so many transactions at once.
    pub fn with_room(setup: Setup, max_transactions: usize) -> World {
        log::listen();
        let now = Instant::now();
        let engine = Engine::default();
        let media = engine.0.clone();
        let settings = transaction::Settings {
            max_transactions,
            ..Default::default()
        };
        let table = Table::with_seed(settings, 7);
        let bridge = Bridge::new(
            Arc::new(setup),
            table,
            Box::new(engine),
            Tokens::seeded(7),
            [7; 32],
            now,
        );
        World {
            bridge,
            now,
            start: now,
            media,
            ended: Vec::new(),
            notes: Vec::new(),
            inbox: Default::default(),
            got_at: String::new(),
            more: Vec::new(),
            silent: Vec::new(),
            closed_hosts: Vec::new(),
            losing: None,
            cut: false,
            any_hostname: false,
            echoing: false,
            closed: Vec::new(),
            unreachable: false,
            gone: None,
            pbx_at: pbx::hop("192.0.2.7", 5060, Protocol::Udp),
            traces: Traces::new(Default::default()),
            registrars: Vec::new(),
            registered_at: Vec::new(),
            ladder: String::new(),
            branches: 0,
            cseqs: 20_000,
        }
    }

    // ---- wires -------------------------------------------------------------------------------------------------

    pub fn flow(leg: Leg) -> Flow {
        let (protocol, local, remote, connection) = match leg {
            Leg::Meta => (
                Protocol::Tls,
                "198.51.100.1:5061",
                META,
                Some(ConnectionId(1)),
            ),
            Leg::Pbx => (Protocol::Udp, "192.0.2.1:5070", PBX, None),
        };
        Flow {
            leg,
            protocol,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection,
        }
    }

    /// Another connection of the same party, from another of its addresses.
    pub fn other_flow(leg: Leg) -> Flow {
        let mut flow = World::flow(leg);
        if leg == Leg::Meta {
            flow.remote = "157.240.19.7:40001".parse().unwrap();
            flow.connection = Some(ConnectionId(2));
        }
        flow
    }

    /// A party sends a message.
    pub fn sends(&mut self, leg: Leg, message: impl Into<Message>) {
        self.sends_over(World::flow(leg), message);
    }

    pub fn sends_over(&mut self, flow: Flow, message: impl Into<Message>) {
        let arrival = self.arrival(flow, message);
        self.handle(Event::Arrived(arrival));
    }

    /// A party sends a message, which waits for the bridge from now on.
    pub fn arrival(&mut self, flow: Flow, message: impl Into<Message>) -> Arrival {
        let mut message = message.into();
        self.note(flow.leg, "──▶", &message);
        let octets = message.to_bytes().into();
        if let Message::Request(request) = &mut message {
            let mut via = request.via().expect("a request has a Via");
            via.stamp(flow.remote);
            let others: Vec<String> = request
                .headers
                .all("Via")
                .skip(1)
                .map(str::to_owned)
                .collect();
            request.headers.set("Via", via.to_string());
            for other in others {
                request.headers.push("Via", other);
            }
        }
        Arrival {
            message,
            flow,
            octets,
            at: self.now,
        }
    }

    /// The time, for whoever watches.
    fn at(&self) -> At {
        At {
            now: self.now,
            wall: UNIX_EPOCH + Duration::from_secs(1_746_659_966) + (self.now - self.start),
        }
    }

    /// Anything else happens to the bridge.
    pub fn handle(&mut self, event: Event) {
        match &event {
            Event::Arrived(arrival) | Event::Excess(arrival) => {
                self.traces.received(arrival, self.at());
            }
            Event::Malformed { malformed, flow } => {
                self.traces.unreadable(malformed, *flow, self.at());
            }
            _ => {}
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let closed = self.media.lock().unwrap().closed.len();
            let actions = self.bridge.handle(event, self.now);
            for action in actions {
                events.extend(self.perform(action));
            }
            let media = self.media.lock().unwrap();
            for id in &media.closed[closed..] {
                events.push_back(Event::Media(MediaEvent::Closed {
                    id: *id,
                    stats: Box::new(media.carried.clone()),
                }));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Send {
                message,
                target,
                receipt,
            } => {
                let (octets, at) = (message.to_bytes(), self.at());
                self.traces.sent(&message, &octets, &target, at);
                self.deliver(message, &target, receipt)
            }
            Action::Close(flow) => {
                let _ = writeln!(self.ladder, "         the bridge closes {}", flow.remote);
                self.closed.push(flow);
                None
            }
            Action::Note(note) => {
                self.traces.noted(&note, self.at());
                if let Note::Ended(summary) = &note {
                    self.ended.push(Summary::clone(summary));
                }
                self.notes.push(note);
                None
            }
        }
    }

    fn deliver(
        &mut self,
        message: Message,
        target: &Target,
        receipt: Option<Receipt>,
    ) -> Option<Event> {
        let (leg, host) = match target {
            Target::Flow(flow) => (flow.leg, flow.remote.ip().to_string()),
            Target::Hop(hop) if is_register(&message) => {
                self.registered_at.push(hop.clone());
                let known = *hop == self.pbx_at || self.registrars.contains(hop);
                assert!(known, "registers at a strange place\n{}", self.ladder);
                (hop.leg, hop.host.clone())
            }
            Target::Hop(hop) => {
                let mut expected = match hop.leg {
                    Leg::Meta => Meta::hop(&meta()),
                    Leg::Pbx => self.pbx_at.clone(),
                };
                if hop.leg == Leg::Pbx && self.more.contains(&hop.host.as_str()) {
                    expected.host.clone_from(&hop.host);
                }
                assert_eq!(hop, &expected, "sent to a strange place\n{}", self.ladder);
                (hop.leg, hop.host.clone())
            }
        };
        // Whatever is sent must be readable, and the same after it was read.
        let read = match Message::parse(&message.to_bytes(), &Limits::default()) {
            Ok(read) => read,
            // What could not be read comes back to its sender as it was.
            Err(_) if self.echoing => message,
            Err(error) => panic!(
                "the bridge prints what it cannot read: {error}\n{}",
                self.ladder
            ),
        };
        if leg == Leg::Meta {
            fits_meta(
                &read,
                (!self.any_hostname).then_some("meta-voip.example.com"),
            );
        }
        if self.losing == Some(leg) || self.silent.contains(&host.as_str()) {
            self.note(leg, "◀─ lost", &read);
            return receipt.map(Event::Sent);
        }
        if self.cut && leg == Leg::Meta {
            self.note(leg, "◀─ cut", &read);
            return receipt.map(|receipt| Event::Unsent(receipt, "connection reset".into()));
        }
        let gone = matches!(target, Target::Flow(flow) if flow.connection.is_some() && flow.connection == self.gone);
        let closed = self.closed_hosts.contains(&host.as_str());
        if gone || closed || self.unreachable && leg == Leg::Pbx {
            self.note(leg, "◀─ refused", &read);
            return receipt.map(|receipt| Event::Unsent(receipt, "connection refused".into()));
        }
        self.note(leg, "◀──", &read);
        self.inbox[index(leg)].push_back((read, host));
        receipt.map(Event::Sent)
    }

    fn note(&mut self, leg: Leg, arrow: &str, message: &Message) {
        let at = self.now - self.start;
        let what = match message {
            Message::Request(request) => format!("{} {}", request.method, request.uri),
            Message::Response(response) => format!("{} {}", response.status, response.reason),
        };
        let name = if leg == Leg::Meta { "Meta" } else { "PBX" };
        let _ = writeln!(
            self.ladder,
            "{:>8.3} {name:>4} {arrow} {what}",
            at.as_secs_f64()
        );
    }

    // ---- words -------------------------------------------------------------------------------------------------

    /// The next message to a party is this one.
    #[track_caller]
    pub fn gets(&mut self, leg: Leg, what: impl Into<What>) -> Message {
        let what = what.into();
        match self.inbox[index(leg)].pop_front() {
            Some((message, host)) if what.is(&message) => {
                self.got_at = host;
                message
            }
            Some((other, _)) => panic!(
                "{leg} wanted {what:?} and got {}\n{}",
                first_line(&other),
                self.ladder
            ),
            None => panic!("{leg} wanted {what:?} and got nothing\n{}", self.ladder),
        }
    }

    #[track_caller]
    pub fn gets_request(&mut self, leg: Leg, method: &'static str) -> Request {
        match self.gets(leg, method) {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!(),
        }
    }

    #[track_caller]
    pub fn gets_response(&mut self, leg: Leg, status: u16) -> Response {
        match self.gets(leg, status) {
            Message::Response(response) => response,
            Message::Request(_) => unreachable!(),
        }
    }

    /// Whatever has come to a party next.
    pub fn next(&mut self, leg: Leg) -> Option<Message> {
        let (message, host) = self.inbox[index(leg)].pop_front()?;
        self.got_at = host;
        Some(message)
    }

    /// The same without taking it.
    pub fn peek(&self, leg: Leg) -> Option<&Message> {
        self.inbox[index(leg)].front().map(|(message, _)| message)
    }

    /// Nothing has come to either party that was not looked at.
    #[track_caller]
    pub fn is_quiet(&mut self) {
        self.gets_nothing(Leg::Meta);
        self.gets_nothing(Leg::Pbx);
    }

    /// The next message to the PBX is this request, and comes to this host.
    #[track_caller]
    pub fn gets_at(&mut self, host: &str, method: &'static str) -> Request {
        let request = self.gets_request(Leg::Pbx, method);
        assert_eq!(self.got_at, host, "{method}\n{}", self.ladder);
        request
    }

    /// A party receives a request and agrees.
    #[track_caller]
    pub fn agrees_to(&mut self, leg: Leg, method: &'static str) -> Request {
        let request = self.gets_request(leg, method);
        self.sends(leg, build::response(&request, 200, None));
        request
    }

    /// A party is refused, and acknowledges that.
    #[track_caller]
    pub fn is_refused(&mut self, leg: Leg, invite: &Request, status: u16) -> Response {
        let refusal = self.gets_response(leg, status);
        self.sends(leg, build::ack(invite, &refusal));
        refusal
    }

    /// A party refuses our INVITE, and has our ACK.
    #[track_caller]
    pub fn refuses(&mut self, leg: Leg, invite: &Request, status: u16) {
        self.sends(leg, respond(invite, status));
        self.gets(leg, "ACK");
    }

    /// Nothing has come to a party that was not looked at.
    #[track_caller]
    pub fn gets_nothing(&mut self, leg: Leg) {
        if let Some((message, _)) = self.inbox[index(leg)].front() {
            panic!("{leg} got {} unasked\n{}", first_line(message), self.ladder);
        }
    }

    /// The DTLS handshake with Meta is done.
    pub fn is_keyed(&mut self) {
        self.handle(Event::Media(MediaEvent::Keyed {
            id: SessionId(1),
            leg: Leg::Meta,
        }));
    }

    /// Nothing can be sent to Meta, or nothing any more.
    pub fn has_no_path(&mut self, why: &str) {
        self.handle(Event::Media(MediaEvent::Failed {
            id: SessionId(1),
            leg: Leg::Meta,
            why: why.into(),
        }));
    }

    /// Time goes by, every timer at its instant.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.bridge.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.handle(Event::Deadline);
        }
        self.now = end;
    }

    /// After the last transaction's timers nothing is left of anything, and nobody has heard anything more.
    #[track_caller]
    pub fn is_left_empty(&mut self) {
        self.is_quiet();
        self.wait(Duration::from_secs(120));
        assert!(
            self.bridge.is_empty(),
            "something is left behind\n{}",
            self.ladder
        );
        self.is_quiet();
        let media = self.media.lock().unwrap();
        assert!(media.open.is_empty(), "media is left behind");
    }

    /// Nothing is left of any call; gives what was said of the only one.
    #[track_caller]
    pub fn leaves_nothing_behind(&mut self) -> Summary {
        self.is_left_empty();
        assert_eq!(self.ended.len(), 1, "one call has ended\n{}", self.ladder);
        self.ended[0].clone()
    }

    pub fn branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bKtest{}", self.branches)
    }
}

/// What a party is told of why.
#[track_caller]
pub fn reason(message: &impl Common) -> &str {
    message.headers().get("Reason").expect("a Reason")
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn is_register(message: &Message) -> bool {
    matches!(message, Message::Request(request) if request.method == Method::REGISTER)
}

fn index(leg: Leg) -> usize {
    usize::from(leg == Leg::Pbx)
}

pub fn first_line(message: &Message) -> String {
    let bytes = message.to_bytes();
    String::from_utf8_lossy(&bytes)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
