//! What Meta sends, header by header as its samples print it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::DOMAIN;
use super::auth::Refused;
use crate::sim::agent::Outgoing;
use crate::sim::report::CallReport;
use crate::sim::words;
use crate::sip::grammar::quote;
use crate::sip::header::CSeq;
use crate::sip::message::Common;
use crate::sip::{Headers, Method, Request, Response, SipUri, build};

/// The edge of Meta's proxies.
pub const EDGE: &str = "<sip:wa.meta.vc;transport=tls;lr>";
/// Its name for the proxy behind; internal, never to be resolved.
pub const INNER: &str = "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>";

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, NOTIFY, OPTIONS";
const GATEWAY: &str = "Facebook SipGateway";
const TIER: &str = "collaboration.sip_gateway.sip.prod";

/// The first INVITE of a user-initiated call (§4), without body.
pub fn invite(call: &Outgoing, host: &str) -> Request {
    let callee = SipUri::new(Some(&call.to), host);
    let uri = callee.clone().with_param("transport", Some("tls"));
    let mut request = Request::new(Method::INVITE, uri);
    let headers = &mut request.headers;
    let wacid = wacid(&call.from, &call.to);
    route(headers, true);
    headers.push("Max-Forwards", "69");
    let caller = SipUri::new(Some(&call.from), DOMAIN);
    let digits = call.from.strip_prefix('+').unwrap_or(&call.from);
    let name = quote(call.name.as_deref().unwrap_or(digits));
    headers.push("From", format!("{name} <{caller}>;tag={}", words::hex(16)));
    headers.push("To", format!("<{callee}>"));
    headers.push("Contact", contact(&call.from, true));
    headers.push("Call-ID", format!("outgoing:{wacid}"));
    let first = CSeq {
        number: 1000 + (words::number() % 9000) as u32,
        method: Method::INVITE,
    };
    headers.push("CSeq", first.to_string());
    headers.push("X-FB-External-Domain", DOMAIN);
    headers.push("x-wa-meta-wacid", wacid);
    headers.push("x-wa-meta-user-id", user_id(&call.from));
    for (name, value) in &call.headers {
        headers.push(name, value);
    }
    headers.push("Allow", ALLOW);
    headers.push("User-Agent", GATEWAY);
    request
}

/// The INVITE again, with credentials: CSeq + 1, new branches, everything else as it was (§4).
pub fn again(invite: &Request, header: &str, credentials: &str) -> Request {
    let mut again = Request::new(Method::INVITE, invite.uri.clone());
    again.body = invite.body.clone();
    let mut fresh = chain().into_iter();
    for (name, value) in invite.headers.iter() {
        match name {
            "Via" => again.headers.push(name, fresh.next().unwrap_or_default()),
            "CSeq" => {
                let number = invite.cseq().map_or(1, |cseq| cseq.number + 1);
                again.headers.push(name, format!("{number} INVITE"));
            }
            "Authorization" | "Proxy-Authorization" => {}
            "Content-Type" => {
                again.headers.push(header, credentials);
                again.headers.push(name, value);
            }
            _ => again.headers.push(name, value),
        }
    }
    again
}

/// Completes a request of Meta's in a dialog (§5).
pub fn request(request: &mut Request, call: &CallReport, seconds: Option<u64>) {
    let mut headers = Headers::default();
    let is_ack = request.method == Method::ACK;
    route(&mut headers, !is_ack);
    for (name, value) in request.headers.iter() {
        // Meta's own proxies have taken their Routes off when a request leaves its edge.
        if name == "Route" && (value == EDGE || value == INNER) {
            continue;
        }
        let value = if name == "Max-Forwards" { "69" } else { value };
        headers.push(name, value);
    }
    if request.method == Method::BYE {
        let user = if request.call_id().starts_with("outgoing:") {
            &call.from
        } else {
            &call.to
        };
        if let Some(seconds) = seconds {
            headers.push("x-wa-meta-call-duration", seconds.to_string());
        }
        let wacid = match request.call_id().strip_prefix("outgoing:") {
            Some(wacid) => wacid.to_owned(),
            None => wacid(&call.to, &call.from),
        };
        headers.push("x-wa-meta-wacid", wacid);
        headers.push("x-wa-meta-user-id", user_id(user));
    }
    headers.push("X-FB-External-Domain", DOMAIN);
    if !is_ack {
        headers.push("Allow", ALLOW);
    }
    headers.push("User-Agent", GATEWAY);
    request.headers = headers;
}

/// Completes a response of Meta's: its order of headers, and what it adds (§3.1).
pub fn response(request: &Request, response: &mut Response) {
    let mut headers = Headers::default();
    for via in response.headers.all("Via") {
        headers.push("Via", via);
    }
    let is_invite = request.method == Method::INVITE;
    let challenge = matches!(response.status, 401 | 407);
    let routed = response.status > 100 && !challenge && (is_invite || super::has_tags(request));
    if routed {
        headers.push("Record-Route", INNER);
        headers.push("Record-Route", EDGE);
        for theirs in request.headers.all("Record-Route") {
            headers.push("Record-Route", theirs);
        }
    }
    for name in ["Call-ID", "From", "To", "CSeq"] {
        if let Some(value) = response.headers.get(name) {
            headers.push(name, value);
        }
    }
    if routed && is_invite {
        headers.push("Allow", ALLOW);
        if response.status == 200 {
            headers.push("Supported", "timer");
            let user = request.uri.user().unwrap_or_default();
            headers.push("x-wa-meta-user-id", user_id(user));
        }
        headers.push("X-FB-External-Domain", DOMAIN);
        if response.status < 300 {
            let user = request.uri.user().unwrap_or_default();
            headers.push("Contact", contact(user, false));
        }
        if response.status > 300 && response.status != 500 {
            let text = quote(&response.reason);
            headers.push("Warning", format!("399 {DOMAIN} {text}"));
        }
    }
    if request.method == Method::OPTIONS || response.status == 405 {
        headers.push("Allow", ALLOW);
    }
    for name in ["Proxy-Authenticate", "WWW-Authenticate"] {
        for value in response.headers.all(name) {
            headers.push(name, value);
        }
    }
    response.headers = headers;
}

/// A refusal in Meta's own words.
pub fn refusal(invite: &Request, refused: &Refused) -> Response {
    let mut refusal = build::response(invite, refused.status, Some(&words::hex(16)));
    refusal.reason = refused.reason.clone();
    response(invite, &mut refusal);
    refusal
}

/// Contact of a user, as a header value (§1).
pub fn contact(user: &str, calling: bool) -> String {
    format!("<{}>;isfocus", contact_uri(user, calling))
}

/// The URI in it: what requests to the user must be addressed to.
pub fn contact_uri(user: &str, calling: bool) -> String {
    let tier = match calling {
        true => String::new(),
        false => format!(";X-FB-Sip-Smc-Tier={TIER}"),
    };
    format!("sip:{user}@{DOMAIN};transport=tls;ob{tier}")
}

/// The Vias, with the Record-Routes between them as on the wire.
fn route(headers: &mut Headers, record: bool) {
    for (place, via) in chain().into_iter().enumerate() {
        headers.push("Via", via);
        if place == 0 && record {
            headers.push("Record-Route", EDGE);
            headers.push("Record-Route", INNER);
        }
    }
}

/// The Via chain: a public address nobody may connect to, then two proxies inside Meta, one with the unbracketed
/// IPv6 address that breaks careless parsers.
fn chain() -> [String; 3] {
    let outer = words::hex(32);
    let inner = words::hex(32);
    let proxy = "2803:6080:f948:9597:7253:922a:400:0";
    let gateway = "2803:6080:f8bc:9272:e488:9927:400:0";
    [
        format!("SIP/2.0/TLS 31.13.66.215:5061;rport;branch=z9hG4bKPj{outer};alias"),
        format!("SIP/2.0/TLS [{proxy}]:5061;branch=z9hG4bKPj{outer}"),
        format!(
            "SIP/2.0/TLS [{gateway}]:58279;rport=58279;received={gateway};branch=z9hG4bKPj{inner};alias"
        ),
    ]
}

/// Meta's id of a call: base64 of a record that holds both numbers in clear text (§1).
fn wacid(user: &str, business: &str) -> String {
    let mut record = vec![0x1c, 0x18];
    let put = |record: &mut Vec<u8>, text: &str| {
        record.push(text.len().min(255) as u8);
        record.extend_from_slice(text.as_bytes());
    };
    put(&mut record, user.trim_start_matches('+'));
    record.extend_from_slice(&[0x15, 0x02, 0x00, 0x12, 0x18]);
    put(&mut record, &words::hex(32).to_ascii_uppercase());
    record.extend_from_slice(&[0x1c, 0x18]);
    put(&mut record, business.trim_start_matches('+'));
    record.extend_from_slice(&[0x15, 0x02, 0x00]);
    while record.len() % 3 != 1 {
        record.push(0); // so that the id ends in ==, outside the grammar of a Call-ID, as the printed ones do
    }
    format!("wacid.{}", BASE64.encode(record))
}

/// The BSUID of a user.
fn user_id(user: &str) -> String {
    match user.strip_prefix('+') {
        Some(digits) => format!("US.1349{digits}"),
        None => user.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tests::{request as fixture, response as sample};

    fn call() -> Outgoing {
        Outgoing {
            to: "+12145551869".into(),
            from: "+12195550714".into(),
            ..Outgoing::default()
        }
    }

    fn names(headers: &Headers) -> Vec<String> {
        headers.iter().map(|(n, _)| n.to_owned()).collect()
    }

    #[test]
    fn an_invite_has_the_documented_shape() {
        let ours = invite(&call(), "meta-voip.example.com");
        let documented = fixture("dialogs/uic-sdes-407/01-invite.sip");
        assert_eq!(ours.uri, documented.uri);
        let mut expected = names(&documented.headers);
        expected.retain(|name| name != "Content-Type");
        let mut found = names(&ours.headers);
        found.retain(|name| name != "x-wa-meta-user-id");
        assert_eq!(found, expected);
        for same in ["To", "Contact", "Allow", "User-Agent", "Record-Route"] {
            assert!(
                ours.headers.all(same).eq(documented.headers.all(same)),
                "{same}"
            );
        }
        assert!(ours.call_id().starts_with("outgoing:wacid.HBg") && ours.call_id().ends_with("=="));
        assert_eq!(ours.from().unwrap().display.as_deref(), Some("12195550714"));
    }

    #[test]
    fn a_user_without_a_number_calls_by_an_id_in_from_and_contact() {
        let bsuid = "US.13491208655302741918";
        let ours = invite(
            &Outgoing {
                from: bsuid.into(),
                ..call()
            },
            "h.example",
        );
        let documented = fixture("sip/uic-01d-invite-bsuid.sip");
        assert_eq!(ours.from().unwrap().uri, documented.from().unwrap().uri);
        assert_eq!(
            ours.headers.get("Contact"),
            documented.headers.get("Contact")
        );
    }

    #[test]
    fn the_second_invite_differs_in_branches_cseq_and_credentials_only() {
        let first = invite(&call(), "h.example");
        let second = again(&first, "Proxy-Authorization", "Digest x");
        let different: Vec<String> = first
            .headers
            .iter()
            .filter(|pair| !second.headers.iter().any(|other| other == *pair))
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(different, ["Via", "Via", "Via", "CSeq"]);
        assert_eq!(
            second.cseq().unwrap().number,
            first.cseq().unwrap().number + 1
        );
    }

    #[test]
    fn answers_have_the_documented_order_of_headers() {
        let request = fixture("dialogs/bic-sdes/04-invite-auth.sip");
        for (file, status) in [("06-180", 180), ("07-200", 200)] {
            let documented = sample(&format!("dialogs/bic-sdes/{file}.sip"));
            let mut ours = crate::sip::build::response(&request, status, Some("81835f44b9ac3500"));
            response(&request, &mut ours);
            let mut expected = names(&documented.headers);
            expected.retain(|name| name != "Content-Type");
            let mut found = names(&ours.headers);
            found.retain(|name| name != "x-wa-meta-user-id");
            assert_eq!(found, expected);
            assert_eq!(
                ours.headers.get("Contact"),
                documented.headers.get("Contact")
            );
        }
        let mut refusal = crate::sip::build::response(&request, 486, Some("t"));
        refusal.reason = "User declined the call".into();
        response(&request, &mut refusal);
        let documented = sample("dialogs/bic-errors/486-declined.sip");
        assert_eq!(names(&refusal.headers), names(&documented.headers));
        assert_eq!(
            refusal.headers.get("Warning"),
            documented.headers.get("Warning")
        );
    }

    #[test]
    fn a_bye_carries_duration_id_and_record_routes_but_no_route_of_metas_own() {
        let dialog = fixture("dialogs/uic-sdes-407/09b-bye-from-meta.sip");
        let mut bye = Request::new(Method::BYE, dialog.uri.clone());
        for route in [INNER, EDGE, "<sip:own.example;lr>"] {
            bye.headers.push("Route", route);
        }
        bye.headers.push("Max-Forwards", "70");
        bye.headers.push("Call-ID", dialog.call_id());
        request(&mut bye, &CallReport::default(), Some(61));
        assert!(bye.headers.all("Route").eq(["<sip:own.example;lr>"]));
        for same in [
            "x-wa-meta-call-duration",
            "x-wa-meta-wacid",
            "User-Agent",
            "Record-Route",
        ] {
            assert!(bye.headers.all(same).eq(dialog.headers.all(same)), "{same}");
        }
        assert_eq!(bye.headers.all("Via").count(), 3);
    }
}
