//! A session with its sockets and ports, as its worker keeps it.

use std::io;
use std::time::Instant;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use super::outbox::{Outbox, Outgoing, Socket};
use super::session::Session;
use super::sockets::{Bound, Lease};
use super::worker::Listener;
use super::{MediaEvent, SessionId};
use crate::leg::Leg;

/// A session on its way to its worker.
pub(crate) struct Opening {
    pub(crate) id: SessionId,
    pub(crate) session: Session,
    pub(crate) meta: Bound,
    pub(crate) pbx: Bound,
}

/// The sockets of a slot, in the order of their tokens.
const SOCKETS: [(Leg, Socket); 3] = [
    (Leg::Meta, Socket::Rtp),
    (Leg::Pbx, Socket::Rtp),
    (Leg::Pbx, Socket::Rtcp),
];

/// A session and what belongs to it. The sockets are closed before their ports are given back.
pub(crate) struct Slot {
    pub(crate) id: SessionId,
    pub(crate) session: Session,
    meta: UdpSocket,
    pbx: UdpSocket,
    pbx_rtcp: Option<UdpSocket>,
    _leases: [Lease; 2],
    /// When the worker means to wake it.
    pub(crate) wake: Option<Instant>,
}

/// The slot, side and socket that a token of [`Slot::new`] names.
pub(crate) fn named_by(token: Token) -> (usize, Leg, Socket) {
    let (leg, socket) = SOCKETS[token.0 % SOCKETS.len()];
    (token.0 / SOCKETS.len(), leg, socket)
}

impl Slot {
    /// Registers the sockets; on failure they are closed.
    pub(crate) fn new(opening: Opening, index: usize, registry: &Registry) -> io::Result<Slot> {
        let Opening {
            id,
            session,
            meta,
            pbx,
        } = opening;
        let mut slot = Slot {
            id,
            session,
            meta: UdpSocket::from_std(meta.rtp),
            pbx: UdpSocket::from_std(pbx.rtp),
            pbx_rtcp: pbx.rtcp.map(UdpSocket::from_std),
            _leases: [meta.lease, pbx.lease],
            wake: None,
        };
        for (offset, (leg, socket)) in SOCKETS.into_iter().enumerate() {
            let Some(socket) = slot.socket_mut(leg, socket) else {
                continue;
            };
            registry.register(
                socket,
                Token(index * SOCKETS.len() + offset),
                Interest::READABLE,
            )?;
        }
        Ok(slot)
    }

    /// Sends and tells what the session wants sent and told. What the system refuses is lost, as it would be on the way.
    pub(crate) fn post(&mut self, out: &mut Outbox, listener: &Listener) {
        for Outgoing {
            leg,
            socket,
            to,
            bytes,
        } in out.packets()
        {
            let sent = self
                .socket(leg, socket)
                .map(|socket| socket.send_to(bytes, to));
            if !matches!(sent, Some(Ok(_))) {
                self.session.unsent(leg);
            }
        }
        for leg in out.silent_legs() {
            listener(MediaEvent::Silent { id: self.id, leg });
        }
        out.clear();
    }

    pub(crate) fn socket(&self, leg: Leg, socket: Socket) -> Option<&UdpSocket> {
        match (leg, socket) {
            (Leg::Meta, Socket::Rtp) => Some(&self.meta),
            (Leg::Meta, Socket::Rtcp) => None,
            (Leg::Pbx, Socket::Rtp) => Some(&self.pbx),
            (Leg::Pbx, Socket::Rtcp) => self.pbx_rtcp.as_ref(),
        }
    }

    fn socket_mut(&mut self, leg: Leg, socket: Socket) -> Option<&mut UdpSocket> {
        match (leg, socket) {
            (Leg::Meta, Socket::Rtp) => Some(&mut self.meta),
            (Leg::Meta, Socket::Rtcp) => None,
            (Leg::Pbx, Socket::Rtp) => Some(&mut self.pbx),
            (Leg::Pbx, Socket::Rtcp) => self.pbx_rtcp.as_mut(),
        }
    }
}
