//! REFER within a dialog (RFC 3515): whom the peer wants us to call, and what it is told of that.
//!
//! ```text
//!   REFER ──▶ 202 ── NOTIFY 100 ── NOTIFY 180 … ── NOTIFY with the final status, which ends the subscription
//!       with Refer-Sub: false (RFC 4488): 202 and nothing more
//! ```

use std::time::Duration;

use crate::sip::header::NameAddr;
use crate::sip::message::{Common, Request};
use crate::sip::uri::SipUri;

/// Whom a REFER names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferTo {
    /// The address to call, without what only the REFER needs to say.
    pub uri: SipUri,
    /// The call there that ours takes the place of (RFC 3891), as a value of Replaces.
    pub replaces: Option<String>,
}

impl ReferTo {
    /// Reads it. The error says what is wrong.
    pub fn of(refer: &Request) -> Result<ReferTo, &'static str> {
        let mut values = refer.headers.all("Refer-To");
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err("a REFER has one Refer-To (RFC 3515 §2.4.1)");
        };
        let address = NameAddr::parse(value).map_err(|_| "Refer-To cannot be read")?;
        let uri = address.uri.sip().ok_or("Refer-To has no sip: URI")?;
        let method = uri.params.value("method");
        if method.is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
            return Err("Refer-To asks for another method than INVITE");
        }
        let replaces = uri.headers.as_deref().and_then(replaces).transpose()?;
        let mut uri = uri.clone();
        uri.headers = None;
        uri.params.remove("method");
        Ok(ReferTo { uri, replaces })
    }
}

/// Replaces among the headers of a URI; no other of them is believed (RFC 3261 §19.1.5).
fn replaces(headers: &str) -> Option<Result<String, &'static str>> {
    let (_, value) = headers
        .split('&')
        .filter_map(|header| header.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("Replaces"))?;
    let malformed = "Replaces in Refer-To cannot be read (RFC 3891)";
    let value = unescaped(value).filter(|value| {
        let has = |name: &str| {
            let mut params = value.split(';').skip(1);
            params.any(|param| param.trim().to_ascii_lowercase().starts_with(name))
        };
        !value.starts_with(';') && has("to-tag=") && has("from-tag=")
    });
    Some(value.ok_or(malformed))
}

/// RFC 3261 §19.1.2; `None` where an escape is none, or stands for a control character.
fn unescaped(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let digit = |octet: u8| char::from(octet).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    let text = String::from_utf8(octets).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// The subscription that a REFER makes: the peer hears what becomes of the call.
#[derive(Debug)]
pub struct Watch {
    /// The `id` of its Event, which tells it from that of an earlier REFER (§2.4.6).
    id: Option<u32>,
    /// The status that the peer was told last.
    told: u16,
}

impl Watch {
    /// That of this REFER; `None` if the peer wants none. `first`: the dialog has had no other.
    pub fn of(refer: &Request, first: bool) -> Option<Watch> {
        let wanted = refer.headers.get("Refer-Sub");
        if wanted.is_some_and(|wanted| wanted.trim().eq_ignore_ascii_case("false")) {
            return None;
        }
        Some(Watch {
            id: refer.cseq().map(|cseq| cseq.number).filter(|_| !first),
            told: 0,
        })
    }

    /// Whether this is news to a peer that still listens.
    pub fn is_news(&self, status: u16) -> bool {
        self.told < 200 && self.told != status
    }

    /// Makes a request in the dialog the NOTIFY of this status; a final one ends the subscription. `left`: how long the
    /// call may take yet.
    pub fn tell(&mut self, notify: &mut Request, status: u16, reason: &str, left: Duration) {
        self.told = status;
        let event = match self.id {
            Some(id) => format!("refer;id={id}"),
            None => "refer".to_owned(),
        };
        let state = match status {
            ..200 => format!("active;expires={}", left.as_secs().max(1)),
            _ => "terminated;reason=noresource".to_owned(),
        };
        let headers = &mut notify.headers;
        headers.push("Event", event);
        headers.push("Subscription-State", state);
        headers.push("Content-Type", "message/sipfrag;version=2.0");
        let reason: String = reason
            .chars()
            .filter(|c| !c.is_control())
            .take(128)
            .collect();
        notify.body = format!("SIP/2.0 {status} {reason}\r\n").into_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Method;

    fn refer(headers: &[(&str, &str)]) -> Request {
        let mut refer = Request::new(Method::REFER, SipUri::new(None, "a"));
        for (name, value) in headers {
            refer.headers.push(name, *value);
        }
        refer
    }

    fn to(value: &str) -> Result<ReferTo, &'static str> {
        ReferTo::of(&refer(&[("Refer-To", value)]))
    }

    #[test]
    fn a_consultation_call_is_named_with_its_escapes_undone_and_nothing_else_is_taken() {
        let read = to(
            "\"Bob\" <sip:200@192.0.2.7:5080;method=INVITE?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2&Route=%3Csip:evil%3E>",
        );
        let read = read.unwrap();
        assert_eq!(read.uri.to_string(), "sip:200@192.0.2.7:5080");
        assert_eq!(read.replaces.as_deref(), Some("a@b;to-tag=1;from-tag=2"));
        let blind = to("sip:200@192.0.2.7").unwrap();
        assert_eq!(blind.replaces, None);
    }

    #[test]
    fn what_cannot_be_called_says_why() {
        for (value, said) in [
            ("tel:+123", "sip:"),
            ("<sip:a b@c>", "read"),
            ("<sip:200@192.0.2.7;method=BYE>", "method"),
            ("<sip:200@192.0.2.7?Replaces=x>", "Replaces"),
            (
                "<sip:200@192.0.2.7?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2%0D>",
                "Replaces",
            ),
            (
                "<sip:200@192.0.2.7?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2%>",
                "Replaces",
            ),
            (
                "<sip:200@192.0.2.7?Replaces=x%C3;to-tag=1;from-tag=2>",
                "Replaces",
            ),
        ] {
            let why = to(value).unwrap_err();
            assert!(why.contains(said), "{value}: {why}");
        }
        assert!(ReferTo::of(&refer(&[])).is_err());
        let two = ("Refer-To", "<sip:200@192.0.2.7>");
        assert!(ReferTo::of(&refer(&[two, two])).is_err());
    }

    #[test]
    fn each_status_is_told_once_and_the_final_one_ends_the_subscription() {
        let cseq = ("CSeq", "7 REFER");
        let mut watch = Watch::of(&refer(&[cseq]), true).unwrap();
        let mut tell = |status| {
            let mut notify = refer(&[]);
            let left = Duration::from_secs(55);
            assert!(watch.is_news(status));
            watch.tell(&mut notify, status, "As\r\nis", left);
            assert!(!watch.is_news(status));
            notify
        };
        let trying = tell(100);
        assert_eq!(trying.headers.get("Event"), Some("refer"));
        assert_eq!(tell(180).body, b"SIP/2.0 180 Asis\r\n");
        let state = trying.headers.get("Subscription-State");
        assert_eq!(state, Some("active;expires=55"));
        let busy = tell(486);
        assert_eq!(busy.body, b"SIP/2.0 486 Asis\r\n");
        let state = busy.headers.get("Subscription-State");
        assert_eq!(state, Some("terminated;reason=noresource"));
        assert!(!watch.is_news(503), "it is over");
        let mut second = Watch::of(&refer(&[cseq]), false).unwrap();
        let mut notify = refer(&[]);
        second.tell(&mut notify, 100, "Trying", Duration::ZERO);
        assert_eq!(notify.headers.get("Event"), Some("refer;id=7"));
        assert!(Watch::of(&refer(&[("Refer-Sub", "false")]), true).is_none());
    }
}
