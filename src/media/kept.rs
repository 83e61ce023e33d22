//! What the PBX says while Meta cannot be sent to yet: kept, so that no first word is lost.
//!
//! The newest is worth most, because it joins what follows; so it is the oldest that makes room.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::codec::Codec;
use super::rtp::Header;
use super::side::Heard;

/// The most packets: ten seconds in frames of 10 ms.
const PACKETS: usize = 1_000;
/// The most octets: two seconds of Opus at the highest rate there is (RFC 6716 §2.1.1).
const OCTETS: usize = 128 * 1024;

/// Packets of one side that wait for the other.
#[derive(Default)]
pub(crate) struct Kept {
    packets: VecDeque<Waiting>,
    octets: usize,
    /// How many had to make room.
    dropped: u64,
}

/// A packet that waits, in clear.
pub(crate) struct Waiting {
    /// When it came.
    pub(crate) arrived: Instant,
    header: Header,
    codec: Codec,
    payload: Vec<u8>,
}

impl Waiting {
    /// It as it was heard.
    pub(crate) fn heard(&self) -> Heard<'_> {
        Heard {
            header: self.header,
            codec: self.codec,
            payload: &self.payload,
        }
    }
}

impl Kept {
    /// Keeps a packet, and of the others those that came less than `most` ago.
    pub(crate) fn keep(&mut self, heard: &Heard<'_>, most: Duration, now: Instant) {
        let header = heard.header;
        // A stream begins with the first packet that is sent of it, and takes none that is older.
        let newer = |kept: &Waiting| {
            kept.header.ssrc == header.ssrc && kept.header.seq.since(header.seq) > 0
        };
        let older = self.packets.iter().rposition(|kept| !newer(kept));
        let waiting = Waiting {
            arrived: now,
            header,
            codec: heard.codec,
            payload: heard.payload.to_vec(),
        };
        self.octets += waiting.payload.len();
        self.packets.insert(older.map_or(0, |at| at + 1), waiting);
        self.expire(most, now);
    }

    /// Lets go of what is older than `most`, or more than is kept of anybody.
    fn expire(&mut self, most: Duration, now: Instant) {
        while let Some(oldest) = self.packets.front() {
            let old = now.saturating_duration_since(oldest.arrived) > most;
            if !old && self.packets.len() <= PACKETS && self.octets <= OCTETS {
                break;
            }
            self.octets -= oldest.payload.len();
            self.packets.pop_front();
            self.dropped += 1;
        }
    }

    /// What is still worth sending, in order, and how many had to make room.
    pub(crate) fn release(mut self, most: Duration, now: Instant) -> (VecDeque<Waiting>, u64) {
        self.expire(most, now);
        (self.packets, self.dropped)
    }

    /// How many came, whatever became of them.
    pub(crate) fn count(&self) -> u64 {
        self.dropped + self.packets.len() as u64
    }
}
