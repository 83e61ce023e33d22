//! The words that flow tests are written in: a bridge, a Meta and a PBX, and the wires between them.
//!
//! A failing ladder prints everything that went over the wires up to the message that is missing.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wabridge::call::{Action, Bridge, Event, Receipt, Setup, Summary};
use wabridge::leg::Leg;
use wabridge::media::{
    Command, LocalPorts, MediaEvent, OpenError, Opened, Plane, SessionId, SideSpec, Source,
};
use wabridge::number;
use wabridge::peer::{Meta, Pbx, pbx};
use wabridge::policy::{Number, Numbers};
use wabridge::sdp::Keying;
use wabridge::secret::Secret;
use wabridge::sip::dialog::Pace;
use wabridge::sip::digest::server;
use wabridge::sip::header::CSeq;
use wabridge::sip::message::{Common, reason_phrase};
use wabridge::sip::token::Tokens;
use wabridge::sip::transaction::{self, Table};
use wabridge::sip::transport::{Arrival, ConnectionId, Flow, Hop, Protocol, Target};
use wabridge::sip::{Limits, Message, Method, NameAddr, Request, Response, Via, build};

pub const PASSWORD: &str = "meta-generated-secret";
pub const BUSINESS: &str = "+12145551869";
pub const USER: &str = "+12195550714";
const META: &str = "31.13.66.215:62080";
const PBX: &str = "192.0.2.7:5060";

/// What the fake media engine was told.
#[derive(Debug, Default)]
pub struct Media {
    pub open: Vec<SessionId>,
    pub agreed: Vec<(Leg, SideSpec)>,
    pub started: Vec<Leg>,
    pub closed: Vec<SessionId>,
    pub exhausted: bool,
    next: u64,
}

/// A media engine that carries no packets.
#[derive(Clone, Default)]
struct Engine(Arc<Mutex<Media>>);

impl Plane for Engine {
    fn open(&mut self) -> Result<Opened, OpenError> {
        let mut media = self.0.lock().unwrap();
        if media.exhausted {
            let address = "198.51.100.1".parse().unwrap();
            return Err(OpenError::Exhausted {
                address,
                first: 20_000,
                last: 29_999,
            });
        }
        media.next += 1;
        let id = SessionId(media.next);
        media.open.push(id);
        let port = 20_000 + 4 * u16::try_from(media.next).unwrap();
        let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
        Ok(Opened {
            id,
            meta: LocalPorts {
                rtp: at("198.51.100.1", port),
                rtcp: None,
            },
            pbx: LocalPorts {
                rtp: at("192.0.2.1", port + 2),
                rtcp: Some(at("192.0.2.1", port + 3)),
            },
        })
    }

    fn command(&mut self, _: SessionId, command: Command) {
        let mut media = self.0.lock().unwrap();
        match command {
            Command::Agree { leg, side } => media.agreed.push((leg, side)),
            Command::Start { leg } => media.started.push(leg),
        }
    }

    fn close(&mut self, id: SessionId) {
        let mut media = self.0.lock().unwrap();
        media.open.retain(|open| *open != id);
        media.closed.push(id);
    }
}

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
    /// What has come to each party and was not looked at yet: Meta, PBX.
    inbox: [VecDeque<Message>; 2],
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
    /// Where the bridge may send what is for the PBX.
    pub pbx_at: Hop,
    ladder: String,
    branches: u32,
    cseqs: u32,
}

/// A call that both sides have answered.
pub struct Up {
    /// Who called.
    pub caller: Leg,
    /// The caller's INVITE, and our 200 to it.
    pub theirs: Request,
    pub our_ok: Response,
    /// Our INVITE to the callee, and its 200.
    pub ours: Request,
    pub their_ok: Response,
}

fn meta() -> Meta {
    Meta {
        domain: "wa.meta.vc".into(),
        port: 5061,
        our_port: 5061,
        digest: server::Settings::default(),
        realm: None,
    }
}

/// The usual set-up with one thing changed about Meta.
pub fn with_meta(change: impl FnOnce(&mut Meta)) -> Setup {
    let mut changed = setup();
    change(Arc::make_mut(&mut changed.meta));
    changed
}

/// The usual set-up with one thing changed about the PBX.
pub fn with_pbx(change: impl FnOnce(&mut Pbx)) -> Setup {
    let mut changed = setup();
    change(Arc::make_mut(&mut changed.pbxs[0].0));
    changed
}

pub fn setup() -> Setup {
    let meta = meta();
    let number = Number {
        number: BUSINESS.parse().unwrap(),
        password: Secret::new(PASSWORD),
        hostname: "meta-voip.example.com".into(),
        target: Some("100".into()),
        pbx: "main".into(),
    };
    let pbx = Pbx {
        name: "main".into(),
        hop: pbx::hop("192.0.2.7", 5060, Protocol::Udp),
        our_host: "192.0.2.1".into(),
        our_ports: pbx::Ports {
            udp: Some(5070),
            tcp: Some(5070),
            tls: None,
        },
        keying: Keying::Plain,
        source: Source::Negotiated,
        dialling: number::Settings::default(),
        default_number: Some(BUSINESS.parse().unwrap()),
    };
    Setup {
        meta: Arc::new(meta),
        meta_sources: wabridge::policy::sources::metas_networks(),
        pbxs: vec![(Arc::new(pbx), vec!["192.0.2.7/32".parse().unwrap()])],
        numbers: Numbers::new([number]),
        pace: Pace::from(&transaction::Settings::default()),
        max_calls: 10,
        ring_timeout: Duration::from_secs(55),
        answer_timeout: Duration::from_secs(180),
    }
}

impl World {
    pub fn new() -> World {
        World::with(setup())
    }

    pub fn with(setup: Setup) -> World {
        let now = Instant::now();
        let engine = Engine::default();
        let media = engine.0.clone();
        let table = Table::with_seed(transaction::Settings::default(), 7);
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
            inbox: Default::default(),
            losing: None,
            cut: false,
            any_hostname: false,
            echoing: false,
            closed: Vec::new(),
            unreachable: false,
            pbx_at: pbx::hop("192.0.2.7", 5060, Protocol::Udp),
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
        let mut message = message.into();
        self.note(flow.leg, "──▶", &message);
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
        self.handle(Event::Arrived(Arrival { message, flow }));
    }

    /// Anything else happens to the bridge.
    pub fn handle(&mut self, event: Event) {
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
                    stats: Box::default(),
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
            } => self.deliver(message, &target, receipt),
            Action::Close(flow) => {
                let _ = writeln!(self.ladder, "         the bridge closes {}", flow.remote);
                self.closed.push(flow);
                None
            }
            Action::Ended(summary) => {
                self.ended.push(*summary);
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
        let leg = match target {
            Target::Flow(flow) => flow.leg,
            Target::Hop(hop) => {
                let metas = Meta::hop(&meta());
                let expected = match hop.leg {
                    Leg::Meta => &metas,
                    Leg::Pbx => &self.pbx_at,
                };
                assert_eq!(hop, expected, "sent to a strange place\n{}", self.ladder);
                hop.leg
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
        if self.losing == Some(leg) {
            self.note(leg, "◀─ lost", &read);
            return receipt.map(Event::Sent);
        }
        if self.cut && leg == Leg::Meta {
            self.note(leg, "◀─ cut", &read);
            return receipt.map(|receipt| Event::Unsent(receipt, "connection reset".into()));
        }
        if self.unreachable && leg == Leg::Pbx {
            self.note(leg, "◀─ refused", &read);
            return receipt.map(|receipt| Event::Unsent(receipt, "connection refused".into()));
        }
        self.note(leg, "◀──", &read);
        self.inbox[index(leg)].push_back(read);
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
            Some(message) if what.is(&message) => message,
            Some(other) => panic!(
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
        self.inbox[index(leg)].pop_front()
    }

    /// The same without taking it.
    pub fn peek(&self, leg: Leg) -> Option<&Message> {
        self.inbox[index(leg)].front()
    }

    /// Nothing has come to either party that was not looked at.
    #[track_caller]
    pub fn is_quiet(&mut self) {
        self.gets_nothing(Leg::Meta);
        self.gets_nothing(Leg::Pbx);
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
        if let Some(message) = self.inbox[index(leg)].front() {
            panic!("{leg} got {} unasked\n{}", first_line(message), self.ladder);
        }
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

    // ---- Meta --------------------------------------------------------------------------------------------------

    /// Meta's INVITE of a user-initiated call, as documented.
    pub fn metas_invite(&mut self) -> Request {
        let mut invite = fixture_request("dialogs/uic-sdes-407/01-invite.sip");
        self.new_branch(&mut invite);
        invite
    }

    pub fn new_branch(&mut self, request: &mut Request) {
        let branch = self.branch();
        let mut via = request.via().unwrap();
        via.params.set("branch", Some(branch));
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

    /// Meta's answer to our challenge: the next INVITE, with credentials.
    pub fn answers_challenge(
        &mut self,
        invite: &Request,
        challenge: &Response,
        password: &str,
    ) -> Request {
        let (asked, answered) = match challenge.status {
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => ("WWW-Authenticate", "Authorization"),
        };
        let challenge =
            wabridge::sip::digest::Challenge::parse_all(challenge.headers.get(asked).unwrap());
        let challenge = challenge[0].as_ref().unwrap();
        let mut again = invite.clone();
        self.new_branch(&mut again);
        let cseq = invite.cseq().unwrap().number + 1;
        again.headers.set(
            "CSeq",
            CSeq {
                number: cseq,
                method: Method::INVITE,
            }
            .to_string(),
        );
        // Meta leaves the transport out of the digest's uri (SIP guide, 2025-12-15).
        let uri = invite.uri.to_string().replace(";transport=tls", "");
        let md5 = |text: String| format!("{:x}", md5::compute(text));
        let user = BUSINESS.trim_start_matches('+');
        let ha1 = md5(format!("{user}:{}:{password}", challenge.realm));
        let ha2 = md5(format!("INVITE:{uri}"));
        let cnonce = "TY2SszvYCKitUCBlVLpGiPKMQfmBbj";
        let nonce = &challenge.nonce;
        let response = md5(format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"));
        let opaque = challenge
            .opaque
            .as_deref()
            .map_or(String::new(), |o| format!("opaque=\"{o}\", "));
        again.headers.set(
            answered,
            format!(
                "Digest username=\"{user}\", realm=\"{}\", nonce=\"{nonce}\", uri=\"{uri}\", \
                 response=\"{response}\", cnonce=\"{cnonce}\", {opaque}qop=auth, nc=00000001",
                challenge.realm
            ),
        );
        again
    }

    /// The whole digest round of a user-initiated call; the PBX has been invited when it is over.
    pub fn user_calls(&mut self) -> (Request, Request) {
        let invite = self.metas_invite();
        self.user_calls_with(invite)
    }

    /// The same with an INVITE that has something special.
    pub fn user_calls_with(&mut self, invite: Request) -> (Request, Request) {
        let again = self.user_authenticates(invite);
        self.gets(Leg::Meta, 100);
        let ours = self.gets_request(Leg::Pbx, "INVITE");
        (again, ours)
    }

    /// Meta is challenged and has answered.
    pub fn user_authenticates(&mut self, invite: Request) -> Request {
        self.sends(Leg::Meta, invite.clone());
        let challenge = self.is_refused(Leg::Meta, &invite, 407);
        let again = self.answers_challenge(&invite, &challenge, PASSWORD);
        self.sends(Leg::Meta, again.clone());
        again
    }

    /// The whole digest round of a business-initiated call; Meta has the authenticated INVITE when it is over.
    pub fn business_calls(&mut self) -> (Request, Request) {
        let (invite, first) = self.business_starts();
        self.challenges(&first, 407, CHALLENGE);
        let second = self.gets_request(Leg::Meta, "INVITE");
        (invite, second)
    }

    /// A user calls, the PBX answers, Meta acknowledges.
    pub fn user_talks(&mut self) -> Up {
        let (theirs, ours) = self.user_calls();
        let their_ok = pbx_ok(&ours);
        self.up(Leg::Meta, theirs, ours, their_ok)
    }

    /// The PBX calls, the user answers, the PBX acknowledges.
    pub fn business_talks(&mut self) -> Up {
        let (theirs, ours) = self.business_calls();
        let their_ok = metas_ok(&ours);
        self.up(Leg::Pbx, theirs, ours, their_ok)
    }

    fn up(&mut self, caller: Leg, theirs: Request, ours: Request, their_ok: Response) -> Up {
        self.sends(caller.other(), their_ok.clone());
        self.gets(caller.other(), "ACK");
        let our_ok = self.gets_response(caller, 200);
        let up = Up {
            caller,
            theirs,
            our_ok,
            ours,
            their_ok,
        };
        let ack = self.ack(&up);
        self.sends(caller, ack);
        self.is_quiet();
        up
    }

    /// The caller's ACK of our 200.
    pub fn ack(&mut self, up: &Up) -> Request {
        let cseq = up.theirs.cseq().unwrap().number;
        self.in_dialog("ACK", cseq, &up.theirs, &up.our_ok, true)
    }

    /// A request of a leg in its dialog with us.
    pub fn within(&mut self, up: &Up, leg: Leg, method: &str) -> Request {
        self.cseqs += 1;
        let cseq = self.cseqs;
        match leg == up.caller {
            true => self.in_dialog(method, cseq, &up.theirs, &up.our_ok, true),
            false => self.in_dialog(method, cseq, &up.ours, &up.their_ok, false),
        }
    }

    /// One leg hangs up and the other agrees; gives the BYE that the other got.
    #[track_caller]
    pub fn hangs_up(&mut self, up: &Up, leg: Leg) -> Request {
        let bye = self.within(up, leg, "BYE");
        self.sends(leg, bye);
        self.gets(leg, 200);
        self.agrees_to(leg.other(), "BYE")
    }

    /// Meta's ordinary challenge to an INVITE of ours.
    pub fn challenges(&mut self, invite: &Request, status: u16, challenge: &str) {
        let mut response = respond(invite, status);
        let header = match status {
            401 => "WWW-Authenticate",
            _ => "Proxy-Authenticate",
        };
        response.headers.push(header, challenge);
        self.sends(Leg::Meta, response);
        self.gets(Leg::Meta, "ACK");
    }

    /// The PBX calls; Meta has our first INVITE, without credentials.
    pub fn business_starts(&mut self) -> (Request, Request) {
        let invite = self.pbx_invite(USER);
        self.sends(Leg::Pbx, invite.clone());
        self.gets(Leg::Pbx, 100);
        let first = self.gets_request(Leg::Meta, "INVITE");
        (invite, first)
    }

    // ---- PBX ---------------------------------------------------------------------------------------------------

    /// An INVITE of the PBX to a WhatsApp user.
    pub fn pbx_invite(&mut self, user: &str) -> Request {
        let uri = wabridge::sip::SipUri::new(Some(user), "192.0.2.1").with_port(5070);
        let mut invite = Request::new(Method::INVITE, uri.clone());
        let via = Via::new("UDP", "192.0.2.7", 5060, &self.branch());
        for (name, value) in [
            ("Via", via.to_string()),
            ("Max-Forwards", "70".into()),
            ("From", "\"Desk\" <sip:100@192.0.2.7>;tag=pbx-tag".into()),
            ("To", NameAddr::new(uri).to_string()),
            ("Call-ID", "from-the-pbx".into()),
            ("CSeq", "1 INVITE".into()),
            ("Contact", "<sip:100@192.0.2.7:5060>".into()),
            ("Content-Type", "application/sdp".into()),
        ] {
            invite.headers.push(name, value);
        }
        invite.body = PBX_SDP.into();
        invite
    }

    /// A request within a dialog that the bridge's message (a 2xx to us, or an INVITE of its) belongs to.
    pub fn in_dialog(
        &mut self,
        method: &str,
        cseq: u32,
        invite: &Request,
        ok: &Response,
        by_caller: bool,
    ) -> Request {
        let contact = match by_caller {
            true => ok.contact(),
            false => invite.contact(),
        };
        let mut request =
            Request::new(Method::parse(method).unwrap(), contact.clone().unwrap().uri);
        let at_pbx = contact
            .as_ref()
            .is_some_and(|c| c.uri.to_string().contains("192.0.2.1"));
        let via = match at_pbx {
            true => Via::new("UDP", "192.0.2.7", 5060, &self.branch()),
            false => Via::new("TLS", "31.13.66.215", 5061, &self.branch()),
        };
        let (from, to) = match by_caller {
            true => ("From", "To"),
            false => ("To", "From"),
        };
        for (name, value) in [
            ("Via", via.to_string()),
            ("Max-Forwards", "70".into()),
            ("From", ok.headers.get(from).unwrap().to_owned()),
            ("To", ok.headers.get(to).unwrap().to_owned()),
            ("Call-ID", ok.call_id().to_owned()),
            ("CSeq", format!("{cseq} {method}")),
        ] {
            request.headers.push(name, value);
        }
        request
    }
}

/// A challenge in the documented shape.
pub const CHALLENGE: &str = "Digest realm=\"wa.meta.vc\",nonce=\"0123456789abcdef\",\
    opaque=\"fedcba9876543210\",algorithm=MD5,qop=\"auth\"";

/// Whatever we send to Meta must be something that its pages know.
fn fits_meta(message: &Message, hostname: Option<&str>) {
    let what = first_line(message);
    for never in [
        "Session-Expires",
        "Min-SE",
        "Supported",
        "Require",
        "Proxy-Require",
        "P-Asserted-Identity",
        "Diversion",
    ] {
        assert_eq!(message.headers().get(never), None, "{what}");
    }
    assert!(
        message
            .headers()
            .iter()
            .all(|(name, _)| !name.to_ascii_lowercase().starts_with("x-wa-meta")),
        "Meta's own headers go back to it: {what}"
    );
    let Message::Request(request) = message else {
        return;
    };
    let method = request.method.to_string();
    assert!(
        ["INVITE", "ACK", "CANCEL", "BYE"].contains(&method.as_str()),
        "{what}"
    );
    if method == "INVITE" {
        assert_eq!(request.to().unwrap().tag(), None, "a re-INVITE: {what}");
        assert_eq!(request.headers.get("Route"), None, "{what}");
    }
    let via = request.via().unwrap();
    let from = request.from().unwrap().uri;
    assert_eq!(
        (
            from.sip().map(|uri| &uri.host),
            via.port,
            via.transport.as_str()
        ),
        (Some(&via.host), Some(5061), "TLS"),
        "{what}"
    );
    assert!(hostname.is_none_or(|name| name == via.host), "{what}");
    assert_eq!(request.headers.all("Via").count(), 1, "{what}");
    assert!(request.headers.get("Max-Forwards").is_some(), "{what}");
}

pub const PBX_SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    m=audio 16000 RTP/AVP 107 101\r\na=rtpmap:107 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";

/// A response of a party, with a tag and a Contact of its own.
pub fn respond(request: &Request, status: u16) -> Response {
    let mut response = build::response(request, status, Some("their-tag"));
    response.reason = reason_phrase(status).into();
    response
}

/// Meta's 200 to a business-initiated call, in the documented shape.
pub fn metas_ok(invite: &Request) -> Response {
    let mut ok = respond(invite, 200);
    ok.headers.push(
        "Record-Route",
        "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>",
    );
    ok.headers
        .push("Record-Route", "<sip:wa.meta.vc;transport=tls;lr>");
    ok.headers.push(
        "Contact",
        format!("<sip:{USER}@wa.meta.vc;transport=tls;ob;X-FB-Sip-Smc-Tier=collaboration.sip_gateway.sip.prod>;isfocus"),
    );
    ok.headers.push("Content-Type", "application/sdp");
    let offered = String::from_utf8_lossy(&invite.body).into_owned();
    assert!(offered.contains("RTP/SAVP 111 126"), "{offered}");
    let sdp = fixture("sdp/bic-answer-sdes-doc.sdp");
    ok.body = String::from_utf8(sdp)
        .unwrap()
        .replace("107", "111")
        .replace("101", "126")
        .into_bytes();
    ok
}

/// The PBX's 200 to a user-initiated call.
pub fn pbx_ok(invite: &Request) -> Response {
    let mut ok = respond(invite, 200);
    ok.headers.push("Contact", "<sip:100@192.0.2.7:5060>");
    ok.headers.push("Content-Type", "application/sdp");
    ok.body = PBX_SDP.replace("107", "111").into();
    ok
}

pub fn fixture(file: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/tests/data/meta/{file}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

pub fn fixture_request(file: &str) -> Request {
    match Message::parse(&fixture(file), &Limits::default()).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("{file} is a request"),
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

fn index(leg: Leg) -> usize {
    usize::from(leg == Leg::Pbx)
}

fn first_line(message: &Message) -> String {
    let bytes = message.to_bytes();
    String::from_utf8_lossy(&bytes)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
