//! SRTP and SRTCP (RFC 3711, RFC 7714) for one direction of one side, over the transforms of `rtc-srtp`.
//!
//! ```text
//!   packet ─▶ source known? ─ yes ─▶ seen, too old? ─ no ─▶ tag right? ─ yes ─▶ remember, hand on
//!                  │ no                                          ▲
//!                  └──────────▶ newcomers ── tag right? ─ yes ─▶ becomes a known source
//! ```
//!
//! The library alone is not enough against strangers: it keeps state for each SSRC before it has authenticated it,
//! lets an unauthentic first packet set the replay window, and hands on SRTCP that is marked as unencrypted without
//! looking at its tag. So replay is ours ([`Seen`]), a source is remembered only once it proved authentic, and what
//! strangers leave in the library is thrown away now and then.

use std::sync::Arc;

use rtc_crypto::RTCCryptoProvider;
use rtc_shared::error::Error as LibraryError;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::replay::Seen;
use super::rtp::Ssrc;
use super::{MasterKey, SrtpProfile};

/// The X bit in the first octet of an RTP header.
const EXTENSION_BIT: u8 = 1 << 4;

/// Sources remembered for each of RTP and RTCP. A call has one or two; a peer that transfers calls some more.
const MAX_SOURCES: usize = 16;

/// Packets of unknown sources that may fail before the library's traces of them are thrown away.
const MAX_STRANGERS: usize = 64;

impl SrtpProfile {
    /// Octets of master key and master salt together.
    pub fn key_and_salt_len(self) -> usize {
        self.library().key_len() + self.salt_len()
    }

    /// Octets of the master salt alone.
    pub fn salt_len(self) -> usize {
        self.library().salt_len()
    }

    fn library(self) -> ProtectionProfile {
        match self {
            SrtpProfile::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }
}

/// Why a master key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Its length does not fit the profile.
    #[error("an SRTP master key and salt of {got} octets, where {expected} are needed")]
    Length {
        /// Octets there are.
        got: usize,
        /// Octets the profile needs.
        expected: usize,
    },
    /// The cryptographic library cannot do this profile.
    #[error("SRTP is not available: {0}")]
    Library(String),
}

/// Why a packet was not protected, or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// It is no RTP packet.
    #[error("not an RTP packet (RFC 3550 §5.1)")]
    Rtp,
    /// A header extension on a packet of ours: the library measures some of them wrongly, and we have none to send.
    #[error("a header extension, which we never send")]
    Extension,
    /// It is no RTCP packet.
    #[error("not an RTCP packet (RFC 3550 §6.1)")]
    Rtcp,
    /// It was seen before, is too old to tell, or is too far ahead of its source (RFC 3711 §3.3.2).
    #[error("repeated, or out of the replay window")]
    Replayed,
    /// Its authentication tag is wrong: forged, damaged, or made with another key.
    #[error("the authentication tag is wrong")]
    Forged,
    /// DTLS is to make the keys, and has not, or no longer stands for them.
    #[error("there are no keys")]
    NoKey,
    /// SRTCP that says it is not encrypted, which nobody agreed to.
    #[error("SRTCP without encryption")]
    Unencrypted,
    /// More sources of our own than a session has; none can be forgotten without using a key stream twice.
    #[error("more than {MAX_SOURCES} sources of our own")]
    TooManySources,
    /// The library failed in a way that should not occur.
    #[error("SRTP failed: {0}")]
    Library(String),
}

impl From<LibraryError> for SrtpError {
    fn from(error: LibraryError) -> SrtpError {
        match error {
            LibraryError::RtpFailedToVerifyAuthTag
            | LibraryError::RtcpFailedToVerifyAuthTag
            | LibraryError::ErrFailedToVerifyAuthTag => SrtpError::Forged,
            LibraryError::ErrTooShortRtp
            | LibraryError::ErrHeaderSizeInsufficient
            | LibraryError::ErrHeaderSizeInsufficientForExtension => SrtpError::Rtp,
            LibraryError::ErrTooShortRtcp
            | LibraryError::PacketTooShort
            | LibraryError::BadVersion => SrtpError::Rtcp,
            other => SrtpError::Library(other.to_string()),
        }
    }
}

/// Protects what we send with one master key.
pub struct Sender {
    context: Context,
    /// Which packets each source of ours has used up: a second one under the same index would share its key stream.
    rtp: Vec<(Ssrc, Seen)>,
    rtcp: Vec<Ssrc>,
}

impl Sender {
    /// A sender with a master key of its own, never shared with another session.
    ///
    /// # Errors
    /// When the key does not fit the profile.
    pub fn new(profile: SrtpProfile, key: &MasterKey) -> Result<Sender, KeyError> {
        let context = Keys::new(profile, key)?.context()?;
        Ok(Sender {
            context,
            rtp: Vec::with_capacity(1),
            rtcp: Vec::with_capacity(1),
        })
    }

    /// Makes `out` the SRTP packet for an RTP packet.
    ///
    /// # Errors
    /// When it is no RTP, or its number was used before or is too far from the last. `out` is then empty.
    pub fn protect_rtp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        out.clear();
        let (ssrc, seq) = rtp_index(packet)?;
        if packet
            .first()
            .is_some_and(|first| first & EXTENSION_BIT != 0)
        {
            return Err(SrtpError::Extension);
        }
        if let Some((_, seen)) = self.rtp.iter_mut().find(|(known, _)| *known == ssrc) {
            let index = seen.place(seq).ok_or(SrtpError::Replayed)?;
            out.extend_from_slice(&self.context.encrypt_rtp(packet)?);
            seen.accept(index);
            return Ok(());
        }
        if self.rtp.len() == MAX_SOURCES {
            return Err(SrtpError::TooManySources);
        }
        out.extend_from_slice(&self.context.encrypt_rtp(packet)?);
        self.rtp.push((ssrc, Seen::starting_with(seq.into())));
        Ok(())
    }

    /// Makes `out` the SRTCP packet for a compound RTCP packet.
    ///
    /// # Errors
    /// When it is no RTCP. `out` is then empty.
    pub fn protect_rtcp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        out.clear();
        let ssrc = rtcp_sender(packet)?;
        if !self.rtcp.contains(&ssrc) {
            if self.rtcp.len() == MAX_SOURCES {
                return Err(SrtpError::TooManySources);
            }
            self.rtcp.push(ssrc);
        }
        out.extend_from_slice(&self.context.encrypt_rtcp(packet)?);
        Ok(())
    }
}

/// Opens what the peer sends with one master key.
pub struct Receiver {
    keys: Keys,
    /// Sources that proved authentic, the one heard last at the end.
    rtp: Vec<Source>,
    rtcp: Vec<(Ssrc, Seen)>,
    /// Tries everything else. It opens SRTCP too, whose index is in the packet, so that nothing is lost with it.
    newcomers: Context,
    strangers: usize,
}

/// An authentic source of RTP. The library counts its rollovers, in a context where nobody else leaves traces.
struct Source {
    ssrc: Ssrc,
    seen: Seen,
    context: Context,
}

impl Receiver {
    /// A receiver with the peer's master key.
    ///
    /// # Errors
    /// When the key does not fit the profile.
    pub fn new(profile: SrtpProfile, key: &MasterKey) -> Result<Receiver, KeyError> {
        let keys = Keys::new(profile, key)?;
        let newcomers = keys.context()?;
        Ok(Receiver {
            keys,
            rtp: Vec::with_capacity(1),
            rtcp: Vec::with_capacity(1),
            newcomers,
            strangers: 0,
        })
    }

    /// Makes `out` the RTP packet in an SRTP packet.
    ///
    /// # Errors
    /// When it is no SRTP, was seen before or is not authentic; nothing but a counter has then changed.
    pub fn unprotect_rtp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        out.clear();
        let (ssrc, seq) = rtp_index(packet)?;
        let Some(at) = self.rtp.iter().position(|source| source.ssrc == ssrc) else {
            return self.welcome(packet, ssrc, seq, out);
        };
        let source = &mut self.rtp[at];
        let index = source.seen.place(seq).ok_or(SrtpError::Replayed)?;
        out.extend_from_slice(&source.context.decrypt_rtp(packet)?);
        source.seen.accept(index);
        self.rtp[at..].rotate_left(1);
        Ok(())
    }

    /// A packet of an unknown source: it becomes known if the packet is authentic.
    fn welcome(
        &mut self,
        packet: &[u8],
        ssrc: Ssrc,
        seq: u16,
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        let opened = self.newcomers.decrypt_rtp(packet);
        let opened = opened.map_err(|error| self.turned_away(error))?;
        out.extend_from_slice(&opened);
        if self.rtp.len() == MAX_SOURCES {
            self.rtp.remove(0);
        }
        let context = self.fresh_newcomers()?;
        self.rtp.push(Source {
            ssrc,
            seen: Seen::starting_with(seq.into()),
            context,
        });
        Ok(())
    }

    /// Makes `out` the RTCP packet in an SRTCP packet.
    ///
    /// # Errors
    /// When it is no SRTCP, was seen before or is not authentic; nothing but a counter has then changed.
    pub fn unprotect_rtcp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        out.clear();
        let ssrc = rtcp_sender(packet)?;
        let index = rtcp_index(packet, self.keys.profile.library().rtcp_auth_tag_len())?;
        let known = self.rtcp.iter().position(|(known, _)| *known == ssrc);
        if known.is_some_and(|at| !self.rtcp[at].1.is_new(index)) {
            return Err(SrtpError::Replayed);
        }
        let opened = self.newcomers.decrypt_rtcp(packet);
        let opened = opened.map_err(|error| self.turned_away(error))?;
        out.extend_from_slice(&opened);
        let (_, mut seen) = match known {
            Some(at) => self.rtcp.remove(at),
            None => (ssrc, Seen::starting_with(index)),
        };
        seen.accept(index);
        if self.rtcp.len() == MAX_SOURCES {
            self.rtcp.remove(0);
        }
        self.rtcp.push((ssrc, seen));
        Ok(())
    }

    /// Counts a refused packet, whose SSRC the library now remembers, and forgets them all when they are many.
    fn turned_away(&mut self, error: LibraryError) -> SrtpError {
        self.strangers += 1;
        if self.strangers >= MAX_STRANGERS
            && let Err(error) = self.fresh_newcomers()
        {
            return error;
        }
        error.into()
    }

    fn fresh_newcomers(&mut self) -> Result<Context, SrtpError> {
        let fresh = self
            .keys
            .context()
            .map_err(|error| SrtpError::Library(error.to_string()))?;
        self.strangers = 0;
        Ok(std::mem::replace(&mut self.newcomers, fresh))
    }
}

/// SSRC and sequence number of an SRTP packet: its fixed header, since the rest cannot be trusted yet.
fn rtp_index(packet: &[u8]) -> Result<(Ssrc, u16), SrtpError> {
    // Padding is encrypted, its length included, so the packet must not be read as RTP before it is opened.
    match packet {
        [first, _, s0, s1, _, _, _, _, a, b, c, d, ..] if first >> 6 == 2 => Ok((
            Ssrc(u32::from_be_bytes([*a, *b, *c, *d])),
            u16::from_be_bytes([*s0, *s1]),
        )),
        _ => Err(SrtpError::Rtp),
    }
}

/// SSRC of the sender of an RTCP or SRTCP packet, which is never encrypted.
fn rtcp_sender(packet: &[u8]) -> Result<Ssrc, SrtpError> {
    match packet {
        [first, _, _, _, a, b, c, d, ..] if first >> 6 == 2 => {
            Ok(Ssrc(u32::from_be_bytes([*a, *b, *c, *d])))
        }
        _ => Err(SrtpError::Rtcp),
    }
}

/// The index of an SRTCP packet: before its tag (RFC 3711 §3.4), or at its end with GCM (RFC 7714 §9.2), where
/// `tag_len` is therefore 0.
fn rtcp_index(packet: &[u8], tag_len: usize) -> Result<u64, SrtpError> {
    const ENCRYPTED: u32 = 1 << 31;
    let untagged = packet
        .len()
        .checked_sub(tag_len)
        .and_then(|len| packet.get(..len));
    let word = untagged
        .and_then(|bytes| bytes.last_chunk())
        .ok_or(SrtpError::Rtcp)?;
    let word = u32::from_be_bytes(*word);
    if word & ENCRYPTED == 0 {
        return Err(SrtpError::Unencrypted);
    }
    Ok(u64::from(word & !ENCRYPTED))
}

/// A master key of the right length, from which contexts are made.
struct Keys {
    profile: SrtpProfile,
    key: MasterKey,
    provider: Arc<dyn RTCCryptoProvider>,
}

impl Keys {
    fn new(profile: SrtpProfile, key: &MasterKey) -> Result<Keys, KeyError> {
        let (got, expected) = (key.0.len(), profile.key_and_salt_len());
        if got != expected {
            return Err(KeyError::Length { got, expected });
        }
        let provider =
            rtc_crypto::default_provider().map_err(|error| KeyError::Library(error.to_string()))?;
        Ok(Keys {
            profile,
            key: key.clone(),
            provider,
        })
    }

    /// A context that looks after rollovers but not after replay.
    fn context(&self) -> Result<Context, KeyError> {
        let profile = self.profile.library();
        let (key, salt) = self.key.0.split_at(profile.key_len());
        Context::new(key, salt, profile, None, None, self.provider.crypto())
            .map_err(|error| KeyError::Library(error.to_string()))
    }
}

#[cfg(test)]
mod gcm_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::{Header, Packet, Seq, Timestamp};
    use proptest::prelude::*;

    const PROFILE: SrtpProfile = SrtpProfile::AesCm128HmacSha1_80;
    const OURS: Ssrc = Ssrc(0xcafe_babe);

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let pair =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// The master key and salt of RFC 3711 appendix B.3.
    fn key() -> MasterKey {
        MasterKey(hex(
            "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
        ))
    }

    fn pair() -> (Sender, Receiver) {
        (
            Sender::new(PROFILE, &key()).unwrap(),
            Receiver::new(PROFILE, &key()).unwrap(),
        )
    }

    /// An RTP packet whose payload tells its index.
    fn rtp(ssrc: Ssrc, index: u64) -> Vec<u8> {
        let header = Header {
            marker: false,
            payload_type: 111,
            seq: Seq(index as u16),
            timestamp: Timestamp((index * 960) as u32),
            ssrc,
        };
        let mut out = Vec::new();
        header.write(&index.to_be_bytes(), &mut out);
        out
    }

    fn report(ssrc: Ssrc) -> Vec<u8> {
        let mut bytes = vec![0x80, 201, 0, 1];
        bytes.extend_from_slice(&ssrc.0.to_be_bytes());
        bytes
    }

    fn protect(sender: &mut Sender, ssrc: Ssrc, index: u64) -> Vec<u8> {
        let mut out = Vec::new();
        sender.protect_rtp(&rtp(ssrc, index), &mut out).unwrap();
        out
    }

    fn protect_report(sender: &mut Sender, ssrc: Ssrc) -> Vec<u8> {
        let mut out = Vec::new();
        sender.protect_rtcp(&report(ssrc), &mut out).unwrap();
        out
    }

    /// The index told by the payload of a packet that was accepted.
    fn open(receiver: &mut Receiver, packet: &[u8]) -> Result<u64, SrtpError> {
        let mut out = Vec::new();
        receiver.unprotect_rtp(packet, &mut out)?;
        Ok(u64::from_be_bytes(
            Packet::parse(&out).unwrap().payload().try_into().unwrap(),
        ))
    }

    fn open_report(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
        let mut out = Vec::new();
        receiver.unprotect_rtcp(packet, &mut out).map(|()| out)
    }

    #[test]
    fn packets_are_those_of_libsrtp_under_the_key_of_rfc_3711_b_3() {
        let (mut sender, mut receiver) = pair();
        let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
        let secret =
            hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
        let mut out = Vec::new();
        sender.protect_rtp(&plain, &mut out).unwrap();
        assert_eq!(out, secret);
        receiver.unprotect_rtp(&secret, &mut out).unwrap();
        assert_eq!(out, plain);

        let plain = hex("81c8000bcafebabe abababababababababababababababab");
        let secret =
            hex("81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798");
        sender.protect_rtcp(&plain, &mut out).unwrap();
        assert_eq!(out, secret);
        receiver.unprotect_rtcp(&secret, &mut out).unwrap();
        assert_eq!(out, plain);
    }

    /// RFC 3711 written down once more from block cipher and HMAC alone, to hold the library's packets against.
    struct Reference {
        session_key: Vec<u8>,
        session_salt: Vec<u8>,
        auth_key: Vec<u8>,
    }

    impl Reference {
        fn new(key: &MasterKey) -> Reference {
            let (key, salt) = key.0.split_at(16);
            // §4.3.1: the label goes to the octet above the 48 bits of the index, which a rate of 0 leaves at zero.
            let derive = |label: u8, len: usize| {
                let mut iv = [salt, &[0, 0]].concat();
                iv[7] ^= label;
                let mut out = vec![0; len];
                xor_keystream(key, &iv, &mut out);
                out
            };
            Reference {
                session_key: derive(0, 16),
                session_salt: derive(2, 14),
                auth_key: derive(1, 20),
            }
        }

        fn protect(&self, packet: &[u8], header_len: usize, index: u64) -> Vec<u8> {
            let ssrc = u128::from(u32::from_be_bytes(packet[8..12].try_into().unwrap()));
            let salt = u128::from_be_bytes(
                [&self.session_salt[..], &[0, 0]]
                    .concat()
                    .try_into()
                    .unwrap(),
            );
            let iv = salt ^ ssrc << 64 ^ u128::from(index) << 16;
            let mut out = packet.to_vec();
            xor_keystream(&self.session_key, &iv.to_be_bytes(), &mut out[header_len..]);
            let roc = ((index >> 16) as u32).to_be_bytes();
            let provider = rtc_crypto::default_provider().unwrap();
            let mut mac = provider
                .crypto()
                .new_hmac(rtc_crypto::HmacAlgorithm::Sha1, &self.auth_key)
                .unwrap();
            let mut tag = [0; 20];
            mac.sign(&[&out, &roc], &mut tag).unwrap();
            out.extend_from_slice(&tag[..10]);
            out
        }
    }

    /// AES in counter mode (§4.1.1): `iv` ends in 16 zero bits that count the blocks.
    fn xor_keystream(key: &[u8], iv: &[u8], data: &mut [u8]) {
        let provider = rtc_crypto::default_provider().unwrap();
        for (nth, chunk) in data.chunks_mut(16).enumerate() {
            let mut block = iv.to_vec();
            block[14..].copy_from_slice(&(nth as u16).to_be_bytes());
            let aes = rtc_crypto::BlockCipherAlgorithm::Aes128;
            provider
                .crypto()
                .block_encrypt(aes, key, &mut block)
                .unwrap();
            chunk
                .iter_mut()
                .zip(block)
                .for_each(|(octet, key)| *octet ^= key);
        }
    }

    #[test]
    fn the_reference_gives_the_vectors_of_rfc_3711_appendix_b() {
        let reference = Reference::new(&key());
        assert_eq!(
            reference.session_key,
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(reference.session_salt, hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(
            reference.auth_key,
            hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
        );
        let mut keystream = [0; 48];
        let iv = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000");
        xor_keystream(
            &hex("2B7E151628AED2A6ABF7158809CF4F3C"),
            &iv,
            &mut keystream,
        );
        let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                        41E95B3BB0A2E8DD477901E4FCA894C0";
        assert_eq!(keystream[..], hex(expected));
    }

    #[test]
    fn packets_are_those_of_the_reference_in_the_fourth_rollover_too() {
        let (mut sender, mut receiver) = pair();
        let reference = Reference::new(&key());
        for index in (1_000..5 * 65_536).step_by(21_111) {
            let expected = reference.protect(&rtp(OURS, index), 12, index);
            assert_eq!(protect(&mut sender, OURS, index), expected, "index {index}");
            assert_eq!(open(&mut receiver, &expected), Ok(index));
        }
    }

    #[test]
    fn contributing_sources_and_extensions_of_a_peer_do_not_move_its_payload() {
        let reference = Reference::new(&key());
        let mut receiver = pair().1;
        let csrc = [0, 0, 0, 1, 0, 0, 0, 2];
        // RFC 8285 with one octet and with two, padded; and one of the older kind.
        let extensions = [
            [0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0].as_slice(),
            &[0x10, 0x00, 0, 2, 3, 2, 1, 1, 4, 0, 0, 0],
            &[0x12, 0x34, 0, 1, 9, 9, 9, 9],
            &[0xbe, 0xde, 0, 0],
        ];
        for (index, extension) in (1u64..).zip(extensions) {
            let plain = rtp(OURS, index);
            let mut packet = [&plain[..12], &csrc, extension, &plain[12..]].concat();
            packet[0] |= EXTENSION_BIT | 2;
            let secret = reference.protect(&packet, 12 + csrc.len() + extension.len(), index);
            assert_eq!(open(&mut receiver, &secret), Ok(index));
        }
    }

    #[test]
    fn a_stream_survives_several_wraps_with_loss_and_reordering() {
        let (mut sender, mut receiver) = pair();
        let mut wraps = 0;
        let mut index = 30_000u64;
        while wraps < 5 {
            // A burst in which every seventh packet is lost and the rest arrives in another order.
            let burst: Vec<_> = (index..index + 100)
                .map(|i| (i, protect(&mut sender, OURS, i)))
                .collect();
            for step in 0..100 {
                let (sent, packet) = &burst[(step * 37 + 50) % 100];
                if sent % 7 != 0 {
                    assert_eq!(open(&mut receiver, packet), Ok(*sent));
                }
            }
            // Between bursts more is lost than a receiver ever should, except right before a wrap.
            let next = index + 100 + if index % 65_536 < 40_000 { 9_000 } else { 50 };
            let to_wrap = 65_536 - next % 65_536;
            index = if (500..25_000).contains(&to_wrap) {
                next + to_wrap - 260
            } else {
                next
            };
            wraps = index / 65_536;
        }
    }

    #[test]
    fn no_packet_is_accepted_twice_not_even_a_rollover_later() {
        let (mut sender, mut receiver) = pair();
        let mut sent = Vec::new();
        for index in (100..140_000).step_by(500) {
            sent.push(protect(&mut sender, OURS, index));
            open(&mut receiver, sent.last().unwrap()).unwrap();
            for old in sent.iter().step_by(17) {
                assert!(open(&mut receiver, old).is_err());
            }
        }
        let next = protect(&mut sender, OURS, 140_001);
        assert_eq!(
            open(&mut receiver, &next),
            Ok(140_001),
            "the replays did no harm"
        );
    }

    #[test]
    fn a_forged_or_damaged_packet_is_refused_and_changes_nothing() {
        let (mut sender, mut receiver) = pair();
        let mut stranger = Sender::new(PROFILE, &MasterKey(vec![7; 30])).unwrap();
        // The first packets of all are forged, with a number far from the true one.
        for index in 40_000..40_010 {
            assert_eq!(
                open(&mut receiver, &protect(&mut stranger, OURS, index)),
                Err(SrtpError::Forged)
            );
        }
        for index in 10..200 {
            let genuine = protect(&mut sender, OURS, index);
            for at in 0..genuine.len() {
                let mut damaged = genuine.clone();
                damaged[at] ^= 0x10;
                assert!(open(&mut receiver, &damaged).is_err(), "octet {at}");
            }
            assert_eq!(open(&mut receiver, &genuine), Ok(index));
        }
    }

    #[test]
    fn a_flood_of_forged_sources_neither_grows_memory_nor_breaks_the_stream() {
        let (mut sender, mut receiver) = pair();
        let mut index = 65_000;
        open(&mut receiver, &protect(&mut sender, OURS, index)).unwrap();
        for forged in 0..3_000u32 {
            let mut packet = rtp(Ssrc(forged), forged.into());
            packet.extend_from_slice(&[0; 10]);
            assert_eq!(open(&mut receiver, &packet), Err(SrtpError::Forged));
            let mut packet = report(Ssrc(forged));
            packet.extend_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(open_report(&mut receiver, &packet), Err(SrtpError::Forged));
            assert!(receiver.strangers < MAX_STRANGERS);
            index += 1;
            assert_eq!(
                open(&mut receiver, &protect(&mut sender, OURS, index)),
                Ok(index)
            );
        }
        assert_eq!((receiver.rtp.len(), receiver.rtcp.len()), (1, 0));
        assert!(open_report(&mut receiver, &protect_report(&mut sender, OURS)).is_ok());
    }

    #[test]
    fn of_many_authentic_sources_the_one_silent_longest_is_forgotten() {
        let mut receiver = pair().1;
        let talk = |receiver: &mut Receiver, ssrc: u32, index| {
            // A sender each: one session of ours may not have so many.
            let mut sender = pair().0;
            let heard = open(receiver, &protect(&mut sender, Ssrc(ssrc), index));
            let reported = open_report(receiver, &protect_report(&mut sender, Ssrc(ssrc)));
            (heard, reported.is_ok())
        };
        for ssrc in 0..40 {
            assert_eq!(talk(&mut receiver, ssrc, 1), (Ok(1), true));
            assert_eq!(
                talk(&mut receiver, 0, 2 + u64::from(ssrc)).0,
                Ok(2 + u64::from(ssrc))
            );
        }
        assert_eq!(
            (receiver.rtp.len(), receiver.rtcp.len()),
            (MAX_SOURCES, MAX_SOURCES)
        );
        assert_eq!(
            talk(&mut receiver, 39, 1).0,
            Err(SrtpError::Replayed),
            "still remembered"
        );
    }

    #[test]
    fn srtcp_that_claims_to_be_unencrypted_is_refused_though_the_library_would_take_it() {
        let mut receiver = pair().1;
        let mut packet = report(OURS);
        packet.extend_from_slice(&[0, 0, 0, 1]);
        packet.extend_from_slice(&[0; 10]);
        assert_eq!(
            open_report(&mut receiver, &packet),
            Err(SrtpError::Unencrypted)
        );
    }

    #[test]
    fn srtcp_may_be_reordered_but_not_repeated() {
        let (mut sender, mut receiver) = pair();
        let reports: Vec<_> = (0..4).map(|_| protect_report(&mut sender, OURS)).collect();
        for at in [1, 0, 3, 2] {
            assert_eq!(open_report(&mut receiver, &reports[at]), Ok(report(OURS)));
            assert_eq!(
                open_report(&mut receiver, &reports[at]),
                Err(SrtpError::Replayed)
            );
        }
    }

    #[test]
    fn a_number_of_ours_is_never_used_twice() {
        let (mut sender, mut out) = (pair().0, Vec::new());
        for index in [5, 30_000, 60_000, 65_536 + 3] {
            protect(&mut sender, OURS, index);
        }
        assert_eq!(
            sender.protect_rtp(&rtp(OURS, 3), &mut out),
            Err(SrtpError::Replayed)
        );
        assert!(out.is_empty(), "nothing unprotected is left to be sent");
    }

    #[test]
    fn we_send_neither_extensions_nor_ever_more_sources() {
        let (mut sender, mut out) = (pair().0, Vec::new());
        let mut extended = rtp(OURS, 1);
        extended[0] |= EXTENSION_BIT;
        assert_eq!(
            sender.protect_rtp(&extended, &mut out),
            Err(SrtpError::Extension)
        );
        for ssrc in 0..MAX_SOURCES {
            protect(&mut sender, Ssrc(ssrc as u32), 1);
            protect_report(&mut sender, Ssrc(ssrc as u32));
        }
        assert_eq!(
            sender.protect_rtp(&rtp(Ssrc(99), 1), &mut out),
            Err(SrtpError::TooManySources)
        );
        assert_eq!(
            sender.protect_rtcp(&report(Ssrc(99)), &mut out),
            Err(SrtpError::TooManySources)
        );
    }

    #[test]
    fn a_key_of_the_wrong_length_is_named_so() {
        let error = Receiver::new(PROFILE, &MasterKey(vec![0; 29]))
            .err()
            .unwrap();
        assert_eq!(
            error,
            KeyError::Length {
                got: 29,
                expected: 30
            }
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_opening_panic(mut bytes: Vec<u8>, first in 0x80u8..0xc0, encrypted: bool) {
            let mut receiver = pair().1;
            if let Some(octet) = bytes.first_mut() {
                *octet = first;
            }
            if let (true, Some(at)) = (encrypted, bytes.len().checked_sub(14)) {
                bytes[at] |= 0x80;
            }
            prop_assert!(open(&mut receiver, &bytes).is_err());
            prop_assert!(open_report(&mut receiver, &bytes).is_err());
        }

        #[test]
        fn no_header_of_an_authentic_peer_makes_opening_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 12..80), first in 0x80u8..0xc0, known_extension: bool,
        ) {
            bytes[0] = first;
            let extension = 12 + 4 * usize::from(first & 0xf);
            if let (true, Some(profile)) = (known_extension, bytes.get_mut(extension..extension + 4)) {
                profile.copy_from_slice(&[0xbe, 0xde, 0, profile[3] % 8]);
            }
            let index = u16::from_be_bytes([bytes[2], bytes[3]]).into();
            let secret = Reference::new(&key()).protect(&bytes, 12, index);
            let (mut receiver, mut out) = (pair().1, Vec::new());
            let opened = receiver.unprotect_rtp(&secret, &mut out).is_ok();
            prop_assert_eq!(out.len(), if opened { bytes.len() } else { 0 });
        }

        #[test]
        fn no_bytes_make_protecting_panic(bytes: Vec<u8>, first in 0x80u8..0xc0) {
            let (mut sender, mut out) = (pair().0, Vec::new());
            let mut bytes = bytes;
            if let Some(octet) = bytes.first_mut() {
                *octet = first;
            }
            let protected = sender.protect_rtp(&bytes, &mut out).is_ok();
            prop_assert_eq!(out.len(), if protected { bytes.len() + 10 } else { 0 });
            let protected = sender.protect_rtcp(&bytes, &mut out).is_ok();
            prop_assert_eq!(out.len(), if protected { bytes.len() + 14 } else { 0 });
        }
    }
}
