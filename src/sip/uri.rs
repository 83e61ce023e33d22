//! URIs (RFC 3261 §19.1). What is not ours to interpret stays as it was written: a remote target must come back
//! byte for byte.

use std::fmt;
use std::net::IpAddr;

use super::grammar::{Params, Pieces, param};

/// A URI of any scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` or `sips:`.
    Sip(SipUri),
    /// Any other scheme (`tel:`, `urn:`…), as written.
    Other(String),
}

/// A `sip:` or `sips:` URI, its parts as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipUri {
    /// Whether the scheme is `sips`.
    pub secure: bool,
    /// All before the `@`, escapes kept: user, RFC 4904 parameters, password.
    pub user: Option<String>,
    /// Host name or address; IPv6 with its brackets.
    pub host: String,
    /// Port, where one is written.
    pub port: Option<u16>,
    /// Parameters such as `;transport=tls;ob`.
    pub params: Params,
    /// What follows `?`, without it.
    pub headers: Option<String>,
}

impl Uri {
    /// Reads one URI that has no surrounding space or brackets. The error names what is wrong.
    pub fn parse(text: &str) -> Result<Uri, &'static str> {
        let (scheme, rest) = scheme(text)?;
        match is_sips(scheme) {
            Some(secure) => Ok(Uri::Sip(SipUri::after_scheme(rest, secure)?)),
            None => Ok(Uri::Other(text.to_owned())),
        }
    }

    /// Whether [`Uri::parse`] can read it, and what is wrong otherwise.
    pub(super) fn check(text: &str) -> Result<(), &'static str> {
        let (scheme, rest) = scheme(text)?;
        if is_sips(scheme).is_none() {
            return Ok(());
        }
        let cut = Cut::of(rest)?;
        host_port(cut.host_port)?;
        let named = cut.params().all(|part| param(part).is_some());
        named.then_some(()).ok_or("the URI has an empty parameter")
    }

    /// The SIP URI, if it is one.
    pub fn sip(&self) -> Option<&SipUri> {
        match self {
            Uri::Sip(uri) => Some(uri),
            Uri::Other(_) => None,
        }
    }

    /// The user part of a SIP URI, or what follows `tel:` up to its parameters.
    pub fn user(&self) -> Option<&str> {
        match self {
            Uri::Sip(uri) => uri.user.as_deref(),
            Uri::Other(text) => {
                let (scheme, rest) = text.split_once(':')?;
                scheme
                    .eq_ignore_ascii_case("tel")
                    .then(|| rest.split(';').next().unwrap_or(rest))
            }
        }
    }
}

impl SipUri {
    /// `sip:user@host` without port or parameters.
    pub fn new(user: Option<&str>, host: &str) -> SipUri {
        SipUri {
            secure: false,
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port: None,
            params: Params::default(),
            headers: None,
        }
    }

    /// The same with a port.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> SipUri {
        self.port = Some(port);
        self
    }

    /// The same with a parameter such as `transport=tls`, or a flag such as `lr`.
    #[must_use]
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> SipUri {
        self.params.set(name, value.map(str::to_owned));
        self
    }

    /// The host as an address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok()
    }

    fn after_scheme(rest: &str, secure: bool) -> Result<SipUri, &'static str> {
        let cut = Cut::of(rest)?;
        let (host, port) = host_port(cut.host_port)?;
        Ok(SipUri {
            secure,
            user: cut.user.map(str::to_owned),
            host: host.to_owned(),
            port,
            params: Params::parse(cut.params()).ok_or("the URI has an empty parameter")?,
            headers: cut.headers.map(str::to_owned),
        })
    }
}

/// A proper scheme, and what follows it.
fn scheme(text: &str) -> Result<(&str, &str), &'static str> {
    let (scheme, rest) = text.split_once(':').ok_or("the URI has no scheme")?;
    let barred = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"');
    // Nearly all is ASCII, of which one look at an octet is enough.
    let ascii = |b: u8| b > b' ' && b < 0x7f && !matches!(b, b'<' | b'>' | b'"');
    if !text.bytes().all(ascii) && text.chars().any(barred) {
        return Err("the URI holds a space, quote or bracket");
    }
    let mut bytes = scheme.bytes();
    if !bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        || !bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    {
        return Err("the URI has no proper scheme");
    }
    Ok((scheme, rest))
}

/// Whether a scheme of SIP's is `sips`; `None`: it is another one.
fn is_sips(scheme: &str) -> Option<bool> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("sip") => Some(false),
        _ if scheme.eq_ignore_ascii_case("sips") => Some(true),
        _ => None,
    }
}

/// The parts of a SIP URI behind its scheme, as they are written.
struct Cut<'a> {
    user: Option<&'a str>,
    host_port: &'a str,
    params: Option<&'a str>,
    headers: Option<&'a str>,
}

impl<'a> Cut<'a> {
    fn of(rest: &'a str) -> Result<Cut<'a>, &'static str> {
        // The user may hold `;` and `?` (RFC 4904, §19.1.1), so it is cut off first; hosts hold no `@`.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        if user.is_some_and(|u| u.is_empty() || u.contains('@')) {
            return Err("the URI has an empty user or two @");
        }
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        // Neither quotes nor brackets have come so far.
        let (host_port, params) = match rest.split_once(';') {
            Some((host_port, params)) => (host_port, Some(params)),
            None => (rest, None),
        };
        Ok(Cut {
            user,
            host_port,
            params,
            headers,
        })
    }

    fn params(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.params
            .into_iter()
            .flat_map(|params| Pieces::new(params, ';'))
    }
}

/// Reads `host[:port]`, an IPv6 address in brackets. The error names what is wrong.
pub(super) fn host_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => {
            let (address, rest) = v6.split_once(']').ok_or("an IPv6 address lacks its ]")?;
            address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| "the IPv6 address is malformed")?;
            (&text[..address.len() + 2], rest.trim_start())
        }
        None => {
            let ends = |b| matches!(b, b':' | b' ' | b'\t');
            let end = text.bytes().position(ends).unwrap_or(text.len());
            (&text[..end], text[end..].trim_start())
        }
    };
    // `_` is what private networks use; `+` stands before addresses in Meta's printed samples (SIP guide, 2025-12-15).
    let named = host.starts_with('[')
        || host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'+'));
    if host.is_empty() || !named {
        return Err("the host is malformed");
    }
    let port = match port.strip_prefix(':') {
        Some(port) => Some(
            port.trim()
                .parse()
                .map_err(|_| "the port is no number from 0 to 65535")?,
        ),
        None if port.is_empty() => None,
        None => return Err("something stands between host and port"),
    };
    Ok((host, port))
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uri::Sip(uri) => uri.fmt(f),
            Uri::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            f.write_str("@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)?;
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Uri {
        Uri::Sip(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_come_back_byte_for_byte() {
        for text in [
            "sip:+12195550714@wa.meta.vc;transport=tls;ob;X-FB-Sip-Smc-Tier=collaboration.sip_gateway.sip.prod",
            "sip:+12145551869;tgrp=wacall;trunk-context=byoc.example.com@sip.example.com",
            "sip:54.172.60.1:5061;transport=tls;lr;r2=on;twnat=sip:69.171.251.115:51830",
            "sips:[2803:6080:f948:9597::]:5061",
            "sip:US.13491208655302741918@wa.meta.vc",
            "tel:+12145551869;phone-context=x",
        ] {
            assert_eq!(Uri::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn parameters_of_the_user_belong_to_the_user() {
        let uri = Uri::parse("sip:+1234567890;tgrp=wacall@sip.example.com;transport=tls").unwrap();
        let uri = uri.sip().unwrap();
        assert_eq!(uri.user.as_deref(), Some("+1234567890;tgrp=wacall"));
        assert_eq!(uri.host, "sip.example.com");
        assert_eq!(uri.params.value("transport"), Some("tls"));
    }

    #[test]
    fn malformed_uris_say_what_is_wrong() {
        assert_eq!(
            Uri::parse("sip:a b@c"),
            Err("the URI holds a space, quote or bracket")
        );
        assert_eq!(
            Uri::parse("sip:a@c:99999"),
            Err("the port is no number from 0 to 65535")
        );
        assert_eq!(Uri::parse("sip:a@[::1"), Err("an IPv6 address lacks its ]"));
        assert_eq!(Uri::parse("nothing"), Err("the URI has no scheme"));
        assert!(Uri::parse("sip:a@b;;c").is_err());
    }
}
