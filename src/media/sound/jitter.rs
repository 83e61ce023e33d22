//! Packets that wait to be played, in the order they were sent; and which of those that come belong there.
//!
//! ```text
//!   comes ──▶ follows what came before? ──yes──▶ seen already? ──no──▶ in its place, by sequence number
//!                  │ no                               └─yes──▶ dropped
//!                  └──▶ dropped, but remembered: when the next one follows it, the source began anew (RFC 3550 §A.1)
//! ```

use std::collections::VecDeque;

use crate::media::rtp::{MAX_DROPOUT, MAX_MISORDER, Seq, Timestamp};

/// What waits at most: 2.5 s of packets of 20 ms, of any size that a network carries.
const MOST_PACKETS: usize = 128;
const MOST_OCTETS: usize = 128 * 1024;

/// Packets refused in a row after which the source is taken as it is.
const STUBBORN: u32 = 25;

/// A packet that waits.
pub(super) struct Waiting {
    /// Sequence number without wraps; the zero is that of the first packet of the stream.
    pub(super) seq: i64,
    /// When it begins, in samples since the first packet of the stream.
    pub(super) at: i64,
    /// Samples in it.
    pub(super) samples: usize,
    pub(super) payload: Vec<u8>,
}

impl Waiting {
    /// Where its sound ends.
    pub(super) fn end(&self) -> i64 {
        self.at + self.samples as i64
    }
}

/// What a packet is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It belongs to the stream, so many packets after the newest, or before it; and begins so many samples after the first.
    Stream { seq: i64, at: i64, ahead: i64 },
    /// The source began anew with this one: nothing known before holds.
    Anew,
    /// It came before.
    Duplicate,
    /// It cannot be of this stream.
    Strange,
}

/// The packets of one stream.
pub(super) struct Queue {
    rate: i64,
    clock_rate: i64,
    newest: Option<Newest>,
    suspect: Option<(Seq, Timestamp)>,
    refused: u32,
    waiting: VecDeque<Waiting>,
    octets: usize,
    /// The last numbers that no sound has, in order: events share the sequence (RFC 4733 §2.2).
    soundless: VecDeque<i64>,
}

/// The packet sent last of those that came.
struct Newest {
    number: Seq,
    timestamp: Timestamp,
    seq: i64,
    /// Clock units since the first packet.
    units: i64,
    samples: usize,
    /// Which of the packets up to this one came: bit 0 is this one.
    came: u128,
}

impl Queue {
    /// For sound at `rate` of a source whose timestamps count `clock_rate`.
    pub(super) fn new(rate: u32, clock_rate: u32) -> Queue {
        Queue {
            rate: i64::from(rate.max(1)),
            clock_rate: i64::from(clock_rate.max(1)),
            newest: None,
            suspect: None,
            refused: 0,
            waiting: VecDeque::new(),
            octets: 0,
            soundless: VecDeque::new(),
        }
    }

    /// Forgets all: another source.
    pub(super) fn reset(&mut self) {
        self.waiting.clear();
        self.soundless.clear();
        self.octets = 0;
        self.newest = None;
        self.suspect = None;
        self.refused = 0;
    }

    /// Looks where a packet belongs that came at `now`. `usual` is the range of transits that a stream that goes on has.
    pub(super) fn place(
        &mut self,
        number: Seq,
        timestamp: Timestamp,
        now: i64,
        usual: Option<(i64, i64)>,
    ) -> Place {
        let Some(newest) = &self.newest else {
            return Place::Anew;
        };
        let ahead = number.since(newest.number);
        let goes_on = (-MAX_MISORDER..=MAX_DROPOUT).contains(&ahead);
        let ahead = i64::from(ahead);
        let units = newest.units + i64::from(timestamp.since(newest.timestamp));
        let at = (units * self.rate).div_euclid(self.clock_rate);
        let newest_at = (newest.units * self.rate).div_euclid(self.clock_rate);
        let jump = at - newest_at - ahead * newest.samples as i64;
        let unusual = usual.is_some_and(|(from, to)| !(from..=to).contains(&(now - at)));
        // Half a second that sequence numbers do not explain is a pause when it really took as long, else another clock.
        // And nobody sends half a second ahead of time.
        let unlikely = unusual && jump.abs() > self.rate / 2
            || ahead > 1 && usual.is_some_and(|(from, _)| now - at < from);
        if !goes_on || unlikely {
            return self.strange(number, timestamp);
        }
        if ahead <= 0 && newest.came >> ahead.unsigned_abs() & 1 == 1 {
            return Place::Duplicate;
        }
        Place::Stream {
            seq: newest.seq + ahead,
            at,
            ahead,
        }
    }

    /// Refuses a packet of the stream that came too late; whether so many did that the stream must have changed.
    pub(super) fn refuse(&mut self) -> bool {
        self.refused += 1;
        self.refused >= STUBBORN
    }

    fn strange(&mut self, number: Seq, timestamp: Timestamp) -> Place {
        let follows = self.suspect.is_some_and(|(before, then)| {
            number == before.next() && i64::from(timestamp.since(then)).abs() <= self.clock_rate
        });
        if follows || self.refuse() {
            return Place::Anew;
        }
        self.suspect = Some((number, timestamp));
        Place::Strange
    }

    /// Notes that this packet of the stream came, though it may not wait.
    pub(super) fn note(&mut self, number: Seq, timestamp: Timestamp, samples: usize, place: Place) {
        self.suspect = None;
        match (place, &mut self.newest) {
            (Place::Stream { ahead, .. }, Some(newest)) if ahead <= 0 => {
                newest.came |= 1 << ahead.unsigned_abs().min(127);
            }
            (Place::Stream { seq, ahead, .. }, Some(newest)) => {
                let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
                newest.came = newest.came.checked_shl(shift).unwrap_or(0) | 1;
                newest.units += i64::from(timestamp.since(newest.timestamp));
                newest.number = number;
                newest.timestamp = timestamp;
                newest.seq = seq;
                newest.samples = samples;
            }
            (Place::Anew, newest) => {
                *newest = Some(Newest {
                    number,
                    timestamp,
                    seq: 0,
                    units: 0,
                    samples,
                    came: 1,
                });
            }
            _ => {}
        }
    }

    /// Lets a packet wait; returns how many older ones had to go for it.
    pub(super) fn push(&mut self, seq: i64, at: i64, samples: usize, payload: &[u8]) -> u64 {
        self.refused = 0;
        let index = self.waiting.partition_point(|packet| packet.seq < seq);
        let payload = payload.to_vec();
        self.octets += payload.len();
        self.waiting.insert(
            index,
            Waiting {
                seq,
                at,
                samples,
                payload,
            },
        );
        let mut gone = 0;
        while self.waiting.len() > 1
            && (self.waiting.len() > MOST_PACKETS || self.octets > MOST_OCTETS)
        {
            self.pop();
            gone += 1;
        }
        gone
    }

    /// Notes that what came with this number is no sound.
    pub(super) fn skip(&mut self, number: Seq) {
        let Some(newest) = &self.newest else { return };
        let ahead = number.since(newest.number);
        if !(-MAX_MISORDER..=MAX_DROPOUT).contains(&ahead) {
            return;
        }
        let seq = newest.seq + i64::from(ahead);
        let index = self.soundless.partition_point(|other| *other < seq);
        if self.soundless.get(index) != Some(&seq) {
            self.soundless.insert(index, seq);
        }
        if self.soundless.len() > MOST_PACKETS {
            self.soundless.pop_front();
        }
    }

    /// Whether no sound has this number.
    pub(super) fn is_soundless(&self, seq: i64) -> bool {
        self.soundless.binary_search(&seq).is_ok()
    }

    /// How much sound is missing between the packets of two numbers.
    pub(super) fn missing(&self, from: i64, to: i64) -> i64 {
        let before = |seq| self.soundless.partition_point(|other| *other < seq) as i64;
        to - from - 1 - (before(to) - before(from + 1))
    }

    /// The packet sent first of those that wait.
    pub(super) fn front(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Takes that packet.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let packet = self.waiting.pop_front()?;
        self.octets = self.octets.saturating_sub(packet.payload.len());
        Some(packet)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue that got a packet of 20 ms at 8000 Hz with this number and timestamp.
    fn begun(number: u16, timestamp: u32) -> Queue {
        let mut queue = Queue::new(8_000, 8_000);
        queue.note(Seq(number), Timestamp(timestamp), 160, Place::Anew);
        queue.push(0, 0, 160, &[0; 160]);
        queue
    }

    fn stream(seq: i64, at: i64, ahead: i64) -> Place {
        Place::Stream { seq, at, ahead }
    }

    const USUAL: Option<(i64, i64)> = Some((-4_000, 5_600));

    #[test]
    fn numbers_and_timestamps_go_on_across_their_wraps() {
        let mut queue = begun(65_535, u32::MAX - 79);
        let place = queue.place(Seq(1), Timestamp(240), 320, USUAL);
        assert_eq!(place, stream(2, 320, 2));
        queue.note(Seq(1), Timestamp(240), 160, place);
        let before = queue.place(Seq(0), Timestamp(80), 320, USUAL);
        assert_eq!(before, stream(1, 160, -1));
    }

    #[test]
    fn timestamps_of_48000_hz_count_as_samples_of_the_sound() {
        let mut queue = Queue::new(16_000, 48_000);
        queue.note(Seq(1), Timestamp(5), 320, Place::Anew);
        let place = queue.place(Seq(2), Timestamp(965), 320, USUAL);
        assert_eq!(place, stream(1, 320, 1));
    }

    #[test]
    fn timestamps_of_g722_count_half_as_fast_as_its_samples() {
        let mut queue = Queue::new(16_000, 8_000);
        queue.note(Seq(1), Timestamp(0), 320, Place::Anew);
        let place = queue.place(Seq(2), Timestamp(160), 320, USUAL);
        assert_eq!(place, stream(1, 320, 1));
    }

    #[test]
    fn a_packet_is_known_again_unless_it_is_from_long_ago() {
        let mut queue = begun(100, 16_000);
        let next = queue.place(Seq(102), Timestamp(16_320), 320, USUAL);
        queue.note(Seq(102), Timestamp(16_320), 160, next);
        assert_eq!(
            queue.place(Seq(102), Timestamp(16_320), 330, USUAL),
            Place::Duplicate
        );
        assert_eq!(
            queue.place(Seq(100), Timestamp(16_000), 330, USUAL),
            Place::Duplicate
        );
        assert_ne!(
            queue.place(Seq(101), Timestamp(16_160), 330, USUAL),
            Place::Duplicate
        );
        assert_eq!(
            queue.place(Seq(1), Timestamp(160), 330, USUAL),
            Place::Strange
        );
    }

    #[test]
    fn a_jump_is_believed_when_the_next_packet_follows_it() {
        let mut queue = begun(100, 16_000);
        assert_eq!(
            queue.place(Seq(9_000), Timestamp(77), 160, USUAL),
            Place::Strange
        );
        assert_eq!(
            queue.place(Seq(20_000), Timestamp(77), 160, USUAL),
            Place::Strange
        );
        assert_eq!(
            queue.place(Seq(20_001), Timestamp(237), 320, USUAL),
            Place::Anew
        );
    }

    #[test]
    fn a_timestamp_that_jumps_as_time_does_is_a_pause() {
        let mut queue = begun(100, 16_000);
        let minute = 60 * 8_000;
        let place = queue.place(
            Seq(101),
            Timestamp(16_000 + minute),
            i64::from(minute),
            USUAL,
        );
        assert_eq!(place, stream(1, i64::from(minute), 1));
        assert_eq!(
            queue.place(Seq(101), Timestamp(16_000 + minute), 160, USUAL),
            Place::Strange
        );
    }

    #[test]
    fn no_flood_makes_it_hold_more_than_it_may() {
        let mut queue = begun(0, 0);
        let gone: u64 = (1..10_000)
            .map(|i| queue.push(i, i * 160, 160, &[0; 1_400]))
            .sum();
        assert!(
            queue.len() <= MOST_PACKETS && queue.octets <= MOST_OCTETS,
            "{}",
            queue.len()
        );
        assert_eq!(gone + queue.len() as u64, 10_000);
        assert_eq!(
            queue.octets,
            queue.waiting.iter().map(|p| p.payload.len()).sum::<usize>()
        );
        assert_eq!(
            queue.front().map(|p| p.seq + queue.len() as i64),
            Some(10_000)
        );
    }
}
