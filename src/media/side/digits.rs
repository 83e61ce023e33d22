//! Key presses that signalling has of a peer's other half: this side's peer is told of them by events in its stream.

use std::time::Instant;

use super::Side;
use crate::media::agreed::Agreed;
use crate::media::digits::{Clocks, Packet, Press, Writer};
use crate::media::outbox::Outbox;
use crate::media::stream::Place;

impl Side {
    /// Tells the peer of a press, after those that it has not been told of yet.
    pub(crate) fn press(&mut self, press: Press, now: Instant) {
        let Some(clocks) = self.clocks() else {
            self.stats.digits_lost += 1;
            return;
        };
        let digits = self
            .digits
            .get_or_insert_with(|| Box::new(Writer::new(clocks)));
        digits.count_in(clocks);
        match digits.press(press, now) {
            true => self.stats.digits += 1,
            false => self.stats.digits_lost += 1,
        }
    }

    /// Whether the peer may be told of digits by events.
    pub(crate) fn takes_events(&self) -> bool {
        self.agreed.as_ref().is_some_and(|a| a.events().is_some())
    }

    /// Whether there is no sound in the stream now, for digits stand in its place.
    pub(super) fn is_dialling(&self) -> bool {
        self.digits.as_ref().is_some_and(|d| d.is_active()) && self.may_dial()
    }

    /// When [`Side::write_digits`] is next due.
    pub(super) fn digits_due(&self) -> Option<Instant> {
        let digits = self.digits.as_ref().filter(|_| self.may_dial())?;
        digits.deadline()
    }

    /// Sends what is due of the digits.
    pub(super) fn write_digits(&mut self, now: Instant, out: &mut Outbox) {
        let events = self.agreed.as_ref().and_then(Agreed::events);
        let (Some(events), Some(mut digits)) = (events, self.digits.take()) else {
            return;
        };
        while let Some(packet) = digits.next(self.stream.due(now), now) {
            let Packet {
                marker,
                timestamp,
                payload,
            } = packet;
            // What begins here takes its time on the clock; what goes on stays at its beginning.
            let place = match marker {
                true => self.stream.insert(now),
                false => self.stream.insert_at(timestamp),
            };
            self.send(events.number, Place { marker, ..place }, &payload, now, out);
        }
        self.digits = Some(digits);
    }

    /// Digits wait as long as nothing may be sent.
    fn may_dial(&self) -> bool {
        let may = |agreed: &Agreed| agreed.may_send() && agreed.is_keyed();
        self.started.is_some() && self.takes_events() && self.agreed.as_ref().is_some_and(may)
    }

    fn clocks(&self) -> Option<Clocks> {
        let events = self.agreed.as_ref()?.events()?;
        Some(Clocks {
            timestamps: self.stream.clock_rate(),
            events: events.codec.clock_rate(),
        })
    }
}
