//! Which packets of a source came, once their time is over: whether losses come one by one or in bursts, and which packets
//! came twice (RFC 3611 §4.7.2).
//!
//! ```text
//!   … ● ● ● ○ ● ● ● ● ● ● ● ● ● ● ● ● ● ● ● ○ ● ○ ○ ● ● ● ● ● ● ● ● ● ● ● ● ● ● ● ● ● [ ○ ● ● … 32 that may yet come ]
//!   gap, with one lost                      └ burst ┘ gap
//!                 └ 16 or more between two losses ┘
//! ```

use super::xr::GMIN;

/// Numbers that may still come before they count as lost: 640 ms of 20 ms frames.
const WINDOW: u32 = 32;

/// Packets, and how many of them were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stretch {
    packets: u64,
    lost: u64,
}

impl Stretch {
    fn add(&mut self, other: Stretch) {
        self.packets += other.packets;
        self.lost += other.lost;
    }

    fn density(self) -> f64 {
        self.lost as f64 / self.packets.max(1) as f64
    }
}

/// What came of a source's numbers. Nothing in it grows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrivals {
    /// Bit n: the packet n before the newest has come.
    came: u32,
    /// Numbers in the window, those before the first packet being none.
    known: u32,
    /// Packets that came again.
    duplicates: u64,
    /// Packets in a row since the last loss.
    run: u64,
    /// From a loss to the last one that is near enough; one loss alone makes no burst.
    open: Stretch,
    in_bursts: Stretch,
    in_gaps: Stretch,
    bursts: u64,
}

/// How losses lie, of all packets so far whose time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pattern {
    /// Share of the packets in bursts that were lost, 0 to 1.
    pub(crate) burst_density: f64,
    /// The same of those between bursts.
    pub(crate) gap_density: f64,
    /// Mean packets of a burst; 0 if there was none.
    pub(crate) burst: f64,
    /// Mean packets between bursts.
    pub(crate) gap: f64,
}

impl Arrivals {
    /// A packet came that is `by` numbers newer than the newest; of the first one, 1.
    pub(crate) fn newer(&mut self, by: u32) {
        for _ in 0..by.min(WINDOW) {
            let oldest = self.came >> (WINDOW - 1) & 1;
            match (self.known == WINDOW, oldest) {
                (false, _) => self.known += 1,
                (true, 1) => self.run += 1,
                (true, _) => self.lose(1),
            }
            self.came <<= 1;
        }
        if by > WINDOW {
            self.lose(u64::from(by - WINDOW));
        }
        self.came |= 1;
    }

    /// A packet came that is so many numbers older than the newest.
    pub(crate) fn older(&mut self, back: u32) {
        let Some(bit) = 1_u32.checked_shl(back) else {
            return;
        };
        self.duplicates += u64::from(self.came & bit != 0);
        self.came |= bit;
    }

    /// The source starts anew: what it had not sent yet is not waited for.
    pub(crate) fn start_anew(&mut self) {
        (self.came, self.known) = (0, 0);
        self.newer(1);
    }

    /// Packets that came again, of those that it remembers.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How losses lie.
    pub(crate) fn pattern(&self) -> Pattern {
        let mut all = *self;
        all.close();
        all.in_gaps.packets += all.run;
        Pattern {
            burst_density: all.in_bursts.density(),
            gap_density: all.in_gaps.density(),
            burst: all.in_bursts.packets as f64 / all.bursts.max(1) as f64,
            gap: all.in_gaps.packets as f64 / (all.bursts + 1) as f64,
        }
    }

    /// So many packets in a row were lost.
    fn lose(&mut self, count: u64) {
        if self.open.lost == 0 || self.run >= u64::from(GMIN) {
            self.close();
            self.in_gaps.packets += self.run;
        } else {
            self.open.packets += self.run;
        }
        self.run = 0;
        self.open.add(Stretch {
            packets: count,
            lost: count,
        });
    }

    fn close(&mut self) {
        let closed = std::mem::take(&mut self.open);
        if closed.lost > 1 {
            self.bursts += 1;
            self.in_bursts.add(closed);
        } else {
            self.in_gaps.add(closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A source whose packets came (`true`) or did not, and then so many that did that all is judged.
    fn after(came: &[bool]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        let mut by = 0;
        for came in came.iter().chain(&[true; WINDOW as usize]) {
            by += 1;
            if *came {
                arrivals.newer(by);
                by = 0;
            }
        }
        arrivals
    }

    /// `*`: so many that came.
    fn runs(runs: &[(usize, bool)]) -> Vec<bool> {
        let each = |(count, came): &(usize, bool)| vec![*came; *count];
        runs.iter().flat_map(each).collect()
    }

    #[test]
    fn losses_one_by_one_are_part_of_the_gap_between_bursts() {
        let pattern = after(&runs(&[
            (50, true),
            (1, false),
            (16, true),
            (1, false),
            (32, true),
        ]))
        .pattern();
        assert_eq!((pattern.burst, pattern.burst_density), (0.0, 0.0));
        assert_eq!((pattern.gap, pattern.gap_density), (100.0, 0.02));
    }

    #[test]
    fn losses_that_are_near_each_other_make_a_burst() {
        let pattern = after(&runs(&[
            (40, true),
            (2, false),
            (3, true),
            (3, false),
            (40, true),
            (1, false),
            (40, true),
            (2, false),
            (19, true),
        ]))
        .pattern();
        assert_eq!(pattern.burst, 5.0, "of 8 and 2");
        assert_eq!(pattern.burst_density, 0.7);
        assert_eq!(pattern.gap_density, 1.0 / 140.0);
        assert_eq!(pattern.gap, 140.0 / 3.0);
    }

    #[test]
    fn a_packet_that_is_late_is_not_lost_and_one_that_comes_again_is_counted() {
        let mut arrivals = after(&[true; 40]);
        arrivals.newer(3);
        arrivals.older(1);
        arrivals.older(2);
        arrivals.older(2);
        arrivals.older(0);
        arrivals.older(500);
        (0..WINDOW).for_each(|_| arrivals.newer(1));
        assert_eq!(arrivals.duplicates(), 2);
        assert_eq!(arrivals.pattern().gap_density, 0.0);
    }

    #[test]
    fn a_long_silence_in_the_numbers_is_one_burst() {
        let mut arrivals = after(&[true; 40]);
        arrivals.newer(2_001);
        (0..WINDOW).for_each(|_| arrivals.newer(1));
        let pattern = arrivals.pattern();
        assert_eq!((pattern.burst, pattern.burst_density), (2_000.0, 1.0));
        arrivals.start_anew();
        (0..WINDOW).for_each(|_| arrivals.newer(1));
        assert_eq!(arrivals.pattern().burst, 2_000.0);
    }

    proptest! {
        #[test]
        fn every_packet_is_either_in_a_burst_or_between_them(came: Vec<bool>) {
            let mut came = came;
            came.insert(0, true);
            let arrivals = after(&came);
            let mut all = arrivals;
            all.close();
            prop_assert_eq!(all.in_bursts.packets + all.in_gaps.packets + all.run, came.len() as u64);
            let lost = came.iter().filter(|came| !**came).count() as u64;
            prop_assert_eq!(all.in_bursts.lost + all.in_gaps.lost, lost);
            let pattern = arrivals.pattern();
            prop_assert!((0.0..=1.0).contains(&pattern.burst_density));
            prop_assert!((0.0..=1.0).contains(&pattern.gap_density));
        }
    }
}
