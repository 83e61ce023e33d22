//! How a bridge comes to its end: no new calls, then none at all.
//!
//! ```text
//!   Open ── drain ──▶ Draining ── its time is over, or stop ──▶ Stopping ── their time is over ──▶ Stopping, no call left
//!                     calls go on                               BYE on both legs
//! ```

use std::time::{Duration, Instant};

use super::bridge::Bridge;
use super::event::Action;
use super::machine;
use super::refused::{Because, Refused};

/// How long calls may take to end: two BYEs with repetitions on a bad network.
const LAST_CALLS: Duration = Duration::from_secs(10);
/// Seconds after which to ask again: whether and when another bridge starts in this one's place, only the operator knows.
const RETRY_AFTER: &str = "30";

/// Whether calls are taken, and until when they may be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doors {
    /// As ever.
    Open,
    /// No new calls; those that are up, or ring, go on until then.
    Draining { until: Instant },
    /// Every call has been ended; one that has not got through to a far end by then is forgotten.
    Stopping { until: Instant },
}

impl Doors {
    /// When something is to be done about it.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Doors::Open => None,
            Doors::Draining { until } | Doors::Stopping { until } => Some(until),
        }
    }

    /// What a new call, or the question whether one would be taken, is told.
    pub(super) fn check(self) -> Result<(), Refused> {
        match self {
            Doors::Open => Ok(()),
            Doors::Draining { .. } | Doors::Stopping { .. } => {
                Err(Refused::new(503, "the bridge is stopping")
                    .because(Because::Stopping)
                    .with("Retry-After", RETRY_AFTER))
            }
        }
    }
}

impl Bridge {
    /// Whether the bridge was told to end, has no call any more and is registered nowhere.
    pub fn is_done(&self) -> bool {
        self.doors != Doors::Open && self.calls() == 0 && self.errands.registrations.is_empty()
    }

    /// Nothing is said twice, and a bridge that ends its calls already does not go back to letting them go on.
    pub(super) fn drain(&mut self, until: Instant, now: Instant, out: &mut Vec<Action>) {
        if self.doors == Doors::Open {
            self.doors = Doors::Draining { until };
            self.unregister(now, out);
        }
    }

    pub(super) fn stop(&mut self, now: Instant, out: &mut Vec<Action>) {
        if matches!(self.doors, Doors::Stopping { .. }) {
            return;
        }
        self.doors = Doors::Stopping {
            until: now + LAST_CALLS,
        };
        self.run_errands(now, out, |errands, turn| errands.upkeep.stop(turn));
        for call in self.live.ids() {
            self.tell(call, machine::Event::Stop, now, out);
        }
        self.unregister(now, out);
    }

    pub(super) fn tick_doors(&mut self, now: Instant, out: &mut Vec<Action>) {
        match self.doors {
            Doors::Draining { until } if now >= until => self.stop(now, out),
            Doors::Stopping { until } if now >= until => {
                let calls = self.calls();
                if calls > 0 {
                    tracing::warn!(
                        calls,
                        "given up: a far end of these calls does not answer our BYE or CANCEL"
                    );
                }
                for call in self.live.ids() {
                    self.tell(call, machine::Event::GiveUp, now, out);
                }
            }
            _ => {}
        }
    }
}
