//! What has been received from one source: loss, jitter and the report block about it (RFC 3550 §6.4.1, A.1, A.3, A.8).

use std::time::{Duration, Instant};

use super::arrivals::{Arrivals, Pattern};
use super::rtcp::{Block, Ntp};
use super::rtp::{MAX_DROPOUT, MAX_MISORDER, Seq, Ssrc, Timestamp};
use super::xr;

/// A packet lasts so long, until two of them in a row tell, as units of a clock and its rate: 20 ms.
const FRAME: (u32, u32) = (1, 50);
/// No packet lasts longer than such a part of a second (RFC 3551 §4.2): 200 ms.
const LONGEST_FRAME: u32 = 5;

/// Larger changes of transit time are a clock that was set anew, not jitter.
const MAX_TRANSIT_CHANGE: Duration = Duration::from_secs(5);

/// Receiver statistics of one source. Feed it only packets that proved to be the source's.
#[derive(Clone, Debug)]
pub struct Reception {
    ssrc: Ssrc,
    /// Clock rate of the timestamps, in Hz.
    clock_rate: u32,
    started: Instant,
    /// Extended numbers: of the first packet, and the highest received.
    first: u64,
    highest: u64,
    /// Packets expected before the source last started anew.
    expected_before: u64,
    received: u64,
    /// Where the source would go on if it has just started anew.
    restart: Option<Seq>,
    /// Arrival minus timestamp of the last packet, in clock units from an origin of no meaning.
    transit: Option<i64>,
    /// In clock units.
    jitter: f64,
    /// Expected and received at the time of the last report.
    reported: (u64, u64),
    last_sender_report: Option<(u32, Instant)>,
    /// Number and timestamp of the last packet of sound, and how long one lasts: units of the clock, and its rate.
    last: Option<(Seq, Timestamp)>,
    frame: (u32, u32),
    arrivals: Arrivals,
    /// What the next summary begins after: number, losses, duplicates.
    summed_up: (u64, u64, u64),
    changes: Changes,
}

/// Changes of transit time since the last summary, in clock units.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    count: u32,
    min: f64,
    max: f64,
    sum: f64,
    squares: f64,
}

impl Changes {
    fn add(&mut self, change: f64) {
        self.min = if self.count == 0 {
            change
        } else {
            self.min.min(change)
        };
        self.max = self.max.max(change);
        self.count = self.count.saturating_add(1);
        self.sum += change;
        self.squares += change * change;
    }

    fn spread(&self) -> Option<xr::Spread> {
        let count = f64::from(self.count);
        let mean = self.sum / count;
        let variance = (self.squares / count - mean * mean).max(0.0);
        (self.count > 0).then_some(xr::Spread {
            min: self.min as u32,
            max: self.max as u32,
            mean: mean as u32,
            deviation: variance.sqrt() as u32,
        })
    }
}

impl Reception {
    /// Statistics that begin with the first packet of a source, which is given to [`Reception::received`] too.
    pub fn starting_with(ssrc: Ssrc, seq: Seq, clock_rate: u32, now: Instant) -> Reception {
        Reception {
            ssrc,
            clock_rate,
            started: now,
            first: seq.0.into(),
            highest: seq.0.into(),
            expected_before: 0,
            received: 0,
            restart: None,
            transit: None,
            jitter: 0.0,
            reported: (0, 0),
            last_sender_report: None,
            last: None,
            frame: FRAME,
            arrivals: Arrivals::default(),
            summed_up: (u64::from(seq.0).wrapping_sub(1), 0, 0),
            changes: Changes::default(),
        }
    }

    /// From now on timestamps count by this clock, in Hz: the source has changed its codec.
    pub fn set_clock(&mut self, rate: u32) {
        if rate != self.clock_rate {
            self.jitter *= f64::from(rate) / f64::from(self.clock_rate.max(1));
            self.clock_rate = rate;
            (self.transit, self.last) = (None, None);
            self.changes = Changes::default();
        }
    }

    /// The source these are the statistics of.
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Counts a packet. `timestamp` is `None` for one that does not tell when it was sampled: all packets of an
    /// event carry the timestamp of its beginning (RFC 4733 §2.2), and may count in another clock.
    pub fn received(&mut self, seq: Seq, timestamp: Option<Timestamp>, now: Instant) {
        if !self.place(seq) {
            return;
        }
        self.received += 1;
        if let Some(timestamp) = timestamp {
            self.measure(timestamp, now);
            self.time(seq, timestamp);
        }
    }

    /// Remembers a sender report of the source, for the round trip its sender will compute.
    pub fn sender_report(&mut self, ntp: Ntp, now: Instant) {
        self.last_sender_report = Some((ntp.middle(), now));
    }

    /// Packets that the source sent and we never saw. Ones that came twice make up for lost ones (A.3).
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// Interarrival jitter.
    pub fn jitter(&self) -> Duration {
        Duration::from_secs_f64(self.jitter / f64::from(self.clock_rate.max(1)))
    }

    /// The report block about this source; its fraction lost is that since the last call.
    pub fn report(&mut self, now: Instant) -> Block {
        let (expected, received) = (self.expected(), self.received);
        let (expected_then, received_then) =
            std::mem::replace(&mut self.reported, (expected, received));
        let expected_since = expected.saturating_sub(expected_then);
        let lost_since = expected_since.saturating_sub(received - received_then);
        let (last_sender_report, delay) = match self.last_sender_report {
            Some((middle, then)) => (middle, now.saturating_duration_since(then)),
            None => (0, Duration::ZERO),
        };
        Block {
            source: self.ssrc,
            fraction_lost: (lost_since * 256)
                .checked_div(expected_since)
                .unwrap_or(0)
                .min(255) as u8,
            lost: (expected as i64 - received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest: self.highest as u32,
            jitter: self.jitter as u32,
            last_sender_report,
            delay,
        }
    }

    /// Share of what the source sent that we never saw, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        self.lost() as f64 / self.expected().max(1) as f64
    }

    /// Whether losses come in bursts, and how long a packet lasts.
    pub(crate) fn pattern(&self) -> (Pattern, Duration) {
        let (units, rate) = self.frame;
        let frame = Duration::from_secs_f64(f64::from(units) / f64::from(rate.max(1)));
        (self.arrivals.pattern(), frame)
    }

    /// What became of the packets since the last call.
    pub(crate) fn summary(&mut self) -> xr::Summary {
        let (lost, duplicates) = (self.lost(), self.arrivals.duplicates());
        let now = (self.highest, lost, duplicates);
        let (highest, lost_then, duplicates_then) = std::mem::replace(&mut self.summed_up, now);
        let since =
            |now: u64, then: u64| u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
        xr::Summary {
            source: self.ssrc,
            first: Seq(highest as u16).next(),
            end: Seq(self.highest as u16).next(),
            lost: Some(since(lost, lost_then)),
            duplicates: Some(since(duplicates, duplicates_then)),
            jitter: std::mem::take(&mut self.changes).spread(),
        }
    }

    fn expected(&self) -> u64 {
        self.expected_before + self.highest - self.first + 1
    }

    /// Whether the packet counts, and where it stands in the sequence (A.1).
    fn place(&mut self, seq: Seq) -> bool {
        let ahead = seq.0.wrapping_sub(self.highest as u16);
        if ahead < MAX_DROPOUT.unsigned_abs() {
            self.highest += u64::from(ahead);
            match ahead {
                0 if self.received > 0 => self.arrivals.older(0),
                _ => self.arrivals.newer(u32::from(ahead.max(1))),
            }
        } else if ahead.wrapping_neg() > MAX_MISORDER.unsigned_abs() {
            // One packet astray is ignored; a second that follows it is a source that started anew.
            if self.restart.replace(seq.next()) != Some(seq) {
                return false;
            }
            self.start_anew(seq);
        } else {
            self.arrivals.older(u32::from(ahead.wrapping_neg()));
        }
        self.restart = None;
        true
    }

    fn start_anew(&mut self, seq: Seq) {
        // The packet that announced it was ignored, so it must not be expected either.
        self.expected_before = self.expected();
        self.first = seq.0.into();
        self.highest = self.first;
        (self.transit, self.last) = (None, None);
        self.arrivals.start_anew();
        self.summed_up.0 = self.first.wrapping_sub(1);
    }

    /// Two packets in a row tell how long one lasts.
    fn time(&mut self, seq: Seq, timestamp: Timestamp) {
        let before = self.last.replace((seq, timestamp));
        let Some((_, then)) = before.filter(|(before, _)| before.next() == seq) else {
            return;
        };
        let units = timestamp.since(then).max(0).unsigned_abs();
        if (1..=self.clock_rate / LONGEST_FRAME).contains(&units) {
            self.frame = (units, self.clock_rate);
        }
    }

    fn measure(&mut self, timestamp: Timestamp, now: Instant) {
        let rate = i64::from(self.clock_rate);
        let since = now.saturating_duration_since(self.started);
        let arrival = (since.as_secs_f64() * rate as f64) as i64;
        // Timestamps wrap, so the difference of two transits is taken modulo 2^32.
        let transit = arrival.wrapping_sub(i64::from(timestamp.0));
        if let Some(before) = self.transit.replace(transit) {
            let change = f64::from((transit.wrapping_sub(before) as i32).unsigned_abs());
            if change < MAX_TRANSIT_CHANGE.as_secs_f64() * rate as f64 {
                self.jitter += (change - self.jitter) / 16.0;
                self.changes.add(change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Duration = Duration::from_millis(20);

    /// Opus at 48 kHz from number `first`; each number sent in time unless `late` says by how much it is late.
    struct Wire {
        reception: Reception,
        start: Instant,
        first: u16,
    }

    impl Wire {
        fn new(first: u16) -> Wire {
            let start = Instant::now();
            Wire {
                reception: Reception::starting_with(Ssrc(9), Seq(first), 48_000, start),
                start,
                first,
            }
        }

        fn packet(&mut self, nth: u32, late: Duration) {
            let seq = Seq(self.first).plus(nth as u16);
            // Just below the wrap of the timestamp, so that every test crosses it.
            let timestamp = Timestamp(u32::MAX - 2_000).plus(nth * 960);
            self.reception
                .received(seq, Some(timestamp), self.start + FRAME * nth + late);
        }

        fn report(&mut self, nth: u32) -> Block {
            self.reception.report(self.start + FRAME * nth)
        }
    }

    #[test]
    fn a_whole_stream_has_no_loss_and_no_jitter_across_the_wrap() {
        let mut wire = Wire::new(65_500);
        (0..200).for_each(|nth| wire.packet(nth, Duration::ZERO));
        let block = wire.report(200);
        assert_eq!((block.lost, block.fraction_lost, block.jitter), (0, 0, 0));
        assert_eq!(block.highest, 65_500 + 199, "one wrap in the upper half");
        assert_eq!(block.source, Ssrc(9));
    }

    #[test]
    fn the_fraction_lost_is_since_the_last_report_and_the_count_is_since_ever() {
        let mut wire = Wire::new(1);
        (0..100)
            .filter(|nth| nth % 4 != 1)
            .for_each(|nth| wire.packet(nth, Duration::ZERO));
        let block = wire.report(100);
        assert_eq!((block.lost, block.fraction_lost), (25, 64));
        (100..200).for_each(|nth| wire.packet(nth, Duration::ZERO));
        let block = wire.report(200);
        assert_eq!((block.lost, block.fraction_lost), (25, 0));
        assert_eq!(wire.reception.lost(), 25);
    }

    #[test]
    fn packets_that_come_twice_count_against_the_lost_ones() {
        let mut wire = Wire::new(1);
        for nth in [0, 1, 1, 1, 2] {
            wire.packet(nth, Duration::ZERO);
        }
        assert_eq!(wire.report(3).lost, -2);
        assert_eq!(wire.reception.lost(), 0);
    }

    #[test]
    fn jitter_comes_near_the_mean_difference_of_transit_times() {
        let mut wire = Wire::new(1);
        (0..400).for_each(|nth| wire.packet(nth, Duration::from_millis(u64::from(nth % 2) * 8)));
        let jitter = wire.reception.jitter();
        assert!((7..=8).contains(&jitter.as_millis()), "{jitter:?}");
        let block = wire.report(400);
        assert!(
            (336..=384).contains(&block.jitter),
            "{} units of 1/48000 s",
            block.jitter
        );
    }

    #[test]
    fn events_and_a_clock_set_anew_are_no_jitter() {
        let mut wire = Wire::new(1);
        wire.packet(0, Duration::ZERO);
        wire.reception.received(Seq(2), None, wire.start + FRAME);
        wire.reception
            .received(Seq(3), Some(Timestamp(500_000_000)), wire.start + FRAME * 2);
        wire.reception
            .received(Seq(4), Some(Timestamp(77)), wire.start + FRAME * 3);
        assert_eq!(wire.reception.jitter(), Duration::ZERO);
    }

    #[test]
    fn a_source_that_starts_anew_keeps_its_losses_and_a_stray_packet_does_nothing() {
        let mut wire = Wire::new(10);
        [0, 1, 3]
            .into_iter()
            .for_each(|nth| wire.packet(nth, Duration::ZERO));
        wire.packet(40_000, Duration::ZERO);
        wire.packet(4, Duration::ZERO);
        assert_eq!((wire.reception.lost(), wire.report(5).highest), (1, 14));
        (20_000..20_010).for_each(|nth| wire.packet(nth, Duration::ZERO));
        assert_eq!((wire.reception.lost(), wire.report(6).highest), (1, 20_019));
    }

    #[test]
    fn the_delay_since_the_last_sender_report_is_told() {
        let mut wire = Wire::new(1);
        wire.packet(0, Duration::ZERO);
        assert_eq!(wire.report(0).last_sender_report, 0);
        wire.reception
            .sender_report(Ntp(0x1111_2222_3333_4444), wire.start);
        let block = wire.report(50);
        assert_eq!(block.last_sender_report, 0x2222_3333);
        assert_eq!(block.delay, Duration::from_secs(1));
    }

    #[test]
    fn a_source_that_changes_its_codec_is_measured_by_the_other_clock() {
        let mut wire = Wire::new(1);
        (0..400).for_each(|nth| wire.packet(nth, Duration::from_millis(u64::from(nth % 2) * 8)));
        let before = wire.reception.jitter();
        wire.reception.set_clock(8_000);
        let apart = wire.reception.jitter().abs_diff(before);
        assert!(apart < Duration::from_micros(1), "{apart:?}");
        for nth in 400..800 {
            let at = wire.start + FRAME * nth;
            let seq = Seq(1).plus(nth as u16);
            wire.reception.received(seq, Some(Timestamp(nth * 160)), at);
        }
        assert!(wire.reception.jitter() < Duration::from_micros(1));
        assert_eq!(wire.reception.pattern().1, FRAME);
    }

    #[test]
    fn a_summary_tells_of_the_packets_since_the_last_one() {
        let mut wire = Wire::new(65_500);
        for nth in (0..100).filter(|nth| nth % 10 != 5) {
            wire.packet(nth, Duration::from_millis(u64::from(nth % 2)));
        }
        wire.packet(99, Duration::ZERO);
        let summary = wire.reception.summary();
        let numbers = (summary.first, summary.end);
        assert_eq!(numbers, (Seq(65_500), Seq(65_500).plus(100)));
        assert_eq!((summary.lost, summary.duplicates), (Some(9), Some(1)));
        let spread = summary.jitter.unwrap();
        assert!(spread.max >= 47 && spread.mean <= 48, "{spread:?}");
        (100..110).for_each(|nth| wire.packet(nth, Duration::ZERO));
        let summary = wire.reception.summary();
        assert_eq!(summary.first, Seq(65_500).plus(100));
        assert_eq!((summary.lost, summary.duplicates), (Some(0), Some(0)));
        assert_eq!(wire.reception.summary().jitter, None);
    }

    proptest! {
        #[test]
        fn no_sequence_of_packets_makes_it_panic(
            first: u16, packets: Vec<(u16, Option<u32>, u16)>,
        ) {
            let start = Instant::now();
            let mut reception = Reception::starting_with(Ssrc(1), Seq(first), 48_000, start);
            for (seq, timestamp, late) in packets {
                let now = start + Duration::from_millis(late.into());
                reception.received(Seq(seq), timestamp.map(Timestamp), now);
                let block = reception.report(now);
                let _ = (reception.summary(), reception.pattern());
                prop_assert!((0.0..=1.0).contains(&reception.loss()));
                prop_assert!(block.lost >= -0x80_0000 && block.lost <= 0x7f_ffff);
                prop_assert!(reception.jitter() <= MAX_TRANSIT_CHANGE);
            }
        }
    }
}
