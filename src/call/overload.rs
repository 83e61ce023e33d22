//! When new calls are refused because the bridge is late, so that those that are up, and those let in, stay good.
//!
//! ```text
//!   Keeping up ── a new call has waited longer than the limit, for twenty times the limit ──▶ Late
//!        ▲                                                                                     │ whoever comes while one has
//!        └───────────── none has for five limits ──────────────────────────────────────────────┘ waited longer is refused
//! ```
//!
//! A burst is let in whole: it is over before it counts as lateness. What lasts is cut to about the limit, so that of twice the
//! calls that the machine can do, as many are served as ever, and the others know at once (RFC 6357: control at the
//! receiver, by the delay in its queue). It knows no rate and needs none: what is refused is what the time does not reach for.

use std::time::{Duration, Instant};

/// How often the limit goes into the time for which the bridge may be late before anything is refused: 500 calls at once, of
/// half a millisecond and more each, are a burst and nothing else.
const PATIENCE: u32 = 20;
/// How often it goes into the time for which no call must have waited too long before the bridge is in time again. Short, for
/// then bursts are let in whole again; but refusing brings the wait below the limit for moments, and it must not come and go.
const RECOVERY: u32 = 5;

/// Whether the bridge is late, by how long new calls have waited for it.
#[derive(Debug)]
pub struct Overload {
    /// How long one may wait; zero: for ever.
    limit: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Since when each look has found one that has waited too long.
    KeepingUp { late: Option<Instant> },
    /// Since when it is late, and when one last had waited too long.
    Late { since: Instant, latest: Instant },
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// New calls are refused from now on while one waits for too long.
    Late,
    /// It keeps up again; for how long it did not.
    KeepsUp(Duration),
}

impl Overload {
    /// New calls may wait for so long; zero: for ever.
    pub fn new(limit: Duration) -> Overload {
        Overload {
            limit,
            state: State::KeepingUp { late: None },
        }
    }

    /// From now on they may wait for so long.
    pub fn configure(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The new call that came first of those that wait has waited for so long; zero if none waits.
    pub fn look(&mut self, waited: Duration, now: Instant) -> Option<Turn> {
        let is_late = self.has_waited_too_long(waited);
        match &mut self.state {
            State::KeepingUp { late } if is_late => {
                let since = *late.get_or_insert(now);
                if now.saturating_duration_since(since) < PATIENCE * self.limit {
                    return None;
                }
                self.state = State::Late { since, latest: now };
                Some(Turn::Late)
            }
            State::KeepingUp { late } => {
                *late = None;
                None
            }
            State::Late { latest, .. } if is_late => {
                *latest = now;
                None
            }
            State::Late { since, latest } => {
                if now.saturating_duration_since(*latest) < RECOVERY * self.limit {
                    return None;
                }
                let lasted = now.saturating_duration_since(*since);
                self.state = State::KeepingUp { late: None };
                Some(Turn::KeepsUp(lasted))
            }
        }
    }

    /// When to look again although nothing comes: until then it is late.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::KeepingUp { .. } => None,
            State::Late { latest, .. } => Some(latest + RECOVERY * self.limit),
        }
    }

    /// Whether a new call is refused that comes when the oldest has waited for so long.
    pub fn refuses(&self, waited: Duration) -> bool {
        matches!(self.state, State::Late { .. }) && self.has_waited_too_long(waited)
    }

    fn has_waited_too_long(&self, waited: Duration) -> bool {
        !self.limit.is_zero() && waited > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_burst_is_let_in_and_what_lasts_is_cut() {
        let start = Instant::now();
        let mut overload = Overload::new(ms(20));
        for at in 0..400 {
            assert_eq!(overload.look(ms(at), start + ms(at)), None, "{at}");
            assert!(!overload.refuses(ms(at)));
        }
        assert_eq!(overload.look(ms(0), start + ms(400)), None, "it is over");
        assert_eq!(overload.look(ms(21), start + ms(500)), None);
        assert_eq!(overload.look(ms(99), start + ms(899)), None);
        assert_eq!(overload.look(ms(99), start + ms(900)), Some(Turn::Late));
        assert!(overload.refuses(ms(21)) && !overload.refuses(ms(20)));
    }

    #[test]
    fn it_does_not_come_and_go() {
        let start = Instant::now();
        let mut overload = Overload::new(ms(20));
        let mut look = |at, waited| overload.look(ms(waited), start + ms(at));
        assert_eq!((look(0, 30), look(400, 30)), (None, Some(Turn::Late)));
        for at in (400..3000).step_by(90) {
            assert_eq!((look(at, 0), look(at + 1, 21)), (None, None));
        }
        // It was late last at 2921.
        let over = Some(Turn::KeepsUp(ms(3021)));
        assert_eq!((look(3020, 0), look(3021, 0)), (None, over));
        assert_eq!(look(3022, 0), None);
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let start = Instant::now();
        let mut overload = Overload::new(Duration::ZERO);
        for at in 0..100 {
            assert_eq!(overload.look(ms(1000 * at), start + ms(1000 * at)), None);
        }
        assert!(!overload.refuses(ms(100_000)));
    }
}
