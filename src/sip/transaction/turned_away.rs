//! Requests by UDP that were refused without a transaction, for as long as they may come again.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

/// Most that are remembered. Of a greater storm the oldest are forgotten: whoever repeats a request does so within seconds.
const MOST: usize = 8192;

/// The names of refused requests.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    names: HashSet<u64>,
    /// The same, and when each may be forgotten, in the order in which they came.
    order: VecDeque<(Instant, u64)>,
}

impl TurnedAway {
    /// This one is refused; it may come again until then.
    pub fn note(&mut self, name: u64, now: Instant, until: Instant) {
        self.forget(now);
        if self.names.insert(name) {
            self.order.push_back((until, name));
        }
        if self.order.len() > MOST {
            self.forget_oldest();
        }
    }

    /// Whether this one was refused.
    pub fn has(&mut self, name: u64, now: Instant) -> bool {
        self.forget(now);
        self.names.contains(&name)
    }

    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, name)) = self.order.pop_front() {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_is_remembered_until_its_time_and_no_more_than_there_is_room_for() {
        let start = Instant::now();
        let until = start + Duration::from_secs(32);
        let mut away = TurnedAway::default();
        for name in 0..=MOST as u64 {
            away.note(name, start, until);
        }
        assert!(!away.has(0, start) && away.has(1, start));
        assert_eq!((away.names.len(), away.order.len()), (MOST, MOST));
        assert!(!away.has(1, until));
        assert!(away.names.is_empty() && away.order.is_empty());
    }
}
