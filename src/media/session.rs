//! Two sides joined: a packet in, packets out. No socket, no clock, no lock; buffers are used again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::common::Common;
use super::dialled::Dialled;
use super::early::Early;
use super::kept::Kept;
use super::outbox::{Outbox, Socket};
use super::rtcp::WallClock;
use super::side::{Lot, Side};
use super::srtp::KeyError;
use super::{Command, SessionStats};
use crate::leg::Leg;

/// A session, as its worker sees it.
pub(crate) struct Session {
    meta: Side,
    pbx: Side,
    /// What the PBX says while Meta cannot be sent to yet.
    kept: Option<Box<Kept>>,
    /// What came from the PBX before it was agreed with and started.
    early: Option<Box<Early>>,
    /// What the user dials, where the PBX is not told of it in its stream.
    dialled: Option<Box<Dialled>>,
    common: Arc<Common>,
}

impl Session {
    /// A session with which nothing is agreed yet; each side has its own lot.
    pub(crate) fn new(
        common: Arc<Common>,
        meta: Lot,
        pbx: Lot,
        wall: WallClock,
        now: Instant,
    ) -> Session {
        Session {
            meta: Side::new(Leg::Meta, common.clone(), meta, wall, now),
            pbx: Side::new(Leg::Pbx, common.clone(), pbx, wall, now),
            kept: None,
            early: None,
            dialled: None,
            common,
        }
    }

    /// Does what signalling says; what that makes due at once is in `out`.
    ///
    /// # Errors
    /// When a key cannot be used; nothing is then agreed with that side.
    pub(crate) fn command(
        &mut self,
        command: Command,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), KeyError> {
        match command {
            Command::Agree { leg, side } => self.side(leg).agree(side, now)?,
            Command::Press { leg, press } => self.side(leg).press(press, now),
            Command::Start { leg } => {
                if leg == Leg::Pbx {
                    self.forget();
                }
                self.side(leg).start(now);
            }
        }
        self.hear_early(now, out);
        self.tick(now, out);
        Ok(())
    }

    /// Takes a datagram that came to a socket of one side.
    pub(crate) fn datagram(
        &mut self,
        leg: Leg,
        socket: Socket,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) {
        if leg == Leg::Pbx && !self.pbx_has_answered() {
            let early = self.early.get_or_insert_default();
            let lost = early.keep(socket, from, datagram, now);
            return self.pbx.count_strangers(lost);
        }
        let (near, far) = match leg {
            Leg::Meta => (&mut self.meta, &mut self.pbx),
            Leg::Pbx => (&mut self.pbx, &mut self.meta),
        };
        let most = self.common.timing.keep;
        let keeps = leg == Leg::Pbx && !most.is_zero() && far.is_awaited();
        let Some(heard) = near.receive(socket, from, datagram, now, out) else {
            return self.release(now, out);
        };
        if leg == Leg::Meta && !heard.codec.is_audio() && far.has_agreed() && !far.takes_events() {
            return self.dialled.get_or_insert_default().hear(&heard, now, out);
        }
        if keeps {
            let kept = self.kept.get_or_insert_default();
            return kept.keep(&heard, most, now);
        }
        if let Err(lost) = far.forward(&heard, now, out) {
            near.count(lost);
        }
    }

    /// The system would not send a packet for this leg.
    pub(crate) fn unsent(&mut self, leg: Leg) {
        self.side(leg).unsent();
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) {
        self.meta.tick_path(now, out);
        self.pbx.tick_path(now, out);
        // Before the silence that Meta would be sent in place of it.
        self.release(now, out);
        if let Some(dialled) = &mut self.dialled {
            dialled.tick(now, out);
        }
        self.meta.tick(now, out);
        self.pbx.tick(now, out);
    }

    /// When [`Session::tick`] is next due; ask again after every input.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let dialled = self.dialled.as_ref().and_then(|dialled| dialled.deadline());
        [self.meta.deadline(), self.pbx.deadline(), dialled]
            .into_iter()
            .flatten()
            .min()
    }

    /// Says goodbye to both sides.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(kept) = self.kept.take() {
            self.meta.count_kept(0, kept.count());
        }
        if let Some(early) = self.early.take() {
            self.pbx.count_strangers(early.count());
        }
        self.meta.bye(now, out);
        self.pbx.bye(now, out);
    }

    /// What was carried so far.
    pub(crate) fn stats(&self) -> SessionStats {
        SessionStats {
            meta: self.meta.stats(),
            pbx: self.pbx.stats(),
        }
    }

    /// Whether the PBX is known and may speak. The two are told one after the other, and its packets wait for nobody.
    fn pbx_has_answered(&self) -> bool {
        self.pbx.has_agreed() && self.pbx.has_started()
    }

    /// Once the PBX has answered, hears what overtook its answer.
    fn hear_early(&mut self, now: Instant, out: &mut Outbox) {
        let answered = self.pbx_has_answered();
        let Some(early) = self.early.take_if(|_| answered) else {
            return;
        };
        let (datagrams, lost) = early.release(now);
        self.pbx.count_strangers(lost);
        for d in datagrams {
            self.datagram(Leg::Pbx, d.socket, d.from, &d.bytes, d.arrived, out);
        }
    }

    /// Once Meta can be sent to, sends what was kept for it; once it is clear that it never will be, lets go of it.
    fn release(&mut self, now: Instant, out: &mut Outbox) {
        let Some(kept) = self.kept.take_if(|_| !self.meta.is_awaited()) else {
            return;
        };
        if self.meta.has_failed() {
            return self.meta.count_kept(0, kept.count());
        }
        let (packets, dropped) = kept.release(self.common.timing.keep, now);
        let mut sent = 0;
        for heard in packets.iter() {
            // On the clock of its arrival, so that a pause of the speaker stays one.
            match self.meta.forward(&heard.heard(), heard.arrived, out) {
                Ok(()) => sent += 1,
                Err(lost) => self.pbx.count(lost),
            }
        }
        self.meta.count_kept(sent, dropped);
    }

    /// The PBX has answered: what it played before, ringing most likely, was not for Meta.
    fn forget(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.meta.count_held_back(kept.count());
        }
    }

    fn side(&mut self, leg: Leg) -> &mut Side {
        match leg {
            Leg::Meta => &mut self.meta,
            Leg::Pbx => &mut self.pbx,
        }
    }
}

#[cfg(test)]
mod digits_tests;
#[cfg(test)]
mod dtls_tests;
#[cfg(test)]
mod far;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod kept_tests;
#[cfg(test)]
mod tests;
