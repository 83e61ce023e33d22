//! The value of an `a=fingerprint` line (RFC 8122 §5): the hash of the certificate that a peer must present.

use std::fmt;
use std::str::FromStr;

use openssl::hash::MessageDigest;
use openssl::x509::X509Ref;

const LENGTH: usize = 32;

/// SHA-256 of a certificate. Printed as `AB:CD:…`; read from what SDP says, `sha-256 AB:CD:…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; LENGTH]);

/// What is wrong with the value of an `a=fingerprint` line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// There is no hash function, or nothing after it.
    #[error("a=fingerprint needs a hash function and a fingerprint (RFC 8122 §5)")]
    Incomplete,
    /// A hash that we do not compute. Every peer must be able to use SHA-256 (RFC 8122 §5).
    #[error("a=fingerprint uses {hash}; we compare only sha-256")]
    UnknownHash {
        /// The function's name as it came, at most 16 characters.
        hash: String,
    },
    /// Too short or too long for its hash.
    #[error("a=fingerprint has {got} octets, where sha-256 has {LENGTH}")]
    Length {
        /// Octets there are.
        got: usize,
    },
    /// Something that is not two hexadecimal digits stands between its colons.
    #[error("a=fingerprint must be pairs of hexadecimal digits with colons between them")]
    Digits,
}

impl Fingerprint {
    /// The hash function, as SDP names it.
    pub const HASH: &str = "sha-256";

    /// Of a certificate. `None`: the library could not hash it.
    pub(super) fn of(certificate: &X509Ref) -> Option<Fingerprint> {
        let digest = certificate.digest(MessageDigest::sha256()).ok()?;
        Some(Fingerprint(digest.as_ref().try_into().ok()?))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(value: &str) -> Result<Fingerprint, FingerprintError> {
        let mut words = value.split_ascii_whitespace();
        let (Some(hash), Some(text), None) = (words.next(), words.next(), words.next()) else {
            return Err(FingerprintError::Incomplete);
        };
        if !hash.eq_ignore_ascii_case(Fingerprint::HASH) {
            let hash = hash.chars().take(16).collect();
            return Err(FingerprintError::UnknownHash { hash });
        }
        let got = text.split(':').count();
        if got != LENGTH {
            return Err(FingerprintError::Length { got });
        }
        let mut octets = [0; LENGTH];
        for (octet, pair) in octets.iter_mut().zip(text.split(':')) {
            // `from_str_radix` alone would take a sign.
            let digits = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            *octet = digits
                .then(|| u8::from_str_radix(pair, 16).ok())
                .flatten()
                .ok_or(FingerprintError::Digits)?;
        }
        Ok(Fingerprint(octets))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, octet) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed() -> String {
        vec!["AB"; LENGTH].join(":")
    }

    #[test]
    fn what_sdp_says_is_read_and_printed_again() {
        let fingerprint: Fingerprint = format!("sha-256 {}", printed()).parse().unwrap();
        assert_eq!(fingerprint.to_string(), printed());
        let lower = format!(" SHA-256  {} ", printed().to_lowercase());
        assert_eq!(lower.parse(), Ok(fingerprint));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let read = |value: &str| value.parse::<Fingerprint>().unwrap_err();
        assert_eq!(read(""), FingerprintError::Incomplete);
        assert_eq!(read("sha-256"), FingerprintError::Incomplete);
        assert_eq!(
            read(&format!("sha-256 {} x", printed())),
            FingerprintError::Incomplete
        );
        let long_hash = format!("sha-{} AB", "1".repeat(99));
        let hash = format!("sha-{}", "1".repeat(12));
        assert_eq!(read(&long_hash), FingerprintError::UnknownHash { hash });
        assert_eq!(
            read("sha-256 AB:CD"),
            FingerprintError::Length { got: 2 },
            "cut off"
        );
        for odd in ["+B", "A", "ABC", "AG", ""] {
            let value = format!("sha-256 {}", printed().replacen("AB", odd, 1));
            assert_eq!(read(&value), FingerprintError::Digits, "{odd:?}");
        }
    }
}
