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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::{Seq, Ssrc, Timestamp};

    fn keep(kept: &mut Kept, number: u32, octets: usize, most: Duration, now: Instant) {
        let header = Header {
            marker: false,
            payload_type: 111,
            seq: Seq(number as u16),
            timestamp: Timestamp(number * 480),
            ssrc: Ssrc(1),
        };
        let payload = &vec![0; octets];
        let codec = Codec::Opus;
        let heard = Heard {
            header,
            codec,
            payload,
        };
        kept.keep(&heard, most, now);
    }

    #[test]
    fn neither_many_packets_nor_large_ones_take_more_memory_than_there_is_for_a_call() {
        let (hour, now) = (Duration::from_secs(3_600), Instant::now());
        for (octets, fit) in [(10, PACKETS), (1_000, OCTETS / 1_000), (60_000, 2)] {
            let mut kept = Kept::default();
            for number in 0..5_000 {
                keep(&mut kept, number, octets, hour, now);
            }
            assert_eq!((kept.packets.len(), kept.count()), (fit, 5_000));
            let (packets, dropped) = kept.release(hour, now);
            assert_eq!((packets.len(), dropped), (fit, 5_000 - fit as u64));
            assert_eq!(packets[fit - 1].header.seq, Seq(4_999), "the newest");
        }
    }

    #[test]
    fn what_is_older_than_the_settings_say_goes_when_another_comes_and_at_the_end() {
        let (most, now) = (Duration::from_millis(100), Instant::now());
        let mut kept = Kept::default();
        for number in 0..20u32 {
            keep(
                &mut kept,
                number,
                50,
                most,
                now + Duration::from_millis(20) * number,
            );
        }
        assert_eq!(kept.packets.len(), 6, "as old as that is not older");
        let (packets, dropped) = kept.release(most, now + Duration::from_millis(20 * 21));
        let numbers: Vec<_> = packets.iter().map(|waiting| waiting.header.seq.0).collect();
        assert_eq!((numbers, dropped), ((16..20).collect(), 16));
    }
}
