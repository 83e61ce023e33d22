//! The descriptions by which calls are set up through other programs, and what is read of theirs.

use std::net::SocketAddr;
use std::str::FromStr;

/// One Opus stream there, by this payload type; SRTP under this `a=crypto`, or RTP.
pub fn description(at: SocketAddr, crypto: Option<&str>, opus: u8) -> String {
    let (ip, port) = (at.ip(), at.port());
    let (profile, key) = match crypto {
        Some(crypto) => ("RTP/SAVP", format!("a=crypto:{crypto}\r\n")),
        None => ("RTP/AVP", String::new()),
    };
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {profile} {opus}\r\n\
         a=rtpmap:{opus} opus/48000/2\r\n{key}a=ptime:20\r\na=sendrecv\r\n"
    )
}

/// On which port a description wants its audio.
pub fn port_in(description: &str) -> u16 {
    audio(description, 0)
}

/// By which payload type it wants Opus, which is the first it names.
pub fn opus_in(description: &str) -> u8 {
    audio(description, 2)
}

/// A number of its line `m=audio PORT PROFILE FORMAT…`.
fn audio<T: FromStr>(description: &str, word: usize) -> T {
    let mut lines = description.lines();
    let line = lines.find_map(|line| line.strip_prefix("m=audio "));
    let found = line.and_then(|line| line.split(' ').nth(word)?.parse().ok());
    found.expect("an audio stream with ports and formats")
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
