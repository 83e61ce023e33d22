//! A table on a bench: messages in short, a clock in milliseconds, and each action as one line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::leg::Leg;
use crate::sip::message::Common;
use crate::sip::transport::{Arrival, ConnectionId, Flow, Hop, Protocol, Target};
use crate::sip::{Message, Method, Request, Response, Uri, build};

use super::{Action, ClientId, ServerId, Settings, Table};

/// A request of CSeq 7 that came or goes over UDP with `rport`.
pub fn request(method: &str, branch: &str) -> Request {
    let method = Method::parse(method).unwrap();
    let mut request = Request::new(method, Uri::parse("sip:b@example").unwrap());
    let cseq = format!("7 {}", request.method);
    for (name, value) in [
        ("Via", "SIP/2.0/UDP 192.0.2.7:5062;rport;branch="),
        ("From", "<sip:a@example>;tag=a"),
        ("To", "<sip:b@example>"),
        ("Call-ID", "1@example"),
        ("CSeq", &cseq),
    ] {
        let branch = if name == "Via" { branch } else { "" };
        request.headers.push(name, format!("{value}{branch}"));
    }
    request
}

/// A response with a To tag, if there is one to put there.
pub fn response(request: &Request, status: u16, to_tag: &str) -> Response {
    build::response(request, status, Some(to_tag).filter(|tag| !tag.is_empty()))
}

/// The PBX at 192.0.2.7:5070.
pub fn flow(protocol: Protocol) -> Flow {
    Flow {
        leg: Leg::Pbx,
        protocol,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.7:5070".parse().unwrap(),
        connection: protocol.is_reliable().then_some(ConnectionId(1)),
    }
}

/// The same PBX, over TLS from another port.
pub fn second_connection() -> Flow {
    Flow {
        remote: "192.0.2.7:6000".parse().unwrap(),
        connection: Some(ConnectionId(2)),
        ..flow(Protocol::Tls)
    }
}

/// The PBX by its name.
pub fn hop(protocol: Protocol) -> Target {
    Target::Hop(Hop {
        leg: Leg::Pbx,
        protocol,
        host: "pbx".into(),
        port: 5060,
    })
}

pub struct Bench {
    pub table: Table,
    start: Instant,
    now: Instant,
    client: Option<ClientId>,
    server: Option<(ServerId, Request)>,
    sent: Option<Message>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Bench {
        let start = Instant::now();
        Bench {
            table: Table::with_seed(settings, 1),
            start,
            now: start,
            client: None,
            server: None,
            sent: None,
        }
    }

    /// We send a request.
    pub fn sends(&mut self, request: Request, target: Target) -> Vec<String> {
        let (client, actions) = self.table.request(request, target, self.now);
        self.client = Some(client);
        self.lines(actions)
    }

    /// Something comes in.
    pub fn gets(&mut self, message: impl Into<Message>, flow: Flow) -> Vec<String> {
        let message = message.into();
        let actions = self.table.receive(
            Arrival {
                message,
                flow,
                octets: Arc::default(),
                at: self.now,
            },
            self.now,
        );
        self.lines(actions)
    }

    /// We answer the request that came in last.
    pub fn responds(&mut self, status: u16, to_tag: &str) -> Vec<String> {
        let (server, request) = self.server.clone().expect("a request came in");
        let response = response(&request, status, to_tag);
        let actions = self.table.respond(server, response, self.now);
        self.lines(actions)
    }

    /// Nobody wants the answer to what we sent last.
    pub fn abandons(&mut self) {
        self.table.abandon(self.last_client());
    }

    /// The transport cannot send.
    pub fn fails(&mut self, client: ClientId) -> Vec<String> {
        let actions = self.table.failed(client, "refused", self.now);
        self.lines(actions)
    }

    /// Lets time pass up to so many milliseconds after the start, stopping at each deadline on the way.
    pub fn until(&mut self, ms: u64) -> Vec<String> {
        let end = self.start + Duration::from_millis(ms);
        let mut lines = Vec::new();
        while let Some(at) = self.table.deadline().filter(|at| *at <= end) {
            self.now = at;
            let actions = self.table.tick(at);
            lines.extend(self.lines(actions));
        }
        self.now = end;
        lines
    }

    pub fn last_client(&self) -> ClientId {
        self.client.expect("a request was sent")
    }

    pub fn last_sent_request(&self) -> &Request {
        match self.sent.as_ref().expect("something was sent") {
            Message::Request(request) => request,
            Message::Response(_) => panic!("a response was sent last"),
        }
    }

    pub fn last_sent_response(&self) -> &Response {
        match self.sent.as_ref().expect("something was sent") {
            Message::Response(response) => response,
            Message::Request(_) => panic!("a request was sent last"),
        }
    }

    pub fn last_sent_tag(&self) -> String {
        let to = self.last_sent_response().to().unwrap();
        to.tag().unwrap_or_default().to_owned()
    }

    /// Nothing is left, not even a name or a deadline.
    pub fn is_empty(&self) {
        assert!(self.table.is_empty(), "{:?}", self.table.entries);
        assert!(self.table.index.is_empty(), "{:?}", self.table.index);
        assert_eq!(self.table.deadline(), None);
    }

    fn lines(&mut self, actions: Vec<Action>) -> Vec<String> {
        let at = self.now.duration_since(self.start).as_millis();
        actions
            .into_iter()
            .map(|action| format!("{at} {}", self.line(action)))
            .collect()
    }

    fn line(&mut self, action: Action) -> String {
        match action {
            Action::Send {
                message, target, ..
            } => {
                self.sent = Some(message.clone());
                let what = match message {
                    Message::Request(request) => request.method.to_string(),
                    Message::Response(response) => response.status.to_string(),
                };
                match target {
                    Target::Flow(flow) => format!("send {what} to {}", flow.remote),
                    Target::Hop(hop) => format!("send {what} to {}", hop.host),
                }
            }
            Action::Request {
                server, request, ..
            } => {
                let line = format!("request {}", request.method);
                self.server = Some((server, request));
                line
            }
            Action::Cancelled { .. } => "cancelled".into(),
            Action::Ack { .. } => "ack".into(),
            Action::Response { response, .. } => {
                let to = response.to().unwrap();
                format!(
                    "response {} {}",
                    response.status,
                    to.tag().unwrap_or_default()
                )
            }
            Action::TimedOut { .. } => "timed out".into(),
            Action::Failed { reason, .. } => format!("failed: {reason}"),
        }
    }
}
