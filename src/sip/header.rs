//! Header values with a structure of their own: name-addr, Via, CSeq (RFC 3261 §20).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::grammar::{Params, Pieces, is_token, param, quote, unquote};
use super::message::Method;
use super::uri::{Uri, host_port};

/// From, To, Contact, Route and Record-Route: a URI with a display name before it and parameters after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name without its quotes.
    pub display: Option<String>,
    /// The address.
    pub uri: Uri,
    /// Header parameters, such as `tag` or the flag `isfocus`.
    pub params: Params,
}

impl NameAddr {
    /// The address alone, in brackets, with neither name nor parameters.
    pub fn new(uri: impl Into<Uri>) -> NameAddr {
        NameAddr {
            display: None,
            uri: uri.into(),
            params: Params::default(),
        }
    }

    /// Reads one value. The error names what is wrong.
    pub fn parse(text: &str) -> Result<NameAddr, &'static str> {
        let cut = Cut::of(text)?;
        Ok(NameAddr {
            display: display_name(cut.display)?,
            uri: Uri::parse(cut.uri)?,
            params: Params::parse(cut.params()).ok_or("a parameter has no name")?,
        })
    }

    /// Whether [`NameAddr::parse`] can read it, and what is wrong otherwise.
    pub(super) fn check(text: &str) -> Result<(), &'static str> {
        let cut = Cut::of(text)?;
        display_name(cut.display)?;
        Uri::check(cut.uri)?;
        let named = cut.params().all(|part| param(part).is_some());
        named.then_some(()).ok_or("a parameter has no name")
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }

    /// The same with a tag.
    #[must_use]
    pub fn with_tag(mut self, tag: &str) -> NameAddr {
        self.params.set("tag", Some(tag.to_owned()));
        self
    }
}

/// The tag of a From or To, without reading the rest of it.
pub fn tag_of(text: &str) -> Option<&str> {
    let cut = Cut::of(text).ok()?;
    cut.params()
        .filter_map(param)
        .find(|(name, _)| name.eq_ignore_ascii_case("tag"))?
        .1
}

/// The parts of a name-addr, as they are written.
struct Cut<'a> {
    display: &'a str,
    uri: &'a str,
    /// What follows the first `;` after the address, if one does.
    params: Option<&'a str>,
}

impl<'a> Cut<'a> {
    fn of(text: &'a str) -> Result<Cut<'a>, &'static str> {
        let text = text.trim();
        let mut pieces = Pieces::new(text, ';');
        let first = pieces.next().unwrap_or_default();
        pieces.by_ref().for_each(drop);
        if !pieces.all_closed() {
            return Err("a quote or bracket never closes");
        }
        let Some(open) = bracket(text) else {
            // Without brackets everything after `;` belongs to the header, not to the URI (§20).
            return Ok(Cut {
                display: "",
                uri: first.trim(),
                params: text.get(first.len() + 1..),
            });
        };
        let close = open + text[open..].find('>').ok_or("a bracket never closes")?;
        let after = text[close + 1..].trim_start();
        let params = after.strip_prefix(';');
        if params.is_none() && !after.is_empty() {
            return Err("something stands between > and the parameters");
        }
        Ok(Cut {
            display: text[..open].trim(),
            uri: &text[open + 1..close],
            params,
        })
    }

    fn params(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.params
            .into_iter()
            .flat_map(|params| Pieces::new(params, ';'))
    }
}

/// Where the `<` stands that opens the address, if one does outside quotes.
fn bracket(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => return true,
            _ => {}
        }
        false
    })
}

fn display_name(text: &str) -> Result<Option<String>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('"') {
        return match text.len() > 1 && text.ends_with('"') {
            true => Ok(Some(unquote(text))),
            false => Err("something stands between the display name and <"),
        };
    }
    // §25.1 wants tokens; PBXs send accents unquoted, which harms nobody. Separators would.
    match text.contains([',', ';', '"', '>']) {
        true => Err("the display name needs quotes"),
        false => Ok(Some(text.to_owned())),
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", quote(display))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

/// One Via value (§20.42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, `TCP`, `TLS` or whatever was written.
    pub transport: String,
    /// sent-by host; IPv6 with its brackets.
    pub host: String,
    /// sent-by port, where one is written.
    pub port: Option<u16>,
    /// `branch`, `received`, `rport`, `alias`…
    pub params: Params,
}

impl Via {
    /// A Via of our own, which asks for `rport` (RFC 3581).
    pub fn new(transport: &str, host: &str, port: u16, branch: &str) -> Via {
        let mut params = Params::default();
        params.set("rport", None);
        params.set("branch", Some(branch.to_owned()));
        Via {
            transport: transport.to_owned(),
            host: host.to_owned(),
            port: Some(port),
            params,
        }
    }

    /// Reads one value. The error names what is wrong.
    pub fn parse(text: &str) -> Result<Via, &'static str> {
        let cut = CutVia::of(text)?;
        let (host, port) = host_port(cut.sent_by)?;
        Ok(Via {
            transport: cut.transport.to_owned(),
            host: host.to_owned(),
            port,
            params: Params::parse(cut.params()).ok_or("a parameter has no name")?,
        })
    }

    /// Whether [`Via::parse`] can read it, and what is wrong otherwise.
    pub(super) fn check(text: &str) -> Result<(), &'static str> {
        let cut = CutVia::of(text)?;
        host_port(cut.sent_by)?;
        let named = cut.params().all(|part| param(part).is_some());
        named.then_some(()).ok_or("a parameter has no name")
    }

    /// The branch, if there is one.
    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch").filter(|b| !b.is_empty())
    }

    /// Notes where the request really came from (§18.2.1, RFC 3581 §4).
    pub fn stamp(&mut self, source: SocketAddr) {
        let asked_for_port = self.params.has("rport");
        if asked_for_port {
            self.params.set("rport", Some(source.port().to_string()));
        }
        let ip = source.ip().to_canonical();
        let sent_by = self
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .ok();
        if asked_for_port || sent_by != Some(ip) {
            self.params.set("received", Some(ip.to_string()));
        }
    }
}

/// The parts of a Via, as they are written.
struct CutVia<'a> {
    transport: &'a str,
    sent_by: &'a str,
    params: Option<&'a str>,
}

impl<'a> CutVia<'a> {
    fn of(text: &'a str) -> Result<CutVia<'a>, &'static str> {
        let mut pieces = Pieces::new(text, ';');
        let first = pieces.next().unwrap_or_default();
        pieces.by_ref().for_each(drop);
        if !pieces.all_closed() {
            return Err("a quote never closes");
        }
        // White space around the slashes is allowed: "SIP / 2.0 / TLS host".
        let mut parts = first.trim().splitn(3, '/').map(str::trim);
        let (Some(name), Some(version), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("it does not begin with SIP/2.0/ and a transport");
        };
        let (transport, sent_by) = rest.split_once([' ', '\t']).ok_or("it has no sent-by")?;
        if !name.eq_ignore_ascii_case("SIP") || version != "2.0" || !is_token(transport) {
            return Err("it does not begin with SIP/2.0/ and a transport");
        }
        Ok(CutVia {
            transport,
            sent_by: sent_by.trim(),
            params: text.get(first.len() + 1..),
        })
    }

    fn params(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.params
            .into_iter()
            .flat_map(|params| Pieces::new(params, ';'))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)
    }
}

/// Sequence number and method (§20.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Less than 2³¹ (§8.1.1.5).
    pub number: u32,
    /// The request's method.
    pub method: Method,
}

impl CSeq {
    /// Reads the value. The error names what is wrong.
    pub fn parse(text: &str) -> Result<CSeq, &'static str> {
        let (number, method) = text
            .trim()
            .split_once([' ', '\t'])
            .ok_or("it has no method")?;
        let number = number
            .parse::<u32>()
            .ok()
            .filter(|n| *n < 1 << 31)
            .ok_or("its number is not below 2^31")?;
        let method = Method::parse(method.trim()).ok_or("its method is no token")?;
        Ok(CSeq { number, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_after_the_bracket_is_a_header_parameter() {
        let text = "<sip:+12195550714@wa.meta.vc;transport=tls;ob>;isfocus";
        let contact = NameAddr::parse(text).unwrap();
        assert!(contact.params.has("isfocus"));
        assert_eq!(
            contact.uri.sip().unwrap().params.value("transport"),
            Some("tls")
        );
        assert_eq!(contact.to_string(), text);
    }

    #[test]
    fn without_brackets_the_tag_belongs_to_the_header() {
        let from = NameAddr::parse("sip:a@b.example;tag=7").unwrap();
        assert_eq!(from.tag(), Some("7"));
        assert_eq!(from.uri.to_string(), "sip:a@b.example");
    }

    #[test]
    fn quoted_names_may_hold_anything() {
        let from = NameAddr::parse(r#""J \"<;,>\" Doe"<sip:a@b>;tag=1"#).unwrap();
        assert_eq!(from.display.as_deref(), Some(r#"J "<;,>" Doe"#));
        assert!(NameAddr::parse("Bell, Alexander <sip:a@b>").is_err());
        assert!(NameAddr::parse(r#""open <sip:a@b>"#).is_err());
    }

    #[test]
    fn metas_vias_with_bare_and_bracketed_ipv6_come_back_unchanged() {
        for text in [
            "SIP/2.0/TLS [2803:6080:f948:9597::]:47237;rport;branch=z9hG4bKPj1e6c;alias",
            "SIP/2.0/TLS [2803:6080:f8bc:9272:e488:9927:400:0]:58279;rport=58279;received=2803:6080:f8bc:9272:e488:9927:400:0;branch=z9hG4bKPjr;alias",
        ] {
            assert_eq!(Via::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Via::parse("SIP / 2.0 / UDP  a.example : 5060 ;branch=x")
                .unwrap()
                .port,
            Some(5060)
        );
    }

    #[test]
    fn the_real_source_is_noted_where_rport_asks_for_it() {
        let mut via =
            Via::parse("SIP/2.0/TLS 31.13.66.215:5061;rport;branch=z9hG4bKx;alias").unwrap();
        via.stamp("69.171.251.112:62080".parse().unwrap());
        assert_eq!(
            via.to_string(),
            "SIP/2.0/TLS 31.13.66.215:5061;rport=62080;branch=z9hG4bKx;alias;received=69.171.251.112"
        );
    }

    #[test]
    fn a_sequence_number_beyond_31_bits_is_refused() {
        assert!(CSeq::parse("2147483648 INVITE").is_err());
        assert_eq!(
            CSeq::parse(" 9 \t INVITE ").unwrap(),
            CSeq {
                number: 9,
                method: Method::INVITE
            }
        );
    }
}
