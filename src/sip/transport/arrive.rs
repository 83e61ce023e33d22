//! Bytes that make one message become an event: parsed, and stamped with where they came from (RFC 3261 §18.2.1).

use std::time::Instant;

use crate::sip::framing::Lost;
use crate::sip::header::Via;
use crate::sip::message::{Headers, Limits, Malformed, Message};

use super::{Arrival, Flow, TransportEvent};

/// The event for one whole message.
pub(super) fn event(bytes: &[u8], flow: Flow, limits: &Limits) -> TransportEvent {
    match Message::parse(bytes, limits) {
        Ok(mut message) => {
            if let Message::Request(request) = &mut message {
                stamp(&mut request.headers, flow);
            }
            let octets = bytes.into();
            TransportEvent::Arrived(Arrival {
                message,
                flow,
                octets,
                at: Instant::now(),
            })
        }
        Err(malformed) => {
            let mut malformed = *malformed;
            stamp(&mut malformed.headers, flow);
            TransportEvent::Malformed { malformed, flow }
        }
    }
}

/// The event for a message whose end is unknown or not worth waiting for.
pub(super) fn lost(lost: Lost, flow: Flow, limits: &Limits) -> TransportEvent {
    let mut headers = match Message::parse(&lost.head, limits) {
        Ok(message) => message.headers().clone(),
        Err(malformed) => malformed.headers,
    };
    stamp(&mut headers, flow);
    let is_response = lost.head.starts_with(b"SIP/2.0 ");
    let malformed = Malformed {
        what: lost.what,
        status: Some(lost.status).filter(|_| !is_response),
        headers,
        octets: lost.head.into(),
    };
    TransportEvent::Malformed { malformed, flow }
}

fn stamp(headers: &mut Headers, flow: Flow) {
    let Some(Ok(mut top)) = headers.get("Via").map(Via::parse) else {
        return;
    };
    top.stamp(flow.remote);
    headers.set_first("Via", top.to_string());
}

#[cfg(test)]
mod tests {
    use super::super::Protocol;
    use super::*;
    use crate::leg::Leg;

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;rport;branch=z9hG4bK1\r\n\
        Via: SIP/2.0/UDP d;rport;branch=z9hG4bK2\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\n\
        CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

    fn flow() -> Flow {
        Flow {
            leg: Leg::Pbx,
            protocol: Protocol::Udp,
            local: "127.0.0.1:5070".parse().unwrap(),
            remote: "127.0.0.9:4444".parse().unwrap(),
            connection: None,
        }
    }

    fn vias(headers: &Headers) -> Vec<&str> {
        headers.all("Via").collect()
    }

    #[test]
    fn only_the_top_via_of_a_request_is_stamped() {
        let TransportEvent::Arrived(arrival) =
            event(OPTIONS.as_bytes(), flow(), &Limits::default())
        else {
            panic!("refused")
        };
        assert_eq!(
            vias(arrival.message.headers()),
            [
                "SIP/2.0/UDP c;rport=4444;branch=z9hG4bK1;received=127.0.0.9",
                "SIP/2.0/UDP d;rport;branch=z9hG4bK2"
            ]
        );
        let response = OPTIONS.replace("OPTIONS sip:a@b SIP/2.0", "SIP/2.0 200 OK");
        let TransportEvent::Arrived(arrival) =
            event(response.as_bytes(), flow(), &Limits::default())
        else {
            panic!("refused")
        };
        let vias = vias(arrival.message.headers());
        assert_eq!(vias[0], "SIP/2.0/UDP c;rport;branch=z9hG4bK1");
    }

    #[test]
    fn a_request_that_cannot_be_framed_keeps_what_its_answer_needs() {
        let over = |head: &str| Lost {
            what: "too large".into(),
            status: 413,
            head: head.as_bytes().to_vec(),
        };
        let TransportEvent::Malformed { malformed, .. } =
            lost(over(OPTIONS), flow(), &Limits::default())
        else {
            panic!("accepted")
        };
        assert_eq!(malformed.status, Some(413));
        assert!(vias(&malformed.headers)[0].contains("received=127.0.0.9"));
        let response = OPTIONS.replace("OPTIONS sip:a@b SIP/2.0", "SIP/2.0 200 OK");
        let TransportEvent::Malformed { malformed, .. } =
            lost(over(&response), flow(), &Limits::default())
        else {
            panic!("accepted")
        };
        assert_eq!(malformed.status, None);
    }
}
