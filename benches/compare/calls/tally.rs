//! What became of the calls of one load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Counted while they go.
#[derive(Default)]
pub struct Tally {
    /// Calls that were begun.
    pub offered: u64,
    /// Of them, those neither over nor kept.
    pub under_way: u64,
    /// Answered, and ended by us.
    pub completed: u64,
    /// Answered, and kept.
    pub kept: u64,
    /// Not answered in time.
    pub timed_out: u64,
    /// Ended by the program.
    pub broken: u64,
    /// Refused with which status.
    pub refused: BTreeMap<u16, u64>,
    /// From the INVITE with credentials to its 200.
    pub setup: Times,
    /// From the last INVITE to the 503.
    pub refusal: Times,
    /// How late the last of them began: the generator's own lateness.
    pub late: Duration,
}

impl Tally {
    /// Those refused with 503.
    pub fn busy(&self) -> u64 {
        self.refused.get(&503).copied().unwrap_or(0)
    }

    /// Those refused otherwise.
    pub fn refused_otherwise(&self) -> u64 {
        self.refused.values().sum::<u64>() - self.busy()
    }

    /// The part of the offered that went well.
    pub fn share(&self) -> f64 {
        (self.completed + self.kept) as f64 / self.offered.max(1) as f64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "    of {}: {} completed, {} kept, {} late, {} ended by the program, {} without an end; refused: {:?}",
            self.offered,
            self.completed,
            self.kept,
            self.timed_out,
            self.broken,
            self.under_way,
            self.refused
        )
    }
}

/// Many measurements of one thing.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// So many of a thousand took no longer, in milliseconds; not a number if there are none.
    pub fn permille(&self, permille: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * permille).div_ceil(1_000).max(1);
        sorted
            .get(rank - 1)
            .map_or(f64::NAN, |time| milliseconds(*time))
    }

    /// Adds those of another.
    pub fn join(&mut self, other: Times) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Half of them took longer.
    pub fn p50(&self) -> f64 {
        self.permille(500)
    }

    /// One in a hundred did.
    pub fn p99(&self) -> f64 {
        self.permille(990)
    }
}

/// A time as it is printed.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
