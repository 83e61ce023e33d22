//! How each direction of a leg sounds, some seconds at a time, and whether it has turned bad.
//!
//! ```text
//!   counts of packets, jitter, round trip ── every 5 s ──▶ Interval ──▶ the last, the worst
//!                                                              └─ two bad ones in a row ──▶ Turn::Bad
//!                                                              └─ two good ones again ────▶ Turn::Good
//! ```
//!
//! An interval in which too little was said to tell (a pause, a hold) is joined with the next.

use std::time::Duration;

use super::quality::{Coding, Impairment, Path, milliseconds};

/// How long an interval is.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Packets that tell something: a second of 20 ms frames.
const ENOUGH: u64 = 50;
/// Intervals in a row after which a direction has turned.
const IN_A_ROW: u8 = 2;
/// By how much more than what is bad a score must be to be good again, so that none turns to and fro.
const MARGIN: f64 = 0.3;

/// One direction of a leg, seen from the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// What the peer sends, as we hear it.
    In,
    /// What we send, as the peer reports that it hears it.
    Out,
}

impl Way {
    /// Both of them.
    pub const BOTH: [Way; 2] = [Way::In, Way::Out];

    /// A word for it: it stays what it is.
    pub fn word(self) -> &'static str {
        match self {
            Way::In => "in",
            Way::Out => "out",
        }
    }
}

/// What one direction was like for some seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The E-model's mean opinion score, 1 to 4.5.
    pub mos: f64,
    /// Part of the packets that never came, or that whoever plays them could not: our jitter buffer, or the peer, which says so.
    /// 0 to 1.
    pub loss: f64,
    /// Interarrival jitter at its end (RFC 3550 §6.4.1), in milliseconds.
    pub jitter_ms: f64,
    /// What our jitter buffer holds back at its end, in milliseconds; `None` where there is none.
    pub buffered_ms: Option<f64>,
    /// The latest round trip, in milliseconds.
    pub round_trip_ms: Option<f64>,
}

/// How one direction has sounded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// The latest interval.
    pub last: Option<Interval>,
    /// The one with the lowest score.
    pub worst: Option<Interval>,
    /// Whether it has turned bad and not good again.
    pub is_bad: bool,
}

/// An interval, as it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Of which direction.
    pub way: Way,
    /// What it was like.
    pub interval: Interval,
    /// Whether the direction has turned with it.
    pub turn: Option<Turn>,
}

/// How a direction turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It sounds bad; what costs most.
    Bad(Impairment),
    /// It sounds as it should again.
    Good,
}

/// Packets of one direction since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Sent by one end.
    pub(crate) expected: u64,
    /// Not seen by the other.
    pub(crate) lost: u64,
    /// Seen by our jitter buffer, too late to be played.
    pub(crate) late: u64,
}

/// What else is known of a direction when an interval ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    pub(crate) coding: Coding,
    /// Part of the packets that came and could not be played, by what the peer says.
    pub(crate) discarded: f64,
    pub(crate) jitter_ms: f64,
    pub(crate) buffered_ms: Option<f64>,
    pub(crate) round_trip_ms: Option<f64>,
}

/// Judges one direction.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// As it was when the interval began.
    since: Counts,
    quality: Quality,
    /// Intervals in a row that speak for a turn.
    turning: u8,
}

impl Judge {
    /// An interval ends; `None` if too little was sent in it to tell. A score below `bad_mos` is bad.
    pub(crate) fn judge(
        &mut self,
        way: Way,
        now: Counts,
        conditions: &Conditions,
        bad_mos: f64,
    ) -> Option<Measured> {
        // Packets that come late may have been counted as lost before: then there are fewer of them now.
        let expected = now.expected.saturating_sub(self.since.expected);
        if expected < ENOUGH {
            return None;
        }
        let lost = now.lost.saturating_sub(self.since.lost).min(expected);
        let late = now.late.saturating_sub(self.since.late).min(expected);
        self.since = now;
        let path = Path {
            coding: conditions.coding,
            loss: lost as f64 / expected as f64,
            late: late as f64 / expected as f64 + conditions.discarded,
            jitter: milliseconds(conditions.jitter_ms),
            buffer: conditions.buffered_ms.map(milliseconds),
            round_trip: milliseconds(conditions.round_trip_ms.unwrap_or_default()),
        };
        let interval = Interval {
            mos: path.mos(),
            loss: (path.loss + path.late).min(1.0),
            jitter_ms: conditions.jitter_ms,
            buffered_ms: conditions.buffered_ms,
            round_trip_ms: conditions.round_trip_ms,
        };
        self.quality.last = Some(interval);
        let is_worse = |worst: Interval| interval.mos < worst.mos;
        if self.quality.worst.is_none_or(is_worse) {
            self.quality.worst = Some(interval);
        }
        Some(Measured {
            way,
            interval,
            turn: self.turn(&path, bad_mos),
        })
    }

    /// How it has sounded so far.
    pub(crate) fn quality(&self) -> Quality {
        self.quality
    }

    fn turn(&mut self, path: &Path, bad_mos: f64) -> Option<Turn> {
        let is_bad = self.quality.is_bad;
        let turns = match is_bad {
            false => path.mos() < bad_mos,
            true => path.mos() >= bad_mos + MARGIN,
        };
        self.turning = if turns { self.turning + 1 } else { 0 };
        if self.turning < IN_A_ROW {
            return None;
        }
        self.turning = 0;
        self.quality.is_bad = !is_bad;
        Some(if is_bad {
            Turn::Good
        } else {
            Turn::Bad(path.worst())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Codec;

    const BAD: f64 = 3.1;

    /// A direction, and what it has carried.
    #[derive(Default)]
    struct Line {
        judge: Judge,
        counts: Counts,
    }

    impl Line {
        /// An interval of so many packets, of which this share is lost.
        fn next(&mut self, packets: u64, lost: u64) -> Option<Measured> {
            self.counts.expected += packets;
            self.counts.lost += lost;
            let conditions = Conditions {
                coding: Coding::of(Codec::Opus),
                discarded: 0.0,
                jitter_ms: 4.0,
                buffered_ms: None,
                round_trip_ms: Some(60.0),
            };
            self.judge.judge(Way::In, self.counts, &conditions, BAD)
        }

        fn turn(&mut self, lost: u64) -> Option<Turn> {
            self.next(250, lost).unwrap().turn
        }
    }

    #[test]
    fn a_direction_is_bad_after_two_bad_intervals_in_a_row_and_that_is_said_once() {
        let mut line = Line::default();
        let bad = Some(Turn::Bad(Impairment::Loss));
        let turns = [40, 0, 40, 40, 40, 40].map(|lost| line.turn(lost));
        assert_eq!(turns, [None, None, None, bad, None, None]);
        assert!(line.judge.quality().is_bad);
    }

    #[test]
    fn it_is_good_again_after_two_that_are_clearly_better() {
        let mut line = Line::default();
        let bad = Some(Turn::Bad(Impairment::Loss));
        // 9 % of loss is a MOS of 3.27: no longer bad, and not good either.
        let turns = [40, 40, 22, 22, 0, 22, 0, 0].map(|lost| line.turn(lost));
        let good = Some(Turn::Good);
        assert_eq!(turns, [None, bad, None, None, None, None, None, good]);
        assert!(!line.judge.quality().is_bad);
    }

    #[test]
    fn the_last_and_the_worst_interval_are_kept() {
        let mut line = Line::default();
        for lost in [5, 50, 0] {
            line.next(250, lost);
        }
        let quality = line.judge.quality();
        let (last, worst) = (quality.last.unwrap(), quality.worst.unwrap());
        assert_eq!((last.loss, worst.loss), (0.0, 0.2));
        assert!(worst.mos < 2.6 && last.mos > 4.3, "{quality:?}");
    }

    #[test]
    fn a_pause_is_no_interval_and_what_was_said_in_it_is_told_with_the_next() {
        let mut line = Line::default();
        assert_eq!(line.next(0, 0), None);
        assert_eq!(line.next(30, 10), None, "too few to tell");
        assert_eq!(line.next(30, 5).unwrap().interval.loss, 0.25);
        line.counts.lost -= 3;
        let late = line.next(100, 0).unwrap().interval;
        assert_eq!(late.loss, 0.0, "three that were lost came after all");
    }
}
