//! `pbx.headers`: what an operator wants to stand in every INVITE to a PBX.

use std::collections::BTreeMap;

use super::document::Document;

/// Those that a call hangs on, or that say something of it that is not the operator's to say. Custom headers of Meta's
/// are passed on under `x-wa-meta-…`.
const OURS: [&str; 25] = [
    "Accept",
    "Allow",
    "Authorization",
    "Call-ID",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Expires",
    "From",
    "Max-Forwards",
    "P-Asserted-Identity",
    "Proxy-Authorization",
    "Proxy-Require",
    "Record-Route",
    "Replaces",
    "Require",
    "Route",
    "Session-Expires",
    "Supported",
    "To",
    "User-Agent",
    "Via",
];

/// Longest value, in octets: with SDP and all an INVITE must fit into a datagram.
const LONGEST: usize = 256;

/// Most headers of one PBX.
const MOST: usize = 16;

pub(super) fn check(key: &str, headers: &BTreeMap<String, String>, document: &Document<'_>) {
    if headers.len() > MOST {
        document.problem(
            key,
            &format!(
                "these are {} headers, and {MOST} may be given",
                headers.len()
            ),
            "leave out those that the PBX does not look at",
        );
    }
    for (name, value) in headers {
        if let Some((what, remedy)) = fault(name, value) {
            document.problem(&format!("{key}.{name}"), &what, remedy);
        }
    }
}

fn fault(name: &str, value: &str) -> Option<(String, &'static str)> {
    let is_ours = OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name));
    let metas = name.to_ascii_lowercase().starts_with("x-wa-meta-");
    let (what, remedy) = match () {
        () if name.is_empty() || !name.bytes().all(is_token) => (
            format!("{name:?} is no name of a header"),
            "write letters, digits and \"-\"",
        ),
        // One letter is the short form of a header of the protocol's (RFC 3261 §7.3.3).
        () if is_ours || metas || name.len() == 1 => (
            "the bridge writes this header itself".to_owned(),
            "name one that the PBX alone gives a meaning, such as \"X-Tenant\"",
        ),
        () if value.chars().any(char::is_control) => (
            "the value has control characters".to_owned(),
            "write it in one line",
        ),
        () if value.trim().is_empty() => {
            ("the value is empty".to_owned(), "give one, or leave it out")
        }
        () if value.len() > LONGEST => (
            format!("the value has {} octets", value.len()),
            "shorten it to 256",
        ),
        () => return None,
    };
    Some((what, remedy))
}

/// RFC 3261 §25.1, token.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&octet)
}
