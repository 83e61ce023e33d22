//! Signalling without sockets: bytes in, the machine, bytes out, in virtual time.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use wabridge::call::watch::{At, Watch};
use wabridge::call::{Action, Bridge, Event, Setup};
use wabridge::leg::Leg;
use wabridge::media::{
    Codec, Command, Facing, LocalPorts, MediaEvent, OpenError, Opened, Plane, SessionId, Source,
};
use wabridge::number;
use wabridge::observe::trace::Traces;
use wabridge::peer::{Meta, Pbx, pbx};
use wabridge::policy::{KeyExchange, Keying, Number, Numbers, Way, health};
use wabridge::sdp;
use wabridge::secret::Secret;
use wabridge::sip::dialog::Pace;
use wabridge::sip::digest::server;
use wabridge::sip::message::Common;
use wabridge::sip::token::Tokens;
use wabridge::sip::transaction::{self, Table};
use wabridge::sip::transport::{Arrival, ConnectionId, Flow, Protocol, Target};
use wabridge::sip::{Message, build};

use crate::far_ends::messages::{self, BUSINESS, Caller, PASSWORD};
use crate::times::{Times, us};

/// Calls measured at each load, after as many tenths unmeasured.
const CALLS: usize = 3_000;
/// Virtual time between two calls. Transactions are remembered for 32 s, so some hundred are at any time.
const PAUSE: Duration = Duration::from_millis(100);

/// Measures and prints.
pub fn run() {
    println!("The machine alone: bytes in, bytes out, one thread, medians of {CALLS} calls in µs");
    println!(
        "(parse + decide + print, and a trace kept; \"whole call\" is every message from the first INVITE to the last 200)"
    );
    println!(
        "{:>10} {:>26} {:>26} {:>8} {:>8} {:>11} {:>8}",
        "calls up",
        "INVITE → PBX's INVITE",
        "200 → Meta's 200",
        "sum",
        "p99",
        "whole call",
        "calls/s"
    );
    let mut world = World::new();
    let mut up = Vec::new();
    for load in [0, 10, 1_000, 10_000, 20_000] {
        while up.len() < load {
            up.push(world.call());
            world.rest();
        }
        for _ in 0..CALLS / 10 {
            let call = world.call();
            world.hang_up(call);
        }
        measure(&mut world, load);
    }
    println!();
}

fn measure(world: &mut World, load: usize) {
    let (mut invites, mut answers) = (Columns::default(), Columns::default());
    let (mut sums, mut wholes) = (Times::default(), Times::default());
    for _ in 0..CALLS {
        let call = world.call();
        invites.add(call.invite);
        answers.add(call.answer);
        sums.add(call.invite.total() + call.answer.total());
        wholes.add(world.hang_up(call));
    }
    println!(
        "{load:>10} {:>26} {:>26} {:>8.1} {:>8.1} {:>11.1} {:>8.0}",
        invites.medians(),
        answers.medians(),
        us(sums.median()),
        us(sums.percentile(99)),
        us(wholes.median()),
        1.0 / wholes.median().as_secs_f64(),
    );
}

/// What one message cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    parse: Duration,
    decide: Duration,
    print: Duration,
}

impl Cost {
    fn total(&self) -> Duration {
        self.parse + self.decide + self.print
    }
}

#[derive(Default)]
struct Columns {
    parse: Times,
    decide: Times,
    print: Times,
}

impl Columns {
    fn add(&mut self, cost: Cost) {
        self.parse.add(cost.parse);
        self.decide.add(cost.decide);
        self.print.add(cost.print);
    }

    fn medians(&self) -> String {
        let [parse, decide, print] =
            [&self.parse, &self.decide, &self.print].map(|times| us(times.median()));
        format!("{parse:.1} + {decide:.1} + {print:.1}")
    }
}

/// A call that is up.
struct Call {
    caller: Caller,
    ok: wabridge::sip::Response,
    invite: Cost,
    answer: Cost,
    /// Everything so far.
    spent: Duration,
}

/// A bridge and the wires around it.
struct World {
    bridge: Bridge,
    traces: Traces,
    now: Instant,
    closed: Arc<Mutex<Vec<SessionId>>>,
    spent: Duration,
    calls: u64,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        let engine = Engine::default();
        let closed = engine.closed.clone();
        let table = Table::with_seed(transaction::Settings::default(), 7);
        let tokens = Tokens::seeded(7);
        World {
            bridge: Bridge::new(
                Arc::new(setup()),
                table,
                Box::new(engine),
                tokens,
                [7; 32],
                now,
            ),
            traces: Traces::new(Default::default()),
            now,
            closed,
            spent: Duration::ZERO,
            calls: 0,
        }
    }

    fn call(&mut self) -> Call {
        self.calls += 1;
        self.spent = Duration::ZERO;
        let media = "157.240.19.130:3480".parse().expect("an address");
        let mut caller = Caller::new(self.calls, media);
        let (_, sent) = self.arrives(Leg::Meta, &caller.invite.to_bytes());
        let challenge = messages::response(&sent[0], 407);
        self.arrives(
            Leg::Meta,
            &build::ack(&caller.invite, &challenge).to_bytes(),
        );
        caller.authenticate(&challenge);
        let (invite, sent) = self.arrives(Leg::Meta, &caller.invite.to_bytes());
        messages::response(&sent[0], 100);
        let offered = messages::request(&sent[1]);
        let media = "192.0.2.7:16000".parse().expect("an address");
        let (answer, sent) = self.arrives(
            Leg::Pbx,
            &messages::answer(&offered, media, Codec::Opus).to_bytes(),
        );
        let is_ok = |message: &&Message| matches!(message, Message::Response(_));
        let ok = messages::response(sent.iter().find(is_ok).expect("Meta is answered"), 200);
        self.arrives(Leg::Meta, &caller.ack(&ok).to_bytes());
        Call {
            caller,
            ok,
            invite,
            answer,
            spent: self.spent,
        }
    }

    /// Ends it; gives what all its messages cost together.
    fn hang_up(&mut self, call: Call) -> Duration {
        self.spent = call.spent;
        let (_, sent) = self.arrives(Leg::Meta, &call.caller.bye(&call.ok).to_bytes());
        messages::response(&sent[0], 200);
        let bye = messages::request(&sent[1]);
        self.arrives(Leg::Pbx, &build::response(&bye, 200, None).to_bytes());
        let spent = self.spent;
        self.rest();
        spent
    }

    /// Time passes until the next call, and what falls due is done.
    fn rest(&mut self) {
        self.now += PAUSE;
        while self.bridge.deadline().is_some_and(|due| due <= self.now) {
            drop(self.bridge.handle(Event::Deadline, self.now));
        }
    }

    /// Bytes come in on a leg; gives what they cost, and what was sent.
    fn arrives(&mut self, leg: Leg, bytes: &[u8]) -> (Cost, Vec<Message>) {
        let start = Instant::now();
        let mut message = messages::read(bytes);
        let parse = start.elapsed();
        let flow = flow(leg);
        // This is the transport's.
        if let Message::Request(request) = &mut message {
            let mut via = request.via().expect("a request has a Via");
            via.stamp(flow.remote);
            messages::replace_via(request, &via);
        }
        let start = Instant::now();
        let arrival = Arrival {
            message,
            flow,
            octets: bytes.into(),
            at: self.now,
        };
        let at = self.at();
        self.traces.received(&arrival, at);
        let actions = self.handle(Event::Arrived(arrival));
        let decide = start.elapsed();
        let start = Instant::now();
        let printed: Vec<Vec<u8>> = actions.iter().filter_map(|a| self.print(a)).collect();
        let print = start.elapsed();
        for action in actions {
            self.perform(action);
        }
        let cost = Cost {
            parse,
            decide,
            print,
        };
        self.spent += cost.total();
        let sent = printed.iter().map(|bytes| messages::read(bytes)).collect();
        (cost, sent)
    }

    fn perform(&mut self, action: Action) {
        if let Action::Send {
            receipt: Some(receipt),
            target,
            ..
        } = action
        {
            assert!(matches!(target, Target::Flow(_) | Target::Hop(_)));
            drop(self.handle(Event::Sent(receipt)));
        }
        let closed: Vec<SessionId> = self.closed.lock().expect("one thread").drain(..).collect();
        for id in closed {
            let stats = Box::default();
            let event = Event::Media(MediaEvent::Closed { id, stats });
            drop(self.handle(event));
        }
    }

    /// What is done of it; whoever keeps traces is told.
    fn handle(&mut self, event: Event) -> Vec<Action> {
        let actions = self.bridge.handle(event, self.now);
        for action in &actions {
            if let Action::Note(note) = action {
                let at = self.at();
                self.traces.noted(note, at);
            }
        }
        actions
    }

    fn print(&mut self, action: &Action) -> Option<Vec<u8>> {
        let Action::Send {
            message, target, ..
        } = action
        else {
            return None;
        };
        let (octets, at) = (message.to_bytes(), self.at());
        self.traces.sent(message, &octets, target, at);
        Some(octets)
    }

    fn at(&self) -> At {
        At {
            now: self.now,
            wall: SystemTime::UNIX_EPOCH,
        }
    }
}

/// A media engine that carries no packets.
#[derive(Default)]
struct Engine {
    opened: u64,
    closed: Arc<Mutex<Vec<SessionId>>>,
}

fn pbx_ports(facing: Facing, port: u16) -> LocalPorts {
    LocalPorts {
        rtp: SocketAddr::new(facing.announced, port),
        rtcp: Some(SocketAddr::new(facing.announced, port + 1)),
        other_family: None,
    }
}

impl Plane for Engine {
    fn open(&mut self, facing: Facing) -> Result<Opened, OpenError> {
        self.opened += 1;
        let port = 20_000 + 4 * u16::try_from(self.opened % 2_000).expect("below 2000");
        let at = |ip: &str, port| SocketAddr::new(ip.parse().expect("an address"), port);
        Ok(Opened {
            id: SessionId(self.opened),
            meta: LocalPorts {
                rtp: at("198.51.100.1", port),
                rtcp: None,
                other_family: None,
            },
            pbx: pbx_ports(facing, port + 2),
            fingerprint: format!("sha-256 {}", ["AB"; 32].join(":"))
                .parse()
                .expect("a fingerprint"),
        })
    }

    fn face(&mut self, id: SessionId, facing: Facing) -> Result<LocalPorts, OpenError> {
        let port = 20_002 + 4 * u16::try_from(id.0 % 2_000).expect("below 2000");
        Ok(pbx_ports(facing, port))
    }

    fn command(&mut self, _: SessionId, _: Command) {}

    fn close(&mut self, id: SessionId) {
        self.closed.lock().expect("one thread").push(id);
    }
}

fn flow(leg: Leg) -> Flow {
    let (protocol, local, remote, connection) = match leg {
        Leg::Meta => (
            Protocol::Tls,
            "198.51.100.1:5061",
            "31.13.66.215:62080",
            Some(ConnectionId(1)),
        ),
        Leg::Pbx => (Protocol::Udp, "192.0.2.1:5070", "192.0.2.7:5060", None),
    };
    Flow {
        leg,
        protocol,
        local: local.parse().expect("an address"),
        remote: remote.parse().expect("an address"),
        connection,
    }
}

fn setup() -> Setup {
    let number = Number {
        number: BUSINESS.parse().expect("a number"),
        password: Secret::new(PASSWORD),
        hostname: "meta-voip.example.com".into(),
        target: Some("100".into()),
        pbxs: vec!["main".into()],
        keying: Keying::Set(KeyExchange::Sdes),
        additional_codecs: Vec::new(),
    };
    let pbx = Pbx {
        name: "main".into(),
        ways: vec![Way::only(pbx::hop("192.0.2.7", 5060, Protocol::Udp))],
        health: health::Settings {
            interval: Duration::ZERO,
            ..health::Settings::default()
        },
        try_timeout: Duration::from_secs(3),
        our_host: "192.0.2.1".into(),
        our_ports: pbx::Ports {
            udp: Some(5070),
            tcp: None,
            tls: None,
        },
        keying: sdp::Keying::Plain,
        media: IpAddr::from([192, 0, 2, 1]).into(),
        source: Source::Negotiated,
        codecs: vec![Codec::Opus, Codec::TelephoneEvent { rate: 8000 }],
        ptime: sdp::FRAME,
        dtmf: Default::default(),
        headers: Vec::new(),
        ack_when_keyed: false,
        reinvite: Default::default(),
        dialling: number::Settings::default(),
        default_number: None,
        register: None,
    };
    Setup {
        meta: Arc::new(Meta {
            domain: "wa.meta.vc".into(),
            port: 5061,
            our_port: 5061,
            digest: server::Settings::default(),
            realm: None,
            dtls_setup: Default::default(),
        }),
        meta_sources: wabridge::policy::sources::metas_networks(),
        pbxs: vec![(
            Arc::new(pbx),
            vec!["192.0.2.7/32".parse().expect("a network")],
        )],
        numbers: Numbers::new([number]),
        routes: Vec::new(),
        pace: Pace::from(&transaction::Settings::default()),
        overload_delay: Duration::from_millis(20),
        max_calls: 30_000,
        ring_timeout: Duration::from_secs(55),
        answer_timeout: Duration::from_secs(90),
    }
}
