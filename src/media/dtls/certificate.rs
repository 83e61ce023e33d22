//! The certificate that we show: made at start, worth only what SDP says of it, and gone with the process.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use super::{Fingerprint, SetupError};

/// Days for which it is valid. Peers look at the fingerprint only, but some refuse what has expired, and a process may
/// run for years.
const DAYS: u32 = 3650;

/// A certificate that signs itself, and its key. One serves the whole process.
pub struct Certificate {
    pub(super) key: PKey<Private>,
    pub(super) certificate: X509,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// With an ECDSA key on P-256: small, so that no flight needs two datagrams, and what every WebRTC peer must take
    /// (RFC 8827 §6.5).
    ///
    /// # Errors
    /// When the cryptographic library fails, which it should not.
    pub fn generate() -> Result<Certificate, SetupError> {
        let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        Certificate::of(PKey::from_ec_key(EcKey::generate(&curve)?)?)
    }

    /// With an RSA key of 2048 bits, as some far ends have. Takes about 0.1 s.
    ///
    /// # Errors
    /// When the cryptographic library fails, which it should not.
    pub fn generate_rsa() -> Result<Certificate, SetupError> {
        Certificate::of(PKey::from_rsa(Rsa::generate(2048)?)?)
    }

    fn of(key: PKey<Private>) -> Result<Certificate, SetupError> {
        let certificate = self_signed(&key)?;
        let fingerprint = Fingerprint::of(&certificate).ok_or(SetupError::Fingerprint)?;
        Ok(Certificate {
            key,
            certificate,
            fingerprint,
        })
    }

    /// What SDP says of it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

fn self_signed(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(64, MsbOption::MAYBE_ZERO, false)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "wabridge")?;
    let name = name.build();

    let mut builder = X509Builder::new()?;
    builder.set_version(2)?; // counts from 0: X.509 version 3
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    // A day ago: the peer's clock may be behind ours.
    let yesterday = now().saturating_sub(86_400);
    builder.set_not_before(Asn1Time::from_unix(yesterday)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(DAYS)?.as_ref())?;
    builder.set_pubkey(key)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// Seconds since 1970. The one clock read here: validity is wall-clock time, and a certificate is made once, at start.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}
