//! SRTP and SRTCP (RFC 3711, RFC 7714) for one direction of one side.
//!
//! ```text
//!   packet ─▶ source known? ─ yes ─▶ seen, too old? ─ no ─▶ tag right? ─ yes ─▶ opened; remember, hand on
//!                  │ no                                          ▲
//!                  └──── its index is its number (§3.3.1) ───────┘
//! ```
//!
//! Keys are derived once. What a source costs is which of its packets were seen, and a source of the peer is remembered only
//! once a packet of it proved authentic: strangers leave nothing behind.
//!
//! `derivation` makes keys of a master key, `cipher` packets of packets: by `counter_mode`, whose tags are
//! `hmac_sha1`'s, or by `gcm`.

use super::replay::Seen;
use super::rtp::{HEADER_LEN, Ssrc};
use super::{MasterKey, SrtpProfile};
use cipher::{Cipher, Place};
use derivation::SessionKeys;

mod cipher;
mod counter_mode;
mod derivation;
mod gcm;
mod hmac_sha1;

/// Sources remembered for each of RTP and RTCP. A call has one or two; a peer that transfers calls some more.
const MAX_SOURCES: usize = 16;

/// The E bit before an SRTCP index: the packet is encrypted (RFC 3711 §3.4).
const ENCRYPTED: u32 = 1 << 31;

impl SrtpProfile {
    /// Octets of master key and master salt together.
    pub fn key_and_salt_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// Octets of the master salt alone.
    pub fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AesCm128HmacSha1_80 => 14,
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 12,
        }
    }

    fn key_len(self) -> usize {
        match self {
            SrtpProfile::AesCm128HmacSha1_80 | SrtpProfile::AeadAes128Gcm => 16,
            SrtpProfile::AeadAes256Gcm => 32,
        }
    }

    /// Octets of an SRTCP packet after its index: its tag, except with GCM, whose tag stands before it (RFC 7714 §9.2).
    fn after_rtcp_index(self) -> usize {
        match self {
            SrtpProfile::AesCm128HmacSha1_80 => counter_mode::TAG,
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 0,
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
}

/// Why a packet was not protected, or not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// It is no RTP packet.
    #[error("not an RTP packet (RFC 3550 §5.1)")]
    Rtp,
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
    /// All that a key may protect it has protected (RFC 3711 §9.2).
    #[error("the key is used up")]
    UsedUp,
}

/// The keys of one direction. Those of RTCP, of which there is a packet in some seconds, are made ready for each: ready for use
/// they take ten times the memory.
struct Keys {
    profile: SrtpProfile,
    rtp: Box<Cipher>,
    rtcp: SessionKeys,
}

impl Keys {
    fn new(profile: SrtpProfile, key: &MasterKey) -> Result<Keys, KeyError> {
        let [rtp, rtcp] = SessionKeys::derive(profile, key)?;
        Ok(Keys {
            profile,
            rtp: Box::new(Cipher::new(profile, &rtp)?),
            rtcp,
        })
    }

    fn rtcp(&self) -> Result<Cipher, SrtpError> {
        Cipher::new(self.profile, &self.rtcp).map_err(|_| SrtpError::NoKey)
    }
}

/// Protects what we send with one master key.
pub struct Sender {
    keys: Keys,
    /// Which packets each source of ours has used up: a second one under the same index would share its key stream.
    rtp: Vec<(Ssrc, Seen)>,
    /// The index each source's last report has.
    rtcp: Vec<(Ssrc, u32)>,
}

impl Sender {
    /// A sender with a master key of its own, never shared with another session.
    ///
    /// # Errors
    /// When the key does not fit the profile.
    pub fn new(profile: SrtpProfile, key: &MasterKey) -> Result<Sender, KeyError> {
        Ok(Sender {
            keys: Keys::new(profile, key)?,
            rtp: Vec::with_capacity(1),
            rtcp: Vec::with_capacity(1),
        })
    }

    /// Makes `out` the SRTP packet for an RTP packet.
    ///
    /// # Errors
    /// When it is no RTP, or its number was used before or is too far from the last. `out` is then empty.
    pub fn protect_rtp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        copy(packet, out);
        let sealed = self.seal_rtp(out, 0);
        sealed.inspect_err(|_| out.clear())
    }

    /// Makes the RTP packet that `bytes` ends in, from `start` on, the SRTP packet for it.
    ///
    /// # Errors
    /// As [`Sender::protect_rtp`]; the packet is then as it was.
    pub(crate) fn seal_rtp(&mut self, bytes: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let packet = bytes.get(start..).unwrap_or_default();
        let (ssrc, seq) = rtp_index(packet)?;
        let header = rtp_header_len(packet)?;
        let known = position(&self.rtp, ssrc);
        if known.is_none() && self.rtp.len() == MAX_SOURCES {
            return Err(SrtpError::TooManySources);
        }
        let index = index_of(&self.rtp, known, seq)?;
        let place = Place { ssrc, index };
        self.keys.rtp.seal_rtp(bytes, start, header, place)?;
        remember(&mut self.rtp, known, place);
        Ok(())
    }

    /// Makes `out` the SRTCP packet for a compound RTCP packet.
    ///
    /// # Errors
    /// When it is no RTCP. `out` is then empty.
    pub fn protect_rtcp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        copy(packet, out);
        let sealed = self.seal_rtcp(out, 0);
        sealed.inspect_err(|_| out.clear())
    }

    /// Makes the compound RTCP packet that `bytes` ends in, from `start` on, the SRTCP packet for it.
    ///
    /// # Errors
    /// As [`Sender::protect_rtcp`]; the packet is then as it was.
    pub(crate) fn seal_rtcp(&mut self, bytes: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let ssrc = rtcp_sender(bytes.get(start..).unwrap_or_default())?;
        let index = self.next_rtcp_index(ssrc)?;
        let place = Place {
            ssrc,
            index: index.into(),
        };
        self.keys.rtcp()?.seal_rtcp(bytes, start, place)
    }

    /// The index of this source's next report, which is thereby used.
    fn next_rtcp_index(&mut self, ssrc: Ssrc) -> Result<u32, SrtpError> {
        let at = match self.rtcp.iter().position(|(known, _)| *known == ssrc) {
            Some(at) => at,
            None if self.rtcp.len() == MAX_SOURCES => return Err(SrtpError::TooManySources),
            None => {
                self.rtcp.push((ssrc, 0));
                self.rtcp.len() - 1
            }
        };
        let last = &mut self.rtcp[at].1;
        if *last == ENCRYPTED - 1 {
            return Err(SrtpError::UsedUp);
        }
        *last += 1;
        Ok(*last)
    }
}

/// Opens what the peer sends with one master key.
pub struct Receiver {
    keys: Keys,
    /// Sources that proved authentic, the one heard last at the end.
    rtp: Vec<(Ssrc, Seen)>,
    rtcp: Vec<(Ssrc, Seen)>,
}

impl Receiver {
    /// A receiver with the peer's master key.
    ///
    /// # Errors
    /// When the key does not fit the profile.
    pub fn new(profile: SrtpProfile, key: &MasterKey) -> Result<Receiver, KeyError> {
        Ok(Receiver {
            keys: Keys::new(profile, key)?,
            rtp: Vec::with_capacity(1),
            rtcp: Vec::with_capacity(1),
        })
    }

    /// Makes `out` the RTP packet in an SRTP packet.
    ///
    /// # Errors
    /// When it is no SRTP, was seen before or is not authentic; nothing has then changed, and `out` is empty.
    pub fn unprotect_rtp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        out.clear();
        let (ssrc, seq) = rtp_index(packet)?;
        let known = position(&self.rtp, ssrc);
        let index = index_of(&self.rtp, known, seq)?;
        let header = rtp_header_len(packet)?;
        let place = Place { ssrc, index };
        let opened = self.keys.rtp.open_rtp(packet, header, place, out);
        opened.inspect_err(|_| out.clear())?;
        remember(&mut self.rtp, known, place);
        Ok(())
    }

    /// Makes `out` the RTCP packet in an SRTCP packet.
    ///
    /// # Errors
    /// When it is no SRTCP, was seen before or is not authentic; nothing has then changed, and `out` is empty.
    pub fn unprotect_rtcp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        out.clear();
        let ssrc = rtcp_sender(packet)?;
        let index = rtcp_index(packet, self.keys.profile.after_rtcp_index())?;
        let known = position(&self.rtcp, ssrc);
        if known.is_some_and(|at| !self.rtcp[at].1.is_new(index)) {
            return Err(SrtpError::Replayed);
        }
        let place = Place { ssrc, index };
        let opened = self.keys.rtcp()?.open_rtcp(packet, place, out);
        opened.inspect_err(|_| out.clear())?;
        remember(&mut self.rtcp, known, place);
        Ok(())
    }
}

fn copy(packet: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(packet);
}

fn position(sources: &[(Ssrc, Seen)], ssrc: Ssrc) -> Option<usize> {
    sources.iter().position(|(known, _)| *known == ssrc)
}

/// The index of the packet with this number; of a source's first packet, the number (RFC 3711 §3.3.1).
fn index_of(sources: &[(Ssrc, Seen)], known: Option<usize>, seq: u16) -> Result<u64, SrtpError> {
    match known {
        Some(at) => sources[at].1.place(seq).ok_or(SrtpError::Replayed),
        None => Ok(seq.into()),
    }
}

/// A packet of this place is done with. It belongs to the source at `known`, or to a new one: for it the one silent longest may be
/// forgotten.
fn remember(sources: &mut Vec<(Ssrc, Seen)>, known: Option<usize>, place: Place) {
    if let Some(at) = known {
        sources[at].1.accept(place.index);
        return sources[at..].rotate_left(1);
    }
    if sources.len() == MAX_SOURCES {
        sources.remove(0);
    }
    sources.push((place.ssrc, Seen::starting_with(place.index)));
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

/// Octets of the header, contributing sources and extension included: they are not encrypted.
fn rtp_header_len(packet: &[u8]) -> Result<usize, SrtpError> {
    const EXTENSION: u8 = 1 << 4;
    let first = *packet.first().ok_or(SrtpError::Rtp)?;
    let mut len = HEADER_LEN + 4 * usize::from(first & 0xf);
    if first & EXTENSION != 0 {
        // RFC 3550 §5.3.1: the length counts words after these four octets.
        match packet.get(len..) {
            Some([_, _, high, low, ..]) => {
                len += 4 + 4 * usize::from(u16::from_be_bytes([*high, *low]));
            }
            _ => return Err(SrtpError::Rtp),
        }
    }
    (len <= packet.len()).then_some(len).ok_or(SrtpError::Rtp)
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

/// The index of an SRTCP packet, which so many octets follow.
fn rtcp_index(packet: &[u8], after: usize) -> Result<u64, SrtpError> {
    let until = packet.len().checked_sub(after);
    let word = until
        .and_then(|until| packet.get(..until)?.last_chunk())
        .ok_or(SrtpError::Rtcp)?;
    let word = u32::from_be_bytes(*word);
    if word & ENCRYPTED == 0 {
        return Err(SrtpError::Unencrypted);
    }
    Ok(u64::from(word & !ENCRYPTED))
}

#[cfg(test)]
mod gcm_tests;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
