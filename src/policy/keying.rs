//! What a number is set to at Meta about media. How its calls get their keys is not negotiated call by call (SIP guide,
//! 2025-12-15), and may change there without our being told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What Meta calls `srtp_key_exchange_protocol` (settings API, 2025-12-10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyExchange {
    /// A DTLS handshake over the path that ICE finds: Meta's default.
    #[default]
    Dtls,
    /// Keys in SDP (RFC 4568).
    Sdes,
}

/// What Meta calls `audio.additional_codecs`: G.711 beside Opus, which is always there (settings API, 2026-06-26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdditionalCodec {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
}

impl fmt::Display for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyExchange::Dtls => "dtls",
            KeyExchange::Sdes => "sdes",
        })
    }
}

/// What is known of a number's setting at Meta. Whatever Meta offers is answered in its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keying {
    /// It is this: offered, and an offer of the other kind is a surprise.
    Set(KeyExchange),
    /// It may be either.
    Auto {
        /// What our own offers ask for.
        offer: KeyExchange,
    },
}

impl Default for Keying {
    fn default() -> Keying {
        Keying::Auto {
            offer: KeyExchange::default(),
        }
    }
}

impl Keying {
    /// What our offers ask for.
    pub fn offered(self) -> KeyExchange {
        match self {
            Keying::Set(kind) | Keying::Auto { offer: kind } => kind,
        }
    }
}
