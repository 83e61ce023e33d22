//! The descriptions by which calls are set up through other programs, and what is read of theirs.

use std::net::SocketAddr;

/// One Opus stream there; SRTP under this `a=crypto`, or RTP.
pub fn description(at: SocketAddr, crypto: Option<&str>) -> String {
    let (ip, port) = (at.ip(), at.port());
    let (profile, key) = match crypto {
        Some(crypto) => ("RTP/SAVP", format!("a=crypto:{crypto}\r\n")),
        None => ("RTP/AVP", String::new()),
    };
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {profile} 111\r\n\
         a=rtpmap:111 opus/48000/2\r\n{key}a=ptime:20\r\na=sendrecv\r\n"
    )
}

/// On which port a description wants its audio.
pub fn port_in(description: &str) -> u16 {
    let audio = after(description, "m=audio ").expect("an audio stream");
    let port = audio.split(' ').next().and_then(|port| port.parse().ok());
    port.expect("a port")
}

/// The value of a description's `a=crypto` of the one suite that is compared.
pub fn key_in(description: &str) -> Option<&str> {
    let lines = description
        .lines()
        .filter_map(|line| line.strip_prefix("a=crypto:"));
    lines
        .into_iter()
        .find(|value| value.contains("AES_CM_128_HMAC_SHA1_80"))
}

fn after<'a>(description: &'a str, prefix: &str) -> Option<&'a str> {
    description
        .lines()
        .find_map(|line| line.strip_prefix(prefix))
}
