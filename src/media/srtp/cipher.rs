//! What turns RTP into SRTP and back, and RTCP into SRTCP, once it is settled which packet of which source it is.

use ring::aead::{AES_128_GCM, AES_256_GCM};

use super::counter_mode::CounterMode;
use super::derivation::SessionKeys;
use super::gcm::Gcm;
use super::{ENCRYPTED, KeyError, SrtpError};
use crate::media::SrtpProfile;
use crate::media::rtp::Ssrc;

/// Octets of an RTCP packet that are not encrypted: the first header and the sender (RFC 3711 §3.4).
pub(super) const RTCP_HEADER: usize = 8;

/// Which packet of which source: no two under one key may share it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) ssrc: Ssrc,
    /// 48 bits for RTP: rollover counter, then sequence number (RFC 3711 §3.3.1). 31 bits for RTCP.
    pub(super) index: u64,
}

impl Place {
    /// The SRTCP index as it is sent, behind its E bit.
    pub(super) fn rtcp_word(self) -> [u8; 4] {
        (self.index as u32 | ENCRYPTED).to_be_bytes()
    }
}

/// Session keys of RTP or of RTCP, ready for use.
#[expect(
    clippy::large_enum_variant,
    reason = "a session's is boxed, and one for a report lies on the stack, to allocate nothing"
)]
pub(super) enum Cipher {
    CounterMode(CounterMode),
    Gcm(Gcm),
}

impl Cipher {
    /// # Errors
    /// When the keys do not fit the profile.
    pub(super) fn new(profile: SrtpProfile, keys: &SessionKeys) -> Result<Cipher, KeyError> {
        Ok(match profile {
            SrtpProfile::AesCm128HmacSha1_80 => Cipher::CounterMode(CounterMode::new(keys)),
            SrtpProfile::AeadAes128Gcm => Cipher::Gcm(Gcm::new::<16>(&AES_128_GCM, keys)?),
            SrtpProfile::AeadAes256Gcm => Cipher::Gcm(Gcm::new::<32>(&AES_256_GCM, keys)?),
        })
    }

    /// Protects the RTP packet that `bytes` ends in, from `start` on. Its first `header` octets stay in clear.
    pub(super) fn seal_rtp(
        &self,
        bytes: &mut Vec<u8>,
        start: usize,
        header: usize,
        place: Place,
    ) -> Result<(), SrtpError> {
        match self {
            Cipher::CounterMode(cipher) => cipher.seal_rtp(bytes, start, header, place),
            Cipher::Gcm(cipher) => cipher.seal_rtp(bytes, start, header, place)?,
        }
        Ok(())
    }

    /// Adds to `out` the RTP packet in an SRTP packet, if that is authentic.
    pub(super) fn open_rtp(
        &self,
        packet: &[u8],
        header: usize,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        match self {
            Cipher::CounterMode(cipher) => cipher.open_rtp(packet, header, place, out),
            Cipher::Gcm(cipher) => cipher.open_rtp(packet, header, place, out),
        }
    }

    /// Protects the RTCP packet that `bytes` ends in, from `start` on.
    pub(super) fn seal_rtcp(
        &self,
        bytes: &mut Vec<u8>,
        start: usize,
        place: Place,
    ) -> Result<(), SrtpError> {
        match self {
            Cipher::CounterMode(cipher) => cipher.seal_rtcp(bytes, start, place),
            Cipher::Gcm(cipher) => cipher.seal_rtcp(bytes, start, place)?,
        }
        Ok(())
    }

    /// Adds to `out` the RTCP packet in an SRTCP packet, if that is authentic.
    pub(super) fn open_rtcp(
        &self,
        packet: &[u8],
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        match self {
            Cipher::CounterMode(cipher) => cipher.open_rtcp(packet, place, out),
            Cipher::Gcm(cipher) => cipher.open_rtcp(packet, place, out),
        }
    }
}
