//! SRTP keys in SDP: the value of one `a=crypto` line (RFC 4568).
//!
//! ```text
//!     1 AES_CM_128_HMAC_SHA1_80 inline:<40 characters of base64>|2^31
//!     tag        suite                 master key and salt       lifetime, which we never reach
//! ```

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};

use super::{MasterKey, SrtpProfile};

/// With or without padding: a right key needs none, and a wrong one shall be named by its length.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One `a=crypto` line: how its sender will protect what it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Numbers the line; an answer repeats the tag of the line it accepts.
    pub tag: u32,
    /// Cipher and authentication tag.
    pub profile: SrtpProfile,
    /// Master key and salt of the sender of the line.
    pub key: MasterKey,
}

/// What is wrong with an `a=crypto` line. Never holds any part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The tag is missing, or no number of one to nine digits.
    #[error("a=crypto must start with a tag of 1 to 9 digits (RFC 4568 §9.1)")]
    Tag,
    /// There is no suite after the tag.
    #[error("a=crypto:{tag} names no suite (RFC 4568 §9.1)")]
    NoSuite {
        /// The line's tag.
        tag: u32,
    },
    /// A suite that we do not carry; an offer may hold others besides.
    #[error("a=crypto:{tag} has suite {suite}; we carry only AES_CM_128_HMAC_SHA1_80")]
    UnknownSuite {
        /// The line's tag.
        tag: u32,
        /// The suite's name as it came, at most 64 characters; `(no name)` if it can be none.
        suite: String,
    },
    /// There are no key parameters, or they are not `inline:`.
    #[error("a=crypto:{tag} has no inline: key (RFC 4568 §6.1)")]
    NoKey {
        /// The line's tag.
        tag: u32,
    },
    /// Several keys to choose from by MKI.
    #[error("a=crypto:{tag} has several keys; we use one and no MKI")]
    SeveralKeys {
        /// The line's tag.
        tag: u32,
    },
    /// The key is no base64.
    #[error("the key of a=crypto:{tag} is not base64")]
    Base64 {
        /// The line's tag.
        tag: u32,
    },
    /// Key and salt together have the wrong length.
    #[error("the key and salt of a=crypto:{tag} are {got} octets, not {expected}")]
    KeyLength {
        /// The line's tag.
        tag: u32,
        /// Octets found.
        got: usize,
        /// Octets that the suite needs.
        expected: usize,
    },
    /// The key wants a master key identifier in every packet.
    #[error("a=crypto:{tag} asks for an MKI, which we do not carry")]
    Mki {
        /// The line's tag.
        tag: u32,
    },
    /// What stands where a lifetime should is none.
    #[error(
        "the key of a=crypto:{tag} has a lifetime that is neither a number nor 2^n (RFC 4568 §6.1)"
    )]
    Lifetime {
        /// The line's tag.
        tag: u32,
    },
    /// A session parameter that changes the packets and that we do not carry.
    #[error("a=crypto:{tag} asks for {parameter}, which we do not carry")]
    SessionParameter {
        /// The line's tag.
        tag: u32,
        /// The name of the parameter, without its value, at most 64 characters.
        parameter: String,
    },
}

impl Crypto {
    /// Reads the value of an `a=crypto` line, what follows `a=crypto:`.
    ///
    /// # Errors
    /// When the line is malformed or asks for what we do not carry; the other lines of an offer may still do.
    pub fn parse(value: &str) -> Result<Crypto, ParseError> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().and_then(tag).ok_or(ParseError::Tag)?;
        let suite = words.next().ok_or(ParseError::NoSuite { tag })?;
        let profile = profile(suite).ok_or_else(|| ParseError::UnknownSuite {
            tag,
            suite: brief(suite),
        })?;
        let key = words.next().ok_or(ParseError::NoKey { tag })?;
        let key = key_parameter(tag, profile, key)?;
        for parameter in words {
            check_session_parameter(tag, parameter)?;
        }
        Ok(Crypto { tag, profile, key })
    }

    /// The value of the `a=crypto` line, key and all: for SDP, never for a log. So there is no `Display`.
    pub fn to_value(&self) -> String {
        let key = BASE64.encode(&self.key.0);
        format!("{} {} inline:{key}", self.tag, suite(self.profile))
    }

    /// A line with a fresh random key.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: without it no call can be kept secret.
    pub fn generate(tag: u32) -> Crypto {
        let profile = SrtpProfile::AesCm128HmacSha1_80;
        let mut key = vec![0; profile.key_and_salt_len()];
        getrandom::fill(&mut key).expect("the operating system gives random octets");
        Crypto {
            tag,
            profile,
            key: MasterKey(key),
        }
    }
}

fn tag(word: &str) -> Option<u32> {
    let digits = (1..=9).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| word.parse().ok()).flatten()
}

/// One suite only, though RFC 7714 §14.1 names others: it is the one Meta is known to take.
fn profile(suite_name: &str) -> Option<SrtpProfile> {
    let known = SrtpProfile::AesCm128HmacSha1_80;
    suite_name
        .eq_ignore_ascii_case(suite(known))
        .then_some(known)
}

fn suite(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}

fn key_parameter(tag: u32, profile: SrtpProfile, word: &str) -> Result<MasterKey, ParseError> {
    if word.contains(';') {
        return Err(ParseError::SeveralKeys { tag });
    }
    let (method, info) = word.split_once(':').ok_or(ParseError::NoKey { tag })?;
    if !method.eq_ignore_ascii_case("inline") {
        return Err(ParseError::NoKey { tag });
    }
    let mut fields = info.split('|');
    let key = fields.next().unwrap_or_default();
    let key = BASE64.decode(key).map_err(|_| ParseError::Base64 { tag })?;
    let (got, expected) = (key.len(), profile.key_and_salt_len());
    if got != expected {
        return Err(ParseError::KeyLength { tag, got, expected });
    }
    for field in fields {
        if field.contains(':') {
            return Err(ParseError::Mki { tag });
        }
        // Any lifetime will do: the least that makes sense, 2^20 packets, is six hours of one call.
        let number = field.strip_prefix("2^").unwrap_or(field);
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseError::Lifetime { tag });
        }
    }
    Ok(MasterKey(key))
}

/// RFC 4568 §6.3: every parameter changes the packets, except the window size hint and, by a leading `-`, what its
/// sender can do without.
fn check_session_parameter(tag: u32, parameter: &str) -> Result<(), ParseError> {
    let name = parameter.split('=').next().unwrap_or(parameter);
    if name.eq_ignore_ascii_case("WSH") || name.starts_with('-') {
        return Ok(());
    }
    Err(ParseError::SessionParameter {
        tag,
        parameter: brief(name),
    })
}

/// A peer's word for a log, if it can be a name. A key in the wrong place, or the part of one that a space has cut off,
/// has no underscore, since base64 has none.
fn brief(word: &str) -> String {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if word.chars().all(name) && (word.contains('_') || word.len() <= 3) {
        word.chars().take(64).collect()
    } else {
        "(no name)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "4fl6DT4Bi+DWT6MsBt5BOQ7Gda1Jiv7rtpYLOqvm";

    fn parse(rest: &str) -> Result<Crypto, ParseError> {
        Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{rest}"))
    }

    #[test]
    fn a_line_as_meta_writes_it_is_read_and_written_alike() {
        let crypto = parse(KEY).unwrap();
        assert_eq!(crypto.tag, 1);
        assert_eq!(crypto.key.0[..4], [0xe1, 0xf9, 0x7a, 0x0d]);
        assert_eq!(
            crypto.to_value(),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")
        );
        assert_eq!(
            crypto.to_value().len(),
            73,
            "the size that Meta's Content-Length leaves for it"
        );
    }

    #[test]
    fn a_lifetime_and_a_window_hint_are_read_over() {
        for rest in [
            format!("{KEY}|2^31"),
            format!("{KEY}|1048576"),
            format!("{KEY}|2^20 WSH=64 -X=1"),
        ] {
            assert_eq!(
                parse(&rest).unwrap().to_value(),
                parse(KEY).unwrap().to_value()
            );
        }
    }

    #[test]
    fn an_mki_is_refused_whether_or_not_a_lifetime_precedes_it() {
        assert_eq!(
            parse(&format!("{KEY}|2^31|1:4")),
            Err(ParseError::Mki { tag: 1 })
        );
        assert_eq!(
            parse(&format!("{KEY}|1:4")),
            Err(ParseError::Mki { tag: 1 })
        );
    }

    #[test]
    fn an_error_names_what_is_wrong() {
        let text = |value: &str| Crypto::parse(value).unwrap_err().to_string();
        assert!(text("").contains("tag"));
        assert!(text("1234567890 X inline:x").contains("tag"));
        assert!(text("1").contains("no suite"));
        assert!(
            text("2 AES_CM_128_HMAC_SHA1_32 inline:x")
                .contains("2 has suite AES_CM_128_HMAC_SHA1_32")
        );
        assert!(text("1 AES_CM_128_HMAC_SHA1_80").contains("no inline"));
        assert!(text("1 AES_CM_128_HMAC_SHA1_80 uri:x").contains("no inline"));
        let short = BASE64.encode([7; 29]);
        assert!(
            parse(&short)
                .unwrap_err()
                .to_string()
                .contains("29 octets, not 30")
        );
        assert_eq!(parse("!!!!"), Err(ParseError::Base64 { tag: 1 }));
        assert_eq!(
            parse(&format!("{KEY}|soon")),
            Err(ParseError::Lifetime { tag: 1 })
        );
        assert_eq!(
            parse(&format!("{KEY};inline:{KEY}")),
            Err(ParseError::SeveralKeys { tag: 1 })
        );
        let unencrypted = parse(&format!("{KEY} UNENCRYPTED_SRTCP")).unwrap_err();
        assert!(
            unencrypted
                .to_string()
                .contains("asks for UNENCRYPTED_SRTCP")
        );
        assert!(parse(&format!("{KEY} KDR=3")).is_err());
    }

    #[test]
    fn neither_an_error_nor_debug_shows_a_key() {
        let crypto = parse(KEY).unwrap();
        assert!(
            !format!("{crypto:?}").contains("225"),
            "first octet, as a list would print it"
        );
        for rest in [
            format!("{KEY}x"),
            format!("{KEY}|1:4"),
            format!("{KEY} KDR={KEY}"),
        ] {
            let error = parse(&rest).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(&KEY[..20]));
        }
        let suite = "AES_CM_128_HMAC_SHA1_80";
        for misplaced in [
            format!("1 inline:{KEY}"),
            format!("1 {KEY}"),
            format!("1 {suite}\u{1}inline:{KEY}"),
            format!("1 {suite} inline:{KEY} {KEY}"),
            format!("1 {suite} inline:{KEY} inline:{KEY}"),
        ] {
            let error = Crypto::parse(&misplaced).unwrap_err().to_string();
            assert!(error.contains("(no name)"), "{misplaced}: {error}");
            assert!(!error.contains(&KEY[..4]), "{misplaced}: {error}");
        }
    }

    #[test]
    fn generated_keys_differ_and_survive_the_round_trip() {
        let (one, other) = (Crypto::generate(1), Crypto::generate(1));
        assert_ne!(one.key, other.key);
        assert_eq!(Crypto::parse(&one.to_value()), Ok(one));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(tail in "\\PC*", whole in "\\PC*") {
            let _ = Crypto::parse(&whole);
            if let Ok(crypto) = parse(&tail) {
                prop_assert_eq!(crypto.key.0.len(), 30);
            }
        }
    }
}
