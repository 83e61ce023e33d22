//! As much of a dialog as a far end needs (RFC 3261 §12): written apart from the bridge's own on purpose, so that the
//! two cannot share a misreading.

use crate::sip::header::CSeq;
use crate::sip::message::Common;
use crate::sip::{Method, NameAddr, Request, Response, Uri};

/// One end of a dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// The Call-ID, byte for byte.
    pub call_id: String,
    /// What our requests carry as From, and theirs as To.
    pub local: String,
    /// What our requests carry as To, and theirs as From.
    pub remote: String,
    /// The other end's Contact.
    pub target: Uri,
    /// The Route headers of our requests.
    pub routes: Vec<String>,
    /// Number of the last request of ours.
    pub cseq: u32,
    /// Number of the last request of theirs.
    pub remote_cseq: Option<u32>,
}

impl Dialog {
    /// The caller's end; `None` if the response has no usable Contact.
    pub fn caller(invite: &Request, ok: &Response) -> Option<Dialog> {
        let mut routes = routes(ok.headers.list("Record-Route"));
        routes.reverse(); // §12.1.2
        Some(Dialog {
            call_id: invite.call_id().to_owned(),
            local: invite.headers.get("From")?.to_owned(),
            remote: ok.headers.get("To")?.to_owned(),
            target: ok.contact()?.uri,
            routes,
            cseq: invite.cseq()?.number,
            remote_cseq: None,
        })
    }

    /// The callee's end, with our To tag; `None` if the INVITE has no usable Contact.
    pub fn callee(invite: &Request, tag: &str) -> Option<Dialog> {
        Some(Dialog {
            call_id: invite.call_id().to_owned(),
            local: format!("{};tag={tag}", invite.headers.get("To")?),
            remote: invite.headers.get("From")?.to_owned(),
            target: invite.contact()?.uri,
            routes: routes(invite.headers.list("Record-Route")),
            cseq: 0,
            remote_cseq: Some(invite.cseq()?.number),
        })
    }

    /// The next request of ours, without Via and Contact.
    pub fn request(&mut self, method: Method) -> Request {
        self.cseq += 1;
        self.numbered(method, self.cseq)
    }

    /// The ACK for a 2xx (§13.2.2.4), without Via.
    pub fn ack(&self, invite: u32) -> Request {
        self.numbered(Method::ACK, invite)
    }

    /// Whether a request of theirs belongs to this dialog (§12.2.2).
    pub fn owns(&self, request: &Request) -> bool {
        let tag = |value: Option<&str>| tag_of(value.unwrap_or_default());
        request.call_id() == self.call_id
            && tag(request.headers.get("To")) == tag_of(&self.local)
            && tag(request.headers.get("From")) == tag_of(&self.remote)
    }

    fn numbered(&self, method: Method, number: u32) -> Request {
        let mut request = Request::new(method.clone(), self.target.clone());
        for route in &self.routes {
            request.headers.push("Route", route);
        }
        request.headers.push("Max-Forwards", "70");
        request.headers.push("From", &self.local);
        request.headers.push("To", &self.remote);
        request.headers.push("Call-ID", &self.call_id);
        let cseq = CSeq { number, method };
        request.headers.push("CSeq", cseq.to_string());
        request
    }
}

/// The tag of a From or To value.
pub fn tag_of(value: &str) -> Option<String> {
    NameAddr::parse(value).ok()?.tag().map(str::to_owned)
}

fn routes<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    values.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tests::{request, response};

    #[test]
    fn the_caller_reverses_the_record_routes_and_the_callee_keeps_their_order() {
        let invite = request("dialogs/bic-sdes/04-invite-auth.sip");
        let ok = response("dialogs/bic-sdes/07-200.sip");
        let mut dialog = Dialog::caller(&invite, &ok).unwrap();
        let bye = dialog.request(Method::BYE);
        let documented = request("dialogs/bic-sdes/09b-bye-from-bridge.sip");
        assert_eq!(bye.uri, documented.uri);
        for name in ["Route", "From", "To", "Call-ID", "CSeq"] {
            let (ours, theirs): (Vec<_>, Vec<_>) = (
                bye.headers.all(name).collect(),
                documented.headers.all(name).collect(),
            );
            assert_eq!(ours, theirs, "{name}");
        }
        assert_eq!(dialog.ack(2).headers.get("CSeq"), Some("2 ACK"));

        let invite = request("dialogs/uic-sdes-407/04-invite-auth.sip");
        let dialog = Dialog::callee(&invite, "b-de74ecf9").unwrap();
        let routes: Vec<_> = invite.headers.list("Record-Route").collect();
        assert_eq!(dialog.routes, routes);
        assert!(dialog.owns(&request("dialogs/uic-sdes-407/09b-bye-from-meta.sip")));
        assert!(!dialog.owns(&request("dialogs/bic-sdes/09-bye-from-meta.sip")));
    }
}
