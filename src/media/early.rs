//! What comes from the PBX before its answer has been read and told to the session. RTP needs no more than a socket, the
//! 200 that says whose it is must be parsed and judged: on a busy machine the first word overtakes it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::outbox::Socket;

/// How far media may be ahead of the answer that it belongs to. What is older was not meant as speech to anybody: a
/// phone's own ringing tone, or a stranger.
const AHEAD: Duration = Duration::from_millis(100);
/// The most datagrams: as many as come in that time in frames of 10 ms, and some reports.
const DATAGRAMS: usize = 12;
/// Octets of the largest: what fits into an Ethernet frame.
const LARGEST: usize = 1_500;

/// Datagrams of nobody yet, newest last.
#[derive(Default)]
pub(crate) struct Early(VecDeque<Datagram>);

/// One of them, as it came.
pub(crate) struct Datagram {
    pub(crate) arrived: Instant,
    pub(crate) socket: Socket,
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Early {
    /// Keeps a datagram; says how many will never be heard for that.
    pub(crate) fn keep(
        &mut self,
        socket: Socket,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> u64 {
        if datagram.len() > LARGEST {
            return 1;
        }
        self.0.push_back(Datagram {
            arrived: now,
            socket,
            from,
            bytes: datagram.to_vec(),
        });
        self.expire(now)
    }

    /// What may belong to an answer that has been read now, in order, and how many do not.
    pub(crate) fn release(mut self, now: Instant) -> (impl Iterator<Item = Datagram>, u64) {
        let expired = self.expire(now);
        (self.0.into_iter(), expired)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn expire(&mut self, now: Instant) -> u64 {
        let old = |datagram: &Datagram| now.saturating_duration_since(datagram.arrived) > AHEAD;
        let mut expired = 0;
        while self.0.len() > DATAGRAMS || self.0.front().is_some_and(old) {
            self.0.pop_front();
            expired += 1;
        }
        expired
    }
}
