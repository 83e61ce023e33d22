//! `AEAD_AES_128_GCM` and `AEAD_AES_256_GCM` (RFC 7714), by ring.
//!
//! ```text
//!   SRTP    header │ payload │ tag               authenticated in clear: the header
//!   SRTCP   header │ the rest │ tag │ E, index   and of RTCP, E and index as well
//!                   ╰ encrypted
//! ```

use ring::aead::{Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::cipher::{Place, RTCP_HEADER};
use super::derivation::SessionKeys;
use super::{KeyError, SrtpError};

/// Octets of a tag.
const TAG: usize = 16;

/// Session keys, ready for use.
pub(super) struct Gcm {
    key: LessSafeKey,
    /// In the lower 96 of 128 bits.
    salt: u128,
}

impl Gcm {
    /// # Errors
    /// When ring does not take a key of that length.
    pub(super) fn new<const KEY: usize>(
        algorithm: &'static Algorithm,
        keys: &SessionKeys,
    ) -> Result<Gcm, KeyError> {
        let wrong = |_| KeyError::Length {
            got: KEY,
            expected: algorithm.key_len(),
        };
        let key = UnboundKey::new(algorithm, &*keys.cipher::<KEY>()).map_err(wrong)?;
        let salt = keys.salt.iter().take(NONCE_LEN);
        Ok(Gcm {
            key: LessSafeKey::new(key),
            salt: salt.fold(0, |salt, octet| salt << 8 | u128::from(*octet)),
        })
    }

    pub(super) fn seal_rtp(
        &self,
        bytes: &mut Vec<u8>,
        start: usize,
        header: usize,
        place: Place,
    ) -> Result<(), SrtpError> {
        let packet = bytes.get_mut(start..).unwrap_or_default();
        let (header, payload) = packet.split_at_mut_checked(header).ok_or(SrtpError::Rtp)?;
        let tag = self.seal(place, header, payload).ok_or(SrtpError::Rtp)?;
        bytes.extend_from_slice(&tag);
        Ok(())
    }

    pub(super) fn open_rtp(
        &self,
        packet: &[u8],
        header: usize,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        if packet.len() < header + TAG {
            return Err(SrtpError::Rtp);
        }
        let (header, sealed) = packet.split_at(header);
        out.extend_from_slice(header);
        self.open(place, header, sealed, out)
    }

    pub(super) fn seal_rtcp(
        &self,
        bytes: &mut Vec<u8>,
        start: usize,
        place: Place,
    ) -> Result<(), SrtpError> {
        let packet = bytes.get_mut(start..).unwrap_or_default();
        let (header, rest) = packet.split_first_chunk_mut().ok_or(SrtpError::Rtcp)?;
        let tag = self.seal(place, &in_clear(header, place), rest);
        bytes.extend_from_slice(&tag.ok_or(SrtpError::Rtcp)?);
        bytes.extend_from_slice(&place.rtcp_word());
        Ok(())
    }

    pub(super) fn open_rtcp(
        &self,
        packet: &[u8],
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        let (header, rest) = packet.split_first_chunk().ok_or(SrtpError::Rtcp)?;
        let (sealed, _) = rest.split_last_chunk::<4>().ok_or(SrtpError::Rtcp)?;
        if sealed.len() < TAG {
            return Err(SrtpError::Rtcp);
        }
        out.extend_from_slice(header);
        self.open(place, &in_clear(header, place), sealed, out)
    }

    /// `None`: longer than GCM can encrypt, which no datagram is.
    fn seal(&self, place: Place, in_clear: &[u8], plain: &mut [u8]) -> Option<[u8; TAG]> {
        let (nonce, aad) = (self.nonce(place), Aad::from(in_clear));
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, aad, plain)
            .ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Adds to `out` what is sealed.
    fn open(
        &self,
        place: Place,
        in_clear: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        let start = out.len();
        out.extend_from_slice(sealed);
        let (nonce, aad) = (self.nonce(place), Aad::from(in_clear));
        let sealed = out.get_mut(start..).unwrap_or_default();
        let opened = self.key.open_in_place(nonce, aad, sealed);
        let opened = opened.map_err(|_| SrtpError::Forged)?.len();
        out.truncate(start + opened);
        Ok(())
    }

    /// §8.1 and §9.1: two zero octets, the SSRC, and 48 bits of index, with the salt over it.
    fn nonce(&self, Place { ssrc, index }: Place) -> Nonce {
        let iv = self.salt ^ u128::from(ssrc.0) << 48 ^ u128::from(index);
        let [_, _, _, _, nonce @ ..] = iv.to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }
}

/// What of SRTCP is authenticated and not encrypted: the header, E and index (§9.3).
fn in_clear(header: &[u8; RTCP_HEADER], place: Place) -> [u8; RTCP_HEADER + 4] {
    let mut octets = [0; RTCP_HEADER + 4];
    let all = header.iter().copied().chain(place.rtcp_word());
    octets.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    octets
}
