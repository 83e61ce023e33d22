//! Requests and responses.
//!
//! rsip gives the vocabulary (methods, header types). Its parsers and printers never meet the network: they lose
//! branches, ports and commas without an error (see docs/dependencies.md). Reading and printing is ours.

mod headers;
mod method;
mod parse;

use std::fmt::{self, Write as _};

pub use headers::Headers;
pub use method::Method;
pub(super) use parse::content_length;
pub use parse::{Limits, Malformed};

use super::grammar;
use super::header::{CSeq, NameAddr, Via, tag_of};
use super::uri::Uri;

/// A SIP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A request. What was parsed has a Via, From, To, Call-ID and CSeq that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method of the start line; CSeq has the same.
    pub method: Method,
    /// The Request-URI.
    pub uri: Uri,
    /// All headers but Content-Length, which is made when printing.
    pub headers: Headers,
    /// The body, as bytes.
    pub body: Vec<u8>,
}

/// A response. What was parsed has a Via, From, To, Call-ID and CSeq that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100–699.
    pub status: u16,
    /// The reason phrase, as the peer wrote it.
    pub reason: String,
    /// All headers but Content-Length, which is made when printing.
    pub headers: Headers,
    /// The body, as bytes.
    pub body: Vec<u8>,
}

/// What requests and responses have in common.
pub trait Common {
    /// The headers.
    fn headers(&self) -> &Headers;

    /// The topmost Via.
    fn via(&self) -> Option<Via> {
        Via::parse(self.headers().get("Via")?).ok()
    }

    /// The Call-ID, byte for byte.
    fn call_id(&self) -> &str {
        self.headers().get("Call-ID").unwrap_or_default()
    }

    /// The CSeq.
    fn cseq(&self) -> Option<CSeq> {
        CSeq::parse(self.headers().get("CSeq")?).ok()
    }

    /// The tag of the From.
    fn tag_of_from(&self) -> Option<&str> {
        tag_of(self.headers().get("From")?)
    }

    /// The tag of the To: only what is within a dialog has one in a request.
    fn to_tag(&self) -> Option<&str> {
        tag_of(self.headers().get("To")?)
    }

    /// The From.
    fn from(&self) -> Option<NameAddr> {
        NameAddr::parse(self.headers().get("From")?).ok()
    }

    /// The To.
    fn to(&self) -> Option<NameAddr> {
        NameAddr::parse(self.headers().get("To")?).ok()
    }

    /// The first Contact.
    fn contact(&self) -> Option<NameAddr> {
        self.headers()
            .list("Contact")
            .find_map(|c| NameAddr::parse(c).ok())
    }

    /// The media type of the body, lower case, without parameters.
    fn content_type(&self) -> Option<String> {
        let value = self.headers().get("Content-Type")?;
        Some(
            value
                .split(';')
                .next()
                .unwrap_or(value)
                .trim()
                .to_ascii_lowercase(),
        )
    }
}

impl Common for Request {
    fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl Common for Response {
    fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, uri: impl Into<Uri>) -> Request {
        Request {
            method,
            uri: uri.into(),
            headers: Headers::default(),
            body: Vec::new(),
        }
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        print(
            format_args!("{} {} SIP/2.0", self.method, self.uri),
            &self.headers,
            &self.body,
        )
    }
}

impl Response {
    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        print(
            format_args!("SIP/2.0 {} {}", self.status, self.reason),
            &self.headers,
            &self.body,
        )
    }

    /// Whether it is a 1xx.
    pub fn is_provisional(&self) -> bool {
        self.status < 200
    }

    /// Whether it is a 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Message {
    /// Reads one whole message; see [`Malformed`] for what becomes of bad ones.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Message, Box<Malformed>> {
        parse::message(bytes, limits)
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Message::Request(request) => request.to_bytes(),
            Message::Response(response) => response.to_bytes(),
        }
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        match self {
            Message::Request(request) => &request.headers,
            Message::Response(response) => &response.headers,
        }
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Message {
        Message::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Message {
        Message::Response(response)
    }
}

fn print(start_line: fmt::Arguments<'_>, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let lines = headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4);
    // The start line and Content-Length stand for the rest.
    let mut text = String::with_capacity(lines.sum::<usize>() + body.len() + 192);
    // Writing to a String cannot fail.
    let _ = text.write_fmt(start_line);
    text.push_str("\r\n");
    for (name, value) in headers.iter() {
        for part in [name, ": ", value, "\r\n"] {
            text.push_str(part);
        }
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n", body.len());
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The reason phrase that RFC 3261 §21 and its extensions give a status code.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        other => match other / 100 {
            1 => "Progress",
            2 => "Success",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}
