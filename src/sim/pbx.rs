//! A plain PBX: a telephone behind UDP or TCP that calls the bridge and takes its calls.

use std::net::{IpAddr, SocketAddr};

use super::agent::{Manners, Outgoing, Verdict};
use super::body::{Demands, Listening, Ours, Theirs};
use super::dialog::Dialog;
use super::report::CallReport;
use super::speech::Speaks;
use super::words;
use crate::leg::Leg;
use crate::sip::message::Common;
use crate::sip::transport::{Hop, Protocol, Target};
use crate::sip::{Method, NameAddr, Request, Response, SipUri, Via, build};

/// What this PBX knows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; also its name in Contact and Via.
    pub listen: SocketAddr,
    /// The bridge's listener for the PBX.
    pub bridge: Hop,
    /// What its telephones speak.
    pub speaks: Speaks,
}

/// How a PBX behaves.
pub struct PbxManners {
    settings: Settings,
}

impl PbxManners {
    /// A PBX.
    pub fn new(settings: Settings) -> PbxManners {
        PbxManners { settings }
    }

    fn contact(&self, user: &str) -> SipUri {
        let Settings { listen, bridge, .. } = &self.settings;
        let uri = SipUri::new(Some(user), &host(listen)).with_port(listen.port());
        match bridge.protocol {
            Protocol::Udp => uri,
            protocol => uri.with_param("transport", Some(&protocol.name().to_ascii_lowercase())),
        }
    }

    fn via(&self) -> String {
        let Settings { listen, bridge, .. } = &self.settings;
        let branch = format!("z9hG4bK{}", words::hex(20));
        Via::new(
            bridge.protocol.name(),
            &host(listen),
            listen.port(),
            &branch,
        )
        .to_string()
    }
}

/// As URIs have it: IPv6 in brackets.
fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => host.to_owned(),
    }
}

fn host(address: &SocketAddr) -> String {
    bracketed(&address.ip().to_string())
}

impl Manners for PbxManners {
    const LEG: Leg = Leg::Pbx;

    fn ours(&self, media: Listening, _: &str) -> Ours {
        Ours::plain(media, &self.settings.speaks)
    }

    fn demands(&self, _: &str) -> Demands {
        Demands::Pbx
    }

    fn print(&self, ours: &Ours) -> String {
        ours.as_pbx()
    }

    fn invite(&self, call: &Outgoing) -> Request {
        let bridge = &self.settings.bridge;
        let callee = SipUri::new(Some(&call.to), &bracketed(&bridge.host)).with_port(bridge.port);
        let caller = SipUri::new(Some(&call.from), &host(&self.settings.listen));
        let from = NameAddr {
            display: call.name.clone(),
            ..NameAddr::new(caller)
        };
        let mut request = Request::new(Method::INVITE, callee.clone());
        let headers = &mut request.headers;
        headers.push("Via", self.via());
        headers.push("Max-Forwards", "70");
        headers.push("From", from.with_tag(&words::hex(16)).to_string());
        headers.push("To", format!("<{callee}>"));
        headers.push("Contact", format!("<{}>", self.contact(&call.from)));
        headers.push("Call-ID", words::hex(32));
        headers.push("CSeq", "1 INVITE");
        for (name, value) in &call.headers {
            headers.push(name, value);
        }
        headers.push("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS");
        request
    }

    fn authorise(&self, _: &Request, challenge: &Response) -> Result<Request, String> {
        Err(format!("{}: a PBX has no password here", challenge.status))
    }

    fn target(&self) -> Target {
        Target::Hop(self.settings.bridge.clone())
    }

    fn judge(&self, invite: &Request, response: &Response) -> Vec<String> {
        let mut faults = Vec::new();
        let mut unless = |right: bool, what: &str| {
            if !right {
                faults.push(format!("{}: {what}", response.status));
            }
        };
        for same in ["Call-ID", "From", "CSeq"] {
            let equal = response.headers.get(same) == invite.headers.get(same);
            unless(equal, &format!("{same} is not what the INVITE has"));
        }
        let tagged = response.to().is_some_and(|to| to.tag().is_some());
        unless(response.status == 100 || tagged, "To has no tag");
        unless(
            response.headers.get("Require").is_none(),
            "it requires an extension that we did not offer",
        );
        if response.is_success() {
            unless(response.contact().is_some(), "no Contact");
        }
        faults
    }

    fn admit(&mut self, invite: &Request, sdp: &Theirs, _: bool) -> Verdict {
        let mut faults = sdp.complaints.clone();
        if invite.headers.get("Require").is_some() {
            faults.push("INVITE: it requires an extension".to_owned());
        }
        if invite.from().is_none_or(|from| from.tag().is_none()) {
            faults.push("INVITE: From has no tag".to_owned());
        }
        let speaks = &self.settings.speaks.codecs;
        if !sdp.sound.iter().any(|sound| speaks.contains(&sound.codec)) {
            let refusal = build::response(invite, 488, Some(&words::hex(16)));
            return Verdict::Refuse(Box::new(refusal), faults);
        }
        Verdict::Welcome(faults)
    }

    fn dress_request(&self, request: &mut Request, call: &CallReport, _: Option<u64>) {
        request.headers.push_front("Via", self.via());
        if request.method == Method::INVITE {
            let user = match call.direction {
                super::report::Direction::BusinessInitiated => &call.from,
                super::report::Direction::UserInitiated => &call.to,
            };
            let contact = format!("<{}>", self.contact(user));
            request.headers.push("Contact", contact);
        }
    }

    fn dress_response(&self, request: &Request, response: &mut Response) {
        for route in request.headers.all("Record-Route") {
            response.headers.push("Record-Route", route);
        }
        if request.method == Method::INVITE && (101..300).contains(&response.status) {
            let user = request.uri.user().unwrap_or("sim");
            let contact = format!("<{}>", self.contact(user));
            response.headers.push("Contact", contact);
        }
        if matches!(response.status, 200 | 405) {
            let allow = "INVITE, ACK, BYE, CANCEL, OPTIONS";
            response.headers.push("Allow", allow);
        }
    }

    fn judge_in_dialog(&self, dialog: &Dialog, request: &Request) -> Vec<String> {
        let local = NameAddr::parse(&dialog.local).ok();
        let user = local.and_then(|local| local.uri.user().map(str::to_owned));
        let target = self.contact(&user.unwrap_or_default()).to_string();
        match request.uri.to_string() == target {
            true => Vec::new(),
            false => vec![format!(
                "{}: its Request-URI is not our Contact",
                request.method
            )],
        }
    }

    fn stray(&self, request: &Request) -> (u16, Option<String>) {
        match request.method == Method::OPTIONS {
            true => (200, None),
            false => (405, Some(format!("{}: not asked for", request.method))),
        }
    }
}
