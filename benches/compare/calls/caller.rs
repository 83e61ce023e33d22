//! What Meta says in a call that a user makes: the words of Meta's own sample, with a number in place of its identifiers.

use std::io::Write;
use std::net::SocketAddr;

use super::form::{Form, NUMBER};
use super::wire::Read;
use crate::far_ends::daemon::HOSTNAME;
use crate::far_ends::messages::{BUSINESS, PASSWORD};

/// The whole digest round of one of Meta's samples, of which only the first message is used.
const INVITE: &str = include_str!("../../../tests/data/meta/dialogs/uic-sdes-407/01-invite.sip");
/// What is different in each call, and where the number goes then. A user has a number of their own in each.
const DIFFERENT: [(&str, &str); 5] = [
    (
        "wacid.HBgLMTIxOTU1NTA3MTQVAgASGCA2CA2CB536F053C073B60C5C5AA==",
        "wacid.HBgLMTIxOTU1NTA3MTQVAgASGCA2CA2CB536F053CNNNNNNNNNN==",
    ),
    (
        "z9hG4bKPj8f28551b1e8ea569d761a2598f0ebe4a",
        "z9hG4bKPj1NNNNNNNNNN",
    ),
    ("ebebfacc3699f539", "tagNNNNNNNNNN"),
    ("12195550714", "1219NNNNNNNNNN"),
    ("CSeq: 9989 ", "CSeq: 1 "),
];
const VIA: &str = "SIP/2.0/TLS 31.13.66.215:5061;rport";
const CNONCE: &str = "fvFt8emLfpe8ECX5EQgmXaOON1Nqzy";

/// The far end of Meta: what it says.
pub struct Caller {
    invite: Form,
    /// The second INVITE, up to its credentials, and what follows them.
    again: Form,
    body: Form,
    from: Form,
    call_id: Form,
    /// The realm that was asked for last, and what belongs to it.
    secret: (String, String),
    /// The hash of method and uri.
    asked: String,
}

impl Caller {
    /// One whose media is there, in all calls.
    pub fn new(media: SocketAddr) -> Caller {
        let mut text = INVITE
            .replace("157.240.19.130", &media.ip().to_string())
            .replace("m=audio 3480 ", &format!("m=audio {} ", media.port()));
        for (sample, ours) in DIFFERENT {
            assert!(text.contains(sample), "the sample has changed");
            text = text.replace(sample, ours);
        }
        let (head, body) = text.split_once("\r\n\r\n").expect("the sample has a body");
        let (head, _) = head
            .split_once("Content-Type")
            .expect("which is described last");
        let body = format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let again = head
            .replace("z9hG4bKPj1", "z9hG4bKPj2")
            .replace("CSeq: 1 ", "CSeq: 2 ");
        let value = |name| Form::of(Read(head).header(name));
        Caller {
            invite: Form::of(&format!("{head}{body}")),
            again: Form::of(&again),
            from: value("From"),
            call_id: value("Call-ID"),
            body: Form::of(&body),
            secret: Default::default(),
            asked: hash(&format!("INVITE:{}", uri())),
        }
    }

    /// The first INVITE of a call.
    pub fn invite(&self, number: u64, out: &mut Vec<u8>) {
        self.invite.fill(number, out);
    }

    /// The ACK of a 401 or 407, and the INVITE once more, with credentials.
    pub fn prove(&mut self, number: u64, challenge: Read, out: &mut Vec<u8>) {
        self.refusal_is_heard(number, 1, challenge, out);
        let (asked, answers) = match challenge.status() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let mut challenges = challenge.all(asked);
        let ours = challenges.find(|one| !one.contains("SHA-256"));
        let credentials = self.credentials(ours.expect("a challenge for MD5"));
        self.again.fill(number, out);
        let done = write!(out, "{answers}: {credentials}\r\n");
        done.expect("memory takes it");
        self.body.fill(number, out);
    }

    fn credentials(&mut self, challenge: &str) -> String {
        let (realm, nonce) = (value(challenge, "realm"), value(challenge, "nonce"));
        let (name, uri) = (BUSINESS.trim_start_matches('+'), uri());
        if self.secret.0 != realm {
            self.secret = (realm.into(), hash(&format!("{name}:{realm}:{PASSWORD}")));
        }
        let (secret, asked) = (&self.secret.1, &self.asked);
        let response = hash(&format!("{secret}:{nonce}:00000001:{CNONCE}:auth:{asked}"));
        let opaque = value(challenge, "opaque");
        format!(
            "Digest username=\"{name}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm=MD5, cnonce=\"{CNONCE}\", opaque=\"{opaque}\", qop=auth, nc=00000001"
        )
    }

    /// The ACK of a final response that is no success, to the first or second INVITE; it belongs to the INVITE's transaction.
    pub fn refusal_is_heard(&self, number: u64, invite: u32, refusal: Read, out: &mut Vec<u8>) {
        let uri = format!("{};transport=tls", uri());
        self.request(
            "ACK",
            invite,
            number,
            invite,
            &uri,
            refusal.header("To"),
            out,
        );
    }

    /// The second INVITE is taken back; of the first one nobody needs to hear.
    pub fn cancel(&self, number: u64, out: &mut Vec<u8>) {
        let (uri, to) = (uri(), format!("<{}>", uri()));
        self.request(
            "CANCEL",
            2,
            number,
            2,
            &format!("{uri};transport=tls"),
            &to,
            out,
        );
    }

    /// The ACK of a 200.
    pub fn ack(&self, number: u64, target: &str, to: &str, out: &mut Vec<u8>) {
        self.request("ACK", 3, number, 2, target, to, out);
    }

    /// The user hangs up.
    pub fn bye(&self, number: u64, target: &str, to: &str, out: &mut Vec<u8>) {
        self.request("BYE", 4, number, 3, target, to, out);
    }

    #[expect(clippy::too_many_arguments, reason = "a request has them")]
    fn request(
        &self,
        method: &str,
        branch: u32,
        number: u64,
        cseq: u32,
        uri: &str,
        to: &str,
        out: &mut Vec<u8>,
    ) {
        let start = format!(
            "{method} {uri} SIP/2.0\r\nVia: {VIA};branch=z9hG4bKPj{branch}{number:010};alias\r\nMax-Forwards: 69\r\nFrom: "
        );
        out.extend_from_slice(start.as_bytes());
        self.from.fill(number, out);
        out.extend_from_slice(b"\r\nCall-ID: ");
        self.call_id.fill(number, out);
        let rest = format!("\r\nTo: {to}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n");
        out.extend_from_slice(rest.as_bytes());
    }
}

/// What is called. Meta leaves the transport out of the digest's uri (SIP guide, 2025-12-15).
fn uri() -> String {
    format!("sip:{BUSINESS}@{HOSTNAME}")
}

/// A parameter of a challenge.
fn value<'a>(challenge: &'a str, name: &str) -> &'a str {
    let (_, rest) = challenge
        .split_once(&format!("{name}=\""))
        .unwrap_or_default();
    rest.split_once('"').map_or("", |(value, _)| value)
}

fn hash(text: &str) -> String {
    format!("{:x}", md5::compute(text))
}

/// The form and the sample agree on how a number stands for itself.
const _: () = assert!(NUMBER.len() == super::wire::DIGITS);
