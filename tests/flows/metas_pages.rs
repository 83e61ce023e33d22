//! What Meta's pages allow us to send.

use wabridge::sip::Message;
use wabridge::sip::message::Common;

use crate::world::*;

/// Whatever we send to Meta must be something that its pages know.
pub fn fits_meta(message: &Message, hostname: Option<&str>) {
    let what = first_line(message);
    for never in [
        "Session-Expires",
        "Min-SE",
        "Supported",
        "Require",
        "Proxy-Require",
        "P-Asserted-Identity",
        "Diversion",
    ] {
        assert_eq!(message.headers().get(never), None, "{what}");
    }
    assert!(
        message
            .headers()
            .iter()
            .all(|(name, _)| !name.to_ascii_lowercase().starts_with("x-wa-meta")),
        "Meta's own headers go back to it: {what}"
    );
    let Message::Request(request) = message else {
        return;
    };
    let method = request.method.to_string();
    assert!(
        ["INVITE", "ACK", "CANCEL", "BYE"].contains(&method.as_str()),
        "{what}"
    );
    if method == "INVITE" {
        assert_eq!(request.to().unwrap().tag(), None, "a re-INVITE: {what}");
        assert_eq!(request.headers.get("Route"), None, "{what}");
    }
    let via = request.via().unwrap();
    let from = request.from().unwrap().uri;
    assert_eq!(
        (
            from.sip().map(|uri| &uri.host),
            via.port,
            via.transport.as_str()
        ),
        (Some(&via.host), Some(5061), "TLS"),
        "{what}"
    );
    assert!(hostname.is_none_or(|name| name == via.host), "{what}");
    assert_eq!(request.headers.all("Via").count(), 1, "{what}");
    assert!(request.headers.get("Max-Forwards").is_some(), "{what}");
}
