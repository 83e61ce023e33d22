//! What both far ends say, made before it is sent and known again when it comes out.
//!
//! ```text
//!   RTP, 12 octets │ 0x48 (Opus, 20 ms) │ "wab" │ number of the packet, 4 │ number of the call, 4 │ a pattern, 48
//! ```

use wabridge::media::rtp::{Header, Seq, Ssrc, Timestamp};
use wabridge::media::sdes::Crypto;
use wabridge::media::srtp::Sender;

use crate::far_ends::messages::METAS_KEY;
use crate::under_test::Call;

/// The payload type of it at Meta, and where nobody wants another.
pub const OPUS: u8 = 111;
/// Octets of 20 ms of speech, as Meta sends them.
pub const SPEECH: usize = 60;
/// Octets of an RTP packet of it.
pub const PACKET: usize = HEADER + SPEECH;
/// Octets of the same under SRTP, with a tag of 80 bits.
pub const SECURED: usize = PACKET + 10;
/// The call that a packet names which serves all calls.
pub const EVERY_CALL: u32 = u32::MAX;

const HEADER: usize = 12;
const MARK: [u8; 4] = [0x48, b'w', b'a', b'b'];

/// What is said in one run.
pub struct Speech {
    /// By Meta, under one key in all calls, so that one packet serves them all.
    secured: Vec<Vec<u8>>,
    /// By the PBX, to each call its own.
    plain: Vec<[u8; PACKET]>,
    /// In each call by this payload type.
    opus: Vec<u8>,
}

impl Speech {
    /// So many packets each way, in so many calls.
    pub fn new(packets: u32, calls: &[Call]) -> Speech {
        let crypto = Crypto::parse(METAS_KEY).expect("Meta's sample");
        let mut protect = Sender::new(crypto.profile, &crypto.key).expect("a key");
        let secured = (0..packets).map(|number| {
            let mut out = Vec::new();
            let packet = packet(number, EVERY_CALL, Ssrc(0x0101_0101));
            protect.protect_rtp(&packet, &mut out).expect("RTP");
            out
        });
        Speech {
            secured: secured.collect(),
            plain: (0..calls.len())
                .map(|call| packet(0, call as u32, Ssrc(0x0202_0202)))
                .collect(),
            opus: calls.iter().map(|call| call.pbxs_opus).collect(),
        }
    }

    /// What Meta sends in every call.
    pub fn secured(&self, number: u32) -> &[u8] {
        &self.secured[number as usize]
    }

    /// Makes the PBX's packet of a call the one of this number.
    pub fn turn_to(&mut self, call: usize, number: u32) {
        let packet = &mut self.plain[call];
        packet[1] = self.opus[call] | u8::from(number == 0) << 7;
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(number * 960).to_be_bytes());
        packet[HEADER + 4..HEADER + 8].copy_from_slice(&number.to_be_bytes());
    }

    /// What the PBX sends in this call.
    pub fn plain(&self, call: usize) -> &[u8] {
        &self.plain[call]
    }
}

fn packet(number: u32, call: u32, ssrc: Ssrc) -> [u8; PACKET] {
    let mut speech = [0; SPEECH];
    speech[..4].copy_from_slice(&MARK);
    speech[4..8].copy_from_slice(&number.to_be_bytes());
    speech[8..12].copy_from_slice(&call.to_be_bytes());
    for (at, octet) in speech.iter_mut().enumerate().skip(12) {
        *octet = pattern(at);
    }
    let header = Header {
        marker: number == 0,
        payload_type: OPUS,
        seq: Seq(number as u16),
        timestamp: Timestamp(number * 960),
        ssrc,
    };
    let mut out = Vec::new();
    header.write(&speech, &mut out);
    out.try_into().expect("12 and 60 octets")
}

fn pattern(at: usize) -> u8 {
    (at as u8).wrapping_mul(31) ^ 0x5a
}

/// The numbers of packet and call in an RTP packet, if every octet of its speech is as it was said.
pub fn read(packet: &[u8]) -> Option<(u32, u32)> {
    let speech = packet.get(HEADER..)?;
    let number = |at: usize| Some(u32::from_be_bytes(speech.get(at..at + 4)?.try_into().ok()?));
    let pattern_is_whole = speech
        .iter()
        .enumerate()
        .skip(12)
        .all(|(at, octet)| *octet == pattern(at));
    let whole = packet.len() == PACKET
        && packet[0] == 0x80
        && is_speech(packet)
        && speech[..4] == MARK
        && pattern_is_whole;
    whole.then_some((number(4)?, number(8)?))
}

/// Whether a packet is no report: Opus has a dynamic payload type, whichever (RFC 3551 §6).
pub fn is_speech(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|kind| kind & 0x7f >= 96)
}
