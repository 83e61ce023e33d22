//! Messages read only as far as a far end needs them: what measures must be cheaper than what it measures, so the parser of
//! the library is not for it.

use std::net::SocketAddr;

/// Digits of a call's number, in every message of it.
pub const DIGITS: usize = 10;

/// A message; what it gives is part of it.
#[derive(Clone, Copy)]
pub struct Read<'a>(pub &'a str);

impl<'a> Read<'a> {
    /// Of octets, if they are text, as all messages here are.
    pub fn of(octets: &'a [u8]) -> Option<Read<'a>> {
        std::str::from_utf8(octets).ok().map(Read)
    }

    /// The status, if it is a response.
    pub fn status(self) -> Option<u16> {
        self.0.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// All values of a header, in their order.
    pub fn all(self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = Lines(self.0).skip(1).take_while(|line| !line.is_empty());
        lines.filter_map(move |line| {
            let (head, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(':')?;
            head.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The first value of a header that every message has.
    pub fn header(self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    /// The method, of a response that of its request.
    pub fn method(self) -> &'a str {
        let (_, method) = self.header("CSeq").split_once(' ').unwrap_or_default();
        method
    }

    /// Where the peer wants to be asked for more: the URI of its Contact.
    pub fn target(self) -> &'a str {
        let contact = self.header("Contact");
        let inner = contact.split_once('<').map_or(contact, |(_, rest)| rest);
        inner.split_once('>').map_or(inner, |(uri, _)| uri)
    }

    /// The number of the call, at Meta: the end of its Call-ID.
    pub fn number_at_meta(self) -> Option<u64> {
        last_digits(self.header("Call-ID"))
    }

    /// The number of the call, at the PBX: the end of the caller's number, the one thing that every B2BUA hands on.
    pub fn number_at_pbx(self) -> Option<u64> {
        let (_, uri) = self.header("From").split_once("sip:")?;
        last_digits(uri.split_once('@')?.0)
    }

    /// What follows this at the beginning of a line of the body, up to the end of the line.
    pub fn line(self, start: &str) -> Option<&'a str> {
        let (_, body) = self.0.split_once("\r\n\r\n")?;
        Lines(body).find_map(|line| line.strip_prefix(start))
    }

    /// Where media is expected.
    pub fn media(self) -> Option<SocketAddr> {
        let ip = self.line("c=IN IP4 ")?.parse().ok()?;
        let port = self.line("m=audio ")?.split(' ').next()?.parse().ok()?;
        Some(SocketAddr::new(ip, port))
    }

    /// The payload number that is offered for Opus.
    pub fn opus(self) -> Option<&'a str> {
        let (_, body) = self.0.split_once("\r\n\r\n")?;
        let maps = Lines(body).filter_map(|line| line.strip_prefix("a=rtpmap:"));
        let mut pairs = maps.filter_map(|map| map.split_once(' '));
        pairs.find_map(|(number, codec)| codec.starts_with("opus/").then_some(number))
    }
}

/// Lines without their ends.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = memchr::memchr(b'\n', self.0.as_bytes())?;
        let line = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

fn last_digits(text: &str) -> Option<u64> {
    let text = text.trim_end_matches('=');
    text.get(text.len().checked_sub(DIGITS)?..)?.parse().ok()
}
