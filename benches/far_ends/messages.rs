//! What Meta and the PBX say in a user-initiated call, each call with identifiers of its own.

use std::net::{IpAddr, SocketAddr};

use wabridge::media::Codec;
use wabridge::secret::Secret;
use wabridge::sip::digest::Challenge;
use wabridge::sip::digest::client::{Client, Login, Target};
use wabridge::sip::header::CSeq;
use wabridge::sip::message::{Common, reason_phrase};
use wabridge::sip::{Limits, Message, Method, Request, Response, Via, build};

/// The number that is called.
pub const BUSINESS: &str = "+12145551869";
/// The password that Meta would have generated for it.
pub const PASSWORD: &str = "meta-generated-secret";
/// With which key Meta's samples protect their media.
pub const METAS_KEY: &str =
    "1 AES_CM_128_HMAC_SHA1_80 inline:MVh+0N8l/WxBsz9pdEXPfc+0TYqUiOPqIqc3pcKI";

/// The whole digest round of one of Meta's samples, of which only the first message is used.
const INVITE: &[u8] = include_bytes!("../../tests/data/meta/dialogs/uic-sdes-407/01-invite.sip");
const WACID: &str = "wacid.HBgLMTIxOTU1NTA3MTQVAgASGCA2CA2CB536F053C073B60C5C5AA==";
const BRANCH: &str = "z9hG4bKPj8f28551b1e8ea569d761a2598f0ebe4a";
const TAG: &str = "ebebfacc3699f539";

/// One call, as Meta sees it.
pub struct Caller {
    number: u64,
    /// The INVITE sent last.
    pub invite: Request,
}

impl Caller {
    /// The call of that number, whose media is at `media`.
    pub fn new(number: u64, media: SocketAddr) -> Caller {
        let text = String::from_utf8(INVITE.to_vec())
            .expect("the sample is text")
            .replace(WACID, &format!("wacid.{number:056}=="))
            .replace(TAG, &format!("{number:016x}"))
            .replace(BRANCH, &branch(number, 0))
            .replace("157.240.19.130", &media.ip().to_string())
            .replace("m=audio 3480 ", &format!("m=audio {} ", media.port()));
        let (head, body) = text.split_once("\r\n\r\n").expect("the sample has a body");
        let (head, _) = head
            .rsplit_once("\r\n")
            .expect("Content-Length is the last header");
        let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let invite = request(&read(text.as_bytes()));
        Caller { number, invite }
    }

    /// The INVITE once more, with credentials.
    pub fn authenticate(&mut self, challenge: &Response) {
        let asked = challenge
            .headers
            .get("Proxy-Authenticate")
            .expect("a 407 has a challenge");
        // Meta leaves the transport out of the digest's uri (SIP guide, 2025-12-15).
        let uri = self.invite.uri.to_string().replace(";transport=tls", "");
        let (method, password) = ("INVITE", Secret::new(PASSWORD));
        let login = Login {
            username: BUSINESS.trim_start_matches('+'),
            password: &password,
        };
        let credentials = Client::new()
            .answer(
                &Challenge::parse_all(asked),
                Target { method, uri: &uri },
                login,
                format!("{:030}", self.number),
            )
            .expect("the challenge can be answered");
        let mut again = self.invite.clone();
        replace_branch(&mut again, &branch(self.number, 1));
        let number = self.cseq() + 1;
        let method = Method::INVITE;
        again
            .headers
            .set("CSeq", CSeq { number, method }.to_string());
        again
            .headers
            .push("Proxy-Authorization", credentials.to_string());
        self.invite = again;
    }

    /// The ACK for the answer `ok`.
    pub fn ack(&self, ok: &Response) -> Request {
        self.in_dialog("ACK", self.cseq(), ok)
    }

    /// The end of the call that `ok` began.
    pub fn bye(&self, ok: &Response) -> Request {
        self.in_dialog("BYE", self.cseq() + 1, ok)
    }

    fn cseq(&self) -> u32 {
        self.invite.cseq().expect("an INVITE has a CSeq").number
    }

    fn in_dialog(&self, method: &str, cseq: u32, ok: &Response) -> Request {
        let target = ok.contact().expect("a 200 has a Contact").uri;
        let mut request = Request::new(Method::parse(method).expect("known"), target);
        let branch = format!("{}-{method}", branch(self.number, 2));
        let via = Via::new("TLS", "31.13.66.215", 5061, &branch);
        let header = |name| ok.headers.get(name).expect("every response has it");
        for (name, value) in [
            ("Via", via.to_string()),
            ("Max-Forwards", "70".into()),
            ("From", header("From").to_owned()),
            ("To", header("To").to_owned()),
            ("Call-ID", header("Call-ID").to_owned()),
            ("CSeq", format!("{cseq} {method}")),
        ] {
            request.headers.push(name, value);
        }
        request
    }
}

/// The PBX answers an INVITE of the bridge; its media is at `media`, and of what is offered it speaks this codec.
pub fn answer(invite: &Request, media: SocketAddr, codec: Codec) -> Response {
    let mut ok = build::response(invite, 200, Some("tag-of-the-pbx"));
    ok.reason = reason_phrase(200).into();
    let (ip, port) = (media.ip(), media.port());
    let number = super::media::number(codec);
    ok.headers.push("Contact", format!("<sip:100@{ip}:5060>"));
    ok.headers.push("Content-Type", "application/sdp");
    ok.body = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {number} 126\r\n\
         a=rtpmap:{number} {codec}\r\na=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-16\r\na=ptime:20\r\n\
         a=sendrecv\r\n"
    )
    .into();
    ok
}

/// Where a description says that media is expected.
pub fn media_of(body: &[u8]) -> SocketAddr {
    let text = String::from_utf8_lossy(body);
    let word = |prefix: &str| -> &str {
        let line = text.lines().find_map(|line| line.strip_prefix(prefix));
        let words = line.expect("the line is there").split(' ');
        words.into_iter().next().expect("split gives one or more")
    };
    let ip: IpAddr = word("c=IN IP4 ").parse().expect("an address");
    SocketAddr::new(ip, word("m=audio ").parse().expect("a port"))
}

/// A message that must be readable.
pub fn read(bytes: &[u8]) -> Message {
    Message::parse(bytes, &Limits::default()).expect("a whole message")
}

/// A message that must be a request.
pub fn request(message: &Message) -> Request {
    match message {
        Message::Request(request) => request.clone(),
        Message::Response(response) => panic!("a {} in place of a request", response.status),
    }
}

/// A message that must be this response.
pub fn response(message: &Message, status: u16) -> Response {
    match message {
        Message::Response(response) if response.status == status => response.clone(),
        other => panic!(
            "in place of a {status}:\n{}",
            String::from_utf8_lossy(&other.to_bytes())
        ),
    }
}

/// Puts a value in place of the topmost one.
pub fn replace_via(request: &mut Request, via: &Via) {
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

fn replace_branch(request: &mut Request, branch: &str) {
    let mut via = request.via().expect("a request has a Via");
    via.params.set("branch", Some(branch.to_owned()));
    replace_via(request, &via);
}

fn branch(call: u64, attempt: u8) -> String {
    format!("z9hG4bKPj{call:030x}{attempt:02x}")
}
