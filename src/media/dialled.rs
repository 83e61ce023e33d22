//! What the WhatsApp user dials, where the PBX wants to be told of it by SIP: each press becomes news for signalling.

use std::time::Instant;

use super::codec::Codec;
use super::digits::{Clocks, Reader, Stroke};
use super::outbox::{News, Outbox};
use super::side::Heard;
use crate::leg::Leg;

/// Reads Meta's events.
#[derive(Debug, Default)]
pub(crate) struct Dialled {
    reader: Reader,
}

impl Dialled {
    /// Takes a packet of events.
    pub(crate) fn hear(&mut self, heard: &Heard<'_>, now: Instant, out: &mut Outbox) {
        let clocks = Clocks {
            timestamps: Codec::Opus.clock_rate(),
            events: heard.codec.clock_rate(),
        };
        for stroke in self.reader.read(&heard.header, heard.payload, clocks, now) {
            tell(stroke, out);
        }
    }

    /// Lets go of a key of which nothing is heard any more.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(stroke) = self.reader.tick(now) {
            tell(stroke, out);
        }
    }

    /// When [`Dialled::tick`] is next due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.reader.deadline()
    }
}

/// An INFO tells how long a key was held, so it has to wait for the end.
fn tell(stroke: Stroke, out: &mut Outbox) {
    if let Stroke::Up(press) = stroke {
        out.tell(Leg::Meta, News::Pressed(press));
    }
}
