//! SDP as it has to read beside media that is in clear.
//!
//! To Wireshark `RTP/SAVP` means that packets are sealed, and it would show those of the capture as noise, the last octets
//! of each as their tag. So the capture names the profile that fits what is in it, and says so.

/// A message whose SDP promises SRTP, with the profile of RTP in its place, and what has changed; `None` where none does.
pub(super) fn in_clear(message: &[u8]) -> Option<(Vec<u8>, String)> {
    let text = std::str::from_utf8(message).ok()?;
    let (headers, body) = text.split_once("\r\n\r\n")?;
    let mut said = None;
    let body: String = body
        .split_inclusive('\n')
        .map(|line| match profile(line) {
            Some((sealed, open)) => {
                said.get_or_insert((sealed, open));
                line.replacen(sealed, open, 1)
            }
            None => line.to_owned(),
        })
        .collect();
    let (sealed, open) = said?;
    let length = |line: &str| is_length(line).then(|| format!("Content-Length: {}", body.len()));
    let headers: Vec<_> = headers
        .split("\r\n")
        .map(|line| length(line).unwrap_or_else(|| line.to_owned()))
        .collect();
    let words =
        format!("its SDP said {sealed}; {open} here, because media is in clear in this file");
    Some(((headers.join("\r\n") + "\r\n\r\n" + &body).into(), words))
}

/// The profile of SRTP in a line of SDP (RFC 4568, RFC 5124, RFC 5764), and that of RTP which fits it.
fn profile(line: &str) -> Option<(&str, &'static str)> {
    let profile = line.strip_prefix("m=")?.split(' ').nth(2)?;
    match profile.strip_prefix("UDP/TLS/").unwrap_or(profile) {
        "RTP/SAVP" => Some((profile, "RTP/AVP")),
        "RTP/SAVPF" => Some((profile, "RTP/AVPF")),
        _ => None,
    }
}

fn is_length(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().trim_end();
    name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("l")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(profile: &str) -> String {
        let body = format!("v=0\r\nm=audio 4000 {profile} 111 126\r\na=crypto:1 A inline:xx\r\n");
        let length = body.len();
        format!("SIP/2.0 200 OK\r\nContent-Length: {length}\r\nX: m=RTP/SAVP\r\n\r\n{body}")
    }

    #[test]
    fn sdp_names_the_profile_that_fits_media_in_clear_and_is_as_long_as_its_header_says() {
        for (sealed, open) in [
            ("RTP/SAVP", "RTP/AVP"),
            ("RTP/SAVPF", "RTP/AVPF"),
            ("UDP/TLS/RTP/SAVP", "RTP/AVP"),
            ("UDP/TLS/RTP/SAVPF", "RTP/AVPF"),
        ] {
            let (octets, words) = in_clear(message(sealed).as_bytes()).unwrap();
            assert_eq!(String::from_utf8(octets).unwrap(), message(open));
            assert!(
                words.contains(&format!("said {sealed}; {open} here")),
                "{words}"
            );
        }
    }

    #[test]
    fn what_promises_no_srtp_stays_as_it_was() {
        let ack = "ACK sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n";
        for text in [
            message("RTP/AVP").as_str(),
            ack,
            "RTP/SAVP",
            "",
            "m=audio 1 RTP/SAVP 0",
        ] {
            assert_eq!(in_clear(text.as_bytes()), None, "{text}");
        }
        assert_eq!(in_clear(b"\xff\r\n\r\nm=audio 1 RTP/SAVP 0\r\n"), None);
    }
}
