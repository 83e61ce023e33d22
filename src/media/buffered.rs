//! What the jitter buffer of one direction does, for whoever is told of it: reports, judges, statistics.

use std::time::Duration;

use super::{SideStats, sound};

/// What jitter buffers have done to what a peer sends; of a direction that is passed on as it comes, nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Buffered {
    /// The one that there is now.
    pub(crate) now: Option<Waiting>,
    /// Packets that came too late, or too many at once, to be played.
    pub(crate) discarded: u64,
    /// Packets that came more than once, the first not counted.
    repeated: u64,
    /// Sound that was made up in place of what did not come.
    pub(crate) mended: Duration,
    /// Times that sound was played, and how long it had waited in all.
    plays: u64,
    waited: Duration,
}

/// How long sound waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Now.
    pub(crate) delay: Duration,
    /// At most, by the settings.
    pub(crate) most: Duration,
}

impl Buffered {
    /// By what a player of so many samples a second has counted. `most`: no sound waits longer.
    pub(crate) fn of(stats: &sound::Stats, rate: u32, most: Duration) -> Buffered {
        Buffered {
            now: Some(Waiting {
                delay: stats.delay,
                most,
            }),
            discarded: stats.late.saturating_add(stats.discarded),
            repeated: stats.duplicate,
            mended: sound::lasting(stats.concealed, rate),
            plays: stats.plays,
            waited: stats.waited,
        }
    }

    /// The same with what those before it have counted.
    pub(crate) fn after(self, before: Buffered) -> Buffered {
        Buffered {
            now: self.now,
            discarded: self.discarded.saturating_add(before.discarded),
            repeated: self.repeated.saturating_add(before.repeated),
            mended: self.mended.saturating_add(before.mended),
            plays: self.plays.saturating_add(before.plays),
            waited: self.waited.saturating_add(before.waited),
        }
    }

    /// Adds it to what the peer's side has counted.
    pub(crate) fn fill(&self, stats: &mut SideStats) {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        stats.buffered_ms = self.now.map(|now| ms(now.delay));
        stats.buffered_mean_ms = (self.plays > 0).then(|| ms(self.waited) / self.plays as f64);
        stats.mended_ms = u64::try_from(self.mended.as_millis()).unwrap_or(u64::MAX);
        stats.discarded = self.discarded;
        stats.repeated += self.repeated;
    }
}
