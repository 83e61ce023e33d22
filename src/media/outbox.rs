//! What a session wants sent, in buffers that are used again for the next packet; and its tape, if it has one.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use super::digits::Press;
use super::intervals::Measured;
use super::tape::{Crossing, Tape};
use crate::leg::Leg;

/// One of the sockets of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Socket {
    /// RTP, and RTCP where it is multiplexed.
    Rtp,
    /// RTCP alone.
    Rtcp,
}

/// What there is to tell of a leg.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News {
    /// Nothing comes from it any more.
    Silent,
    /// A handshake gave it keys.
    Keyed,
    /// It cannot be sent to; why.
    Failed(String),
    /// A key was pressed on it, of which the other one is not told in its stream.
    Pressed(Press),
    /// What one of its directions was like of late.
    Measured(Measured),
}

/// Packets to send and news to tell, each in order.
pub(crate) struct Outbox {
    /// All packets, end to end.
    bytes: Vec<u8>,
    packets: Vec<(Leg, Socket, SocketAddr, Range<usize>)>,
    news: Vec<(Leg, News)>,
    /// The packet that is being sealed, for the tape.
    clear: Vec<u8>,
    /// What is written down of the session that is at work, and what time it is.
    tape: Option<(Box<Tape>, Instant)>,
}

/// A packet to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) leg: Leg,
    pub(crate) socket: Socket,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: &'a [u8],
}

impl Outbox {
    /// Room for what a session usually wants at once; more makes it grow once.
    pub(crate) fn new() -> Outbox {
        Outbox {
            bytes: Vec::with_capacity(4096),
            packets: Vec::with_capacity(8),
            news: Vec::with_capacity(8),
            clear: Vec::new(),
            tape: None,
        }
    }

    /// Adds a packet.
    pub(crate) fn send(&mut self, leg: Leg, socket: Socket, to: SocketAddr, packet: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packet);
        self.packets
            .push((leg, socket, to, start..self.bytes.len()));
    }

    /// Adds RTP or RTCP: written in clear, as it is on the tape, and then sealed where it stands, as the peer's keys want it.
    ///
    /// # Errors
    /// What sealing it says; it is then neither sent nor on the tape.
    pub(crate) fn send_sealed<E>(
        &mut self,
        (leg, socket, to): (Leg, Socket, SocketAddr),
        write: impl FnOnce(&mut Vec<u8>),
        seal: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.tape.is_some() {
            self.clear.clear();
            self.clear.extend_from_slice(&self.bytes[start..]);
        }
        if let Err(error) = seal(&mut self.bytes, start) {
            self.bytes.truncate(start);
            return Err(error);
        }
        if let Some((tape, now)) = &mut self.tape {
            let crossing = Crossing {
                leg,
                socket,
                sent: true,
                remote: to,
                octets: &self.clear,
            };
            tape.write(&crossing, *now);
        }
        let range = start..self.bytes.len();
        self.packets.push((leg, socket, to, range));
        Ok(())
    }

    /// RTP or RTCP has come, and could be opened.
    pub(crate) fn heard(
        &mut self,
        leg: Leg,
        socket: Socket,
        from: SocketAddr,
        clear: &[u8],
        arrived: Instant,
    ) {
        if let Some((tape, _)) = &mut self.tape {
            let crossing = Crossing {
                leg,
                socket,
                sent: false,
                remote: from,
                octets: clear,
            };
            tape.write(&crossing, arrived);
        }
    }

    /// Takes the tape of the session that goes to work now.
    pub(crate) fn lend(&mut self, tape: Option<Box<Tape>>, now: Instant) {
        self.tape = tape.map(|tape| (tape, now));
    }

    /// Gives it back.
    pub(crate) fn give_back(&mut self) -> Option<Box<Tape>> {
        self.tape.take().map(|(tape, _)| tape)
    }

    /// Adds news of a leg.
    pub(crate) fn tell(&mut self, leg: Leg, news: News) {
        self.news.push((leg, news));
    }

    /// What to send.
    pub(crate) fn packets(&self) -> impl Iterator<Item = Outgoing<'_>> {
        self.packets
            .iter()
            .map(|(leg, socket, to, range)| Outgoing {
                leg: *leg,
                socket: *socket,
                to: *to,
                bytes: &self.bytes[range.clone()],
            })
    }

    /// What to tell.
    pub(crate) fn news(&self) -> impl Iterator<Item = (Leg, &News)> {
        self.news.iter().map(|(leg, news)| (*leg, news))
    }

    /// Forgets what was to be sent and told, but not the memory it took.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
        self.news.clear();
    }
}
