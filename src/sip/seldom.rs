//! What anybody can make happen thousands of times a second, and the log shall say all the same.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long whoever was named is not named again.
const MINUTE: Duration = Duration::from_secs(60);

/// Who is named: each once a minute, and no more than so many. The others are counted, and told of with the next name.
#[derive(Debug)]
pub struct Seldom<Who> {
    most: usize,
    since: Option<Instant>,
    named: HashSet<Who>,
    unnamed: u64,
}

impl<Who: Eq + Hash> Seldom<Who> {
    /// Names so many in a minute at most.
    pub fn new(most: usize) -> Seldom<Who> {
        Seldom {
            most,
            since: None,
            named: HashSet::new(),
            unnamed: 0,
        }
    }

    /// It has happened because of `who`. If that is to be said: how often it has happened unsaid since the last time.
    pub fn tell(&mut self, who: Who, now: Instant) -> Option<u64> {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= MINUTE;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.named.clear();
        }
        if self.named.len() < self.most && self.named.insert(who) {
            return Some(std::mem::take(&mut self.unnamed));
        }
        self.unnamed += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_once_a_minute_and_what_was_not_said_is_told_with_the_next() {
        let mut seldom = Seldom::new(2);
        let start = Instant::now();
        let mut at = |seconds, who| seldom.tell(who, start + Duration::from_secs(seconds));
        assert_eq!(at(0, "a"), Some(0));
        assert_eq!(at(1, "a"), None);
        assert_eq!(at(2, "b"), Some(1));
        assert_eq!(at(3, "c"), None, "two are enough for a minute");
        assert_eq!(at(59, "b"), None);
        assert_eq!(at(60, "b"), Some(2));
        assert_eq!(at(61, "c"), Some(0));
    }
}
