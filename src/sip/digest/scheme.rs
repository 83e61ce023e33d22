//! The shape that challenges and credentials share: schemes with parameters (RFC 7235 §2.1).
//!
//! ```text
//!   Negotiate YII+/==, Digest realm="a, b", nonce="1", Basic realm="x"
//!   └────────┬───────┘ └──────────────┬──────────────┘ └──────┬──────┘
//! ```

use super::{Algorithm, Unreadable};
use crate::sip::grammar::{is_token, split, unquote};

/// One scheme of a header value with its parameters, values as written.
pub(super) struct Scheme<'a> {
    name: &'a str,
    params: Vec<(&'a str, &'a str)>,
    malformed: bool,
}

impl Scheme<'_> {
    pub(super) fn must_be_digest(&self) -> Result<(), Unreadable> {
        match self.name.eq_ignore_ascii_case("Digest") {
            true if self.malformed => Err(Unreadable::Syntax),
            true => Ok(()),
            false => Err(Unreadable::Scheme(self.name.to_owned())),
        }
    }

    pub(super) fn optional(&self, name: &'static str) -> Result<Option<String>, Unreadable> {
        let mut found = self
            .params
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Unreadable::Twice(name)),
            (found, None) => Ok(found.map(|(_, value)| unquote(value))),
        }
    }

    pub(super) fn required(&self, name: &'static str) -> Result<String, Unreadable> {
        self.optional(name)?.ok_or(Unreadable::Missing(name))
    }

    pub(super) fn algorithm(&self) -> Result<Option<Algorithm>, Unreadable> {
        self.optional("algorithm")?
            .map(|name| Algorithm::parse(&name))
            .transpose()
    }
}

/// Cuts a header value into its schemes. A comma separates parameters and schemes alike, so a part that begins with a
/// word of its own begins a scheme (RFC 7235 §4.1).
pub(super) fn schemes(value: &str) -> Result<Vec<Scheme<'_>>, Unreadable> {
    let mut schemes: Vec<Scheme> = Vec::new();
    let parts = split(value, ',').ok_or(Unreadable::Syntax)?;
    for part in parts
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let rest = match new_scheme(part) {
            Some((name, rest)) => {
                schemes.push(Scheme {
                    name,
                    params: Vec::new(),
                    malformed: false,
                });
                rest
            }
            None => part,
        };
        let scheme = schemes.last_mut().ok_or(Unreadable::Syntax)?;
        match rest
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
        {
            Some((name, value)) if is_token(name) => scheme.params.push((name, value)),
            _ => scheme.malformed |= !rest.is_empty(),
        }
    }
    match schemes.is_empty() {
        true => Err(Unreadable::Syntax),
        false => Ok(schemes),
    }
}

/// The scheme's name and what follows it in this part, if the part begins a scheme.
fn new_scheme(part: &str) -> Option<(&str, &str)> {
    let (name, rest) = part.split_once([' ', '\t']).unwrap_or((part, ""));
    let rest = rest.trim_start();
    (is_token(name) && !rest.starts_with('=')).then_some((name, rest))
}
