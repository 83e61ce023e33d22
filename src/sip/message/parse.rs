//! Reading a whole message. Lenient where peers are known to differ and nothing is lost, strict where two readers
//! could disagree about what was meant.

use std::borrow::Cow;
use std::iter::Peekable;
use std::mem;
use std::sync::Arc;

use memchr::{memchr3, memmem};

use super::super::header::{CSeq, NameAddr, Via};
use super::super::uri::Uri;
use super::grammar::{Pieces, is_token};
use super::headers::long_form;
use super::{Headers, Message, Method, Request, Response};

/// How much of a peer's message is read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest message in octets, headers and body; a larger one is refused with 513.
    pub max_message: usize,
    /// Most header lines of one message; more are refused with 400.
    pub max_headers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_message: 65_535,
            max_headers: 256,
        }
    }
}

/// A message that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Malformed {
    /// What is wrong, naming the header at fault.
    pub what: String,
    /// What a request is answered with; `None` for responses and for what is no SIP at all.
    pub status: Option<u16>,
    /// The headers that could be read, so that the answer finds its way.
    pub headers: Headers,
    /// The octets as they came; of what has no end, the first of them.
    pub octets: Arc<[u8]>,
}

/// Header lines as they stood, before anybody asked what they mean.
struct Head<'a> {
    start_line: String,
    headers: Headers,
    /// The first thing wrong with the header lines.
    fault: Option<String>,
    body: &'a [u8],
}

pub(super) fn message(bytes: &[u8], limits: &Limits) -> Result<Message, Box<Malformed>> {
    let bytes = without_leading_line_ends(bytes);
    let mut head = head(bytes, limits);
    let response = head.start_line.starts_with("SIP/2.0 ");
    let read = match response {
        true => response_from(&mut head),
        false => request_from(&mut head),
    };
    read.map_err(|(status, what)| {
        let status = status.filter(|_| !response);
        let headers = head.headers;
        Box::new(Malformed {
            what,
            status,
            headers,
            octets: bytes.into(),
        })
    })
}

/// §7.5: line ends before the start line are ignored.
fn without_leading_line_ends(bytes: &[u8]) -> &[u8] {
    let at = bytes
        .iter()
        .position(|b| !b"\r\n".contains(b))
        .unwrap_or(bytes.len());
    &bytes[at..]
}

fn head<'a>(bytes: &'a [u8], limits: &Limits) -> Head<'a> {
    let end = memmem::find(bytes, b"\r\n\r\n");
    let (text, body) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 4..]),
        None => (bytes, &[][..]),
    };
    // Raw octets never go further: what is no UTF-8 becomes U+FFFD here.
    let text = String::from_utf8_lossy(text);
    let mut lines = text.split("\r\n");
    let mut head = Head {
        start_line: lines.next().unwrap_or_default().to_owned(),
        headers: Headers::default(),
        fault: None,
        body,
    };
    if end.is_none() {
        head.fault = Some("the message has no empty line after its headers".into());
    }
    head.headers.reserve(24);
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        let line = unfold(line, &mut lines);
        if let Err(fault) = add_line(&mut head.headers, &line, limits) {
            head.fault.get_or_insert(fault);
        }
    }
    head
}

/// §7.3.1: lines that begin with white space continue the one before.
fn unfold<'a>(line: &'a str, more: &mut Peekable<impl Iterator<Item = &'a str>>) -> Cow<'a, str> {
    let mut line = Cow::Borrowed(line);
    while let Some(next) = more.next_if(|next| next.starts_with([' ', '\t'])) {
        let line = line.to_mut();
        line.push(' ');
        line.push_str(next.trim());
    }
    line
}

fn add_line(headers: &mut Headers, line: &str, limits: &Limits) -> Result<(), String> {
    let (name, value) = line.split_once(':').ok_or("a header line has no colon")?;
    let (name, value) = (name.trim_end(), value.trim());
    if !is_token(name) {
        return Err("a header name is no token".into());
    }
    if headers.len() >= limits.max_headers {
        return Err(format!(
            "more than {} header lines (sip.max_headers)",
            limits.max_headers
        ));
    }
    if memchr3(b'\0', b'\r', b'\n', line.as_bytes()).is_some() {
        return Err(format!("{name} holds a NUL or a bare line end"));
    }
    // Values of these are taken off and put on one at a time, so each gets its own line (§7.3.1).
    let list = ["Via", "Route", "Record-Route"]
        .into_iter()
        .find(|list| list.eq_ignore_ascii_case(long_form(name)));
    let Some(list) = list else {
        headers.push(name, value);
        return Ok(());
    };
    let mut values = Pieces::new(value, ',');
    for value in &mut values {
        headers.push(list, value.trim());
    }
    match values.all_closed() {
        true => Ok(()),
        false => Err(format!("{list} has an open quote or bracket")),
    }
}

type Fault = (Option<u16>, String);

/// Takes the headers out of `head` if nothing is wrong.
fn request_from(head: &mut Head<'_>) -> Result<Message, Fault> {
    let bad = |what: String| (Some(400), what);
    let mut words = head.start_line.split(' ');
    let (method, uri, version) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(uri), Some(version), None) => (method, uri, version),
        _ => return Err(not_a_request_line(&head.start_line)),
    };
    let sip = version
        .get(..4)
        .is_some_and(|v| v.eq_ignore_ascii_case("SIP/"));
    if !sip {
        return Err(not_a_request_line(&head.start_line));
    }
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return Err((Some(505), format!("the request is {version}, not SIP/2.0")));
    }
    if let Some(fault) = head.fault.take() {
        return Err(bad(fault));
    }
    let method = Method::parse(method).ok_or_else(|| bad("the method is no token".into()))?;
    let uri = Uri::parse(uri).map_err(|e| bad(format!("Request-URI: {e}")))?;
    if uri.sip().is_some_and(|u| u.headers.is_some()) {
        return Err(bad("Request-URI: headers are not allowed in it".into()));
    }
    let cseq = essentials(&head.headers).map_err(bad)?;
    if cseq.method != method {
        return Err(bad(format!(
            "CSeq says {}, the request is {method}",
            cseq.method
        )));
    }
    let body = body(&head.headers, head.body).map_err(bad)?;
    let mut headers = mem::take(&mut head.headers);
    headers.remove("Content-Length");
    Ok(Message::Request(Request {
        method,
        uri,
        headers,
        body,
    }))
}

fn not_a_request_line(line: &str) -> Fault {
    let what = "the first line is not METHOD URI SIP/2.0 with single spaces".to_owned();
    // Something that speaks SIP gets an answer; HTTP and noise do not.
    (line.contains("SIP/2.0").then_some(400), what)
}

/// Takes the headers out of `head` if nothing is wrong.
fn response_from(head: &mut Head<'_>) -> Result<Message, Fault> {
    let drop = |what: String| (None, what);
    if let Some(fault) = head.fault.take() {
        return Err(drop(fault));
    }
    let rest = head.start_line.trim_start_matches("SIP/2.0 ");
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = code
        .parse::<u16>()
        .ok()
        .filter(|s| code.len() == 3 && (100..700).contains(s))
        .ok_or_else(|| drop(format!("the status code {code:.8} is not from 100 to 699")))?;
    essentials(&head.headers).map_err(drop)?;
    let body = body(&head.headers, head.body).map_err(drop)?;
    let mut headers = mem::take(&mut head.headers);
    headers.remove("Content-Length");
    Ok(Message::Response(Response {
        status,
        reason: reason.to_owned(),
        headers,
        body,
    }))
}

/// Checks what every message needs (§8.1.1), and that no two readers could read it differently.
fn essentials(headers: &Headers) -> Result<CSeq, String> {
    for name in ["From", "To", "Call-ID", "CSeq"] {
        match headers.all(name).count() {
            1 => {}
            0 => return Err(format!("{name} is missing (RFC 3261 §8.1.1)")),
            _ => return Err(format!("{name} stands there more than once")),
        }
    }
    let via = headers
        .get("Via")
        .ok_or("Via is missing (RFC 3261 §8.1.1)")?;
    Via::check(via).map_err(|e| format!("Via: {e}"))?;
    for name in ["From", "To"] {
        let value = headers.get(name).unwrap_or_default();
        NameAddr::check(value).map_err(|e| format!("{name}: {e}"))?;
    }
    for name in ["Route", "Record-Route"] {
        for value in headers.all(name) {
            NameAddr::check(value).map_err(|e| format!("{name}: {e}"))?;
        }
    }
    for line in headers.all("Contact") {
        contacts(line).map_err(|e| format!("Contact: {e}"))?;
    }
    if headers
        .get("Call-ID")
        .is_none_or(|id| id.is_empty() || id.contains(char::is_whitespace))
    {
        return Err("Call-ID is empty or holds a space".into());
    }
    max_forwards(headers)?;
    CSeq::parse(headers.get("CSeq").unwrap_or_default()).map_err(|e| format!("CSeq: {e}"))
}

fn contacts(line: &str) -> Result<(), &'static str> {
    let mut all = Pieces::new(line, ',');
    for contact in all.by_ref().filter(|contact| contact.trim() != "*") {
        NameAddr::check(contact)?;
    }
    all.all_closed()
        .then_some(())
        .ok_or("a quote or bracket never closes")
}

fn max_forwards(headers: &Headers) -> Result<(), String> {
    let mut values = headers.all("Max-Forwards");
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.parse::<u8>().is_ok() => Ok(()),
        (Some(_), None) => Err("Max-Forwards is no number from 0 to 255".into()),
        (Some(_), Some(_)) => Err("Max-Forwards stands there more than once".into()),
    }
}

/// The body as long as Content-Length says (§18.3); what follows it in a datagram is ignored.
fn body(headers: &Headers, rest: &[u8]) -> Result<Vec<u8>, String> {
    let Some(length) = content_length(headers)? else {
        return Ok(rest.to_vec());
    };
    match rest.get(..length) {
        Some(body) => Ok(body.to_vec()),
        None => Err(format!(
            "Content-Length is {length}, but only {} octets follow",
            rest.len()
        )),
    }
}

/// Content-Length, if it is there. Meta prints it twice with one value, which harms nobody.
pub(in crate::sip) fn content_length(headers: &Headers) -> Result<Option<usize>, String> {
    let mut length = None;
    for value in headers.all("Content-Length") {
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let read = value
            .parse::<usize>()
            .ok()
            .filter(|_| digits)
            .ok_or("Content-Length is no length")?;
        if length.is_some_and(|l| l != read) {
            return Err("Content-Length stands there with two values".into());
        }
        length = Some(read);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Common;

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP c;branch=z9hG4bK1, SIP/2.0/UDP d;branch=z9hG4bK2\r\n\
        f: <sip:x@y>;tag=1\r\nt: <sip:a@b>\r\ni: 1:2==\r\nCSeq: 1 OPTIONS\r\nSubject: one\r\n two\r\nl: 2\r\n\r\nab";

    fn parse(text: &str) -> Result<Message, Box<Malformed>> {
        Message::parse(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn compact_folded_and_listed_headers_are_read() {
        let Ok(Message::Request(request)) = parse(OPTIONS) else {
            panic!("not a request")
        };
        assert_eq!(request.headers.all("Via").count(), 2);
        assert_eq!(request.headers.get("Subject"), Some("one two"));
        assert_eq!(request.call_id(), "1:2==");
        assert_eq!(request.body, b"ab");
        assert!(
            String::from_utf8(request.to_bytes())
                .unwrap()
                .ends_with("Content-Length: 2\r\n\r\nab")
        );
    }

    #[test]
    fn a_bad_request_names_the_header_and_keeps_what_its_answer_needs() {
        let bad = parse(&OPTIONS.replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE")).unwrap_err();
        assert_eq!(
            (bad.status, bad.what.as_str()),
            (Some(400), "CSeq says INVITE, the request is OPTIONS")
        );
        assert_eq!(bad.headers.get("Call-ID"), Some("1:2=="));
    }

    #[test]
    fn a_bad_response_is_never_answered() {
        let bad = parse("SIP/2.0 200 OK\r\n\r\n").unwrap_err();
        assert_eq!(bad.status, None);
    }

    #[test]
    fn a_body_shorter_than_it_claims_is_refused() {
        let bad = parse(&OPTIONS.replace("l: 2", "l: 3")).unwrap_err();
        assert_eq!(bad.what, "Content-Length is 3, but only 2 octets follow");
    }
}
