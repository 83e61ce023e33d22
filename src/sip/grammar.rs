//! The few rules of the SIP grammar (RFC 3261 §25.1) that every header shares.

/// Whether `text` is a `token`: a method, a header name, a parameter name.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

/// Splits at `separator` where it stands outside quoted strings and angle brackets.
///
/// `None` when a quote or a bracket never closes.
pub fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let mut pieces = Pieces::new(text, separator);
    let mut all = Vec::with_capacity(4);
    all.extend(&mut pieces);
    pieces.all_closed().then_some(all)
}

/// The pieces of [`split`], one at a time and without a list of them. Whether everything closes is known at the end.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    rest: Option<&'a str>,
    separator: u8,
    open: bool,
}

impl<'a> Pieces<'a> {
    /// `separator` is ASCII: no octet of another character is like it.
    pub(super) fn new(text: &'a str, separator: char) -> Pieces<'a> {
        Pieces {
            rest: Some(text),
            separator: separator as u8,
            open: false,
        }
    }

    /// Whether every quote and bracket was closed in what has come so far.
    pub(super) fn all_closed(&self) -> bool {
        !self.open
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest?;
        let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'<' if !quoted => bracketed = true,
                b'>' if !quoted => bracketed = false,
                _ if byte == self.separator && !quoted && !bracketed => {
                    self.rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        self.open = quoted || bracketed;
        self.rest = None;
        Some(text)
    }
}

/// Removes the quotes and the backslashes of a `quoted-string`; other text comes back as it is.
pub fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// Makes a `quoted-string`; control characters become spaces, so that no value can end a header line.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Reads `name[=value]`; `None` if it has no proper name.
pub(super) fn param(part: &str) -> Option<(&str, Option<&str>)> {
    let (name, value) = match part.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (part.trim(), None),
    };
    // RFC 3261 lets URI parameter names hold a few characters more than a token does.
    let named = |byte| is_token_byte(byte) || b"[]/:&$".contains(&byte);
    (!name.is_empty() && name.bytes().all(named)).then_some((name, value))
}

/// Parameters in the order they came, values as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads `name[=value]` parts that stood between semicolons; `None` if one has no proper name.
    pub fn parse<'a>(parts: impl IntoIterator<Item = &'a str>) -> Option<Params> {
        let owned = |part| {
            let (name, value) = param(part)?;
            Some((name.to_owned(), value.map(str::to_owned)))
        };
        let all = parts.into_iter().map(owned);
        all.collect::<Option<Vec<_>>>().map(Params)
    }

    /// The value of a parameter; `Some(None)` for a flag. Names compare without case.
    pub fn find(&self, name: &str) -> Option<Option<&str>> {
        self.0
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_deref())
    }

    /// The value of a parameter that has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.find(name).flatten()
    }

    /// Whether the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Sets a parameter where it stands, or appends it.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        match self
            .0
            .iter_mut()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
        {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Removes a parameter.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }
}

impl std::fmt::Display for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.0 {
            f.write_str(";")?;
            f.write_str(name)?;
            if let Some(value) = value {
                f.write_str("=")?;
                f.write_str(value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_inside_quotes_and_brackets_do_not_split() {
        assert_eq!(
            split(r#""a,\"b" <sip:x,y@z>,c"#, ',').unwrap(),
            [r#""a,\"b" <sip:x,y@z>"#, "c"]
        );
        assert_eq!(split(r#""open"#, ','), None);
        assert_eq!(split("<open", ','), None);
    }

    #[test]
    fn quoting_survives_the_round_trip_and_never_lets_a_line_end_through() {
        assert_eq!(unquote(&quote(r#"O"Neil \ Söhne"#)), r#"O"Neil \ Söhne"#);
        assert_eq!(quote("a\r\nVia: x"), "\"a  Via: x\"");
    }

    #[test]
    fn a_parameter_without_a_name_is_refused() {
        assert_eq!(Params::parse(["a=1", "", "b"]), None);
        assert_eq!(
            Params::parse(["lr", "twnat=sip:69.1.1.1:5"])
                .unwrap()
                .to_string(),
            ";lr;twnat=sip:69.1.1.1:5"
        );
    }
}
