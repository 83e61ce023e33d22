//! Where a user's call goes that its number alone does not say: the first rule counts whose conditions are all met.

use std::fmt;

use super::route::Number;
use crate::number::{E164, User};

/// Where calls go that fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The business numbers that are called; none stands for all.
    pub numbers: Vec<E164>,
    /// Where the user is from; none stands for anywhere.
    pub countries: Vec<Country>,
    /// Meta's headers, by canonical name, and what they must say.
    pub headers: Vec<(String, Pattern)>,
    /// Names of the PBXs that get the call, the first first; none: those of the number.
    pub pbxs: Vec<String>,
    /// User part of the Request-URI there; unset: that of the number.
    pub target: Option<String>,
}

/// Where a user is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Country {
    /// What the user's number begins with: a country calling code, or more digits.
    Code(String),
    /// Two capital letters (ISO 3166), by which Meta's user ids begin and which it says in a header.
    Letters(String),
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This.
    Exactly(String),
    /// Anything that begins with this.
    Begins(String),
}

/// A call that looks for its rule.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The number that is called.
    pub number: &'a E164,
    /// Who calls; `None`: withheld.
    pub user: Option<&'a User>,
    /// Meta's headers under their canonical names.
    pub headers: &'a [(String, String)],
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal<'a> {
    /// Names of the PBXs, the first first.
    pub pbxs: &'a [String],
    /// User part of the Request-URI there; `None`: the number itself.
    pub target: Option<&'a str>,
}

/// Where a call for `number` goes: as the first of `rules` says that fits, else as its number says.
pub fn goal<'a>(rules: &'a [Rule], number: &'a Number, asked: &Asked<'_>) -> Goal<'a> {
    let rule = rules.iter().find(|rule| rule.fits(asked));
    let pbxs = rule.map(|rule| rule.pbxs.as_slice());
    let target = rule.and_then(|rule| rule.target.as_deref());
    Goal {
        pbxs: pbxs.filter(|pbxs| !pbxs.is_empty()).unwrap_or(&number.pbxs),
        target: target.or(number.target.as_deref()),
    }
}

impl Rule {
    /// Whether all conditions are met.
    pub fn fits(&self, asked: &Asked<'_>) -> bool {
        let says = |(name, pattern): &(String, Pattern)| {
            asked.header(name).is_some_and(|value| pattern.fits(value))
        };
        (self.numbers.is_empty() || self.numbers.contains(asked.number))
            && (self.countries.is_empty() || self.countries.iter().any(|c| c.fits(asked)))
            && self.headers.iter().all(says)
    }

    /// Whether there is any condition.
    pub fn is_conditional(&self) -> bool {
        !(self.numbers.is_empty() && self.countries.is_empty() && self.headers.is_empty())
    }

    /// Whether every call that fits `other` fits this one too.
    pub fn covers(&self, other: &Rule) -> bool {
        let every_number = || {
            let known = |number| self.numbers.contains(number);
            !other.numbers.is_empty() && other.numbers.iter().all(known)
        };
        let every_country = || {
            let known = |country| self.countries.iter().any(|ours| ours.covers(country));
            !other.countries.is_empty() && other.countries.iter().all(known)
        };
        let asked_too = |(name, pattern): &(String, Pattern)| {
            let mut theirs = other.headers.iter().filter(|(theirs, _)| theirs == name);
            theirs.any(|(_, theirs)| pattern.covers(theirs))
        };
        (self.numbers.is_empty() || every_number())
            && (self.countries.is_empty() || every_country())
            && self.headers.iter().all(asked_too)
    }
}

impl Asked<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Country {
    fn fits(&self, asked: &Asked<'_>) -> bool {
        match (self, asked.user) {
            (Country::Code(code), Some(User::Number(number))) => number.digits().starts_with(code),
            (Country::Code(_), _) => false,
            (Country::Letters(letters), user) => {
                let bsuid = match user {
                    Some(User::Bsuid(bsuid)) => bsuid.plain().get(..2),
                    _ => None,
                };
                // Seen in the field, in no document of Meta's (2026-09-14).
                let told = asked.header("x-wa-meta-country-code");
                let is = |said: Option<&str>| said.is_some_and(|s| s.eq_ignore_ascii_case(letters));
                is(bsuid) || is(told)
            }
        }
    }

    fn covers(&self, other: &Country) -> bool {
        match (self, other) {
            (Country::Code(ours), Country::Code(theirs)) => theirs.starts_with(ours),
            (ours, theirs) => ours == theirs,
        }
    }
}

impl TryFrom<String> for Country {
    type Error = String;

    fn try_from(text: String) -> Result<Country, String> {
        let digits = text.strip_prefix('+').unwrap_or(&text);
        let is_code = (1..=7).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if is_code {
            return Ok(Country::Code(digits.to_owned()));
        }
        match text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
            true => Ok(Country::Letters(text.to_ascii_uppercase())),
            false => Err(format!(
                "{text:?} is no country: give its calling code such as \"55\", or its two letters such as \"BR\""
            )),
        }
    }
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        match self {
            Pattern::Exactly(wanted) => text == wanted,
            Pattern::Begins(start) => text.starts_with(start),
        }
    }

    fn covers(&self, other: &Pattern) -> bool {
        match (self, other) {
            (Pattern::Exactly(_), _) => self == other,
            (Pattern::Begins(ours), Pattern::Exactly(text) | Pattern::Begins(text)) => {
                text.starts_with(ours)
            }
        }
    }
}

impl From<String> for Pattern {
    /// A `*` at the end stands for anything.
    fn from(text: String) -> Pattern {
        match text.strip_suffix('*') {
            Some(start) => Pattern::Begins(start.to_owned()),
            None => Pattern::Exactly(text),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Country::Code(text) | Country::Letters(text)) = self;
        f.write_str(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exactly(text) => f.write_str(text),
            Pattern::Begins(start) => write!(f, "{start}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const PAYLOAD: &str = "x-wa-meta-cta-payload";

    fn number(text: &str) -> Number {
        Number {
            number: text.parse().unwrap(),
            password: Secret::new("x"),
            hostname: "meta-voip.example.com".into(),
            target: None,
            pbxs: vec!["main".into()],
            keying: Default::default(),
            additional_codecs: Vec::new(),
        }
    }

    fn from(countries: &[&str]) -> Rule {
        Rule {
            countries: countries
                .iter()
                .map(|c| Country::try_from((*c).to_owned()).unwrap())
                .collect(),
            ..Rule::default()
        }
    }

    fn saying(pattern: &str) -> Rule {
        Rule {
            headers: vec![(PAYLOAD.into(), pattern.to_owned().into())],
            ..Rule::default()
        }
    }

    fn fits(rule: &Rule, user: Option<&str>, headers: &[(&str, &str)]) -> bool {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        rule.fits(&Asked {
            number: &"+12145551869".parse().unwrap(),
            user: user.map(|user| user.parse().unwrap()).as_ref(),
            headers: &headers,
        })
    }

    #[test]
    fn a_country_is_known_by_the_number_the_user_id_or_what_meta_says() {
        let brazil = from(&["55", "br"]);
        assert!(fits(&brazil, Some("+5511987654321"), &[]));
        assert!(fits(&brazil, Some("BR.13491208655302741918"), &[]));
        assert!(fits(&brazil, None, &[("x-wa-meta-country-code", "BR")]));
        assert!(!fits(&brazil, Some("+15511987654"), &[]));
        assert!(!fits(&brazil, Some("US.13491208655302741918"), &[]));
        assert!(!fits(&brazil, None, &[]));
        assert!(!fits(&from(&["55"]), Some("BR.13491208655302741918"), &[]));
        for wrong in ["", "0", "055", "B", "BRA", "5 5", "12345678", "5R"] {
            assert!(Country::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_header_says_something_exactly_or_begins_with_it() {
        assert!(fits(&saying("sales"), None, &[(PAYLOAD, "sales")]));
        assert!(!fits(&saying("sales"), None, &[(PAYLOAD, "sales-1")]));
        assert!(fits(&saying("sales*"), None, &[(PAYLOAD, "sales-1")]));
        assert!(fits(&saying("*"), None, &[(PAYLOAD, "anything")]));
        assert!(!fits(&saying("*"), None, &[]));
    }

    #[test]
    fn all_conditions_must_be_met_and_the_first_rule_counts() {
        let both = Rule {
            target: Some("200".into()),
            numbers: vec!["+12145551869".parse().unwrap()],
            ..Rule {
                countries: from(&["55"]).countries,
                ..saying("sales*")
            }
        };
        let later = Rule {
            pbxs: vec!["branch".into()],
            ..from(&["55"])
        };
        let (rules, number) = ([both, later], number("+12145551869"));
        let goal = |user: &str, payload: &str| {
            let user = user.parse().unwrap();
            let headers = [(PAYLOAD.to_owned(), payload.to_owned())];
            let asked = Asked {
                number: &number.number,
                user: Some(&user),
                headers: &headers,
            };
            let goal = super::goal(&rules, &number, &asked);
            (goal.pbxs[0].clone(), goal.target.map(str::to_owned))
        };
        assert_eq!(
            goal("+5511987654321", "sales"),
            ("main".into(), Some("200".into()))
        );
        assert_eq!(goal("+5511987654321", "help"), ("branch".into(), None));
        assert_eq!(goal("+12195550714", "sales"), ("main".into(), None));
    }

    #[test]
    fn a_rule_that_asks_for_less_covers_one_that_asks_for_more() {
        let numbered = |numbers: &[&str], rule: Rule| Rule {
            numbers: numbers.iter().map(|n| n.parse().unwrap()).collect(),
            ..rule
        };
        let (one, two) = ("+12145551869", "+493012345678");
        for (wide, narrow) in [
            (from(&["1"]), from(&["1876"])),
            (from(&["55", "BR"]), from(&["BR"])),
            (saying("sales*"), saying("sales-1")),
            (saying("*"), saying("sales*")),
            (saying("sales*"), numbered(&[one], saying("sales*"))),
            (
                numbered(&[one, two], from(&[])),
                numbered(&[two], from(&["49"])),
            ),
        ] {
            assert!(wide.covers(&narrow), "{wide:?} {narrow:?}");
            assert!(wide.covers(&wide) && !narrow.covers(&wide), "{narrow:?}");
        }
        assert!(!saying("sales").covers(&from(&["55"])));
        assert!(!from(&["55"]).covers(&from(&["BR"])));
    }
}
