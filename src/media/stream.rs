//! The one stream that a side hears, whatever the other side does with its own.
//!
//! ```text
//!   source   ssrc A  …, 17, 18, 20 | ssrc B  901, 902 | nothing   | 903
//!   stream   ssrc S  …, 54, 55, 57 |         58,  59  | 60 (ours) | 61
//!                          ▲ a lost packet stays a gap, so that Opus FEC can mend it
//! ```
//!
//! Meta's relay garbles or drops a call whose SSRC, sequence or clock jumps, so a source that starts anew is taken
//! on where the stream stands. Each packet is placed on its own; none is kept waiting for another.

use std::time::{Duration, Instant};

use super::rtp::{MAX_DROPOUT, MAX_MISORDER, Seq, Ssrc, Timestamp};

/// The clock of Opus in Hz, which every stream has until something else is agreed. Events share the base of their sound
/// (RFC 4733 §2.1).
const OPUS: u32 = 48_000;
/// Milliseconds in a frame.
const FRAME_MS: u32 = 20;
/// How far the source's clock may run ahead of ours between two packets, in milliseconds: network jitter, not more.
const CLOCK_AHEAD_MS: u32 = 1_000;
/// How far behind the newest audio an event may have begun, in milliseconds.
const EVENT_BEHIND_MS: u32 = 2_000;

/// What must be known of a packet to place it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arriving {
    pub(crate) ssrc: Ssrc,
    pub(crate) seq: Seq,
    pub(crate) timestamp: Timestamp,
    pub(crate) marker: bool,
    /// Sound, as opposed to an event.
    pub(crate) audio: bool,
}

/// Where a packet stands in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) seq: Seq,
    pub(crate) timestamp: Timestamp,
    pub(crate) marker: bool,
}

/// One SSRC, one sequence, one clock.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Samples of its clock in a millisecond.
    per_ms: u32,
    /// Newest sequence number given out.
    newest: Seq,
    /// Which of the last 128 numbers were given out; bit 0 is `newest`.
    given: u128,
    /// The newest audio's timestamp, and when it was due.
    clock: (Timestamp, Instant),
    source: Option<Mapping>,
}

/// How the current source's numbers become the stream's.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    ssrc: Ssrc,
    newest: Seq,
    seq_offset: u16,
    ts_offset: u32,
    /// Numbers up to this one have lost their place: they are older than the mapping, or beyond reordering.
    floor: Seq,
    /// Where the source would go on if its last, wildly different number was meant.
    suspect: Option<Seq>,
    /// Frames of our own were put in since its last packet.
    interrupted: bool,
    /// The current event's timestamp, the source's and ours: it stays the same in all its packets.
    event: Option<(Timestamp, Timestamp)>,
}

impl Stream {
    /// A stream that begins after `before`, at `timestamp` now.
    pub(crate) fn new(before: Seq, timestamp: Timestamp, now: Instant) -> Stream {
        Stream {
            per_ms: OPUS / 1000,
            newest: before,
            given: 0,
            clock: (timestamp, now),
            source: None,
        }
    }

    /// Places a packet of the source; `None` if it came before, or has lost its place.
    pub(crate) fn place(&mut self, packet: &Arriving, now: Instant) -> Option<Place> {
        let Some(mut mapping) = self.source.filter(|m| m.ssrc == packet.ssrc) else {
            return Some(self.adopt(packet, now));
        };
        let ahead = packet.seq.since(mapping.newest);
        if ahead > 0 && ahead < MAX_DROPOUT {
            let place = self.next(&mut mapping, packet, now);
            self.source = Some(mapping);
            Some(place)
        } else if ahead <= 0 && ahead > -MAX_MISORDER {
            self.late(&mapping, packet)
        } else if mapping.suspect == Some(packet.seq) {
            Some(self.adopt(packet, now))
        } else {
            // RFC 3550 appendix A.1: a jump is believed when a second packet continues it.
            mapping.suspect = Some(packet.seq.next());
            self.source = Some(mapping);
            None
        }
    }

    /// A place for a frame of our own, where the source leaves a silence.
    pub(crate) fn insert(&mut self, now: Instant) -> Place {
        let timestamp = self.due(now);
        let place = Place {
            marker: self.source.is_none(),
            ..self.insert_at(timestamp)
        };
        // Counted in whole frames from the last one, so that the clock does not lag behind by the rests.
        let samples = place.timestamp.0.wrapping_sub(self.clock.0.0);
        let due = self.clock.1 + Duration::from_millis(u64::from(samples / self.per_ms));
        self.clock = (place.timestamp, due);
        place
    }

    /// A place for a packet of our own at a time that is not the present: those of an event share its beginning.
    pub(crate) fn insert_at(&mut self, timestamp: Timestamp) -> Place {
        let seq = self.newest.next();
        if let Some(mapping) = &mut self.source {
            mapping.seq_offset = mapping.seq_offset.wrapping_add(1);
            mapping.floor = mapping.newest;
            mapping.interrupted = true;
        }
        self.give(seq);
        Place {
            seq,
            timestamp,
            marker: false,
        }
    }

    /// A packet of the source has no place, for ours stand where it would. It is not to look lost.
    pub(crate) fn leave_out(&mut self, packet: &Arriving) {
        let Some(mapping) = self.source.as_mut().filter(|m| m.ssrc == packet.ssrc) else {
            return;
        };
        let ahead = packet.seq.since(mapping.newest);
        if ahead > 0 && ahead < MAX_DROPOUT {
            mapping.seq_offset = mapping.seq_offset.wrapping_sub(ahead.unsigned_abs());
            (mapping.newest, mapping.floor) = (packet.seq, packet.seq);
            mapping.interrupted = true;
        }
    }

    /// Hz of its clock.
    pub(crate) fn clock_rate(&self) -> u32 {
        self.per_ms * 1000
    }

    /// From now on its clock counts `rate` Hz, for its sound is another codec's: it goes on from where it stands.
    pub(crate) fn count_in(&mut self, rate: u32, now: Instant) {
        let per_ms = (rate / 1000).max(1);
        if per_ms != self.per_ms {
            self.clock = (self.timestamp(now), now);
            self.per_ms = per_ms;
            self.source = None;
        }
    }

    /// The stream's clock at this moment, for sender reports (RFC 3550 §6.4.1).
    pub(crate) fn timestamp(&self, now: Instant) -> Timestamp {
        self.clock.0.plus(self.elapsed(now))
    }

    /// Takes on a source that starts anew, right after the newest packet.
    fn adopt(&mut self, packet: &Arriving, now: Instant) -> Place {
        let seq = self.newest.next();
        let timestamp = self.due(now);
        self.source = Some(Mapping {
            ssrc: packet.ssrc,
            newest: packet.seq,
            seq_offset: seq.0.wrapping_sub(packet.seq.0),
            ts_offset: timestamp.0.wrapping_sub(packet.timestamp.0),
            floor: packet.seq.plus(u16::MAX),
            suspect: None,
            interrupted: false,
            event: (!packet.audio).then_some((packet.timestamp, timestamp)),
        });
        self.give(seq);
        if packet.audio {
            self.clock = (timestamp, now);
        }
        Place {
            seq,
            timestamp,
            marker: packet.marker || packet.audio,
        }
    }

    /// The source goes on, perhaps after a loss, which stays visible.
    fn next(&mut self, mapping: &mut Mapping, packet: &Arriving, now: Instant) -> Place {
        let seq = packet.seq.plus(mapping.seq_offset);
        mapping.newest = packet.seq;
        mapping.suspect = None;
        if packet.seq.since(mapping.floor) > MAX_MISORDER {
            mapping.floor = packet.seq.plus((-MAX_MISORDER) as u16);
        }
        self.give(seq);
        if !packet.audio {
            return Place {
                seq,
                timestamp: self.event_time(mapping, packet, now),
                marker: packet.marker,
            };
        }
        let mapped = packet.timestamp.plus(mapping.ts_offset);
        let ahead = mapped.since(self.clock.0);
        let mut marker = packet.marker || std::mem::take(&mut mapping.interrupted);
        let timestamp = if ahead > 0 && ahead.unsigned_abs() <= self.latest(now) {
            mapped
        } else {
            let timestamp = self.due(now);
            mapping.ts_offset = timestamp.0.wrapping_sub(packet.timestamp.0);
            mapping.floor = packet.seq.plus(u16::MAX);
            marker = true;
            timestamp
        };
        self.clock = (timestamp, now);
        Place {
            seq,
            timestamp,
            marker,
        }
    }

    /// An older packet takes the place that was left for it, once.
    fn late(&mut self, mapping: &Mapping, packet: &Arriving) -> Option<Place> {
        let seq = packet.seq.plus(mapping.seq_offset);
        let back = u32::from(self.newest.0.wrapping_sub(seq.0));
        let bit = 1u128.checked_shl(back)?;
        if packet.seq.since(mapping.floor) <= 0 || self.given & bit != 0 {
            return None;
        }
        self.given |= bit;
        let timestamp = match mapping.event {
            Some((theirs, ours)) if theirs == packet.timestamp && !packet.audio => ours,
            _ => packet.timestamp.plus(mapping.ts_offset),
        };
        Some(Place {
            seq,
            timestamp,
            marker: packet.marker,
        })
    }

    /// When an event began, on the stream's clock. A source that counts events on another clock than its audio is
    /// given the present instead.
    fn event_time(&self, mapping: &mut Mapping, packet: &Arriving, now: Instant) -> Timestamp {
        if let Some((theirs, ours)) = mapping.event
            && theirs == packet.timestamp
        {
            return ours;
        }
        let mapped = packet.timestamp.plus(mapping.ts_offset);
        let ahead = mapped.since(self.clock.0);
        let earliest = if mapping.interrupted {
            1
        } else {
            -((EVENT_BEHIND_MS * self.per_ms) as i32)
        };
        let plausible = ahead >= earliest && i64::from(ahead) <= i64::from(self.latest(now));
        let ours = if plausible { mapped } else { self.due(now) };
        mapping.event = Some((packet.timestamp, ours));
        ours
    }

    /// The timestamp of a frame that is due now: whole frames after the newest audio, at least one once there is any.
    pub(crate) fn due(&self, now: Instant) -> Timestamp {
        let frame = FRAME_MS * self.per_ms;
        let frames = (self.elapsed(now) / frame).max(u32::from(self.given != 0));
        self.clock.0.plus(frames.wrapping_mul(frame))
    }

    /// How far ahead of the newest audio the next may be, in samples.
    fn latest(&self, now: Instant) -> u32 {
        let ahead = CLOCK_AHEAD_MS * self.per_ms;
        self.elapsed(now).saturating_add(ahead)
    }

    /// Samples since the newest audio was due.
    fn elapsed(&self, now: Instant) -> u32 {
        let micros = now.saturating_duration_since(self.clock.1).as_micros();
        (micros * u128::from(self.per_ms) / 1000) as u32
    }

    /// Notes that `seq`, newer than all before, is given out.
    fn give(&mut self, seq: Seq) {
        let step = u32::from(seq.0.wrapping_sub(self.newest.0));
        self.given = self.given.checked_shl(step).unwrap_or(0) | 1;
        self.newest = seq;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 0xaaaa;
    const B: u32 = 0xbbbb;

    struct Line {
        stream: Stream,
        now: Instant,
    }

    /// A stream that stands at sequence number 999 and timestamp 0.
    fn line() -> Line {
        let now = Instant::now();
        Line {
            stream: Stream::new(Seq(999), Timestamp(0), now),
            now,
        }
    }

    impl Line {
        fn audio(&mut self, ssrc: u32, seq: u16, timestamp: u32) -> Option<(u16, u32, bool)> {
            self.packet(ssrc, seq, timestamp, true)
        }

        fn packet(
            &mut self,
            ssrc: u32,
            seq: u16,
            timestamp: u32,
            audio: bool,
        ) -> Option<(u16, u32, bool)> {
            let (ssrc, seq, timestamp) = (Ssrc(ssrc), Seq(seq), Timestamp(timestamp));
            let packet = Arriving {
                ssrc,
                seq,
                timestamp,
                marker: false,
                audio,
            };
            self.stream
                .place(&packet, self.now)
                .map(|p| (p.seq.0, p.timestamp.0, p.marker))
        }

        fn silence(&mut self) -> (u16, u32) {
            let place = self.stream.insert(self.now);
            (place.seq.0, place.timestamp.0)
        }

        fn wait(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }
    }

    #[test]
    fn a_loss_stays_a_gap_of_the_same_size() {
        let mut l = line();
        assert_eq!(l.audio(A, 17, 5_000), Some((1000, 0, true)));
        assert_eq!(l.wait(20).audio(A, 18, 5_960), Some((1001, 960, false)));
        assert_eq!(l.wait(60).audio(A, 21, 8_840), Some((1004, 3_840, false)));
    }

    #[test]
    fn a_reordered_packet_takes_its_place_and_a_repeated_one_is_dropped() {
        let mut l = line();
        l.audio(A, 17, 0);
        assert_eq!(l.wait(40).audio(A, 19, 1_920), Some((1002, 1_920, false)));
        assert_eq!(l.audio(A, 18, 960), Some((1001, 960, false)));
        assert_eq!(l.audio(A, 18, 960), None);
        assert_eq!(l.audio(A, 19, 1_920), None);
        assert_eq!(l.audio(A, 16, 0), None, "older than the stream");
    }

    #[test]
    fn sequence_numbers_wrap_on_either_side() {
        let mut l = line();
        l.stream = Stream::new(Seq(65_533), Timestamp(u32::MAX - 959), l.now);
        assert_eq!(
            l.audio(A, 65_535, u32::MAX - 1_919),
            Some((65_534, u32::MAX - 959, true))
        );
        assert_eq!(
            l.wait(20).audio(A, 0, u32::MAX - 959),
            Some((65_535, 0, false))
        );
        assert_eq!(l.wait(20).audio(A, 1, 0), Some((0, 960, false)));
        assert_eq!(l.wait(20).audio(A, 3, 1_920), Some((2, 2_880, false)));
        assert_eq!(l.audio(A, 2, 960), Some((1, 1_920, false)));
    }

    #[test]
    fn another_ssrc_goes_on_where_the_stream_stands() {
        let mut l = line();
        l.audio(A, 17, 5_000);
        l.wait(20).audio(A, 18, 5_960);
        assert_eq!(l.wait(40).audio(B, 40_000, 77), Some((1002, 2_880, true)));
        assert_eq!(
            l.wait(20).audio(B, 40_001, 1_037),
            Some((1003, 3_840, false))
        );
    }

    #[test]
    fn a_sequence_jump_is_believed_when_a_second_packet_continues_it() {
        let mut l = line();
        l.audio(A, 17, 5_000);
        assert_eq!(l.wait(20).audio(A, 30_000, 90_000), None);
        assert_eq!(
            l.audio(A, 18, 5_960),
            Some((1001, 960, false)),
            "a stray number changes nothing"
        );
        assert_eq!(l.wait(20).audio(A, 30_001, 90_960), None);
        assert_eq!(
            l.wait(20).audio(A, 30_002, 91_920),
            Some((1002, 2_880, true))
        );
    }

    #[test]
    fn a_clock_that_jumps_is_rebased_forwards_and_backwards() {
        let mut l = line();
        l.audio(A, 17, 5_000);
        assert_eq!(
            l.wait(20).audio(A, 18, 900_000_000),
            Some((1001, 960, true))
        );
        assert_eq!(
            l.wait(20).audio(A, 19, 900_000_960),
            Some((1002, 1_920, false))
        );
        assert_eq!(l.wait(20).audio(A, 20, 3), Some((1003, 2_880, true)));
    }

    #[test]
    fn a_burst_after_a_stall_keeps_the_clock_of_its_source() {
        let mut l = line();
        l.audio(A, 1, 0);
        l.wait(300);
        for n in 1..=15u16 {
            assert_eq!(
                l.audio(A, 1 + n, 960 * u32::from(n)),
                Some((1000 + n, 960 * u32::from(n), false))
            );
        }
    }

    #[test]
    fn the_marker_of_the_source_is_kept() {
        let mut l = line();
        l.audio(A, 17, 0);
        let (ssrc, timestamp) = (Ssrc(A), Timestamp(960));
        let packet = Arriving {
            ssrc,
            seq: Seq(18),
            timestamp,
            marker: true,
            audio: false,
        };
        assert!(
            l.stream.place(&packet, l.now).unwrap().marker,
            "an event begins"
        );
    }

    #[test]
    fn silence_goes_between_and_the_source_resumes_after_it() {
        let mut l = line();
        assert_eq!(l.silence(), (1000, 0), "before anything is received");
        assert_eq!(l.wait(100).audio(A, 17, 5_000), Some((1001, 4_800, true)));
        assert_eq!(l.wait(400).silence(), (1002, 24_000));
        assert_eq!(l.wait(400).silence(), (1003, 43_200));
        // The source's clock ran on meanwhile, so it still fits.
        assert_eq!(l.wait(100).audio(A, 18, 48_200), Some((1004, 48_000, true)));
        assert_eq!(l.wait(20).audio(A, 19, 49_160), Some((1005, 48_960, false)));
    }

    #[test]
    fn a_source_whose_clock_stood_still_in_the_silence_never_goes_back() {
        let mut l = line();
        l.audio(A, 17, 5_000);
        l.wait(400).silence();
        assert_eq!(l.wait(10).audio(A, 18, 5_960), Some((1002, 20_160, true)));
        assert_eq!(l.audio(A, 17, 5_000), None, "its place has gone");
        assert_eq!(l.wait(20).audio(A, 19, 6_920), Some((1003, 21_120, false)));
    }

    #[test]
    fn what_is_left_out_for_an_event_of_ours_leaves_no_gap() {
        let mut l = line();
        l.audio(A, 17, 0);
        l.wait(20);
        let begun = l.stream.insert(l.now);
        assert_eq!((begun.seq.0, begun.timestamp.0), (1001, 960));
        for seq in [18, 20, 19] {
            let (ssrc, seq, timestamp) = (Ssrc(A), Seq(seq), Timestamp(0));
            l.stream.leave_out(&Arriving {
                ssrc,
                seq,
                timestamp,
                marker: false,
                audio: true,
            });
        }
        let end = l.wait(60).stream.insert_at(begun.timestamp);
        assert_eq!((end.seq.0, end.timestamp.0), (1002, 960));
        assert_eq!(l.audio(A, 21, 3_840), Some((1003, 3_840, true)));
        assert_eq!(l.wait(20).audio(A, 22, 4_800), Some((1004, 4_800, false)));
        assert_eq!(l.audio(A, 19, 1_920), None, "it was left out");
    }

    #[test]
    fn a_packet_from_before_a_silence_does_not_slip_into_the_place_of_another() {
        let mut l = line();
        l.audio(A, 17, 0);
        l.wait(60).audio(A, 20, 2_880);
        l.wait(400).silence();
        assert_eq!(
            l.audio(A, 18, 960),
            None,
            "its place was counted from before the silence"
        );
    }

    #[test]
    fn silence_keeps_pace_with_the_clock_though_it_comes_late_each_time() {
        let mut l = line();
        l.silence();
        let last = (0..100).map(|_| l.wait(413).silence().1).last().unwrap();
        let real = 41_300 * 48;
        assert!(real - last < 960, "{last} of {real}");
    }

    #[test]
    fn an_event_shares_the_sequence_and_keeps_its_one_timestamp() {
        let mut l = line();
        l.audio(A, 17, 5_000);
        assert_eq!(
            l.wait(20).packet(A, 18, 5_960, false),
            Some((1001, 960, false))
        );
        assert_eq!(
            l.wait(20).packet(A, 19, 5_960, false),
            Some((1002, 960, false))
        );
        assert_eq!(
            l.wait(20).packet(A, 20, 5_960, false),
            Some((1003, 960, false))
        );
        assert_eq!(l.wait(20).audio(A, 21, 8_840), Some((1004, 3_840, false)));
    }

    #[test]
    fn an_event_on_a_clock_of_its_own_is_put_into_the_present() {
        let mut l = line();
        l.audio(A, 17, 5_000);
        assert_eq!(
            l.wait(20).packet(A, 18, 2_000_000_000, false),
            Some((1001, 960, false))
        );
        assert_eq!(
            l.wait(40).packet(A, 19, 2_000_000_000, false),
            Some((1002, 960, false))
        );
        assert_eq!(l.wait(20).audio(A, 20, 8_840), Some((1003, 3_840, false)));
    }

    proptest::proptest! {
        #[test]
        fn no_place_is_given_twice_and_new_audio_never_goes_back_in_time(
            steps in proptest::collection::vec((0u8..12, 0u16..40, 0u32..4_000, 0u64..700), 1..300),
        ) {
            let mut l = line();
            let mut given = std::collections::HashSet::new();
            let (mut newest, mut latest) = (999i64, None::<u32>);
            let (mut ssrc, mut seq, mut timestamp) = (A, 0u16, 0u32);
            for (what, step, ticks, wait) in steps {
                l.wait(wait);
                let audio = what != 9;
                let place = match what {
                    0..=5 => { seq = seq.wrapping_add(1); timestamp = timestamp.wrapping_add(960); None }
                    6 => { seq = seq.wrapping_add(step); timestamp = timestamp.wrapping_add(ticks); None }
                    7 => { ssrc ^= 1; seq = seq.wrapping_mul(7); None }
                    8 => { seq = seq.wrapping_sub(step); None }
                    9 => { seq = seq.wrapping_add(1); None }
                    10 => { seq = seq.wrapping_add(step * 1_500); timestamp = timestamp.wrapping_mul(3); None }
                    _ => Some(l.silence()),
                };
                let placed = place.or_else(|| l.packet(ssrc, seq, timestamp, audio).map(|(s, t, _)| (s, t)));
                let Some((seq, timestamp)) = placed else { continue };
                let index = newest + i64::from(seq.wrapping_sub(newest as u16) as i16);
                proptest::prop_assert!(given.insert(index), "{index} twice");
                if index > newest {
                    newest = index;
                    if audio {
                        let ahead = latest.map_or(1, |latest| timestamp.wrapping_sub(latest) as i32);
                        proptest::prop_assert!(ahead > 0, "{ahead}");
                        latest = Some(timestamp);
                    }
                }
            }
        }
    }
}
