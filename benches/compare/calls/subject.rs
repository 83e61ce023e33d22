//! The programs under measurement, each started anew where one load must not feel another.

use std::fmt;
use std::time::Duration;

use super::asterisk::{self, Asterisk};
use super::tally::Tally;
use super::world::{Offer, Place, World};
use crate::far_ends::daemon::{self, Daemon, Start};
use crate::far_ends::process::Process;

/// The processor that a program has for itself; the far ends have the other.
pub const CORE: usize = 0;
/// Calls that it may have up: far beyond the limit of any.
const CALLS: u32 = 6_000;

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// `wabridge run`.
    Ours,
    /// Asterisk 22.
    Asterisk,
}

impl Subject {
    /// Those that are here.
    pub fn all() -> Vec<Subject> {
        let missing = asterisk::is_missing();
        if missing {
            println!("no Asterisk: run tests/peers/unpack");
        }
        let all = [Subject::Ours, Subject::Asterisk];
        all.into_iter()
            .filter(|one| !missing || *one == Subject::Ours)
            .collect()
    }

    /// Starts it, connects both far ends, and makes some calls, so that all that stays is built.
    pub fn start(self) -> Trial {
        self.start_for(CALLS)
    }

    /// The same, with room for so many calls.
    pub fn start_for(self, calls: u32) -> Trial {
        let program = match self {
            Subject::Ours => Program::Ours(Daemon::start_as(&Start {
                core: Some(CORE),
                calls: Some(calls),
            })),
            Subject::Asterisk => Program::Asterisk(Asterisk::start(Some(CORE))),
        };
        let mut world = World::of(&program.place()).expect("it listens");
        let warm = Offer::of(20.0, Duration::from_secs(1), Duration::ZERO);
        let tally = world.offer_and_settle(warm);
        assert_eq!(
            tally.completed, warm.calls,
            "{self} does not carry 20 calls"
        );
        Trial { world, program }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Subject::Ours => "wabridge",
            Subject::Asterisk => "asterisk",
        })
    }
}

enum Program {
    Ours(Daemon),
    Asterisk(Asterisk),
}

impl Program {
    fn place(&self) -> Place {
        match self {
            Program::Ours(daemon) => Place {
                meta: daemon::for_meta(),
                pbx: daemon::for_pbx(),
                certificate: daemon.certificate.clone(),
            },
            Program::Asterisk(asterisk) => Place {
                meta: asterisk::for_meta(),
                pbx: asterisk::for_pbx(),
                certificate: asterisk.certificate.clone(),
            },
        }
    }
}

/// A running program between its far ends.
pub struct Trial {
    /// The far ends. They go first, so that neither misses the program.
    pub world: World,
    program: Program,
}

impl Trial {
    /// The process.
    pub fn process(&self) -> &Process {
        match &self.program {
            Program::Ours(daemon) => daemon.process(),
            Program::Asterisk(asterisk) => asterisk.process(),
        }
    }

    /// What became of calls that all should have gone well, and the last that the program said.
    pub fn complain(&self, tally: &Tally) {
        println!("{tally}");
        let log = match &self.program {
            Program::Ours(daemon) => daemon.log(),
            Program::Asterisk(asterisk) => asterisk.log(),
        };
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(5)..] {
            println!("        {line}");
        }
    }
}
