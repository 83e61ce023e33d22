//! How many connections are open and how many attempts failed: counted where it happens, for whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Protocol;
use crate::leg::Leg;

/// Who opened a connection, or tried to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opener {
    /// The far end.
    Peer,
    /// This bridge.
    Us,
}

impl Opener {
    /// Both of them, in the order in which `opener as usize` counts.
    pub const BOTH: [Opener; 2] = [Opener::Peer, Opener::Us];

    /// A word for it, for metrics: it stays what it is.
    pub fn word(self) -> &'static str {
        match self {
            Opener::Peer => "peer",
            Opener::Us => "us",
        }
    }
}

/// The protocols that have connections.
const STREAMS: [Protocol; 2] = [Protocol::Tcp, Protocol::Tls];

/// Numbers of connections, by leg.
#[derive(Debug, Default)]
pub struct Tally([OfLeg; 2]);

#[derive(Debug, Default)]
struct OfLeg {
    /// By protocol and opener.
    open: [[AtomicUsize; 2]; 2],
    handshakes_failed: [AtomicU64; 2],
    unreachable: AtomicU64,
}

/// One that is open. It is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    tally: Arc<Tally>,
    leg: Leg,
    tls: bool,
    opener: Opener,
}

impl Tally {
    /// Connections that are open now: leg, protocol, who opened them, and how many.
    pub fn open(&self) -> Vec<(Leg, Protocol, Opener, usize)> {
        let mut all = Vec::new();
        for leg in Leg::BOTH {
            for protocol in STREAMS {
                for opener in Opener::BOTH {
                    let open = self.place(leg, protocol == Protocol::Tls, opener);
                    all.push((leg, protocol, opener, open.load(Ordering::Relaxed)));
                }
            }
        }
        all
    }

    /// TLS handshakes that failed since the start.
    pub fn handshakes_failed(&self, leg: Leg, opener: Opener) -> u64 {
        self.0[leg as usize].handshakes_failed[opener as usize].load(Ordering::Relaxed)
    }

    /// Times that no connection to a leg could be opened, at none of its addresses, since the start.
    pub fn unreachable(&self, leg: Leg) -> u64 {
        self.0[leg as usize].unreachable.load(Ordering::Relaxed)
    }

    pub(super) fn count(
        self: &Arc<Tally>,
        leg: Leg,
        protocol: Protocol,
        opener: Opener,
    ) -> Counted {
        let tls = protocol == Protocol::Tls;
        self.place(leg, tls, opener).fetch_add(1, Ordering::Relaxed);
        Counted {
            tally: self.clone(),
            leg,
            tls,
            opener,
        }
    }

    pub(super) fn handshake_failed(&self, leg: Leg, opener: Opener) {
        self.0[leg as usize].handshakes_failed[opener as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_unreachable(&self, leg: Leg) {
        self.0[leg as usize]
            .unreachable
            .fetch_add(1, Ordering::Relaxed);
    }

    fn place(&self, leg: Leg, tls: bool, opener: Opener) -> &AtomicUsize {
        &self.0[leg as usize].open[usize::from(tls)][opener as usize]
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let place = self.tally.place(self.leg, self.tls, self.opener);
        place.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_counted_for_as_long_as_it_is_open() {
        let tally = Arc::new(Tally::default());
        let open = |wanted| {
            let all = tally.open();
            let of = |(leg, protocol, opener, _): &&(Leg, Protocol, Opener, usize)| {
                (*leg, *protocol, *opener) == wanted
            };
            (
                all.iter().find(of).unwrap().3,
                all.iter().map(|o| o.3).sum::<usize>(),
            )
        };
        let to_meta = (Leg::Meta, Protocol::Tls, Opener::Us);
        let first = tally.count(Leg::Meta, Protocol::Tls, Opener::Us);
        let _second = tally.count(Leg::Pbx, Protocol::Tcp, Opener::Peer);
        assert_eq!(open(to_meta), (1, 2));
        drop(first);
        assert_eq!(open(to_meta), (0, 1));
    }
}
