//! T1, T2, T4 and the timers A–M made from them (RFC 3261 §17, Table 4; RFC 6026 §7), and who is due next.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::sip::transport::Protocol;

/// What an operator may set about transactions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds that a message and its answer take at most on an untroubled network (T1). The first repetition
    /// over UDP comes after it, and a request is given up after 64 times as long.
    pub t1: u16,
    /// Longest pause in milliseconds between two repetitions over UDP, those of an INVITE excepted (T2).
    pub t2: u16,
    /// Milliseconds for which a message may wander about in the network (T4).
    pub t4: u16,
    /// Transactions under way at once. A request beyond them is answered 503 and forgotten.
    pub max_transactions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            t1: 500,
            t2: 4_000,
            t4: 5_000,
            max_transactions: 20_000,
        }
    }
}

impl Settings {
    /// What cannot work, in words for the operator; each entry begins with its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = [("t1", self.t1), ("t2", self.t2), ("t4", self.t4)]
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| format!("{key}: must be more than 0"))
            .collect();
        if self.t2 < self.t1 {
            problems.push("t2: must not be shorter than t1".into());
        }
        if self.max_transactions == 0 {
            problems.push("max_transactions: must be more than 0".into());
        }
        problems
    }
}

/// The timers of one kind of transport. Timer C is a proxy's; how long a phone may ring is the call's to say.
#[derive(Debug)]
pub(super) struct Timers {
    /// INVITE is sent again; doubles without a ceiling. Like E and G only where messages get lost.
    pub a: Option<Duration>,
    /// INVITE is given up.
    pub b: Duration,
    /// The client still acknowledges repeated refusals.
    pub d: Duration,
    /// Another request is sent again; doubles up to T2.
    pub e: Option<Duration>,
    /// Another request is given up.
    pub f: Duration,
    /// A refused INVITE's response is sent again; doubles up to T2.
    pub g: Option<Duration>,
    /// The server waits for the ACK of a refusal.
    pub h: Duration,
    /// The server absorbs repeated ACKs.
    pub i: Duration,
    /// The server answers repeated requests.
    pub j: Duration,
    /// The client absorbs repeated responses.
    pub k: Duration,
    /// The server absorbs INVITEs repeated after a 2xx (RFC 6026 §7.1).
    pub l: Duration,
    /// The client hands on repeated and forked 2xx (RFC 6026 §7.2).
    pub m: Duration,
    /// The ceiling of E and G.
    pub t2: Duration,
}

impl Timers {
    pub fn new(settings: &Settings, protocol: Protocol) -> Timers {
        // A pause of nothing would have a request repeated for ever at one instant.
        let ms = |setting: u16| Duration::from_millis(setting.max(1).into());
        let (t1, t2, t4) = (ms(settings.t1), ms(settings.t2), ms(settings.t4));
        let lossy = !protocol.is_reliable();
        let resend = lossy.then_some(t1);
        let if_lossy = |wait: Duration| if lossy { wait } else { Duration::ZERO };
        Timers {
            a: resend,
            b: 64 * t1,
            // §17.1.1.2: at least 32 s, since the server's T1 may be longer than ours.
            d: if_lossy((64 * t1).max(Duration::from_secs(32))),
            e: resend,
            f: 64 * t1,
            g: resend,
            h: 64 * t1,
            i: if_lossy(t4),
            j: if_lossy(64 * t1),
            k: if_lossy(t4),
            l: 64 * t1,
            m: 64 * t1,
            t2,
        }
    }
}

/// A message that is sent again and again: Timers A, E and G.
#[derive(Debug)]
pub(super) struct Resend {
    pub at: Instant,
    pub wait: Duration,
}

impl Resend {
    /// `None` where nothing is sent again.
    pub fn start(first: Option<Duration>, now: Instant) -> Option<Resend> {
        let wait = first?;
        let at = now + wait;
        Some(Resend { at, wait })
    }

    /// Next time after `wait`.
    pub fn after(&mut self, wait: Duration, now: Instant) {
        *self = Resend {
            at: now + wait,
            wait,
        };
    }
}

/// The earlier of the next repetition and the end.
pub(super) fn earlier(resend: &Option<Resend>, end: Instant) -> Instant {
    resend.as_ref().map_or(end, |resend| resend.at.min(end))
}

/// Which transaction is due next: at most one instant for each.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// May name instants that no longer hold; `armed` knows which do.
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    armed: HashMap<u64, Instant>,
}

impl Deadlines {
    /// `id` is due at `at`, and at no other instant.
    pub fn set(&mut self, id: u64, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.armed.insert(id, at),
            None => self.armed.remove(&id),
        };
        if let Some(at) = at.filter(|_| before != at) {
            self.heap.push(Reverse((at, id)));
        }
        self.forget_stale();
    }

    /// The earliest instant that holds.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one that is due.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        let Reverse((at, id)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.set(id, None);
        Some(id)
    }

    /// Keeps the top of the heap true, and the heap in proportion to what is armed: most transactions end long
    /// before the instant they would have been given up at.
    fn forget_stale(&mut self) {
        let armed = &self.armed;
        if self.heap.len() > 2 * armed.len() + 64 {
            self.heap
                .retain(|Reverse((at, id))| armed.get(id) == Some(at));
        }
        while let Some(Reverse((at, id))) = self.heap.peek() {
            if armed.get(id) == Some(at) {
                break;
            }
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_stream_nothing_is_repeated_and_nobody_lingers_for_repetitions() {
        let timers = Timers::new(&Settings::default(), Protocol::Tls);
        assert_eq!((timers.a, timers.e, timers.g), (None, None, None));
        for lingering in [timers.d, timers.i, timers.j, timers.k] {
            assert_eq!(lingering, Duration::ZERO);
        }
        // RFC 6026: Timers L and M wait for other branches of a fork too, on any transport.
        assert_eq!((timers.l.as_secs(), timers.m.as_secs()), (32, 32));
    }

    #[test]
    fn a_t1_of_nothing_is_a_problem_and_still_lets_time_pass() {
        let settings = Settings {
            t1: 0,
            ..Settings::default()
        };
        assert_eq!(settings.problems(), ["t1: must be more than 0"]);
        let timers = Timers::new(&settings, Protocol::Udp);
        assert_eq!(timers.a, Some(Duration::from_millis(1)));
        assert!(Settings::default().problems().is_empty());
    }

    #[test]
    fn the_next_deadline_is_exact_though_old_ones_were_replaced() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut deadlines = Deadlines::default();
        deadlines.set(1, Some(at(1)));
        deadlines.set(2, Some(at(3)));
        deadlines.set(1, Some(at(5)));
        assert_eq!(deadlines.next(), Some(at(3)));
        assert_eq!(deadlines.due(at(2)), None);
        assert_eq!(deadlines.due(at(5)), Some(2));
        assert_eq!(deadlines.due(at(5)), Some(1));
        assert_eq!((deadlines.due(at(9)), deadlines.next()), (None, None));
    }

    #[test]
    fn deadlines_that_were_lifted_do_not_pile_up() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        // The earliest one holds, so the others are not found by looking at the top.
        deadlines.set(0, Some(start));
        for id in 1..10_000 {
            deadlines.set(id, Some(start + Duration::from_millis(id)));
            deadlines.set(id, None);
        }
        assert_eq!(deadlines.next(), Some(start));
        assert!(deadlines.heap.len() < 100, "{}", deadlines.heap.len());
    }
}
