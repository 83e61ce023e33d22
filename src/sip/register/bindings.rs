//! What a registrar's 200 says of our Contact (RFC 3261 §10.2.4, §10.3).

use std::time::Duration;

use crate::sip::message::Response;
use crate::sip::{NameAddr, SipUri, Uri};

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// For how long.
    pub time: Duration,
    /// Whether the response lists our Contact as we gave it.
    pub listed: bool,
}

/// Finds our Contact among all that the response lists, and for how long it was granted.
///
/// A registrar that sees us through a NAT may list our user under the address that it saw; one that lists nothing of use
/// has said it in Expires, or means what was `asked`.
pub fn granted(response: &Response, ours: &Uri, asked: Duration) -> Granted {
    let contacts: Vec<NameAddr> = response
        .headers
        .list("Contact")
        .filter_map(|value| NameAddr::parse(value).ok())
        .collect();
    let is_ours = |theirs: &Uri| {
        let both = theirs.sip().zip(ours.sip());
        both.is_some_and(|(theirs, ours)| same(theirs, ours))
    };
    let exact = contacts.iter().find(|c| is_ours(&c.uri));
    let by_user = || {
        let mut of_user = contacts.iter().filter(|c| c.uri.user() == ours.user());
        of_user.next().filter(|_| of_user.next().is_none())
    };
    let binding = exact.or_else(by_user);
    let own = binding.and_then(|c| seconds(c.params.value("expires")?));
    let general = || seconds(response.headers.get("Expires")?);
    Granted {
        time: own.or_else(general).unwrap_or(asked),
        listed: exact.is_some(),
    }
}

/// Whether two URIs are the same address (§19.1.4), as far as a Contact of ours goes: it has no parameter but its
/// transport, and what a registrar adds to it changes nothing.
fn same(theirs: &SipUri, ours: &SipUri) -> bool {
    let transport = |uri: &SipUri| {
        let transport = uri.params.value("transport").unwrap_or("udp");
        transport.to_ascii_lowercase()
    };
    let port = |uri: &SipUri| uri.port.unwrap_or(5060);
    theirs.secure == ours.secure
        && theirs.user == ours.user
        && theirs.host.eq_ignore_ascii_case(&ours.host)
        && port(theirs) == port(ours)
        && transport(theirs) == transport(ours)
}

/// A number of seconds (RFC 3261 §20.19); more than 32 bits of them are as many as there can be.
pub fn seconds(text: &str) -> Option<Duration> {
    let digits = text.trim();
    let digits = &digits[..digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len())];
    if digits.is_empty() {
        return None;
    }
    Some(Duration::from_secs(
        digits.parse::<u32>().unwrap_or(u32::MAX).into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Headers;

    const ASKED: Duration = Duration::from_secs(300);

    fn found(contacts: &[&str], expires: Option<&str>) -> (u64, bool) {
        let mut headers = Headers::default();
        for contact in contacts {
            headers.push("Contact", *contact);
        }
        if let Some(expires) = expires {
            headers.push("Expires", expires);
        }
        let response = Response {
            status: 200,
            reason: "OK".into(),
            headers,
            body: Vec::new(),
        };
        let ours = SipUri::new(Some("trunk"), "bridge.example.com")
            .with_port(5060)
            .into();
        let granted = granted(&response, &ours, ASKED);
        (granted.time.as_secs(), granted.listed)
    }

    #[test]
    fn ours_is_found_among_others_by_its_address() {
        let all = "<sip:trunk@192.0.2.9:5070>;expires=3600, \
            \"us\" <sip:trunk@Bridge.Example.com;transport=UDP;ob>;q=0.5;expires=120;x=1";
        assert_eq!(found(&[all], Some("3600")), (120, true));
        let tcp = "<sip:trunk@bridge.example.com:5060;transport=tcp>;expires=60";
        let port = "<sip:trunk@bridge.example.com:5070>;expires=61";
        let user = "<sip:other@bridge.example.com:5060>;expires=62";
        let ours = "sip:trunk@bridge.example.com;expires=63";
        assert_eq!(found(&[tcp, port, user, ours], None), (63, true));
    }

    #[test]
    fn an_address_that_a_nat_has_changed_is_ours_if_nobody_else_has_our_user() {
        let nat = "<sip:trunk@198.51.100.7:40001>;expires=90";
        let phone = "<sip:phone@192.0.2.9>;expires=3600";
        assert_eq!(found(&[phone, nat], None), (90, false));
        assert_eq!(found(&[phone, nat, nat], Some("45")), (45, false));
    }

    #[test]
    fn without_an_expiry_of_its_own_the_header_counts_and_then_what_was_asked() {
        let ours = "<sip:trunk@bridge.example.com:5060>";
        assert_eq!(found(&[ours], Some("77 (soon)")), (77, true));
        assert_eq!(found(&[ours], Some("soon")), (300, true));
        assert_eq!(found(&[], None), (300, false));
        let many = "<sip:trunk@bridge.example.com>;expires=99999999999";
        assert_eq!(found(&[many], None), (u64::from(u32::MAX), true));
    }
}
