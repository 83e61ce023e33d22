//! The RTP range of one address: take, give back, rest before reuse.
//!
//! A port is named by its even half; the odd one above it belongs to it (RTCP, RFC 3550 §11).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::settings::PortRange;

/// The port pairs of one local address. Owns no socket.
#[derive(Debug)]
pub(crate) struct Ports {
    free: VecDeque<u16>,
    /// In the order in which they were given back, so the first is the first to be rested.
    resting: VecDeque<(Instant, u16)>,
    rest: Duration,
    all: usize,
}

/// How much of a range is in use. Counts are pairs of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortUse {
    /// Pairs in the range.
    pub all: usize,
    /// Those of calls that are up.
    pub taken: usize,
    /// Those that calls have given back and that may not be taken again yet.
    pub resting: usize,
}

impl PortUse {
    /// Pairs that the next call can have.
    pub fn free(&self) -> usize {
        self.all - self.taken - self.resting
    }
}

impl Ports {
    /// All pairs of the range, none taken.
    pub(crate) fn new(range: PortRange, rest: Duration) -> Ports {
        let free: VecDeque<u16> = range.pairs().collect();
        Ports {
            all: free.len(),
            free,
            resting: VecDeque::new(),
            rest,
        }
    }

    /// The even port of a pair that nobody holds and that has rested; `None` when all are taken or resting.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u16> {
        while let Some(&(since, port)) = self.resting.front() {
            if now.saturating_duration_since(since) < self.rest {
                break;
            }
            self.resting.pop_front();
            self.free.push_back(port);
        }
        self.free.pop_front()
    }

    /// How much is in use.
    pub(crate) fn usage(&self, now: Instant) -> PortUse {
        let rested =
            |(since, _): &(Instant, u16)| now.saturating_duration_since(*since) >= self.rest;
        PortUse {
            all: self.all,
            taken: self.all - self.free.len() - self.resting.len(),
            resting: self.resting.len() - self.resting.partition_point(rested),
        }
    }

    /// Lets a pair rest from now on: its call has ended, or another program holds it.
    pub(crate) fn give_back(&mut self, port: u16, now: Instant) {
        self.resting.push_back((now, port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(5);

    fn ports() -> Ports {
        Ports::new(PortRange::new(20_001, 20_006).unwrap(), REST)
    }

    #[test]
    fn only_even_ports_with_their_odd_successor_are_handed_out() {
        let (mut ports, now) = (ports(), Instant::now());
        assert_eq!(ports.take(now), Some(20_002));
        assert_eq!(ports.take(now), Some(20_004));
        assert_eq!(ports.take(now), None, "20006 has no successor in the range");
    }

    #[test]
    fn a_port_given_back_rests_before_it_is_taken_again() {
        let (mut ports, now) = (ports(), Instant::now());
        let first = ports.take(now).unwrap();
        ports.give_back(first, now);
        assert_eq!(ports.take(now), Some(20_004));
        assert_eq!(ports.take(now + REST - Duration::from_millis(1)), None);
        assert_eq!(ports.take(now + REST), Some(first));
    }

    #[test]
    fn what_is_taken_and_what_rests_is_told_apart() {
        let (mut ports, now) = (ports(), Instant::now());
        let first = ports.take(now).unwrap();
        let usage = |taken, resting| PortUse {
            all: 2,
            taken,
            resting,
        };
        assert_eq!(ports.usage(now), usage(1, 0));
        ports.give_back(first, now);
        assert_eq!(ports.usage(now), usage(0, 1));
        assert_eq!(ports.usage(now).free(), 1);
        assert_eq!(ports.usage(now + REST), usage(0, 0));
    }

    #[test]
    fn the_longest_rested_port_is_taken_first() {
        let (mut ports, now) = (ports(), Instant::now());
        let (a, b) = (ports.take(now).unwrap(), ports.take(now).unwrap());
        ports.give_back(b, now);
        ports.give_back(a, now + Duration::from_secs(1));
        assert_eq!(ports.take(now + REST * 2), Some(b));
        assert_eq!(ports.take(now + REST * 2), Some(a));
    }
}
