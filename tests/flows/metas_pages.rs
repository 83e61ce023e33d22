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
    let body = match message {
        Message::Request(request) => &request.body,
        Message::Response(response) => &response.body,
    };
    if !body.is_empty() {
        sdp_fits_meta(std::str::from_utf8(body).unwrap());
    }
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

/// One stream, in Opus, keyed in one of the two ways and not by halves of both.
fn sdp_fits_meta(sdp: &str) {
    let count = |start: &str| sdp.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(count("m="), 1, "{sdp}");
    assert_eq!(count("a=rtcp-mux"), 1, "{sdp}");
    assert!(sdp.contains(" opus/48000/2\r\n"), "{sdp}");
    assert!(sdp.contains("\r\na=ptime:20\r\n"), "{sdp}");
    // FAQ, 2025-11-13: Meta is lite, so we are not.
    assert_eq!(count("a=ice-lite"), 0, "{sdp}");
    let dtls = sdp.contains(" UDP/TLS/RTP/SAVPF ");
    assert!(dtls || sdp.contains(" RTP/SAVP "), "{sdp}");
    assert_eq!(
        count("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"),
        usize::from(!dtls),
        "{sdp}"
    );
    for line in [
        "a=fingerprint:sha-256 ",
        "a=setup:",
        "a=ice-ufrag:",
        "a=ice-pwd:",
    ] {
        assert_eq!(count(line), usize::from(dtls), "{line} {sdp}");
    }
    assert_eq!(count("a=candidate:") > 0, dtls, "{sdp}");
    assert!(!sdp.contains(" 0.0.0.0 "), "{sdp}");
}
