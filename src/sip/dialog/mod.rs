//! Dialogs (RFC 3261 §12): who talks to whom, by which way, and in what order.
//!
//! ```text
//!   ClientInvite ── 2xx ──▶ Dialog ◀── our 2xx ── ServerInvite
//!                             │
//!                             ├─▶ BYE, UPDATE, re-INVITE, and the checks on what the peer sends in it
//!                             ├── refer: whom the peer wants called, and what it hears of it (RFC 3515)
//!                             └── refresh: for how long it may go on without a word (RFC 4028)
//! ```

mod client;
mod identity;
pub mod refer;
pub mod refresh;
mod server;

pub use client::{ClientInvite, Outcome, Step};
pub use identity::Identity;
pub use server::{Pace, ServerInvite, Unacknowledged};

use super::header::{CSeq, NameAddr};
use super::message::{Common, Method, Request, Response};
use super::transport::{Hop, Protocol};
use super::uri::{SipUri, Uri};
use crate::leg::Leg;

/// What names a dialog on our side (§12).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DialogId {
    /// Byte for byte.
    pub call_id: String,
    /// Ours.
    pub local_tag: String,
    /// The peer's; empty for a peer of RFC 2543.
    pub remote_tag: String,
}

impl DialogId {
    /// The dialog that a request of the peer's belongs to; `None` outside any.
    pub fn of(request: &Request) -> Option<DialogId> {
        Some(DialogId {
            call_id: request.call_id().to_owned(),
            local_tag: request.to_tag()?.to_owned(),
            remote_tag: request.tag_of_from().unwrap_or_default().to_owned(),
        })
    }
}

/// A confirmed dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    id: DialogId,
    local: NameAddr,
    remote: NameAddr,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    /// Route values as they were written: Meta refuses a BYE whose Route it does not know byte for byte.
    route_set: Vec<String>,
    remote_target: Uri,
}

impl Dialog {
    /// The dialog that a 2xx to our INVITE makes (§12.1.2); `None` if the response lacks what it takes.
    pub fn from_response(invite: &Request, response: &Response) -> Option<Dialog> {
        let (local, remote) = (response.from()?, response.to()?);
        let mut route_set: Vec<String> = response
            .headers
            .all("Record-Route")
            .map(str::to_owned)
            .collect();
        route_set.reverse();
        Some(Dialog {
            id: DialogId {
                call_id: response.call_id().to_owned(),
                local_tag: local.tag()?.to_owned(),
                remote_tag: remote.tag().unwrap_or_default().to_owned(),
            },
            local,
            remote,
            local_cseq: invite.cseq()?.number,
            remote_cseq: None,
            route_set,
            // §12.1.2 wants a Contact; a peer without one is reached where the INVITE went.
            remote_target: response
                .contact()
                .map_or_else(|| invite.uri.clone(), |c| c.uri),
        })
    }

    /// The dialog that our 2xx to the peer's INVITE makes (§12.1.1).
    pub fn from_request(invite: &Request, local_tag: &str) -> Option<Dialog> {
        let remote = invite.from()?;
        Some(Dialog {
            id: DialogId {
                call_id: invite.call_id().to_owned(),
                local_tag: local_tag.to_owned(),
                remote_tag: remote.tag().unwrap_or_default().to_owned(),
            },
            local: invite.to()?.with_tag(local_tag),
            remote_target: invite
                .contact()
                .map_or_else(|| remote.uri.clone(), |c| c.uri),
            remote,
            local_cseq: 0,
            remote_cseq: Some(invite.cseq()?.number),
            route_set: invite
                .headers
                .all("Record-Route")
                .map(str::to_owned)
                .collect(),
        })
    }

    /// What names it.
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// A new request in the dialog (§12.2.1.1), with the next CSeq.
    pub fn request(&mut self, method: Method, identity: &Identity, branch: &str) -> Request {
        self.local_cseq += 1;
        let number = self.local_cseq;
        self.with_cseq(method, number, identity, branch)
    }

    /// The ACK of a 2xx (§13.2.2.4): a request in the dialog with the INVITE's CSeq number.
    pub fn ack(&self, invite_cseq: u32, identity: &Identity, branch: &str) -> Request {
        self.with_cseq(Method::ACK, invite_cseq, identity, branch)
    }

    fn with_cseq(&self, method: Method, number: u32, identity: &Identity, branch: &str) -> Request {
        let mut request = Request::new(method.clone(), self.remote_target.clone());
        let headers = &mut request.headers;
        headers.push("Via", identity.via(branch).to_string());
        for route in &self.route_set {
            headers.push("Route", route);
        }
        headers.push("Max-Forwards", "70");
        headers.push("From", self.local.to_string());
        headers.push("To", self.remote.to_string());
        headers.push("Call-ID", &self.id.call_id);
        headers.push("CSeq", CSeq { number, method }.to_string());
        headers.push("User-Agent", identity.agent);
        self.strict_routing(request)
    }

    /// §12.2.1.1: where the first route has no `lr`, it becomes the Request-URI and the target goes last.
    fn strict_routing(&self, mut request: Request) -> Request {
        let first = self.route_set.first().and_then(|r| NameAddr::parse(r).ok());
        let Some(first) = first else { return request };
        if first.uri.sip().is_none_or(|u| u.params.has("lr")) {
            return request;
        }
        request.headers.remove("Route");
        for route in &self.route_set[1..] {
            request.headers.push("Route", route);
        }
        request.headers.push(
            "Route",
            NameAddr::new(self.remote_target.clone()).to_string(),
        );
        request.uri = first.uri;
        request
    }

    /// Where a request in the dialog goes (§8.1.2): the first route, else the remote target. `usual` says what
    /// a URI without a transport means here.
    pub fn next_hop(&self, leg: Leg, usual: Protocol) -> Option<Hop> {
        let first = self.route_set.first().and_then(|r| NameAddr::parse(r).ok());
        let uri = first.map_or_else(|| self.remote_target.clone(), |r| r.uri);
        Some(hop(leg, uri.sip()?, usual))
    }

    /// A request that may move the peer has been accepted, by us or by it: from now on the peer is where it says that it is
    /// (§12.2.1.2, §12.2.2).
    pub fn retarget(&mut self, message: &impl Common) {
        if let Some(contact) = message.contact() {
            self.remote_target = contact.uri;
        }
    }

    /// Whether a request of the peer's comes in order (§12.2.2); if it does, it is the latest from now on.
    pub fn is_in_order(&mut self, request: &Request) -> bool {
        let Some(number) = request.cseq().map(|c| c.number) else {
            return false;
        };
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_cseq = Some(number);
        true
    }
}

/// Where a request to `uri` goes, no route being set.
pub fn hop(leg: Leg, uri: &SipUri, usual: Protocol) -> Hop {
    let protocol = match uri
        .params
        .value("transport")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        _ if uri.secure => Protocol::Tls,
        Some("tls") => Protocol::Tls,
        Some("tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        _ => usual,
    };
    let host = uri.params.value("maddr").unwrap_or(&uri.host);
    Hop {
        leg,
        protocol,
        host: host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port: uri.port.unwrap_or(protocol.default_port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Limits, Message};

    fn read(file: &str) -> Message {
        let bytes = std::fs::read(format!("tests/data/meta/dialogs/{file}")).unwrap();
        Message::parse(&bytes, &Limits::default()).unwrap()
    }

    fn identity() -> Identity {
        Identity::new(Protocol::Tls, "meta-voip.example.com", 5061)
    }

    const META_ROUTES: [&str; 2] = [
        "<sip:wa.meta.vc;transport=tls;lr>",
        "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>",
    ];

    #[test]
    fn requests_to_metas_callee_carry_the_reversed_routes_and_its_whole_contact() {
        let (Message::Request(invite), Message::Response(ok)) = (
            read("bic-sdes/04-invite-auth.sip"),
            read("bic-sdes/07-200.sip"),
        ) else {
            panic!("an INVITE and its 200")
        };
        let mut dialog = Dialog::from_response(&invite, &ok).unwrap();
        let bye = dialog.request(Method::BYE, &identity(), "z9hG4bKx");
        assert_eq!(bye.uri, ok.contact().unwrap().uri);
        assert!(bye.headers.all("Route").eq(META_ROUTES));
        assert_eq!(
            bye.cseq().unwrap().number,
            invite.cseq().unwrap().number + 1
        );
        assert_eq!(bye.headers.get("To"), ok.headers.get("To"));
        let hop = dialog.next_hop(Leg::Meta, Protocol::Tls).unwrap();
        assert_eq!((hop.host.as_str(), hop.port), ("wa.meta.vc", 5061));
    }

    #[test]
    fn requests_to_metas_caller_carry_its_record_routes_in_order() {
        let Message::Request(invite) = read("uic-sdes-407/04-invite-auth.sip") else {
            panic!("an INVITE")
        };
        let mut dialog = Dialog::from_request(&invite, "ours").unwrap();
        let bye = dialog.request(Method::BYE, &identity(), "z9hG4bKx");
        assert!(bye.headers.all("Route").eq(META_ROUTES));
        assert_eq!(bye.from().unwrap().tag(), Some("ours"));
        assert_eq!(bye.uri, invite.contact().unwrap().uri);
    }

    #[test]
    fn a_request_out_of_order_is_noticed() {
        let Message::Request(invite) = read("uic-sdes-407/04-invite-auth.sip") else {
            panic!("an INVITE")
        };
        let mut dialog = Dialog::from_request(&invite, "ours").unwrap();
        assert!(!dialog.is_in_order(&invite));
        let mut later = invite.clone();
        later.headers.set("CSeq", "20000 BYE");
        assert!(dialog.is_in_order(&later));
        assert!(!dialog.is_in_order(&later));
    }

    #[test]
    fn a_strict_router_gets_the_request_uri() {
        let Message::Request(mut invite) = read("uic-sdes-407/04-invite-auth.sip") else {
            panic!("an INVITE")
        };
        invite.headers.set("Record-Route", "<sip:old.example>");
        let bye = Dialog::from_request(&invite, "o").unwrap().request(
            Method::BYE,
            &identity(),
            "z9hG4bKx",
        );
        assert_eq!(bye.uri.to_string(), "sip:old.example");
        assert_eq!(
            bye.headers.get("Route"),
            Some(format!("<{}>", invite.contact().unwrap().uri).as_str())
        );
    }
}
