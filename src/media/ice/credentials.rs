//! `a=ice-ufrag` and `a=ice-pwd`: what checks are signed with (RFC 8445 §5.3, RFC 8839 §5.4).

use std::fmt;

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// One side's user name fragment and password. The fragment travels in every check; the password signs them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    ufrag: String,
    pwd: String,
}

/// What is wrong with a pair of credentials. Never holds any part of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// RFC 8839 §5.4: 4 to 256 characters.
    #[error("ice-ufrag has {0} characters instead of 4 to 256")]
    UfragLength(usize),
    /// RFC 8839 §5.4: 22 to 256 characters.
    #[error("ice-pwd has {0} characters instead of 22 to 256")]
    PwdLength(usize),
    /// Letters, digits, `+` and `/`; `=` as well, since Meta pads its passwords.
    #[error("{0} has a character that is no ice-char")]
    Character(&'static str),
}

impl Credentials {
    /// What a peer's SDP says. Both are used exactly as printed: a closing `==` is part of Meta's password.
    pub fn new(ufrag: &str, pwd: &str) -> Result<Credentials, CredentialsError> {
        let (short, long) = (ufrag.len(), pwd.len());
        if !(4..=256).contains(&short) {
            return Err(CredentialsError::UfragLength(short));
        }
        if !(22..=256).contains(&long) {
            return Err(CredentialsError::PwdLength(long));
        }
        for (name, word) in [("ice-ufrag", ufrag), ("ice-pwd", pwd)] {
            let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
            if !word.bytes().all(known) {
                return Err(CredentialsError::Character(name));
            }
        }
        Ok(Credentials {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
        })
    }

    /// Fresh ones for one call: 48 random bits of name, 144 of password, ice-chars only.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: without it anybody could take the call over.
    pub fn generate() -> Credentials {
        let mut random = [0; 24];
        getrandom::fill(&mut random).expect("the operating system gives random octets");
        // The alphabet of base64 is exactly that of ice-char (RFC 8839 §5.1).
        let (ufrag, pwd) = random.split_at(6);
        Credentials {
            ufrag: STANDARD_NO_PAD.encode(ufrag),
            pwd: STANDARD_NO_PAD.encode(pwd),
        }
    }

    /// The value of `a=ice-ufrag`.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The value of `a=ice-pwd`: for SDP and for signatures, never for a log.
    pub fn pwd(&self) -> &str {
        &self.pwd
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, secret)", self.ufrag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metas_padded_password_is_kept_as_printed_and_does_not_print() {
        let metas = Credentials::new("RmDDkfzkwbexPfbC", "0YdE1EdHlZXr9y2NbUCZiA==").unwrap();
        assert_eq!(metas.pwd(), "0YdE1EdHlZXr9y2NbUCZiA==");
        assert_eq!(metas.ufrag(), "RmDDkfzkwbexPfbC");
        assert_eq!(
            format!("{metas:?}"),
            "Credentials(RmDDkfzkwbexPfbC, secret)"
        );
    }

    #[test]
    fn ours_are_ice_chars_only_and_never_the_same() {
        let ours = Credentials::generate();
        assert_eq!((ours.ufrag().len(), ours.pwd().len()), (8, 24));
        assert!(!ours.ufrag().contains('=') && !ours.pwd().contains('='));
        assert_eq!(
            Credentials::new(ours.ufrag(), ours.pwd()),
            Ok(ours.clone()),
            "we take what we make"
        );
        assert_ne!(ours, Credentials::generate());
    }

    #[test]
    fn malformed_ones_are_refused_by_name_and_without_the_password() {
        let pwd = "0YdE1EdHlZXr9y2NbUCZiA==";
        for (ufrag, pwd, said) in [
            ("abc", pwd, "ice-ufrag has 3 characters instead of 4 to 256"),
            ("", pwd, "ice-ufrag has 0 characters instead of 4 to 256"),
            (
                "abcd",
                "secret",
                "ice-pwd has 6 characters instead of 22 to 256",
            ),
            (
                "ab:cd",
                pwd,
                "ice-ufrag has a character that is no ice-char",
            ),
            (
                "abcd",
                "a secret with spaces in it",
                "ice-pwd has a character that is no ice-char",
            ),
            (
                "abcd",
                &"x".repeat(257),
                "ice-pwd has 257 characters instead of 22 to 256",
            ),
        ] {
            let error = Credentials::new(ufrag, pwd).unwrap_err();
            assert_eq!(error.to_string(), said);
        }
    }
}
