//! Session keys out of a master key (RFC 3711 §4.3, RFC 7714 §11), once for a session: the key derivation rate is 0.

use aes::cipher::consts::U16;
use aes::cipher::{BlockEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128Enc, Aes256Enc, Block};
use zeroize::Zeroizing;

use super::KeyError;
use crate::media::{MasterKey, SrtpProfile};

/// Octets of the longest cipher key there is.
const LONGEST_KEY: usize = 32;
/// Octets of a salt; GCM uses twelve of them.
const SALT: usize = 14;
/// Octets of a key for HMAC-SHA1 (RFC 3711 §4.2.1).
const AUTH_KEY: usize = 20;

/// Cipher key, authentication key and salt, of RTP or of RTCP.
pub(super) struct SessionKeys {
    cipher: Zeroizing<[u8; LONGEST_KEY]>,
    pub(super) auth: Zeroizing<[u8; AUTH_KEY]>,
    pub(super) salt: [u8; SALT],
}

impl SessionKeys {
    /// Those of RTP, and those of RTCP.
    ///
    /// # Errors
    /// When the master key does not fit the profile.
    pub(super) fn derive(
        profile: SrtpProfile,
        key: &MasterKey,
    ) -> Result<[SessionKeys; 2], KeyError> {
        let (got, expected) = (key.0.len(), profile.key_and_salt_len());
        let wrong = KeyError::Length { got, expected };
        let (key, salt) = match key.0.split_at_checked(profile.key_len()) {
            Some(halves) if got == expected => halves,
            _ => return Err(wrong),
        };
        match profile {
            SrtpProfile::AesCm128HmacSha1_80 | SrtpProfile::AeadAes128Gcm => Ok(both(
                &Aes128Enc::new_from_slice(key).map_err(|_| wrong)?,
                salt,
            )),
            SrtpProfile::AeadAes256Gcm => Ok(both(
                &Aes256Enc::new_from_slice(key).map_err(|_| wrong)?,
                salt,
            )),
        }
    }

    /// Session keys as they are, of which the RFCs have examples.
    #[cfg(test)]
    pub(super) fn given(cipher: &[u8], salt: &[u8]) -> SessionKeys {
        let mut keys = SessionKeys {
            cipher: Zeroizing::new([0; LONGEST_KEY]),
            auth: Zeroizing::new([0; AUTH_KEY]),
            salt: [0; SALT],
        };
        keys.cipher[..cipher.len()].copy_from_slice(cipher);
        keys.salt[..salt.len()].copy_from_slice(salt);
        keys
    }

    /// The cipher key, where it has so many octets.
    pub(super) fn cipher<const LEN: usize>(&self) -> Zeroizing<[u8; LEN]> {
        let mut key = Zeroizing::new([0; LEN]);
        key.iter_mut()
            .zip(&*self.cipher)
            .for_each(|(octet, derived)| *octet = *derived);
        key
    }
}

/// Session keys by the pseudo-random function of RFC 3711 §4.3.3, which is AES in counter mode.
fn both(master: &impl Master, salt: &[u8]) -> [SessionKeys; 2] {
    // §4.3.2: the labels of cipher key, authentication key and salt, of RTP and of RTCP.
    [[0, 1, 2], [3, 4, 5]].map(|[cipher, auth, session_salt]| SessionKeys {
        cipher: derived(master, salt, cipher),
        auth: derived(master, salt, auth),
        salt: *derived(master, salt, session_salt),
    })
}

fn derived<const LEN: usize>(master: &impl Master, salt: &[u8], label: u8) -> Zeroizing<[u8; LEN]> {
    let mut out = Zeroizing::new([0; LEN]);
    for (nth, chunk) in (0u8..).zip(out.chunks_mut(size_of::<Block>())) {
        // A shorter salt is filled up with zeroes at its end (RFC 7714 §11); the last two octets count blocks.
        let mut block = Block::default();
        block
            .iter_mut()
            .zip(salt)
            .for_each(|(to, from)| *to = *from);
        block[7] ^= label;
        block[15] = nth;
        master.encrypt_block(&mut block);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
    out
}

/// AES under a master key.
trait Master: BlockEncrypt + BlockSizeUser<BlockSize = U16> {}

impl Master for Aes128Enc {}
impl Master for Aes256Enc {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_rfc_3711_appendix_b_3() {
        // e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6
        let master = 0xe1f9_7a0d_3e01_8be0_d64f_a32c_06de_4139_u128.to_be_bytes();
        let salt = 0x0ec6_75ad_498a_feeb_b696_0b3a_abe6_u128.to_be_bytes();
        let master = MasterKey([&master, &salt[2..]].concat());
        let [rtp, rtcp] = SessionKeys::derive(SrtpProfile::AesCm128HmacSha1_80, &master).unwrap();
        let cipher = 0xc61e_7a93_744f_39ee_1073_4afe_3ff7_a087_u128;
        assert_eq!(*rtp.cipher::<16>(), cipher.to_be_bytes());
        let salt = 0x30cb_bc08_863d_8c85_d49d_b34a_9ae1_u128;
        assert_eq!(rtp.salt, salt.to_be_bytes()[2..]);
        let auth = 0xcebe_321f_6ff7_716b_6fd4_ab49_af25_6a15_u128;
        assert_eq!(rtp.auth[..16], auth.to_be_bytes());
        assert_eq!(rtp.auth[16..], 0x6d38_baa4_u32.to_be_bytes());
        assert_ne!(rtcp.cipher::<16>(), rtp.cipher::<16>());
        assert_ne!((rtcp.salt, rtcp.auth), (rtp.salt, rtp.auth));
    }
}
