//! One load on one program, and what both sides spent on it.

use std::time::Duration;

use super::subject::Trial;
use super::tally::Tally;
use super::world::Offer;
use crate::far_ends::process::own_cpu;

/// How long calls are up: long enough that both legs are joined, short enough that few are.
pub const HOLD: Duration = Duration::from_millis(250);
/// The generator is the limit from this share of its own processor on, and what it says of the program is void.
const GENERATORS_LIMIT: f64 = 0.9;

/// What came of it.
pub struct Carried<'a> {
    /// What became of the calls.
    pub tally: &'a Tally,
    /// The program and its far ends.
    trial: &'a Trial,
    /// What the program spent on a processor until the last was over.
    pub cpu: Duration,
    /// How much of its own processor the generator used.
    pub generator: f64,
}

impl Carried<'_> {
    /// Calls carried to their end for each second on a processor.
    pub fn per_cpu_second(&self) -> f64 {
        self.tally.completed as f64 / self.cpu.as_secs_f64()
    }

    /// Says what went wrong, where nothing should have.
    pub fn complain_unless_all_went_well(&self) {
        if self.tally.completed < self.tally.offered {
            self.trial.complain(self.tally);
        }
    }

    /// Nearly all calls went well, and users did not wait.
    pub fn fits(&self) -> bool {
        self.tally.share() >= 0.999 && self.tally.setup.p99() < 1_000.0
    }

    /// Whether the generator itself was at its limit.
    pub fn is_void(&self) -> bool {
        self.generator > GENERATORS_LIMIT
    }
}

/// Offers calls at this rate for that long.
pub fn carry(trial: &mut Trial, rate: f64, time: Duration) -> Carried<'_> {
    let (cpu, own) = (trial.process().cpu(), own_cpu());
    let load = trial.world.offer(Offer::of(rate, time, HOLD));
    let generator = (own_cpu() - own).as_secs_f64() / time.as_secs_f64();
    trial.world.settled(load);
    Carried {
        cpu: trial.process().cpu() - cpu,
        tally: trial.world.tally(load),
        trial,
        generator,
    }
}
