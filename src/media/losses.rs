//! How much of our sound a peer is likely to lose next, by its reports: what FEC has to be ready for.
//!
//! A loss is believed when it is reported, that it is over only by and by: bad networks are bad again.

use super::intervals::Counts;

/// Packets of which something can be told; fewer wait for the next report.
const FEWEST: u64 = 50;
/// What is left of a loss at each report without one.
const STAYS: f64 = 0.8;
/// Percent. With more, copies would take more of each packet than the sound that they are to mend.
const MOST: f64 = 30.0;

/// What a peer has reported of late.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// So far, when that was last looked at.
    seen: Counts,
    percent: f64,
}

impl Losses {
    /// The peer has reported so much so far.
    pub(crate) fn reported(&mut self, so_far: Counts) {
        let expected = so_far.expected.saturating_sub(self.seen.expected);
        if expected < FEWEST {
            return;
        }
        let lost = so_far.lost.saturating_sub(self.seen.lost);
        self.seen = so_far;
        let of_late = lost as f64 * 100.0 / expected as f64;
        self.percent = of_late.max(self.percent * STAYS).min(MOST);
    }

    /// Percent of packets, 0 to 30.
    pub(crate) fn likely(&self) -> u8 {
        self.percent.round() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is likely after each of these reports, of packets and losses since the one before.
    fn after(reports: &[(u64, u64)]) -> Vec<u8> {
        let (mut losses, mut so_far) = (Losses::default(), Counts::default());
        let mut report = |&(expected, lost): &(u64, u64)| {
            so_far.expected += expected;
            so_far.lost += lost;
            losses.reported(so_far);
            losses.likely()
        };
        reports.iter().map(&mut report).collect()
    }

    #[test]
    fn a_loss_is_believed_at_once_and_forgotten_by_and_by() {
        let reports = [(250, 0), (250, 25), (250, 0), (250, 0), (250, 20), (250, 0)];
        assert_eq!(after(&reports), [0, 10, 8, 6, 8, 6]);
        let mut long = vec![(250, 25)];
        long.resize(30, (250, 0));
        assert_eq!(after(&long).last(), Some(&0));
    }

    #[test]
    fn of_a_few_packets_nothing_is_told_until_there_are_more() {
        assert_eq!(after(&[(20, 10), (20, 0), (20, 2)]), [0, 0, 20]);
    }

    #[test]
    fn whatever_is_reported_it_stays_in_its_range() {
        assert_eq!(after(&[(100, 100)]), [30]);
        let mut losses = Losses::default();
        for (expected, lost) in [(100, 900), (50, 0), (u64::MAX, u64::MAX), (0, 0)] {
            let late = 0;
            losses.reported(Counts {
                expected,
                lost,
                late,
            });
            assert!(losses.likely() <= 30);
        }
    }
}
