//! A request that is repeated until it is answered (RFC 8489 §6.2.1), and the pairs that such requests go over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Settings;
use super::candidate::{self, Candidate, Kind};
use super::stun::TransactionId;

/// The most candidates of an SDP that are tried. Meta names two.
const OFFERED: usize = 16;

/// The most addresses that are learnt from the peer's requests (RFC 8445 §7.3.1.3): a request that somebody recorded
/// and sends again from elsewhere must not make us knock at every door.
const LEARNT: usize = 4;

/// A request under way.
pub(super) struct Check {
    pub(super) id: TransactionId,
    /// When it is repeated.
    pub(super) due: Instant,
    wait: Duration,
}

impl Check {
    pub(super) fn begin(id: TransactionId, settings: &Settings, now: Instant) -> Check {
        Check {
            id,
            due: now + settings.repeat,
            wait: settings.repeat,
        }
    }

    /// Whether it is to be sent again now; counts as sent if so.
    pub(super) fn repeats(&mut self, settings: &Settings, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.wait = (self.wait * 2).min(settings.repeat_most);
        self.due = now + self.wait;
        true
    }
}

/// One of the peer's addresses, and our socket of its family.
pub(super) struct Pair {
    pub(super) remote: SocketAddr,
    priority: u64,
    /// `None`: not yet tried.
    pub(super) check: Option<Check>,
}

impl Pair {
    fn new(remote: SocketAddr, priority: u32) -> Pair {
        let ours = candidate::priority(Kind::Host, remote.is_ipv4());
        Pair {
            remote,
            priority: pair_priority(ours, priority),
            check: None,
        }
    }
}

/// The pairs of an agent that still looks for one: none twice, and never many.
pub(super) struct Pairs {
    all: Vec<Pair>,
    /// How many of them no SDP named.
    learnt: usize,
}

impl Pairs {
    /// The candidates that a socket of ours can reach, best first.
    pub(super) fn new(local: &[SocketAddr], candidates: &[Candidate]) -> Pairs {
        let mut candidates: Vec<_> = candidates.iter().collect();
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
        let mut pairs = Pairs {
            all: Vec::new(),
            learnt: 0,
        };
        for Candidate {
            address, priority, ..
        } in candidates
        {
            let reachable = local.iter().any(|ours| ours.is_ipv4() == address.is_ipv4());
            if reachable && pairs.all.len() < OFFERED && pairs.find(*address).is_none() {
                pairs.all.push(Pair::new(*address, *priority));
            }
        }
        pairs
            .all
            .sort_by_key(|pair| std::cmp::Reverse(pair.priority));
        pairs
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.all.iter()
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.all.iter_mut()
    }

    /// Those with a check under way.
    pub(super) fn checks(&self) -> impl Iterator<Item = &Check> {
        self.all.iter().filter_map(|pair| pair.check.as_ref())
    }

    /// The best pair that has not been tried.
    pub(super) fn waiting(&mut self) -> Option<&mut Pair> {
        self.all.iter_mut().find(|pair| pair.check.is_none())
    }

    /// Whether some pair has not been tried.
    pub(super) fn any_waiting(&self) -> bool {
        self.all.iter().any(|pair| pair.check.is_none())
    }

    /// The pair of an address from which an authentic request came, to be tried at once (RFC 8445 §7.3.1.4). `None`: it is
    /// being tried, or too many were learnt.
    pub(super) fn triggered(&mut self, from: SocketAddr, priority: u32) -> Option<&mut Pair> {
        if self.find(from).is_none() && self.learnt < LEARNT {
            self.learnt += 1;
            self.all.push(Pair::new(from, priority));
        }
        self.find(from).filter(|pair| pair.check.is_none())
    }

    /// The pair of that address.
    pub(super) fn find(&mut self, remote: SocketAddr) -> Option<&mut Pair> {
        self.all.iter_mut().find(|pair| pair.remote == remote)
    }
}

/// RFC 8445 §6.1.2.3, where G is ours since we control.
fn pair_priority(g: u32, d: u32) -> u64 {
    (u64::from(g.min(d)) << 32) + 2 * u64::from(g.max(d)) + u64::from(g > d)
}
