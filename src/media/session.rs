//! Two sides joined: a packet in, packets out. No socket, no clock, no lock; buffers are used again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::across::{Across, Digits, Told};
use super::common::Common;
use super::due::earliest;
use super::early::Early;
use super::kept::Kept;
use super::outbox::{News, Outbox, Socket};
use super::rtcp::WallClock;
use super::side::{Heard, Lost, Lot, Side};
use super::srtp::KeyError;
use super::transcode::Manner;
use super::{Command, SessionStats, SideStats};
use crate::leg::Leg;

/// A session, as its worker sees it.
pub(crate) struct Session {
    meta: Side,
    pbx: Side,
    /// What the PBX says while Meta cannot be sent to yet.
    kept: Option<Box<Kept>>,
    /// What came from the PBX before it was agreed with and started.
    early: Option<Box<Early>>,
    /// Whether it has been, once: nothing of it is early from then on.
    pbx_has_answered: bool,
    /// What each side says, on its way to the other.
    to_pbx: Across,
    to_meta: Across,
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
            pbx_has_answered: false,
            to_pbx: Across::default(),
            to_meta: Across::default(),
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
            Command::Leave { leg } => self.leave(leg),
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
        if leg == Leg::Pbx && !self.pbx_has_answered {
            let early = self.early.get_or_insert_default();
            let lost = early.keep(socket, from, datagram, now);
            return self.pbx.count_strangers(lost);
        }
        let Direction {
            near,
            across,
            mut far,
            manner,
        } = self.direction(leg);
        let (sound, digits) = (near.sound(), near.digits());
        let Some(heard) = near.receive(socket, from, datagram, now, out) else {
            return self.release(now, out);
        };
        if !heard.codec.is_audio() {
            across.skip(&heard);
        }
        match far.side.wanted() {
            Some(wanted) if heard.codec.is_audio() => {
                if !across.passes(&heard, digits, &wanted) {
                    if !across.hear(&heard, digits, &wanted, manner, now) {
                        near.count(Lost::NoPayload);
                    }
                    self.speak(leg, now, out);
                    return self.let_go(leg, now, out);
                }
                across.pass_on();
            }
            // Of what a PBX presses, Meta is told in its stream or not at all.
            Some(wanted)
                if !across.passes_events(sound, &wanted)
                    && (leg == Leg::Meta || wanted.digits == Digits::Events) =>
            {
                across.sound_in_silence(sound, &wanted, manner, now);
                for stroke in across.read(&heard, sound, now) {
                    tell(across.tell(stroke, wanted.digits), leg, far.side, now, out);
                }
                return;
            }
            _ => {}
        }
        if let Err(lost) = far.take(&heard, now, out) {
            near.count(lost);
        }
        self.let_go(leg, now, out);
    }

    /// Sends what is due of what is transcoded of this leg, or keeps it as what comes as it is wanted.
    fn speak(&mut self, leg: Leg, now: Instant, out: &mut Outbox) {
        let Direction {
            near,
            across,
            mut far,
            ..
        } = self.direction(leg);
        let Some(transcoder) = across.transcoder() else {
            return;
        };
        while let Some((due, heard)) = transcoder.next(now) {
            if let Err(lost) = far.take(&heard, due, out) {
                near.count(lost);
            }
            for stroke in transcoder.strokes() {
                far.side.stroke(stroke, due);
            }
        }
        // Those in sound that Opus leaves out as silence, which it is once their tones are gone.
        for stroke in transcoder.strokes() {
            far.side.stroke(stroke, now);
        }
    }

    /// Lets go of keys of this leg of which nothing is heard any more.
    fn let_go(&mut self, leg: Leg, now: Instant, out: &mut Outbox) {
        let Direction { across, far, .. } = self.direction(leg);
        while let Some(stroke) = across.tick(now) {
            let told = across.tell(stroke, far.side.digits());
            tell(told, leg, far.side, now, out);
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
        self.expect_losses();
        for leg in [Leg::Meta, Leg::Pbx] {
            self.speak(leg, now, out);
            self.let_go(leg, now, out);
        }
        self.note_buffers();
        self.meta.tick(now, out);
        self.pbx.tick(now, out);
    }

    /// Has what is transcoded get ready for what its listener is likely to lose.
    fn expect_losses(&mut self) {
        let ways = [
            (&mut self.to_meta, &self.meta),
            (&mut self.to_pbx, &self.pbx),
        ];
        for (across, listener) in ways {
            if let Some(transcoder) = across.transcoder() {
                transcoder.expect_loss(listener.likely_loss());
            }
        }
    }

    /// What becomes of the sound of a side, before it is reported or judged.
    fn note_buffers(&mut self) {
        self.meta.note_buffer(self.to_pbx.buffered());
        self.pbx.note_buffer(self.to_meta.buffered());
    }

    /// When [`Session::tick`] is next due; ask again after every input.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        earliest([
            self.meta.deadline(),
            self.pbx.deadline(),
            self.to_meta.deadline(),
            self.to_pbx.deadline(),
        ])
    }

    /// Says goodbye to both sides.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(kept) = self.kept.take() {
            self.meta.count_kept(0, kept.count());
        }
        if let Some(early) = self.early.take() {
            self.pbx.count_strangers(early.count());
        }
        self.note_buffers();
        self.meta.bye(now, out);
        self.pbx.bye(now, out);
    }

    /// What was carried so far.
    pub(crate) fn stats(&self) -> SessionStats {
        SessionStats {
            meta: with_sound(self.meta.stats(), &self.to_pbx),
            pbx: with_sound(self.pbx.stats(), &self.to_meta),
        }
    }

    /// Once the PBX is known and may speak, hears what overtook its answer. The two are told one after the other, and its
    /// packets wait for nobody.
    fn hear_early(&mut self, now: Instant, out: &mut Outbox) {
        self.pbx_has_answered |= self.pbx.has_agreed() && self.pbx.has_started();
        let answered = self.pbx_has_answered;
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

    /// The PBX has answered: what it played before, ringing most likely, was not for Meta. One that is started once more in
    /// a call that talks, since it resumes or was transferred, is heard already.
    fn forget(&mut self) {
        if !self.meta.is_awaited() {
            return;
        }
        if let Some(kept) = self.kept.take() {
            self.meta.count_held_back(kept.count());
        }
        self.to_meta.pass_on();
    }

    /// Whoever is at this side has left: what was on its way there goes nowhere.
    fn leave(&mut self, leg: Leg) {
        self.side(leg).leave();
        // Tones that wait go with the transcoder that would have made them.
        self.direction(leg.other()).across.pass_on();
    }

    /// The direction in which goes what this leg says.
    fn direction(&mut self, leg: Leg) -> Direction<'_> {
        let most = self.common.timing.keep;
        let (near, across, side) = match leg {
            Leg::Meta => (&mut self.meta, &mut self.to_pbx, &mut self.pbx),
            Leg::Pbx => (&mut self.pbx, &mut self.to_meta, &mut self.meta),
        };
        let keeps = leg == Leg::Pbx && !most.is_zero() && side.is_awaited();
        let kept = keeps.then_some((&mut self.kept, most));
        Direction {
            near,
            across,
            far: Far { side, kept },
            manner: &self.common.manner,
        }
    }

    fn side(&mut self, leg: Leg) -> &mut Side {
        match leg {
            Leg::Meta => &mut self.meta,
            Leg::Pbx => &mut self.pbx,
        }
    }
}

/// One direction of a session.
struct Direction<'a> {
    near: &'a mut Side,
    across: &'a mut Across,
    far: Far<'a>,
    manner: &'a Manner,
}

/// Where a direction ends: at a side, or as long as that cannot be sent to yet, among what is kept for it, the newest of so
/// much time.
struct Far<'a> {
    side: &'a mut Side,
    kept: Option<(&'a mut Option<Box<Kept>>, Duration)>,
}

impl Far<'_> {
    /// Takes what was heard at that time.
    fn take(&mut self, heard: &Heard<'_>, at: Instant, out: &mut Outbox) -> Result<(), Lost> {
        match &mut self.kept {
            Some((kept, most)) => {
                kept.get_or_insert_default().keep(heard, *most, at);
                Ok(())
            }
            None => self.side.forward(heard, at, out),
        }
    }
}

/// Tells of a key that was pressed on `leg`.
fn tell(told: Option<Told>, leg: Leg, far: &mut Side, now: Instant, out: &mut Outbox) {
    match told {
        Some(Told::Stroke(stroke)) => far.stroke(stroke, now),
        Some(Told::Press(press)) => out.tell(leg, News::Pressed(press)),
        None => {}
    }
}

/// What a side carried, and what became of its sound on the way to the other.
fn with_sound(mut stats: SideStats, across: &Across) -> SideStats {
    across.buffered().fill(&mut stats);
    stats
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
mod quality_tests;
#[cfg(test)]
mod sound_tests;
#[cfg(test)]
mod tests;
