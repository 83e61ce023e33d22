//! What all handshakes of a process share: certificate, ciphers, profiles.

use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{
    SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion,
};

use super::{Certificate, Fingerprint, library};
use crate::media::SrtpProfile;

/// ECDHE with AES-GCM, whichever key the server's certificate has. The first is what every WebRTC peer must have
/// (RFC 8827 §6.5).
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                       ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";

/// How handshakes are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// After how long without success a handshake is given up.
    pub give_up: Duration,
    /// SRTP profiles, most preferred first. A client offers them in this order; as server our order wins.
    pub profiles: Vec<SrtpProfile>,
}

impl Default for Settings {
    /// GCM with 128 bits first: it costs half of what the others cost, and the mandatory one (RFC 5764 §4.1.2) stands
    /// beside it.
    fn default() -> Self {
        Settings {
            give_up: Duration::from_secs(10),
            profiles: vec![
                SrtpProfile::AeadAes128Gcm,
                SrtpProfile::AesCm128HmacSha1_80,
                SrtpProfile::AeadAes256Gcm,
            ],
        }
    }
}

/// Why DTLS cannot be used at all, or not for a new call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetupError {
    /// The library refused.
    #[error("DTLS is not available: {0}")]
    Library(#[from] ErrorStack),
    /// The library cannot hash a certificate.
    #[error("DTLS is not available: a certificate cannot be hashed")]
    Fingerprint,
}

/// What all handshakes share. Cloning it is cheap.
#[derive(Clone)]
pub struct Context {
    pub(super) ssl: SslContext,
    pub(super) give_up: Duration,
    fingerprint: Fingerprint,
}

impl Context {
    /// Prepares handshakes with `certificate`.
    ///
    /// # Errors
    /// When the library refuses the settings, for instance because there is no profile.
    pub fn new(certificate: &Certificate, settings: &Settings) -> Result<Context, SetupError> {
        let mut builder = SslContext::builder(SslMethod::dtls())?;
        builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
        builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
        builder.set_cipher_list(CIPHERS)?;
        builder.set_certificate(&certificate.certificate)?;
        builder.set_private_key(&certificate.key)?;
        // No resumption: each call has keys and a peer of its own. And the path's MTU is ours to say, see `Handshake`.
        builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_QUERY_MTU);
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        // Without it a server would not ask for a certificate. Each handshake puts its own callback in place.
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        let names: Vec<_> = settings
            .profiles
            .iter()
            .map(|profile| name(*profile))
            .collect();
        builder.set_tlsext_use_srtp(&names.join(":"))?;
        library::inject_clock(&mut builder);
        Ok(Context {
            ssl: builder.build(),
            give_up: settings.give_up,
            fingerprint: certificate.fingerprint(),
        })
    }

    /// What SDP says of our certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// A profile as the library calls it.
fn name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AesCm128HmacSha1_80 => "SRTP_AES128_CM_SHA1_80",
        SrtpProfile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
    }
}
