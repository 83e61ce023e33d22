//! What a Meta and a PBX say, in the documented shapes.

use wabridge::policy::KeyExchange;
use wabridge::sip::header::CSeq;
use wabridge::sip::message::{Common, reason_phrase};
use wabridge::sip::{Limits, Message, Method, NameAddr, Request, Response, Via, build};

use crate::world::*;

/// A challenge in the documented shape.
pub const CHALLENGE: &str = "Digest realm=\"wa.meta.vc\",nonce=\"0123456789abcdef\",\
    opaque=\"fedcba9876543210\",algorithm=MD5,qop=\"auth\"";

pub const PBX_SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    m=audio 16000 RTP/AVP 107 101\r\na=rtpmap:107 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";

/// A response of a party, with a tag and a Contact of its own.
pub fn respond(request: &Request, status: u16) -> Response {
    let mut response = build::response(request, status, Some("their-tag"));
    response.reason = reason_phrase(status).into();
    response
}

/// Meta's 200 to a business-initiated call, in the documented shape and keyed as we have offered.
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
    ok.body = match offered.contains("m=audio 20004 UDP/TLS/RTP/SAVPF 111 126\r\n") {
        true => fixture("sdp/bic-answer-dtls-active-derived.sdp"),
        false => {
            assert!(offered.contains(" RTP/SAVP 111 126\r\n"), "{offered}");
            let sdp = String::from_utf8(fixture("sdp/bic-answer-sdes-doc.sdp")).unwrap();
            sdp.replace("107", "111").replace("101", "126").into_bytes()
        }
    };
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

pub fn fixture_text(file: &str) -> String {
    String::from_utf8(fixture(file)).unwrap()
}

pub fn fixture_request(file: &str) -> Request {
    match Message::parse(&fixture(file), &Limits::default()).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("{file} is a request"),
    }
}

/// A response of Meta's as it is documented, to a request of ours.
pub fn metas_words(request: &Request, file: &str) -> Response {
    let Message::Response(mut response) =
        Message::parse(&fixture(file), &Limits::default()).unwrap()
    else {
        panic!("{file} is a response")
    };
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        response
            .headers
            .set(name, request.headers.get(name).unwrap());
    }
    let tag = response
        .to()
        .and_then(|to| Some(format!(";tag={}", to.tag()?)));
    let to = request.headers.get("To").unwrap();
    response
        .headers
        .set("To", format!("{to}{}", tag.unwrap_or_default()));
    response
}

impl World {
    /// Meta's INVITE of a user-initiated call, as documented.
    pub fn metas_invite(&mut self) -> Request {
        self.metas_invite_keyed(KeyExchange::Sdes)
    }

    /// The same for a number that is set to this at Meta.
    pub fn metas_invite_keyed(&mut self, kind: KeyExchange) -> Request {
        let dialog = match kind {
            KeyExchange::Sdes => "uic-sdes-407",
            KeyExchange::Dtls => "uic-dtls-401",
        };
        let mut invite = fixture_request(&format!("dialogs/{dialog}/01-invite.sip"));
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

    /// A BYE of Meta's as it is documented, in its dialog of this call.
    pub fn metas_bye(&mut self, up: &Up, file: &str) -> Request {
        let ours = self.within(up, wabridge::leg::Leg::Meta, "BYE");
        let mut bye = fixture_request(file);
        bye.uri = ours.uri;
        for name in ["From", "To", "Call-ID", "CSeq"] {
            bye.headers.set(name, ours.headers.get(name).unwrap());
        }
        self.new_branch(&mut bye);
        bye
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
