//! The header list of a message: rsip's header types, each holding its value as it was written.

use memchr::memchr3;
use rsip::Header;
use rsip::headers::UntypedHeader;

/// Header fields in order. Names compare without case and in either form (RFC 3261 §7.3.1, §7.3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Mark, Header)>);

/// Tells most names apart without a look at them: their length and first letter. A message is searched dozens of times.
type Mark = (u8, u8);

fn mark(name: &str) -> Mark {
    let first = name.as_bytes().first();
    let first = first.map_or(0, u8::to_ascii_lowercase);
    (name.len() as u8, first)
}

macro_rules! vocabulary {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// The rsip type for a header, made without rsip's parser. Names are those of the RFC, compact ones too.
        fn make(name: &str, value: String) -> Header {
            let name = long_form(name);
            match name {
                // As nearly everybody writes them.
                $($name => return Header::$variant(rsip::headers::$variant::new(value)),)*
                _ => {}
            }
            $(if name.eq_ignore_ascii_case($name) {
                return Header::$variant(rsip::headers::$variant::new(value));
            })*
            Header::Other(name.to_owned(), value)
        }

        fn parts(header: &Header) -> (&str, &str) {
            match header {
                $(Header::$variant(header) => ($name, header.value()),)*
                Header::Other(name, value) => (name, value),
                // rsip knows more headers than we name; `make` never builds them.
                _ => ("", ""),
            }
        }
    };
}

vocabulary! {
    Via "Via", From "From", To "To", CallId "Call-ID", CSeq "CSeq", Contact "Contact",
    ContentLength "Content-Length", ContentType "Content-Type", MaxForwards "Max-Forwards",
    Route "Route", RecordRoute "Record-Route", Allow "Allow", Supported "Supported", Require "Require",
    ProxyRequire "Proxy-Require", Unsupported "Unsupported", UserAgent "User-Agent", Server "Server",
    Authorization "Authorization", WwwAuthenticate "WWW-Authenticate",
    ProxyAuthenticate "Proxy-Authenticate", ProxyAuthorization "Proxy-Authorization",
    Accept "Accept", ContentEncoding "Content-Encoding", ContentDisposition "Content-Disposition",
    Date "Date", Expires "Expires", RetryAfter "Retry-After", Subject "Subject", Warning "Warning",
    Event "Event", Timestamp "Timestamp", MinExpires "Min-Expires",
}

/// Compact forms (RFC 3261 §7.3.3 and the registry of SIP parameters).
pub(super) fn long_form(name: &str) -> &str {
    let &[letter] = name.as_bytes() else {
        return name;
    };
    match letter.to_ascii_lowercase() {
        b'v' => "Via",
        b'f' => "From",
        b't' => "To",
        b'i' => "Call-ID",
        b'm' => "Contact",
        b'l' => "Content-Length",
        b'c' => "Content-Type",
        b'e' => "Content-Encoding",
        b'k' => "Supported",
        b's' => "Subject",
        b'o' => "Event",
        b'u' => "Allow-Events",
        b'r' => "Refer-To",
        b'b' => "Referred-By",
        b'x' => "Session-Expires",
        b'j' => "Reject-Contact",
        b'a' => "Accept-Contact",
        b'd' => "Request-Disposition",
        b'y' => "Identity",
        _ => name,
    }
}

impl Headers {
    /// Appends a header. Line ends in the value become spaces: no value may begin a header of its own.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        let mut value = value.into();
        if memchr3(b'\r', b'\n', b'\0', value.as_bytes()).is_some() {
            value = value.replace(['\r', '\n', '\0'], " ");
        }
        let header = make(name, value);
        self.0.push((mark(parts(&header).0), header));
    }

    /// Puts a header in front of all others of its name, or at the top where there is none.
    pub fn push_front(&mut self, name: &str, value: impl Into<String>) {
        let at = self.position(name).unwrap_or(0);
        self.push(name, value);
        self.0[at..].rotate_right(1);
    }

    /// The first header of this name. Values are trimmed and unfolded.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mark = mark(name);
        let mut alike = self.0.iter().filter(|(marked, _)| *marked == mark);
        alike.find_map(|(_, header)| {
            let (n, value) = parts(header);
            n.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// All headers of this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let mark = mark(name);
        let alike = self.0.iter().filter(move |(marked, _)| *marked == mark);
        alike
            .map(|(_, header)| parts(header))
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Every header as name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(_, header)| parts(header))
    }

    /// Replaces the first header of this name where it stands, removes the others; appends where there is none.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let at = self.position(name);
        self.remove(name);
        self.push(name, value);
        if let Some(at) = at {
            self.0[at..].rotate_right(1);
        }
    }

    /// Replaces the first header of this name and leaves the others; appends where there is none.
    pub fn set_first(&mut self, name: &str, value: impl Into<String>) {
        let at = self.position(name);
        self.push(name, value);
        if let Some(at) = at {
            self.0.swap_remove(at);
        }
    }

    /// Removes all headers of this name.
    pub fn remove(&mut self, name: &str) {
        let mark = mark(name);
        self.0.retain(|(marked, header)| {
            *marked != mark || !parts(header).0.eq_ignore_ascii_case(name)
        });
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.iter().position(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    /// Room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// Each value of a header whose values may be separated by commas.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name)
            .flat_map(|line| crate::sip::grammar::split(line, ',').unwrap_or_default())
            .map(str::trim)
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_names_become_long_ones_and_unknown_names_stay() {
        let mut headers = Headers::default();
        headers.push("v", "SIP/2.0/UDP a");
        headers.push("X-Own", "1");
        assert_eq!(
            headers.iter().collect::<Vec<_>>(),
            [("Via", "SIP/2.0/UDP a"), ("X-Own", "1")]
        );
    }

    #[test]
    fn a_header_is_set_where_it_stood() {
        let mut headers = Headers::default();
        for (name, value) in [("Via", "1"), ("To", "a"), ("via", "2"), ("From", "b")] {
            headers.push(name, value);
        }
        headers.set("TO", "c");
        headers.push_front("Via", "0");
        let all: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(all, ["Via=0", "Via=1", "To=c", "Via=2", "From=b"]);
    }

    #[test]
    fn no_value_can_begin_a_header_of_its_own() {
        let mut headers = Headers::default();
        headers.push("Subject", "x\r\nVia: evil");
        assert_eq!(headers.get("Subject"), Some("x  Via: evil"));
    }
}
