//! What names people, masked for the eyes of others, so that a message stays one that SIP tools read.
//!
//! Where a name or number stands by rule (URIs, display names, Call-IDs, Meta's own headers) it is masked there, and the
//! same text wherever else it appears. Long digits anywhere else might be a number too; only where they cannot be, as
//! in a Via or in ICE candidates, they stay.

use std::collections::BTreeMap;

use super::{End, Head, Octets, Trace, What};
use crate::number::{masked_user, masked_words, tag};

/// Most texts that are looked for everywhere, and the shortest of them.
const MOST_KNOWN: usize = 64;
const LEAST_KNOWN: usize = 7;

/// Headers that hold only what machines made up: what is known from elsewhere is masked in them, and nothing more.
const TECHNICAL: &str = " via v cseq content-length l content-type c max-forwards allow supported k require \
    proxy-require accept accept-encoding accept-language rack rseq expires min-se session-expires x date timestamp \
    user-agent server proxy-authenticate www-authenticate mime-version ";
/// Headers whose whole value names a call.
const CALL_IDS: &str = " call-id i in-reply-to replaces ";
/// Headers with credentials.
const CREDENTIALS: &str = " authorization proxy-authorization ";
/// Meta's headers whose values name nobody.
const OPEN_OF_META: &str =
    " x-wa-meta-call-duration x-wa-meta-country-code x-wa-meta-user-country-code ";
/// Lines of SDP that hold no number.
const SDP: &str = "vtmcbarz";

/// The masks of one trace.
#[derive(Debug, Default)]
struct Masks {
    known: BTreeMap<String, String>,
}

pub(super) fn head(head: &Head) -> Head {
    let mut masks = Masks::default();
    masks.learn_head(head);
    masks.head(head)
}

pub(super) fn trace(trace: &Trace) -> Trace {
    let mut masks = Masks::default();
    masks.learn_head(&trace.head);
    let mut events = trace.events.clone();
    // First what stands by rule, so that all of it is known before the same is looked for everywhere.
    let mut texts = Vec::new();
    for event in &events {
        if let What::Message(packet) = &event.what {
            texts.push(masks.message(&text_of(&packet.octets)));
        }
    }
    let mut texts = texts.into_iter();
    for event in &mut events {
        match &mut event.what {
            What::Message(packet) => {
                let text = masks.everywhere(&texts.next().unwrap_or_default());
                let masked = with_its_length(&packet.octets, &text);
                packet.length = packet.length - packet.octets.len() + masked.len();
                packet.octets = masked;
                packet.fault = packet.fault.as_deref().map(|fault| masks.words(fault));
            }
            What::Mark { words, .. } => *words = masks.words(words),
        }
    }
    Trace {
        head: masks.head(&trace.head),
        events,
        left_out: trace.left_out,
    }
}

impl Masks {
    fn learn_head(&mut self, head: &Head) {
        for id in [&head.meta_call_id, &head.pbx_call_id, &head.wacid]
            .into_iter()
            .flatten()
        {
            self.tag(id);
        }
        for user in [&head.number, &head.user].into_iter().flatten() {
            self.user(user);
        }
    }

    fn head(&self, head: &Head) -> Head {
        let tagged = |id: &Option<String>| id.as_deref().map(tag);
        let user = |user: &Option<String>| user.as_deref().map(masked_user);
        Head {
            number: user(&head.number),
            user: user(&head.user),
            wacid: tagged(&head.wacid),
            meta_call_id: tagged(&head.meta_call_id),
            pbx_call_id: tagged(&head.pbx_call_id),
            end: head.end.as_ref().map(|end| End {
                why: self.words(&end.why),
                ..end.clone()
            }),
            ..head.clone()
        }
    }

    // ---- what is learnt by masking it --------------------------------------------------------------------------

    fn learn(&mut self, plain: &str, masked: &str) {
        if plain.len() >= LEAST_KNOWN && plain != masked && self.known.len() < MOST_KNOWN {
            self.known.insert(plain.to_owned(), masked.to_owned());
        }
    }

    fn tag(&mut self, text: &str) -> String {
        let masked = tag(text);
        self.learn(text, &masked);
        masked
    }

    /// The user part of a URI. Of numbers the digits alone are looked for: they may stand elsewhere without their `+`.
    fn user(&mut self, user: &str) -> String {
        let masked = masked_user(user);
        let name = user.split(';').next().unwrap_or_default();
        let mask = masked.split(';').next().unwrap_or_default();
        self.learn(name.trim_start_matches('+'), mask.trim_start_matches('+'));
        masked
    }

    // ---- messages ----------------------------------------------------------------------------------------------

    fn message(&mut self, text: &str) -> String {
        let body = body_of(text);
        let mut header = String::new();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for line in text.split_inclusive(['\r', '\n']) {
            let words = line.trim_end_matches(['\r', '\n']);
            let end = &line[words.len()..];
            let masked = match () {
                () if at >= body => self.body_line(words),
                () if at == 0 => self.text(words),
                () => self.header_line(words, &mut header),
            };
            out.push_str(&masked);
            out.push_str(end);
            at += line.len();
        }
        out
    }

    /// `name: value`; what continues a header is masked like the header.
    fn header_line(&mut self, line: &str, header: &mut String) -> String {
        let named = line.split_once(':').filter(|(name, _)| {
            let token = |c: char| c.is_ascii_graphic() && !"\"<>@,;=".contains(c);
            !name.is_empty() && name.trim_end().chars().all(token)
        });
        let (name, value) = match named {
            Some((name, value)) => {
                *header = name.trim().to_ascii_lowercase();
                (&line[..=name.len()], value)
            }
            None => ("", line),
        };
        let space = value.len() - value.trim_start().len();
        let (space, value) = value.split_at(space);
        format!("{name}{space}{}", self.value(header, value))
    }

    fn value(&mut self, header: &str, value: &str) -> String {
        let among = |names: &str| names.contains(&format!(" {header} "));
        match header {
            _ if value.is_empty() || among(TECHNICAL) => value.to_owned(),
            _ if among(CALL_IDS) => self.tag(value.trim_end()),
            _ if among(OPEN_OF_META) => value.to_owned(),
            _ if header.starts_with("x-wa-meta-") => self.tag(value.trim_end()),
            _ if among(CREDENTIALS) => self.credentials(value),
            "from" | "f" | "to" | "t" | "contact" | "m" => self.addresses(value),
            _ if header.starts_with("p-") || header.contains("-id") => self.addresses(value),
            "reply-to" | "referred-by" | "b" | "refer-to" | "r" | "diversion" | "history-info" => {
                self.addresses(value)
            }
            _ => self.text(value),
        }
    }

    /// Names in front of URIs, and the URIs. Tags and other parameters stay.
    fn addresses(&mut self, value: &str) -> String {
        let mut out = String::new();
        let mut rest = value;
        while let Some(open) = rest.find('<') {
            let (name, from) = rest.split_at(open);
            // Behind a comma, parameters of the one before; a quoted name may hold a comma itself.
            let start = match name.find('"') {
                Some(quote) => quote,
                None => name.rfind([',', ';']).map_or(0, |at| at + 1),
            };
            let (before, name) = name.split_at(start);
            out.push_str(before);
            out.push_str(&self.display_name(name));
            let close = from.find('>').map_or(from.len(), |at| at + 1);
            out.push_str(&self.uris(&from[..close]));
            rest = &from[close..];
        }
        out.push_str(&self.uris(rest));
        out
    }

    fn display_name(&mut self, name: &str) -> String {
        let plain = name.trim().trim_matches('"');
        if plain.is_empty() {
            return name.to_owned();
        }
        let masked = self.user(plain);
        name.replace(plain, &masked)
    }

    /// `Digest username="…",uri="…"`: what proves the password is hidden already.
    fn credentials(&mut self, value: &str) -> String {
        let mut out = String::new();
        for part in value.split_inclusive(',') {
            let quoted = part
                .split_once('"')
                .and_then(|(key, rest)| Some((key, rest.split_once('"')?)));
            match quoted {
                Some((key, (user, rest)))
                    if !user.is_empty() && key.to_ascii_lowercase().contains("username") =>
                {
                    let masked = self.user(user);
                    for piece in [key, "\"", &masked, "\"", rest] {
                        out.push_str(piece);
                    }
                }
                _ => out.push_str(&self.uris(part)),
            }
        }
        out
    }

    fn body_line(&mut self, line: &str) -> String {
        match line.as_bytes() {
            [b'o', b'=', ..] => match line[2..].split_once(' ') {
                Some((user, rest)) if user != "-" => format!("o={} {rest}", self.user(user)),
                _ => line.to_owned(),
            },
            [b'i' | b'u' | b'e' | b'p', b'=', _, ..] => {
                format!("{}{}", &line[..2], self.tag(&line[2..]))
            }
            [kind, b'=', ..] if SDP.contains(char::from(*kind)) => line.to_owned(),
            _ => self.text(line),
        }
    }

    /// Anything: URIs, and what might be a number.
    fn text(&mut self, text: &str) -> String {
        masked_words(&self.uris(text))
    }

    fn uris(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, scheme)) = next_scheme(rest) {
            let (before, from) = rest.split_at(at + scheme.len());
            out.push_str(before);
            let end = from.find(|c: char| " \t<>\",".contains(c));
            let (uri, after) = from.split_at(end.unwrap_or(from.len()));
            match (scheme, uri.split_once('@')) {
                ("tel:", _) => out.push_str(&self.user(uri)),
                (_, Some((user, host))) => {
                    let (user, password) = user.split_at(user.find(':').unwrap_or(user.len()));
                    out.push_str(&format!("{}{password}@{host}", self.user(user)));
                }
                (_, None) => out.push_str(uri),
            }
            rest = after;
        }
        out + rest
    }

    // ---- everywhere --------------------------------------------------------------------------------------------

    /// What is known by now, wherever it stands; long texts first, for they may hold short ones.
    fn everywhere(&self, text: &str) -> String {
        let mut known: Vec<_> = self.known.iter().collect();
        known.sort_by_key(|(plain, _)| std::cmp::Reverse(plain.len()));
        known
            .iter()
            .filter(|(plain, _)| text.contains(plain.as_str()))
            .fold(text.to_owned(), |text, (plain, masked)| {
                text.replace(plain.as_str(), masked)
            })
    }

    fn words(&self, words: &str) -> String {
        masked_words(&self.everywhere(words))
    }
}

fn next_scheme(text: &str) -> Option<(usize, &'static str)> {
    let lower = text.to_ascii_lowercase();
    ["sip:", "sips:", "tel:"]
        .into_iter()
        .filter_map(|scheme| Some((lower.find(scheme)?, scheme)))
        .min()
}

/// One character for each octet, so that nothing is lost of what is no UTF-8.
fn text_of(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

fn octets_of(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect()
}

/// Where the body begins; the end where there is none.
fn body_of(text: &str) -> usize {
    text.find("\r\n\r\n").map_or(text.len(), |at| at + 4)
}

/// The masked message; its Content-Length is right if it was before.
fn with_its_length(before: &[u8], masked: &str) -> Octets {
    let old = text_of(before);
    let old_length = old[body_of(&old)..].chars().count();
    let (head, body) = masked.split_at(body_of(masked));
    let length = body.chars().count();
    if length == old_length {
        return octets_of(masked).into();
    }
    let line = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_default();
        let name = name.trim().to_ascii_lowercase();
        let is_length = matches!(name.as_str(), "content-length" | "l");
        match is_length && value.trim() == old_length.to_string() {
            true => line.replace(value.trim(), &length.to_string()),
            false => line.to_owned(),
        }
    };
    let head: String = head.split_inclusive("\r\n").map(line).collect();
    octets_of(&(head + body)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_credentials_the_user_alone_is_masked_and_not_the_same_letters_elsewhere() {
        let mut masks = Masks::default();
        for (user, rest) in [
            ("user", ", realm=\"user.example.com\""),
            ("a", "aaaaaaaaaaaaaaaaaaaa"),
            ("12145551869", ""),
        ] {
            let value = format!("Digest username=\"{user}\"{rest}");
            let expected = format!("Digest username=\"{}\"{rest}", masked_user(user));
            assert_eq!(masks.credentials(&value), expected);
        }
    }
}
