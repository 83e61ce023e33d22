//! How long sound must wait so that the next of it is there in time: learnt from how late packets come.
//!
//! ```text
//!   packets │ █                 A packet's transit is the time of our clock when it can first be played, less its timestamp:
//!           │ █ ▄               its zero means nothing, its differences do. Old packets are forgotten, new ones count most.
//!           │ █ █ ▂ ▁     ▁
//!           └─┴───┴─────────▶ transit, in bins of 1 ms from the least
//!           base  target        The target is where waiting longer costs more than the late packets it saves.
//! ```
//!
//! Times are in samples of the sound; the zero of both clocks is anywhere.

/// The last so many packets make up most of what is known: 3 s of packets of 20 ms.
const MEMORY: f32 = 150.0;

/// What it costs to lose all packets, in milliseconds of waiting. To the E-model 1 % of loss is about as bad as 27 ms more of
/// a delay that is long already, for G.711 with concealment; and worse when it is short (ITU-T G.107 §7).
const COST_OF_ALL: f32 = 2_700.0;

/// Seconds for which the quickest packet is remembered: it is the older or the newer of two spans as long as this.
const SPAN: i64 = 4;

/// No target is further from the quickest packet, in ms, whatever is set: nobody talks over more.
const LONGEST: u16 = 2_000;

/// What is known of the way that packets take.
pub(super) struct Estimate {
    rate: i64,
    least: i64,
    known: Option<Known>,
    bins: Vec<f32>,
}

struct Known {
    /// Transit of the first bin.
    anchor: i64,
    /// The quickest packet of the last span and of this one, and when this one began.
    quickest: (i64, i64),
    since: i64,
    /// Packets seen, up to [`MEMORY`].
    seen: f32,
    target: i64,
}

impl Estimate {
    /// For sound at `rate` samples a second; the target is at least `least` and at most `most` ms above the quickest packet.
    pub(super) fn new(rate: u32, least: u16, most: u16) -> Estimate {
        let bins = usize::from(most.max(least).min(LONGEST)) + 1;
        Estimate {
            rate: i64::from(rate),
            least: i64::from(least) * i64::from(rate) / 1000,
            known: None,
            bins: vec![0.0; bins],
        }
    }

    /// Forgets all: another source, or another clock of it.
    pub(super) fn reset(&mut self) {
        self.known = None;
        self.bins.fill(0.0);
    }

    /// A packet came at `now` after `transit`, and can be played after `usable`, which is no less.
    pub(super) fn observe(&mut self, transit: i64, usable: i64, now: i64) {
        let known = self.known.get_or_insert(Known {
            anchor: transit,
            quickest: (transit, transit),
            since: now,
            seen: 0.0,
            target: usable,
        });
        if now - known.since > SPAN * self.rate {
            known.quickest = (known.quickest.1, transit);
            known.since = now;
        }
        known.quickest.1 = known.quickest.1.min(transit);
        self.anchor();
        self.count(usable);
        self.aim();
    }

    /// A packet is worth counting that never came: it would have been mended with one that did after `usable`.
    pub(super) fn mendable(&mut self, usable: i64) {
        if self.known.is_some() {
            self.count(usable);
            self.aim();
        }
    }

    /// After a long silence the way may be another: what was quickest counts no more, how much it varied does.
    pub(super) fn resume(&mut self, transit: i64) {
        if let Some(known) = &mut self.known {
            let by = transit - known.base();
            known.quickest = (transit, transit);
            known.anchor += by;
            known.target += by;
        }
    }

    /// Transit of the quickest packet; no sound can be heard sooner.
    pub(super) fn base(&self) -> Option<i64> {
        self.known.as_ref().map(Known::base)
    }

    /// The transit that playing should wait for.
    pub(super) fn target(&self) -> Option<i64> {
        self.known.as_ref().map(|known| known.target)
    }

    /// Moves the bins so that the first is that of the quickest packet.
    fn anchor(&mut self) {
        let (Some(known), bins) = (&mut self.known, &mut self.bins) else {
            return;
        };
        let width = (self.rate / 1000).max(1);
        let by = (known.base() - known.anchor).div_euclid(width);
        let steps = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
        known.anchor += by * width;
        // So far away, nothing would be left of what is known: keep how it varied.
        if by == 0 || steps >= bins.len() {
            return;
        }
        if by > 0 {
            let early: f32 = bins.iter().take(steps).sum();
            bins.rotate_left(steps);
            let kept = bins.len() - steps;
            bins.iter_mut().skip(kept).for_each(|bin| *bin = 0.0);
            bins.iter_mut().take(1).for_each(|first| *first += early);
        } else {
            bins.rotate_right(steps);
            bins.iter_mut().take(steps).for_each(|bin| *bin = 0.0);
        }
    }

    /// Counts one packet. One later than the last bin comes too late for any target: it only makes the others count less.
    fn count(&mut self, usable: i64) {
        let Some(known) = &mut self.known else { return };
        known.seen = (known.seen + 1.0).min(MEMORY);
        let new = 1.0 / known.seen;
        self.bins.iter_mut().for_each(|bin| *bin *= 1.0 - new);
        let width = (self.rate / 1000).max(1);
        // Rounded up: a target must not be a fraction of a millisecond too small, packet after packet.
        let index = (usable - known.anchor + width - 1).div_euclid(width).max(0);
        let bin = usize::try_from(index)
            .ok()
            .and_then(|i| self.bins.get_mut(i));
        if let Some(bin) = bin {
            *bin += new;
        }
    }

    /// Finds the target that costs least.
    fn aim(&mut self) {
        let Some(known) = &mut self.known else { return };
        let (mut late, mut best) = (0.0, (f32::MAX, 0));
        for (ms, bin) in self.bins.iter().enumerate().rev() {
            let cost = ms as f32 + late * COST_OF_ALL;
            if cost < best.0 {
                best = (cost, ms);
            }
            late += bin;
        }
        let target = known.anchor + best.1 as i64 * self.rate / 1000;
        known.target = target.max(known.base() + self.least);
    }
}

impl Known {
    fn base(&self) -> i64 {
        self.quickest.0.min(self.quickest.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An estimate after `packets` of 20 ms at 8000 Hz, each as late in ms as `late` says.
    fn after(packets: i64, late: impl Fn(i64) -> i64) -> Estimate {
        let mut estimate = Estimate::new(8_000, 0, 200);
        (0..packets).for_each(|i| estimate.observe(late(i) * 8, late(i) * 8, i * 160));
        estimate
    }

    #[test]
    fn where_all_packets_are_as_quick_nothing_waits() {
        let estimate = after(100, |_| 70);
        assert_eq!(estimate.target(), Some(70 * 8));
        assert_eq!(estimate.base(), Some(70 * 8));
    }

    #[test]
    fn one_packet_in_twenty_that_is_late_is_waited_for_but_not_one_in_five_hundred() {
        assert_eq!(
            after(1_000, |i| if i % 20 == 0 { 80 } else { 0 }).target(),
            Some(640)
        );
        assert_eq!(
            after(1_499, |i| if i % 500 == 0 { 80 } else { 0 }).target(),
            Some(0)
        );
    }

    #[test]
    fn lateness_that_begins_is_met_within_ten_packets_and_forgotten_within_half_a_minute() {
        let begun = after(1_010, |i| if i >= 1_000 { 60 } else { 0 });
        assert_eq!(begun.target(), Some(480));
        let over = after(1_000 + 1_500, |i| {
            if (950..1_000).contains(&i) {
                (i % 2) * 60
            } else {
                0
            }
        });
        assert_eq!(over.target(), Some(0));
    }

    #[test]
    fn the_target_is_never_further_from_the_quickest_packet_than_may_be() {
        let estimate = after(1_000, |i| i % 2 * 500);
        assert_eq!(
            estimate.target(),
            Some(0),
            "to wait 200 ms would save none of them"
        );
        let estimate = after(1_000, |i| i % 4 * 100);
        assert_eq!(estimate.target(), Some(200 * 8));
    }

    #[test]
    fn a_way_that_becomes_longer_is_the_new_normal_after_two_spans() {
        let estimate = after(1_000, |i| if i < 400 { 0 } else { 100 });
        assert_eq!((estimate.base(), estimate.target()), (Some(800), Some(800)));
    }

    #[test]
    fn after_a_silence_of_minutes_variation_is_remembered_and_the_way_is_not() {
        let mut estimate = after(1_000, |i| i % 4 * 20);
        estimate.resume(50_000);
        assert_eq!(
            (estimate.base(), estimate.target()),
            (Some(50_000), Some(50_000 + 480))
        );
    }
}
