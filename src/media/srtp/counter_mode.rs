//! `AES_CM_128_HMAC_SHA1_80`: AES in counter mode, and a code of ten octets over all of the packet (RFC 3711 §4).
//!
//! ```text
//!   SRTP    header │ payload │ tag          the tag is over header, payload and rollover counter
//!   SRTCP   header │ the rest │ E, index │ tag
//!                   ╰ encrypted
//! ```

use aes::Aes128Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::CtrCore;
use ctr::flavors::Ctr32BE;
use subtle::ConstantTimeEq;

use super::SrtpError;
use super::cipher::{Place, RTCP_HEADER};
use super::derivation::SessionKeys;
use super::hmac_sha1::HmacSha1;

/// Octets of a tag.
pub(super) const TAG: usize = 10;

/// Session keys, ready for use.
pub(super) struct CounterMode {
    cipher: Aes128Enc,
    /// In the upper 112 of 128 bits.
    salt: u128,
    mac: HmacSha1,
}

impl CounterMode {
    pub(super) fn new(keys: &SessionKeys) -> CounterMode {
        let mut salt = [0; 16];
        salt.iter_mut()
            .zip(keys.salt)
            .for_each(|(to, from)| *to = from);
        CounterMode {
            cipher: Aes128Enc::new(&(*keys.cipher::<16>()).into()),
            salt: u128::from_be_bytes(salt),
            mac: HmacSha1::new(&keys.auth),
        }
    }

    pub(super) fn seal_rtp(&self, bytes: &mut Vec<u8>, start: usize, header: usize, place: Place) {
        self.encrypt(bytes, start + header, place);
        self.sign(bytes, start, rollovers(place), &[]);
    }

    pub(super) fn open_rtp(
        &self,
        packet: &[u8],
        header: usize,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        let (body, tag) = packet.split_last_chunk().ok_or(SrtpError::Rtp)?;
        if body.len() < header {
            return Err(SrtpError::Rtp);
        }
        self.verify(body, rollovers(place), tag)?;
        let start = out.len();
        out.extend_from_slice(body);
        self.encrypt(out, start + header, place);
        Ok(())
    }

    pub(super) fn seal_rtcp(&self, bytes: &mut Vec<u8>, start: usize, place: Place) {
        let word = place.rtcp_word();
        self.encrypt(bytes, start + RTCP_HEADER, place);
        self.sign(bytes, start, word, &word);
    }

    pub(super) fn open_rtcp(
        &self,
        packet: &[u8],
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        let (body, tag) = packet.split_last_chunk().ok_or(SrtpError::Rtcp)?;
        let (body, word) = body.split_last_chunk().ok_or(SrtpError::Rtcp)?;
        if body.len() < RTCP_HEADER {
            return Err(SrtpError::Rtcp);
        }
        self.verify(body, *word, tag)?;
        let start = out.len();
        out.extend_from_slice(body);
        self.encrypt(out, start + RTCP_HEADER, place);
        Ok(())
    }

    /// Encrypts what stands from `from` on, or decrypts it, which is the same (§4.1.1).
    fn encrypt(&self, bytes: &mut [u8], from: usize, Place { ssrc, index }: Place) {
        let iv = self.salt ^ u128::from(ssrc.0) << 64 ^ u128::from(index) << 16;
        let counter = CtrCore::<_, Ctr32BE>::inner_iv_init(&self.cipher, &iv.to_be_bytes().into());
        let bytes = bytes.get_mut(from..).unwrap_or_default();
        StreamCipherCoreWrapper::from_core(counter).apply_keystream(bytes);
    }

    /// Adds `between` and the tag to the packet that begins at `start`; `signed` is signed behind it.
    fn sign(&self, bytes: &mut Vec<u8>, start: usize, signed: [u8; 4], between: &[u8]) {
        let code = self
            .mac
            .sign(bytes.get(start..).unwrap_or_default(), signed);
        bytes.extend_from_slice(between);
        bytes.extend_from_slice(&code[..TAG]);
    }

    fn verify(&self, body: &[u8], signed: [u8; 4], tag: &[u8; TAG]) -> Result<(), SrtpError> {
        let code = self.mac.sign(body, signed);
        let right = bool::from(code[..TAG].ct_eq(tag));
        right.then_some(()).ok_or(SrtpError::Forged)
    }
}

/// How often the source's numbers have started again, as it is signed (§4.2).
fn rollovers(place: Place) -> [u8; 4] {
    ((place.index >> 16) as u32).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::Ssrc;

    #[test]
    fn the_key_stream_is_that_of_rfc_3711_appendix_b_2() {
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        let salt = 0xf0f1_f2f3_f4f5_f6f7_f8f9_fafb_fcfd_u128.to_be_bytes();
        let cipher = CounterMode::new(&SessionKeys::given(&key, &salt[2..]));
        let mut stream = [0; 0xff03 * 16];
        let place = Place {
            ssrc: Ssrc(0),
            index: 0,
        };
        cipher.encrypt(&mut stream, 0, place);
        for (block, expected) in [
            (0, 0xe03e_ad09_35c9_5e80_e166_b16d_d92b_4eb4_u128),
            (1, 0xd235_1316_2b02_d0f7_2a43_a2fe_4a5f_97ab),
            (2, 0x41e9_5b3b_b0a2_e8dd_4779_01e4_fca8_94c0),
            (0xfeff, 0xec8c_df73_9860_7cb0_f2d2_1675_ea9e_a1e4),
            (0xff00, 0x362b_7c3c_6773_5163_18a0_77d7_fc50_73ae),
            (0xff01, 0x6a2c_c378_7889_374f_beb4_c81b_17ba_6c44),
        ] {
            let at = 16 * block;
            assert_eq!(
                stream[at..at + 16],
                expected.to_be_bytes(),
                "block {block:#x}"
            );
        }
    }
}
