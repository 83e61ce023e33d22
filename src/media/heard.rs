//! What a peer's report blocks say of our stream (RFC 3550 §6.4.1), and what of it happened on its leg.
//!
//! ```text
//!   other leg   17 18 19  ○ 21 22       sent here   54 55 56  – 58 59      the peer hears   54  ○ 56  ○ 58 59
//!                         └ lost there                        └ a gap, so that Opus can mend it
//!                                                                          the peer reports 2 lost: 1 of them here
//! ```

use super::intervals::Counts;
use super::rtcp;
use super::rtp::Seq;

/// The numbers of our own stream. Losses on the other leg stay gaps in it, so that Opus can mend them: the peer of this leg
/// reports them as lost, though no packet of ours was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    newest: Option<Seq>,
    /// From the first to the newest.
    given: u32,
    /// Those of them that a packet had.
    used: u32,
}

impl Numbers {
    /// A packet of ours has this number.
    pub(crate) fn sent(&mut self, seq: Seq) {
        let ahead = self.newest.map_or(1, |newest| seq.since(newest));
        if let Ok(ahead @ 1..) = u32::try_from(ahead) {
            self.given = self.given.wrapping_add(ahead);
            self.newest = Some(seq);
        }
        self.used = self.used.wrapping_add(1);
    }

    /// Numbers that no packet had.
    pub(crate) fn skipped(&self) -> u32 {
        self.given.saturating_sub(self.used)
    }
}

/// What a peer's report blocks say of our stream, from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The extended number and the loss of the last block, and the numbers that we had skipped then.
    last: Option<(u32, i32, u32)>,
    expected: u64,
    /// Below zero while packets came twice, or the peer does not know yet of numbers that were skipped.
    lost: i64,
}

impl Heard {
    /// A block came, when we had sent these numbers. What cannot be (more than we sent, less than before) is a peer that
    /// counts anew.
    pub(crate) fn report(&mut self, block: &rtcp::Block, ours: &Numbers) {
        let skipped = ours.skipped();
        let before = self.last.replace((block.highest, block.lost, skipped));
        let (expected, lost, skipped) = match before {
            None => (ours.given, block.lost, skipped),
            Some((highest, lost, skipped_then)) => (
                block.highest.wrapping_sub(highest),
                block.lost.wrapping_sub(lost),
                skipped.saturating_sub(skipped_then),
            ),
        };
        if expected == 0 || expected > ours.given {
            return;
        }
        let (most, skipped) = (i64::from(expected), i64::from(skipped));
        self.expected += u64::try_from(most - skipped).unwrap_or(0);
        self.lost += i64::from(lost).clamp(-most, most) - skipped;
    }

    /// So far: packets of ours, and those that the peer never saw.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            expected: self.expected,
            lost: u64::try_from(self.lost).unwrap_or(0),
            ..Counts::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Codec;
    use crate::media::intervals::{Conditions, Judge, Way};
    use crate::media::quality::Coding;
    use crate::media::rtp::Ssrc;
    use proptest::prelude::*;
    use std::time::Duration;

    fn block(highest: u32, lost: i32) -> rtcp::Block {
        rtcp::Block {
            source: Ssrc(1),
            fraction_lost: 0,
            lost,
            highest,
            jitter: 0,
            last_sender_report: 0,
            delay: Duration::ZERO,
        }
    }

    /// The numbers of a stream that so many packets were sent in, without a gap.
    fn numbers(packets: u32) -> Numbers {
        let mut numbers = Numbers::default();
        (0..packets).for_each(|nth| numbers.sent(Seq(nth as u16)));
        numbers
    }

    #[test]
    fn what_the_peer_reports_is_counted_from_report_to_report() {
        let mut heard = Heard::default();
        heard.report(&block(1_099, 2), &numbers(100));
        heard.report(&block(1_349, 12), &numbers(350));
        let counts = |expected, lost| Counts {
            expected,
            lost,
            late: 0,
        };
        assert_eq!(heard.counts(), counts(350, 12));
        heard.report(&block(1_349, 12), &numbers(350));
        heard.report(&block(7, 0), &numbers(400));
        assert_eq!(heard.counts(), counts(350, 12), "it counts anew");
        heard.report(&block(107, -3), &numbers(500));
        assert_eq!(heard.counts(), counts(450, 9), "three came twice");
    }

    #[test]
    fn gaps_that_we_pass_on_are_no_loss_of_the_leg_that_they_are_passed_on_to() {
        let (mut ours, mut heard) = (Numbers::default(), Heard::default());
        // Every fourth is lost on the other leg, and one comes late.
        for nth in (0..400_u16).filter(|nth| nth % 4 != 1).chain([397]) {
            ours.sent(Seq(65_500).plus(nth));
        }
        assert_eq!(ours.skipped(), 99);
        heard.report(&block(65_500 + 399, 99 + 6), &ours);
        let (expected, lost, late) = (301, 6, 0);
        assert_eq!(
            heard.counts(),
            Counts {
                expected,
                lost,
                late
            }
        );
    }

    proptest! {
        #[test]
        fn whatever_a_peer_reports_no_more_is_lost_than_was_sent(
            reports: Vec<(u32, i32, u16)>, discarded in 0.0..1.0, jitter_ms: f64,
        ) {
            let (mut heard, mut judge) = (Heard::default(), Judge::default());
            let mut ours = Numbers::default();
            for (highest, lost, seq) in reports {
                ours.sent(Seq(seq));
                heard.report(&block(highest, lost), &ours);
                let counts = heard.counts();
                prop_assert!(counts.lost <= counts.expected);
                let conditions = Conditions {
                    coding: Coding::of(Codec::Pcma),
                    discarded,
                    jitter_ms,
                    buffered_ms: None,
                    round_trip_ms: Some(jitter_ms),
                };
                if let Some(measured) = judge.judge(Way::Out, counts, &conditions, 3.1) {
                    prop_assert!((1.0..=4.5).contains(&measured.interval.mos));
                    prop_assert!((0.0..=1.0).contains(&measured.interval.loss));
                }
            }
        }
    }
}
