//! A session with its sockets and ports, as its worker keeps it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::io::{Backend, Token};
use super::outbox::{News, Outbox, Outgoing, Socket};
use super::session::Session;
use super::sockets::{Bound, Lease};
use super::tape::{Ends, Length, Tape};
use super::totals::Told;
use super::worker::Listener;
use super::{MediaEvent, SessionId};
use crate::leg::Leg;

/// A session on its way to its worker.
pub(crate) struct Opening {
    pub(crate) id: SessionId,
    pub(crate) session: Session,
    pub(crate) meta: Bound,
    /// On the other version of IP, which is IPv6.
    pub(crate) meta_ipv6: Option<Bound>,
    pub(crate) pbx: Bound,
}

/// One of the sockets of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    Meta,
    Pbx,
    PbxRtcp,
    /// A second one for Meta, beside one of IPv4.
    MetaIpv6,
}

/// The sockets of a slot, in the order of their tokens.
const DOORS: [Door; 4] = [Door::Meta, Door::Pbx, Door::PbxRtcp, Door::MetaIpv6];

impl Door {
    /// What a datagram that comes in here is to the session.
    pub(crate) fn of_side(self) -> (Leg, Socket) {
        match self {
            Door::Meta | Door::MetaIpv6 => (Leg::Meta, Socket::Rtp),
            Door::Pbx => (Leg::Pbx, Socket::Rtp),
            Door::PbxRtcp => (Leg::Pbx, Socket::Rtcp),
        }
    }
}

/// A session and what belongs to it, but for its sockets, which are with the worker's backend: they are closed before the
/// ports are given back.
pub(crate) struct Slot {
    pub(crate) id: SessionId,
    pub(crate) session: Session,
    /// Its place among the worker's.
    index: usize,
    /// Meta has a second socket here.
    has_meta_ipv6: bool,
    /// For Meta, for the PBX, and of the second socket for Meta.
    leases: [Option<Lease>; 3],
    /// What of it is in the worker's totals.
    pub(crate) told: Told,
    /// What it carries is written here, if somebody wants that.
    pub(crate) tape: Option<Box<Tape>>,
    /// When the worker means to wake it.
    pub(crate) wake: Option<Instant>,
}

/// The slot and the socket that a token of [`Slot::open`] names.
pub(crate) fn named_by(token: Token) -> (usize, Door) {
    let token = token.0 as usize;
    (token / DOORS.len(), DOORS[token % DOORS.len()])
}

impl Slot {
    /// Has the sockets watched; on failure they are closed.
    pub(crate) fn open(
        opening: Opening,
        index: usize,
        sockets: &mut dyn Backend,
    ) -> io::Result<Slot> {
        let Opening {
            id,
            session,
            meta,
            meta_ipv6,
            pbx,
        } = opening;
        let (meta_ipv6, ipv6_lease) = meta_ipv6.map(|bound| (bound.rtp, bound.lease)).unzip();
        let slot = Slot {
            id,
            session,
            index,
            has_meta_ipv6: meta_ipv6.is_some(),
            leases: [Some(meta.lease), Some(pbx.lease), ipv6_lease],
            told: Told::default(),
            tape: None,
            wake: None,
        };
        let watched = [
            (Door::Meta, Some(meta.rtp)),
            (Door::Pbx, Some(pbx.rtp)),
            (Door::PbxRtcp, pbx.rtcp),
            (Door::MetaIpv6, meta_ipv6),
        ]
        .into_iter()
        .filter_map(|(door, socket)| Some((door, socket?)))
        .try_for_each(|(door, socket)| sockets.watch(slot.token(door), socket));
        match watched {
            Ok(()) => Ok(slot),
            Err(error) => {
                slot.close(sockets);
                Err(error)
            }
        }
    }

    /// Closes its sockets, and then lets their ports rest.
    pub(crate) fn close(self, sockets: &mut dyn Backend) {
        for door in DOORS {
            sockets.close(self.token(door));
        }
    }

    /// Has the PBX's side listen elsewhere; where it did is closed. On failure the slot is of no more use.
    pub(crate) fn face(&mut self, pbx: Bound, sockets: &mut dyn Backend) -> io::Result<()> {
        for (door, socket) in [(Door::Pbx, Some(pbx.rtp)), (Door::PbxRtcp, pbx.rtcp)] {
            sockets.close(self.token(door));
            if let Some(socket) = socket {
                sockets.watch(self.token(door), socket)?;
            }
        }
        self.leases[1] = Some(pbx.lease);
        let at = |door| self.at(door, sockets);
        let ends = (at(Door::Pbx), at(Door::PbxRtcp));
        if let (Some(tape), (Some(pbx), rtcp)) = (&mut self.tape, ends) {
            tape.face(pbx, rtcp.unwrap_or(pbx));
        }
        Ok(())
    }

    /// Sends and tells what the session wants sent and told. What the system refuses is lost, as it would be on the way.
    pub(crate) fn post(
        &mut self,
        out: &mut Outbox,
        sockets: &mut dyn Backend,
        listener: &Listener,
    ) {
        for Outgoing {
            leg,
            socket,
            to,
            bytes,
        } in out.packets()
        {
            let door = self.door(leg, socket, to);
            if !sockets.send(self.token(door), to, bytes) {
                self.session.unsent(leg);
            }
        }
        let id = self.id;
        for (leg, news) in out.news() {
            listener(match news.clone() {
                News::Silent => MediaEvent::Silent { id, leg },
                News::Keyed => MediaEvent::Keyed { id, leg },
                News::Failed(why) => MediaEvent::Failed { id, leg, why },
                News::Pressed(press) => MediaEvent::Pressed { id, leg, press },
                News::Measured(measured) => MediaEvent::Measured { id, leg, measured },
            });
        }
        out.clear();
    }

    /// From now on what it carries is written to a tape of that length, or to none. `announced` is what Meta is told where
    /// our socket has no address of its own.
    pub(crate) fn record(
        &mut self,
        length: Option<Length>,
        announced: IpAddr,
        sockets: &dyn Backend,
    ) {
        let ends = self.ends(announced, sockets);
        let tape = length
            .zip(ends)
            .map(|(length, ends)| Tape::new(length, ends));
        self.tape = tape.map(Box::new);
    }

    fn ends(&self, announced: IpAddr, sockets: &dyn Backend) -> Option<Ends> {
        let at = |door| self.at(door, sockets);
        let mut meta = at(Door::Meta)?;
        if meta.ip().is_unspecified() {
            meta.set_ip(announced);
        }
        let pbx = at(Door::Pbx)?;
        Some(Ends {
            meta,
            meta_ipv6: at(Door::MetaIpv6).unwrap_or(meta),
            pbx,
            pbx_rtcp: at(Door::PbxRtcp).unwrap_or(pbx),
        })
    }

    /// Where a socket of it listens.
    fn at(&self, door: Door, sockets: &dyn Backend) -> Option<SocketAddr> {
        sockets.socket(self.token(door))?.local_addr().ok()
    }

    fn token(&self, door: Door) -> Token {
        // Far fewer sockets than that fit into a process.
        Token((self.index * DOORS.len() + door as usize) as u32)
    }

    /// From where a packet leaves: towards Meta from the socket of its destination's version of IP.
    fn door(&self, leg: Leg, socket: Socket, to: SocketAddr) -> Door {
        match (leg, socket) {
            (Leg::Meta, _) if to.is_ipv6() && self.has_meta_ipv6 => Door::MetaIpv6,
            (Leg::Meta, _) => Door::Meta,
            (Leg::Pbx, Socket::Rtp) => Door::Pbx,
            (Leg::Pbx, Socket::Rtcp) => Door::PbxRtcp,
        }
    }
}
