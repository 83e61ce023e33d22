//! Messages made from the message that they answer or belong to.

use super::header::{CSeq, Via, tag_of};
use super::message::{Common, Headers, Malformed, Method, Request, Response, reason_phrase};

/// A response to `request` (RFC 3261 §8.2.6): its Vias, From, To, Call-ID and CSeq, byte for byte.
///
/// `to_tag` is added to a To that has no tag; a 100 takes none.
pub fn response(request: &Request, status: u16, to_tag: Option<&str>) -> Response {
    respond_to(&request.headers, status, to_tag)
}

/// The answer that a malformed request gets; `None` if it gets none.
pub fn refusal(malformed: &Malformed, to_tag: &str) -> Option<Response> {
    let status = malformed.status?;
    malformed.headers.get("Via")?;
    let mut response = respond_to(&malformed.headers, status, Some(to_tag));
    response.headers.push(
        "Warning",
        format!("399 wabridge {}", super::grammar::quote(&malformed.what)),
    );
    Some(response)
}

fn respond_to(request: &Headers, status: u16, to_tag: Option<&str>) -> Response {
    let mut headers = Headers::default();
    for via in request.all("Via") {
        headers.push("Via", via);
    }
    for name in ["From", "To", "Call-ID", "CSeq"] {
        let Some(value) = request.get(name) else {
            continue;
        };
        let tag = to_tag.filter(|_| name == "To" && status > 100 && tag_of(value).is_none());
        match tag {
            Some(tag) => headers.push(name, format!("{value};tag={tag}")),
            None => headers.push(name, value),
        }
    }
    Response {
        status,
        reason: reason_phrase(status).to_owned(),
        headers,
        body: Vec::new(),
    }
}

/// The ACK for a final response other than 2xx (§17.1.1.3): the INVITE's top Via, the response's To.
pub fn ack(invite: &Request, response: &Response) -> Request {
    let mut ack = same_transaction(invite, Method::ACK);
    if let Some(to) = response.headers.get("To") {
        ack.headers.set("To", to);
    }
    ack
}

/// The CANCEL for a request that is still pending (§9.1).
pub fn cancel(invite: &Request) -> Request {
    let mut cancel = same_transaction(invite, Method::CANCEL);
    cancel.headers.remove("Proxy-Authorization");
    cancel
}

/// A request in the transaction of `invite`: same Request-URI, top Via, Route, From, To, Call-ID and CSeq number.
fn same_transaction(invite: &Request, method: Method) -> Request {
    let mut request = Request::new(method.clone(), invite.uri.clone());
    if let Some(via) = invite.headers.get("Via") {
        request.headers.push("Via", via);
    }
    request.headers.push("Max-Forwards", "70");
    for name in ["Route", "From", "To", "Call-ID"] {
        for value in invite.headers.all(name) {
            request.headers.push(name, value);
        }
    }
    let number = invite.cseq().map_or(0, |cseq| cseq.number);
    request
        .headers
        .push("CSeq", CSeq { number, method }.to_string());
    request
}

/// The same request as a new transaction (§22.2): new branch, next CSeq.
pub fn again(request: &Request, via: &Via, cseq: u32) -> Request {
    let mut request = request.clone();
    request.headers.set("Via", via.to_string());
    let method = request.method.clone();
    request.headers.set(
        "CSeq",
        CSeq {
            number: cseq,
            method,
        }
        .to_string(),
    );
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Limits, Message};

    fn invite() -> Request {
        let bytes =
            std::fs::read("tests/data/meta/sip/uic-04-invite-sdes-before-digest.sip").unwrap();
        match Message::parse(&bytes, &Limits::default()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => panic!("the fixture is a request"),
        }
    }

    #[test]
    fn a_response_returns_every_via_in_order_and_the_call_id_as_it_came() {
        let invite = invite();
        let response = response(&invite, 407, Some("ours"));
        assert!(response.headers.all("Via").eq(invite.headers.all("Via")));
        assert_eq!(response.headers.all("Via").count(), 3);
        assert_eq!(response.call_id(), invite.call_id());
        assert_eq!(response.to().unwrap().tag(), Some("ours"));
        assert_eq!(
            super::response(&invite, 100, Some("ours"))
                .to()
                .unwrap()
                .tag(),
            None
        );
    }

    #[test]
    fn ack_and_cancel_stay_in_the_transaction() {
        let invite = invite();
        let ack = ack(&invite, &response(&invite, 486, Some("theirs")));
        assert_eq!(ack.via(), invite.via());
        assert_eq!(ack.headers.all("Via").count(), 1);
        assert_eq!(ack.to().unwrap().tag(), Some("theirs"));
        assert_eq!(ack.headers.get("CSeq"), Some("9989 ACK"));
        assert_eq!(cancel(&invite).headers.get("CSeq"), Some("9989 CANCEL"));
    }
}
