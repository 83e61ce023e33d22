//! Whether an address of a PBX answers, and when it is asked next.
//!
//! ```text
//!   up ─── down_after failures in a row ──▶ down
//!    ▲──── up_after answers in a row ────────┘
//! ```
//!
//! Questions (OPTIONS) and calls both count. An address is thought well until it has failed; where nothing is ever asked,
//! one that failed calls is thought well again after a rest.

use std::time::{Duration, Instant};

/// How long an answer may take: four copies over UDP (RFC 3261 §17.1.2.2).
const PATIENCE: Duration = Duration::from_secs(4);
/// The shortest time between two questions.
const SHORTEST: Duration = Duration::from_secs(2);
/// How long an address that is never asked is left alone once calls have found it down.
const REST: Duration = Duration::from_secs(30);

/// How an address is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two questions; zero: none is asked.
    pub interval: Duration,
    /// Failures in a row after which it is down.
    pub down_after: u8,
    /// Answers in a row after which it is up again.
    pub up_after: u8,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            interval: Duration::from_secs(30),
            down_after: 3,
            up_after: 2,
        }
    }
}

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It answers again.
    Up,
    /// It does not answer any more.
    Down,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Ask it.
    Ask,
    /// It has not answered: nobody waits for that any more.
    Unanswered,
    /// It has rested, and is thought well again.
    Rested,
}

/// One address.
#[derive(Debug)]
pub struct Health {
    settings: Settings,
    up: bool,
    /// How often in a row the opposite of `up` was seen.
    against: u8,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Ask(Instant),
    GiveUp(Instant),
    Rest(Instant),
    Nothing,
}

impl Health {
    /// An address that nothing is known of. `lot` is random: it spreads the first questions over a few seconds.
    pub fn new(settings: Settings, lot: u64, now: Instant) -> Health {
        let mut health = Health {
            settings,
            up: true,
            against: 0,
            next: Next::Nothing,
        };
        health.begin(lot, now);
        health
    }

    /// Follows other settings from now on; what is known stays.
    pub fn configure(&mut self, settings: Settings, lot: u64, now: Instant) {
        let other_pace = settings.interval != self.settings.interval;
        self.settings = settings;
        if other_pace {
            self.begin(lot, now);
        }
    }

    fn begin(&mut self, lot: u64, now: Instant) {
        self.next = match (self.is_asked(), self.up) {
            (true, _) => Next::Ask(now + part(self.settings.interval.min(PATIENCE), lot)),
            (false, true) => Next::Nothing,
            (false, false) => Next::Rest(now + REST),
        };
    }

    /// Whether it is thought to answer.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether it is asked at all.
    pub fn is_asked(&self) -> bool {
        !self.settings.interval.is_zero()
    }

    /// When [`Health::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.next {
            Next::Ask(at) | Next::GiveUp(at) | Next::Rest(at) => Some(at),
            Next::Nothing => None,
        }
    }

    /// Time has passed. After [`Due::Unanswered`] say so by [`Health::told`].
    pub fn tick(&mut self, now: Instant) -> Option<Due> {
        self.deadline().filter(|due| *due <= now)?;
        Some(match self.next {
            Next::Ask(_) => {
                self.next = Next::GiveUp(now + PATIENCE);
                Due::Ask
            }
            Next::GiveUp(_) => Due::Unanswered,
            Next::Rest(_) | Next::Nothing => {
                (self.up, self.against, self.next) = (true, 0, Next::Nothing);
                Due::Rested
            }
        })
    }

    /// What became of the question; `lot` is random, so that not all are asked at once.
    pub fn told(&mut self, alive: bool, lot: u64, now: Instant) -> Option<Change> {
        let change = self.count(alive);
        if !self.is_asked() {
            // A reload has put an end to the questions while this one was under way.
            return change;
        }
        let pace = self.pace();
        // A tenth sooner or later.
        self.next = Next::Ask(now + pace * 9 / 10 + part(pace / 5, lot));
        change
    }

    /// What became of a call.
    pub fn seen(&mut self, alive: bool, now: Instant) -> Option<Change> {
        let change = self.count(alive);
        let sooner = now + self.pace();
        match self.next {
            Next::Ask(at) => self.next = Next::Ask(at.min(sooner)),
            Next::GiveUp(_) => {}
            Next::Rest(_) | Next::Nothing => {
                self.next = match self.up {
                    true => Next::Nothing,
                    false => Next::Rest(now + REST),
                };
            }
        }
        change
    }

    fn count(&mut self, alive: bool) -> Option<Change> {
        if alive == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = match self.up {
            true => self.settings.down_after,
            // Nobody asks a second time, so one call that got through must do.
            false if !self.is_asked() => 1,
            false => self.settings.up_after,
        };
        if self.against < enough {
            return None;
        }
        (self.up, self.against) = (alive, 0);
        Some(match alive {
            true => Change::Up,
            false => Change::Down,
        })
    }

    /// Four times as often while it is down or in doubt.
    fn pace(&self) -> Duration {
        let usual = self.settings.interval;
        match self.up && self.against == 0 {
            true => usual,
            false => (usual / 4).max(SHORTEST).min(usual),
        }
    }
}

/// A random part of a time.
fn part(of: Duration, lot: u64) -> Duration {
    of.mul_f64((lot >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        interval: Duration::from_secs(40),
        down_after: 3,
        up_after: 2,
    };

    /// An address, and the time.
    struct Bench {
        health: Health,
        now: Instant,
    }

    impl Bench {
        fn new(settings: Settings) -> Bench {
            let now = Instant::now();
            Bench {
                health: Health::new(settings, u64::MAX / 2, now),
                now,
            }
        }

        /// Waits until something is due, and says how long that was.
        fn waits(&mut self, due: Due) -> Duration {
            let at = self.health.deadline().expect("something is due");
            assert_eq!(self.health.tick(at - Duration::from_nanos(1)), None);
            assert_eq!(self.health.tick(at), Some(due));
            let waited = at - self.now;
            self.now = at;
            waited
        }

        /// One question and what becomes of it; says after which pause it was asked.
        fn asks(&mut self, alive: bool) -> (Duration, Option<Change>) {
            let pause = self.waits(Due::Ask);
            if !alive {
                assert_eq!(self.waits(Due::Unanswered), PATIENCE);
            }
            (pause, self.health.told(alive, u64::MAX / 2, self.now))
        }
    }

    fn near(pause: Duration, seconds: u64) -> bool {
        pause.abs_diff(Duration::from_secs(seconds)) < Duration::from_millis(10)
    }

    #[test]
    fn it_is_down_after_three_failures_in_a_row_and_up_after_two_answers() {
        let mut bench = Bench::new(SETTINGS);
        let (pause, change) = bench.asks(true);
        assert!(near(pause, 2) && change.is_none(), "{pause:?}");
        let (pause, change) = bench.asks(false);
        assert!(near(pause, 40) && change.is_none(), "{pause:?}");
        assert!(near(bench.asks(false).0, 10));
        assert_eq!(bench.asks(true).1, None);
        for wanted in [None, None, Some(Change::Down)] {
            assert!(bench.health.is_up());
            assert_eq!(bench.asks(false).1, wanted);
        }
        assert_eq!(bench.asks(true).1, None);
        assert_eq!(bench.asks(false).1, None);
        assert_eq!(bench.asks(true).1, None);
        assert!(!bench.health.is_up());
        let (pause, change) = bench.asks(true);
        assert!(near(pause, 10), "{pause:?}");
        assert_eq!(change, Some(Change::Up));
        assert!(near(bench.asks(true).0, 40));
    }

    #[test]
    fn the_pauses_differ_by_a_tenth_at_most() {
        let now = Instant::now();
        let mut health = Health::new(SETTINGS, 0, now);
        assert_eq!(health.deadline(), Some(now));
        assert_eq!(health.tick(now), Some(Due::Ask));
        for (lot, seconds) in [(0, 36), (u64::MAX, 44)] {
            health.told(true, lot, now);
            assert!(near(health.deadline().unwrap() - now, seconds));
        }
    }

    #[test]
    fn a_failed_call_has_the_address_asked_soon() {
        let mut bench = Bench::new(SETTINGS);
        bench.asks(true);
        assert_eq!(bench.health.seen(false, bench.now), None);
        assert_eq!(
            bench.health.deadline(),
            Some(bench.now + SETTINGS.interval / 4)
        );
    }

    #[test]
    fn an_address_that_is_never_asked_is_left_alone_for_a_while_after_failed_calls() {
        let mut bench = Bench::new(Settings {
            interval: Duration::ZERO,
            ..SETTINGS
        });
        assert_eq!(bench.health.deadline(), None);
        for wanted in [None, None, Some(Change::Down)] {
            assert_eq!(bench.health.seen(false, bench.now), wanted);
        }
        assert_eq!(bench.waits(Due::Rested), REST);
        assert!(bench.health.is_up());
        assert_eq!(bench.health.deadline(), None);
        for _ in 0..3 {
            bench.health.seen(false, bench.now);
        }
        assert_eq!(bench.health.seen(true, bench.now), Some(Change::Up));
        assert_eq!(bench.health.deadline(), None);
    }

    #[test]
    fn other_settings_change_the_pace_and_not_what_is_known() {
        let mut bench = Bench::new(SETTINGS);
        for _ in 0..3 {
            bench.asks(false);
        }
        let off = Settings {
            interval: Duration::ZERO,
            ..SETTINGS
        };
        bench.waits(Due::Ask);
        bench.health.configure(off, 0, bench.now);
        bench.health.told(false, 0, bench.now);
        assert_eq!(bench.health.deadline(), Some(bench.now + REST));
        assert!(!bench.health.is_up());
        bench.health.configure(SETTINGS, 0, bench.now);
        assert!(!bench.health.is_up());
        assert_eq!(bench.health.deadline(), Some(bench.now));
    }
}
