//! Who is at the far end of a WhatsApp call: a telephone number or a business-scoped user id.
//!
//! ```text
//!   dialled at the PBX      "0044 20 7946 0958" ─ normalise ─▶ User::Number(+442079460958)
//!   user part of a SIP URI  "+12195550714;tgrp=a" ─ parse ───▶ User::Number(+12195550714)
//!   either of them          "US.13491208655302741918" ──────▶ User::Bsuid(US.13491208655302741918)
//! ```
//!
//! Both are personal data, and so are Meta's Call-IDs, which hold two numbers in base64. All of them mask themselves
//! wherever they are printed; the plain text has to be asked for by name ([`E164::plus`], [`Bsuid::plain`]).
//! [`reveal`] turns the masks off for the whole process.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

static REVEALED: AtomicBool = AtomicBool::new(false);

/// Prints numbers and Call-IDs in full from now on (`true`), or masked as at the start (`false`).
pub fn reveal(plain: bool) {
    REVEALED.store(plain, Ordering::Relaxed);
}

fn revealed() -> bool {
    REVEALED.load(Ordering::Relaxed)
}

/// Why some text names nobody who could be called. Never repeats the text, which may be a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNumber {
    /// Nothing was left to dial.
    #[error("the number is empty")]
    Empty,
    /// A character that is neither a digit nor a visual separator (RFC 3966 §5.1.1).
    #[error("a number has digits only, with an optional + in front; {0:?} is neither")]
    NotADigit(char),
    /// Fewer than seven digits.
    #[error("{0} digits are too few for a number with country code (7 to 15)")]
    TooShort(usize),
    /// More digits than E.164 allows.
    #[error("{0} digits are too many for a number with country code (7 to 15)")]
    TooLong(usize),
    /// No country code begins with zero.
    #[error("no country code begins with 0; give the number as +<country code><number>")]
    LeadingZero,
    /// A national form, and nobody said of which nation.
    #[error("a national number cannot be dialled while country_code is not set")]
    NoCountryCode,
    /// Not a country code: one to three digits, the first not zero.
    #[error("a country code has one to three digits, the first of them not 0")]
    BadCountryCode,
    /// Not two capital letters, a dot and up to 128 letters or digits.
    #[error("a user id is two capital letters, a dot and 1 to 128 letters or digits")]
    BadBsuid,
}

/// A telephone number with its country code, kept as digits (ITU-T E.164 §6).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct E164(String);

impl E164 {
    /// The plain digits, without `+`: Meta's digest username.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// The plain number with its `+`: the user part of a SIP URI.
    pub fn plus(&self) -> String {
        format!("+{}", self.0)
    }
}

impl FromStr for E164 {
    type Err = BadNumber;

    /// Reads a full number; the `+` may be missing, visual separators are dropped.
    fn from_str(text: &str) -> Result<Self, BadNumber> {
        let text = text.trim();
        let digits = bare_digits(text.strip_prefix('+').unwrap_or(text))?;
        match digits.len() {
            0 => Err(BadNumber::Empty),
            _ if digits.starts_with('0') => Err(BadNumber::LeadingZero),
            n @ ..=6 => Err(BadNumber::TooShort(n)),
            n @ 16.. => Err(BadNumber::TooLong(n)),
            _ => Ok(E164(digits)),
        }
    }
}

impl TryFrom<String> for E164 {
    type Error = BadNumber;

    fn try_from(text: String) -> Result<Self, BadNumber> {
        text.parse()
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", shown(&self.0, revealed()))
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A business-scoped user id: what Meta shows of a user who hides the number, `US.1349…`; with the parent of a group
/// of businesses `US.ENT.1181…`. It is no name for the user outside that business.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bsuid(String);

impl Bsuid {
    /// The plain id, as it stands in the user part of a SIP URI.
    pub fn plain(&self) -> &str {
        &self.0
    }

    /// Country and, where there is one, the mark of a parent, each with its dot: `US.` or `US.ENT.`.
    fn split(text: &str) -> Option<(&str, &str)> {
        let (country, rest) = text.split_once('.')?;
        let country_fits = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
        let id = rest.strip_prefix("ENT.").unwrap_or(rest);
        let id_fits =
            (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        (country_fits && id_fits).then(|| text.split_at(text.len() - id.len()))
    }
}

impl FromStr for Bsuid {
    type Err = BadNumber;

    fn from_str(text: &str) -> Result<Self, BadNumber> {
        match Bsuid::split(text) {
            Some(_) => Ok(Bsuid(text.to_owned())),
            None => Err(BadNumber::BadBsuid),
        }
    }
}

impl fmt::Display for Bsuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (front, id) = Bsuid::split(&self.0).unwrap_or(("", &self.0));
        write!(f, "{front}{}", shown(id, revealed()))
    }
}

impl fmt::Debug for Bsuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A WhatsApp user, as far as Meta tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum User {
    /// Known by number.
    Number(E164),
    /// Known by id only.
    Bsuid(Bsuid),
}

impl User {
    /// The plain user part of a SIP URI that names this user: `+12195550714` or `US.1349…`.
    pub fn sip_user(&self) -> String {
        match self {
            User::Number(number) => number.plus(),
            User::Bsuid(bsuid) => bsuid.plain().to_owned(),
        }
    }

    /// The number, unless only an id is known.
    pub fn number(&self) -> Option<&E164> {
        match self {
            User::Number(number) => Some(number),
            User::Bsuid(_) => None,
        }
    }
}

impl FromStr for User {
    type Err = BadNumber;

    /// Reads the user part of a SIP URI whose numbers are full ones. Its parameters (RFC 4904) are dropped, and so
    /// are visual separators; a `+` may be missing.
    fn from_str(user_part: &str) -> Result<Self, BadNumber> {
        let user = without_parameters(user_part);
        if looks_like_a_bsuid(&user) {
            return user.parse().map(User::Bsuid);
        }
        user.parse().map(User::Number)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Number(number) => number.fmt(f),
            User::Bsuid(bsuid) => bsuid.fmt(f),
        }
    }
}

/// The country code that national numbers are given: `49` or `+49`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct CountryCode(String);

impl FromStr for CountryCode {
    type Err = BadNumber;

    fn from_str(text: &str) -> Result<Self, BadNumber> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let fits = (1..=3).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        match fits {
            true => Ok(CountryCode(digits.to_owned())),
            false => Err(BadNumber::BadCountryCode),
        }
    }
}

impl TryFrom<String> for CountryCode {
    type Error = BadNumber;

    fn try_from(text: String) -> Result<Self, BadNumber> {
        text.parse()
    }
}

/// How numbers are dialled at the PBX.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Country code of national numbers, such as `"49"`. Without it only international forms can be dialled.
    pub country_code: Option<CountryCode>,
    /// What is dialled in front of a country code in place of `+`: `"00"`, in North America `"011"`.
    pub international_prefix: String,
    /// What marks a national number, and is left out behind the country code: `["0"]`. Where nothing marks it, as in
    /// Spain, `[""]`; in North America `["1", ""]`. A number that begins with none of them is read as a full one.
    pub national_prefixes: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            country_code: None,
            international_prefix: "00".to_owned(),
            national_prefixes: vec!["0".to_owned()],
        }
    }
}

/// Turns what was dialled at the PBX into whom to call: `+…` and international forms by themselves, national forms
/// with the country code of `settings`, user ids as they are.
pub fn normalise(dialled: &str, settings: &Settings) -> Result<User, BadNumber> {
    let dialled = without_parameters(dialled);
    if looks_like_a_bsuid(&dialled) {
        return dialled.parse().map(User::Bsuid);
    }
    if dialled.starts_with('+') {
        return dialled.parse().map(User::Number);
    }
    let digits = bare_digits(&dialled)?;
    if digits.is_empty() {
        return Err(BadNumber::Empty);
    }
    let international = settings.international_prefix.as_str();
    if let Some(full) = digits.strip_prefix(international)
        && !international.is_empty()
    {
        return full.parse().map(User::Number);
    }
    let national = settings
        .national_prefixes
        .iter()
        .filter_map(|prefix| digits.strip_prefix(prefix.as_str()))
        .min_by_key(|rest| rest.len());
    match (national, &settings.country_code) {
        (Some(rest), Some(CountryCode(code))) => format!("{code}{rest}").parse().map(User::Number),
        (Some(_), None) => Err(BadNumber::NoCountryCode),
        (None, _) => digits.parse().map(User::Number),
    }
}

/// Text that holds numbers in disguise, such as a Call-ID or a WACID. Prints a short tag in its place, the same one
/// for the same text, so that the log lines of a call can still be joined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Masked<'a>(pub &'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match revealed() {
            true => f.write_str(self.0),
            false => f.write_str(&tag(self.0)),
        }
    }
}

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Somebody else's words, with every run of digits masked that is long enough for a number.
pub fn without_numbers(text: &str) -> String {
    numbers_in(text, revealed())
}

/// The same, whatever [`reveal`] says.
pub fn masked_words(text: &str) -> String {
    numbers_in(text, false)
}

fn numbers_in(text: &str, plain: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (words, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit());
        let (digits, after) = from.split_at(end.unwrap_or(from.len()));
        out.push_str(words);
        out.push_str(&shown(digits, plain || digits.len() < 7));
        rest = after;
    }
    out + rest
}

/// The user part of a SIP URI, masked whatever [`reveal`] says: a number or a user id as it is shown elsewhere, a name
/// as a tag. Extensions, which are short numbers, stand.
pub fn masked_user(user_part: &str) -> String {
    let user = user_part.split(';').next().unwrap_or_default();
    let parameters = &user_part[user.len()..];
    if let Some((front, id)) = Bsuid::split(user) {
        return format!("{front}{}{parameters}", shown(id, false));
    }
    let plain = without_parameters(user);
    match bare_digits(plain.strip_prefix('+').unwrap_or(&plain)) {
        Ok(digits) if digits.len() >= 7 => {
            let plus = if plain.starts_with('+') { "+" } else { "" };
            format!("{plus}{}{parameters}", shown(&digits, false))
        }
        Ok(_) => user_part.to_owned(),
        Err(_) if user.eq_ignore_ascii_case("anonymous") => user_part.to_owned(),
        Err(_) => format!("{}{parameters}", tag(user)),
    }
}

/// How numbers, and what holds them, are written where [`reveal`] does not count: in files with a setting of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Written {
    /// As they are.
    #[default]
    Full,
    /// As in the log: the front and the last two digits, or a tag.
    Masked,
}

impl Written {
    /// A telephone number.
    pub fn number(self, number: &E164) -> String {
        format!("+{}", shown(&number.0, self == Written::Full))
    }

    /// A WhatsApp user.
    pub fn user(self, user: &User) -> String {
        match user {
            User::Number(number) => self.number(number),
            User::Bsuid(bsuid) => {
                let (front, id) = Bsuid::split(&bsuid.0).unwrap_or(("", &bsuid.0));
                format!("{front}{}", shown(id, self == Written::Full))
            }
        }
    }

    /// The user part of a SIP URI that nobody has checked.
    pub fn user_part(self, text: &str) -> String {
        match self {
            Written::Full => text.to_owned(),
            Written::Masked => masked_user(text),
        }
    }

    /// A Call-ID, a WACID, or anything else that may hold a number in disguise.
    pub fn disguised(self, text: &str) -> String {
        match self {
            Written::Full => text.to_owned(),
            Written::Masked => tag(text),
        }
    }

    /// Somebody else's words.
    pub fn words(self, text: &str) -> String {
        numbers_in(text, self == Written::Full)
    }
}

/// `~` and 32 bits of SHA-256: enough to tell the calls of a day apart.
pub fn tag(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let hex: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("~{hex}")
}

/// Keeps the front (country and area) and the last two characters; of short text less, so that most stays hidden.
fn shown(text: &str, plain: bool) -> String {
    let length = text.len();
    let front = if length >= 10 { 4 } else { 2 };
    let hidden = |i: usize| length <= 4 || (i >= front && i + 2 < length);
    text.char_indices()
        .map(|(i, c)| if plain || !hidden(i) { c } else { '*' })
        .collect()
}

/// Drops what follows the first `;` (RFC 4904 puts trunk groups there) and reads an escaped `+` (RFC 3261 §19.1.2).
fn without_parameters(user_part: &str) -> String {
    let user = user_part.split(';').next().unwrap_or_default().trim();
    match user.get(..3) {
        Some(escape) if escape.eq_ignore_ascii_case("%2B") => format!("+{}", &user[3..]),
        _ => user.to_owned(),
    }
}

/// No number begins with two letters and a dot, so what does is meant as an id, even if it turns out a bad one.
fn looks_like_a_bsuid(text: &str) -> bool {
    matches!(text.as_bytes(), [a, b, b'.', ..] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic())
}

/// The digits of `text`; separators that people write between them are dropped.
fn bare_digits(text: &str) -> Result<String, BadNumber> {
    text.chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/'))
        .map(|c| match c.is_ascii_digit() {
            true => Ok(c),
            false => Err(BadNumber::NotADigit(c)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn germany() -> Settings {
        Settings {
            country_code: Some("49".parse().unwrap()),
            ..Settings::default()
        }
    }

    fn dial(dialled: &str, settings: &Settings) -> Result<String, BadNumber> {
        normalise(dialled, settings).map(|user| user.sip_user())
    }

    #[test]
    fn a_number_in_somebody_elses_words_is_masked_and_nothing_else() {
        assert_eq!(
            without_numbers("403 no permission of +12195550714 at 192.0.2.255:5061 ü"),
            "403 no permission of +1219*****14 at 192.0.2.255:5061 ü"
        );
        assert_eq!(without_numbers("1234567"), "12***67");
        assert_eq!(without_numbers(""), "");
    }

    #[test]
    fn a_user_part_is_masked_by_what_it_names() {
        assert_eq!(masked_user("+12195550714;tgrp=a"), "+1219*****14;tgrp=a");
        assert_eq!(masked_user("%2B12195550714"), "+1219*****14");
        assert_eq!(
            masked_user("US.13491208655302741918"),
            "US.1349**************18"
        );
        assert_eq!(masked_user("100"), "100");
        assert_eq!(masked_user("Anonymous"), "Anonymous");
        assert_eq!(masked_user("alice"), tag("alice"));
    }

    #[test]
    fn what_is_written_elsewhere_follows_its_own_setting() {
        let number = User::Number("+12145551869".parse().unwrap());
        let bsuid = User::Bsuid("US.13491208655302741918".parse().unwrap());
        let written = |how: Written| {
            [
                how.user(&number),
                how.user(&bsuid),
                how.disguised("wacid.HBgL"),
                how.words("no +12195550714, 403"),
            ]
        };
        assert_eq!(
            written(Written::Full),
            [
                "+12145551869",
                "US.13491208655302741918",
                "wacid.HBgL",
                "no +12195550714, 403"
            ]
        );
        let masked = written(Written::Masked);
        assert_eq!(masked[0], "+1214*****69");
        assert_eq!(masked[1], "US.1349**************18");
        assert_eq!(masked[2].len(), 9, "{masked:?}");
        assert_eq!(masked[3], "no +1219*****14, 403");
    }

    #[test]
    fn a_number_shows_its_area_and_its_last_two_digits_only() {
        let number: E164 = "+12145551869".parse().unwrap();
        assert_eq!(number.to_string(), "+1214*****69");
        assert_eq!(format!("{number:?}"), "+1214*****69");
        assert_eq!(
            format!("{:?}", User::Number(number)),
            "Number(+1214*****69)"
        );
    }

    #[test]
    fn a_short_number_hides_most_of_itself() {
        assert_eq!("1234567".parse::<E164>().unwrap().to_string(), "+12***67");
    }

    #[test]
    fn a_user_id_shows_its_country_and_hides_its_middle() {
        let plain: Bsuid = "US.13491208655302741918".parse().unwrap();
        let parent: Bsuid = "US.ENT.11815799212886844830".parse().unwrap();
        assert_eq!(plain.to_string(), "US.1349**************18");
        assert_eq!(format!("{parent:?}"), "US.ENT.1181**************30");
        assert_eq!("US.abcd".parse::<Bsuid>().unwrap().to_string(), "US.****");
    }

    #[test]
    fn what_is_revealed_is_shown_in_full() {
        assert_eq!(shown("12145551869", true), "12145551869");
        assert_eq!(shown("12145551869", false), "1214*****69");
    }

    #[test]
    fn the_plain_number_has_to_be_asked_for() {
        let number: E164 = "+1 (214) 555-1869".parse().unwrap();
        assert_eq!(number.digits(), "12145551869");
        assert_eq!(number.plus(), "+12145551869");
    }

    #[test]
    fn a_number_has_seven_to_fifteen_digits_and_no_leading_zero() {
        assert_eq!("123456".parse::<E164>(), Err(BadNumber::TooShort(6)));
        assert!("1234567".parse::<E164>().is_ok());
        assert!("123456789012345".parse::<E164>().is_ok());
        assert_eq!(
            "1234567890123456".parse::<E164>(),
            Err(BadNumber::TooLong(16))
        );
        assert_eq!("02145551869".parse::<E164>(), Err(BadNumber::LeadingZero));
        assert_eq!("+".parse::<E164>(), Err(BadNumber::Empty));
        assert_eq!("+49x30".parse::<E164>(), Err(BadNumber::NotADigit('x')));
        assert_eq!(
            "+49٣0123456".parse::<E164>(),
            Err(BadNumber::NotADigit('٣'))
        );
    }

    #[test]
    fn a_user_part_loses_its_plus_its_separators_and_its_trunk_group() {
        for text in [
            "+12195550714",
            "12195550714",
            "%2b12195550714",
            "+1-219-555.0714",
            "+12195550714;tgrp=wacall;trunk-context=byoc.example.com",
        ] {
            let user: User = text.parse().unwrap();
            assert_eq!(user.sip_user(), "+12195550714", "{text}");
        }
    }

    #[test]
    fn a_user_id_is_told_from_a_number_and_keeps_its_form() {
        let user: User = "US.13491208655302741918;tgrp=x".parse().unwrap();
        assert_eq!(user.sip_user(), "US.13491208655302741918");
        assert_eq!(user.number(), None);
        assert!(matches!("US.ENT.1181abc".parse(), Ok(User::Bsuid(_))));
    }

    #[test]
    fn a_user_id_of_another_form_is_refused() {
        let long = format!("US.{}", "1".repeat(129));
        for text in [
            "us.123",
            "US.",
            "US.12-3",
            "US.ENT.",
            "U1.23",
            "US.ENT.1.2",
            &long,
        ] {
            assert_eq!(text.parse::<Bsuid>(), Err(BadNumber::BadBsuid), "{text}");
        }
        assert!(format!("US.{}", "1".repeat(128)).parse::<Bsuid>().is_ok());
        assert_eq!("us.123".parse::<User>(), Err(BadNumber::BadBsuid));
    }

    #[test]
    fn international_forms_need_no_country_code() {
        let plain = Settings::default();
        for dialled in [
            "+442079460958",
            "0044 20 7946 0958",
            "442079460958",
            "+44/20-7946-0958",
        ] {
            assert_eq!(
                dial(dialled, &plain).as_deref(),
                Ok("+442079460958"),
                "{dialled}"
            );
        }
    }

    #[test]
    fn a_national_form_takes_the_configured_country_code() {
        assert_eq!(dial("030 123456", &germany()).as_deref(), Ok("+4930123456"));
        assert_eq!(
            dial("0030 2101234567", &germany()).as_deref(),
            Ok("+302101234567")
        );
        assert_eq!(
            dial("030123456", &Settings::default()),
            Err(BadNumber::NoCountryCode)
        );
    }

    #[test]
    fn north_america_dials_with_and_without_the_one() {
        let settings = Settings {
            country_code: Some("1".parse().unwrap()),
            international_prefix: "011".to_owned(),
            national_prefixes: vec!["1".to_owned(), String::new()],
        };
        for dialled in [
            "2195550714",
            "12195550714",
            "+12195550714",
            "01112195550714",
        ] {
            assert_eq!(
                dial(dialled, &settings).as_deref(),
                Ok("+12195550714"),
                "{dialled}"
            );
        }
    }

    #[test]
    fn a_user_id_can_be_dialled() {
        assert_eq!(dial("US.1349", &germany()).as_deref(), Ok("US.1349"));
    }

    #[test]
    fn what_is_no_number_is_refused_for_the_right_reason() {
        for (dialled, why) in [
            ("", BadNumber::Empty),
            (";tgrp=x", BadNumber::Empty),
            ("echo", BadNumber::NotADigit('e')),
            ("*43#", BadNumber::NotADigit('*')),
            ("100", BadNumber::TooShort(3)),
            ("000", BadNumber::LeadingZero),
            ("00", BadNumber::Empty),
            ("+0044207946", BadNumber::LeadingZero),
        ] {
            assert_eq!(dial(dialled, &germany()), Err(why), "{dialled}");
        }
    }

    #[test]
    fn an_error_never_repeats_the_number() {
        let error = "+12145551869123456".parse::<E164>().unwrap_err();
        assert!(!error.to_string().contains("1214"));
    }

    #[test]
    fn a_call_id_prints_as_a_tag_that_is_the_same_each_time() {
        let call_id = Masked("outgoing:wacid.HBgLMTIxOTU1NTA3MTQVAgASGCA2MUI2");
        assert_eq!(call_id.to_string(), Masked(call_id.0).to_string());
        assert_eq!(call_id.to_string().len(), 9);
        assert!(!format!("{call_id:?}").contains("HBgL"));
        assert_ne!(
            call_id.to_string(),
            Masked("outgoing:wacid.other").to_string()
        );
    }

    #[test]
    fn settings_refuse_what_is_no_country_code() {
        assert!(toml::from_str::<Settings>("country_code = \"+49\"").is_ok());
        for code in ["", "0", "1234", "4x"] {
            let text = format!("country_code = {code:?}");
            assert!(toml::from_str::<Settings>(&text).is_err(), "{code}");
        }
    }
}
