//! What is never kept: keys, passwords and proofs of them, hidden in the very place where they stood.
//!
//! Every hidden octet becomes a `*`, so that lengths stay true and the message is still one; of keys, whose base64 is read
//! by whoever reads SDP, an `x`. Lines are judged one by
//! one, whatever the message around them is worth: what is no SIP may hold a key all the same.

use memchr::memchr2;

/// Parameters of credentials that give nothing away; all others are hidden (RFC 7616 §3.4).
const OPEN: [&str; 9] = [
    "username",
    "realm",
    "nonce",
    "uri",
    "algorithm",
    "qop",
    "nc",
    "opaque",
    "stale",
];
/// Lines of SDP of which everything behind the name is hidden.
const SDP: [&str; 3] = ["a=ice-pwd:", "a=key-mgmt:", "k="];

/// What a header line is, and those that continue it are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Credentials,
}

/// Hides what is secret in a message, or in what was meant as one.
pub(super) fn hide(octets: &mut [u8]) {
    let mut kind = Kind::Plain;
    let (mut in_body, mut blank) = (false, false);
    // Behind an encoding nobody can see what is a secret.
    let mut encoded = false;
    let mut start = 0;
    while start < octets.len() {
        // A lone CR or LF ends a line too.
        let end = memchr2(b'\r', b'\n', &octets[start..]);
        let end = end.map_or(octets.len(), |end| start + end);
        in_body |= blank && octets.get(end) == Some(&b'\n') && end == start;
        blank = match octets.get(end) {
            Some(b'\n') => true,
            _ => blank && end == start,
        };
        let line = &mut octets[start..end];
        start = end + 1;
        if line.is_empty() {
            continue;
        }
        if in_body && encoded {
            star(line);
            continue;
        }
        let name = header_name(line);
        encoded |= name.is_some_and(|name| is_encoding(&line[..name], &line[name..]));
        if !in_body {
            kind = match name {
                Some(name) => kind_of(&line[..name]),
                None => kind,
            };
            match (kind, name) {
                (Kind::Plain, _) => {}
                (Kind::Credentials, Some(_)) => credentials(line),
                (Kind::Credentials, None) => star(line),
            }
        }
        if in_body && is_key(line) {
            star(line);
        }
        sdp(line);
        wherever(line);
    }
}

fn star(octets: &mut [u8]) {
    for octet in octets.iter_mut().filter(|o| !o.is_ascii_whitespace()) {
        *octet = b'*';
    }
}

/// How long the name of a header line is; `None` for what continues one, and for start lines.
fn header_name(line: &[u8]) -> Option<usize> {
    let token = |o: &u8| o.is_ascii_alphanumeric() || b"-_.!%*+`'~".contains(o);
    let end = line.iter().position(|o| !token(o))?;
    let colon = line[end..].trim_ascii_start().first() == Some(&b':');
    (end > 0 && colon).then_some(end)
}

fn kind_of(name: &[u8]) -> Kind {
    let names: [&[u8]; 4] = [
        b"authorization",
        b"proxy-authorization",
        b"authentication-info",
        b"proxy-authentication-info",
    ];
    match names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
        true => Kind::Credentials,
        false => Kind::Plain,
    }
}

/// Whether a header says that what follows cannot be read as it stands.
fn is_encoding(name: &[u8], value: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"content-encoding", b"e", b"content-transfer-encoding"];
    let plain: [&[u8]; 5] = [b"identity", b"7bit", b"8bit", b"binary", b""];
    if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
        return false;
    }
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
    !plain.iter().any(|p| p.eq_ignore_ascii_case(value))
}

/// `Authorization: Digest username="…",response="…"`: what is not known to be harmless is hidden.
fn credentials(line: &mut [u8]) {
    let Some(colon) = line.iter().position(|o| *o == b':') else {
        return;
    };
    let value = &mut line[colon + 1..];
    let quotes = value.iter().filter(|o| **o == b'"').count();
    let start = value.len() - value.trim_ascii_start().len();
    let scheme = value[start..].iter().position(|o| !o.is_ascii_alphabetic());
    let scheme = start + scheme.unwrap_or(value.len() - start);
    let named = value.get(scheme).is_none_or(|o| *o != b'=');
    let digest = value[start..scheme].eq_ignore_ascii_case(b"digest");
    // Two readers might disagree about where such a value ends.
    if quotes % 2 == 1 || value.contains(&b'\\') || (named && !digest) {
        return star(&mut value[if digest { scheme } else { start }..]);
    }
    let mut quoted = false;
    let from = if named { scheme } else { start };
    for parameter in value[from..].split_mut(|o| {
        quoted ^= *o == b'"';
        *o == b',' && !quoted
    }) {
        let equals = parameter.iter().position(|o| *o == b'=');
        let Some(equals) = equals else {
            star(parameter);
            continue;
        };
        let name = parameter[..equals].trim_ascii();
        if !OPEN.iter().any(|o| o.as_bytes().eq_ignore_ascii_case(name)) {
            for octet in &mut parameter[equals + 1..] {
                if !matches!(octet, b'"' | b' ' | b'\t') {
                    *octet = b'*';
                }
            }
        }
    }
}

fn sdp(line: &mut [u8]) {
    let indent = line.len() - line.trim_ascii_start().len();
    let line = &mut line[indent..];
    if !matches!(line.first(), Some(b'a' | b'A' | b'k' | b'K' | b's' | b'S')) {
        return;
    }
    if let Some(name) = SDP.iter().find(|name| starts_with(line, name)) {
        star(&mut line[name.len()..]);
    } else if starts_with(line, "a=crypto:") {
        crypto(line);
    } else if let Some(value) = signal(line) {
        star(&mut line[value..]);
    }
}

/// Where the value of `Signal=5` begins. Keys that a caller pressed, told by INFO, may be a PIN.
fn signal(line: &[u8]) -> Option<usize> {
    let equals = line.iter().position(|o| *o == b'=')?;
    let name = line[..equals].trim_ascii_end();
    name.eq_ignore_ascii_case(b"signal").then_some(equals + 1)
}

/// A key, or its code, that is a body of its own (`application/dtmf`).
fn is_key(line: &[u8]) -> bool {
    let key = |o: &u8| o.is_ascii_digit() || b"*#ABCDabcd".contains(o);
    let line = line.trim_ascii();
    (1..=2).contains(&line.len()) && line.iter().all(key)
}

/// `a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:…|2^31|1:4 UNENCRYPTED_SRTP`: tag, suite and parameters of the session stay
/// (RFC 4568 §9.1).
fn crypto(line: &mut [u8]) {
    for word in line.split_mut(|o| matches!(o, b' ' | b'\t')).skip(2) {
        let keyed = starts_with(word, "inline:");
        let parameter = |o: &u8| o.is_ascii_uppercase() || o.is_ascii_digit() || b"_=".contains(o);
        let harmless = word.len() < 24 && word.iter().all(parameter);
        if !keyed && !harmless {
            star(word);
        }
    }
}

/// What is told by the word in front of it, wherever in a line: keys, ICE passwords, and those in URIs,
/// `sip:user:password@host` (RFC 3261 §19.1.1).
fn wherever(line: &mut [u8]) {
    let mut next = 1;
    while let Some(found) = line.get(next..).and_then(|rest| memchr2(b':', b'=', rest)) {
        let at = next + found;
        next = at + 1;
        // Few come so far: only what the words below end with.
        if !matches!(
            line[at - 1],
            b'e' | b'd' | b'p' | b's' | b'E' | b'D' | b'P' | b'S'
        ) {
            continue;
        }
        let (before, rest) = line.split_at_mut(at + 1);
        let after = |word: &str| ends_with(before, word);
        if after("inline:") {
            let end = rest.iter().position(|o| b" \t|;,\"<>".contains(o));
            let end = end.unwrap_or(rest.len());
            rest[..end]
                .iter_mut()
                .filter(|o| **o != b'=')
                .for_each(|o| *o = b'x');
        } else if after("ice-pwd:") || after("ice-pwd=") {
            let end = rest.iter().position(|o| b" \t|;,\"<>".contains(o));
            let end = end.unwrap_or(rest.len());
            star(&mut rest[..end]);
        } else if after("sip:") || after("sips:") {
            let end = rest.iter().position(|o| b" \t<>\"".contains(o));
            let end = end.unwrap_or(rest.len());
            let uri = &mut rest[..end];
            if let Some(host) = uri.iter().position(|o| *o == b'@')
                && let Some(colon) = uri[..host].iter().position(|o| *o == b':')
            {
                star(&mut uri[colon + 1..host]);
            }
        }
    }
}

fn ends_with(line: &[u8], word: &str) -> bool {
    let start = line.len().checked_sub(word.len());
    start.is_some_and(|start| line[start..].eq_ignore_ascii_case(word.as_bytes()))
}

fn starts_with(line: &[u8], word: &str) -> bool {
    line.get(..word.len())
        .is_some_and(|front| front.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> String {
        let mut octets = text.as_bytes().to_vec();
        hide(&mut octets);
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn the_proof_of_a_password_is_hidden_and_the_rest_of_it_stays() {
        let line = "Proxy-Authorization: Digest username=\"12145551869\", realm=\"wa.meta.vc\",cnonce=\"0a4f113b\", \
                    uri=\"sip:a,b@c\",response=\"6629fae49393a05397450978507c4ef1\",nc=00000001";
        assert_eq!(
            hidden(line),
            "Proxy-Authorization: Digest username=\"12145551869\", realm=\"wa.meta.vc\",cnonce=\"********\", \
             uri=\"sip:a,b@c\",response=\"********************************\",nc=00000001"
        );
    }

    #[test]
    fn credentials_are_hidden_however_they_are_written() {
        for line in [
            "authorization : digest RESPONSE = SECRET",
            "Authorization: Digest username=\"a\",\r\n response=\"SECRET\"",
            "Authorization: Digest username=\"a\",\r\nresponse=\"SECRET\"",
            "Authorization: Digest username=\"a, response=SECRET",
            "Authorization: Digest username=\"a\\\", response=\"SECRET",
            "Authorization: Basic SECRET",
            "Authorization: SECRET",
            "Authentication-Info: rspauth=\"SECRET\", qop=auth",
            "x: y\rAuthorization: Digest response=SECRET",
            "REFER sip:alice:SECRET@host SIP/2.0",
            "Contact: <SIPS:alice:SECRET@host>",
        ] {
            let hidden = hidden(line);
            assert!(!hidden.contains("SECRET"), "{hidden}");
            assert_eq!(hidden.len(), line.len());
        }
    }

    #[test]
    fn keys_in_a_description_are_hidden_and_what_they_are_for_stays() {
        let line = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MVh+0N8l|2^31|1:4;inline:Zm9v|2^31 UNENCRYPTED_SRTP";
        assert_eq!(
            hidden(line),
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xxxxxxxx|2^31|1:4;inline:xxxx|2^31 UNENCRYPTED_SRTP"
        );
        assert_eq!(hidden("a=ice-pwd:asd88fgpdd777"), "a=ice-pwd:*************");
        assert_eq!(hidden("a=ice-ufrag:8hhY"), "a=ice-ufrag:8hhY");
        for line in [
            "A=CRYPTO:1 AES_CM_128_HMAC_SHA1_80 SECRETkey",
            " a=crypto:1 X INLINE:SECRET",
            "k=clear:SECRET",
            "a=key-mgmt:mikey SECRET",
            "x-sdp: a=ice-pwd:SECRET",
            "Signal=SECRET",
            "signal = SECRET",
        ] {
            assert!(!hidden(line).contains("SECRET"), "{line}");
        }
    }

    #[test]
    fn a_key_that_is_the_whole_body_is_hidden() {
        for (body, shown) in [("5", "*"), (" #\r\n", " *\r\n"), ("11\n", "**\n")] {
            let info = "INFO sip:a@b SIP/2.0\r\nContent-Type: application/dtmf\r\n\r\n";
            assert_eq!(hidden(&format!("{info}{body}")), format!("{info}{shown}"));
        }
    }

    #[test]
    fn what_is_encoded_is_hidden_whole_for_nobody_can_see_what_is_in_it() {
        let text = "INVITE sip:a@b SIP/2.0\r\nContent-Encoding: gzip\r\n\r\nSECRET";
        assert!(hidden(text).ends_with("gzip\r\n\r\n******"));
        let text = "INVITE sip:a@b SIP/2.0\r\n\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\nSECRET\r\n";
        assert!(!hidden(text).contains("SECRET"));
        let text = "INVITE sip:a@b SIP/2.0\r\nContent-Encoding: identity\r\n\r\nv=0\r\n";
        assert_eq!(hidden(text), text);
    }

    #[test]
    fn arbitrary_octets_are_no_danger_and_stay_as_long_as_they_were() {
        proptest::proptest!(|(octets: Vec<u8>)| {
            let mut hidden = octets.clone();
            hide(&mut hidden);
            proptest::prop_assert_eq!(hidden.len(), octets.len());
        });
    }
}
