//! Key presses that come by signalling, as tones or on another clock: this side's peer is told of them by events in its
//! stream.

use std::time::Instant;

use super::Side;
use crate::media::agreed::Agreed;
use crate::media::digits::{Clocks, Packet, Press, Stroke, Writer};
use crate::media::outbox::Outbox;
use crate::media::stream::Place;

impl Side {
    /// Tells the peer of a press, after those that it has not been told of yet.
    pub(crate) fn press(&mut self, press: Press, now: Instant) {
        let told = self.writer().map(|digits| digits.press(press, now));
        self.count_digit(told);
    }

    /// Tells the peer of a key while it is being pressed.
    pub(crate) fn stroke(&mut self, stroke: Stroke, now: Instant) {
        match (self.writer(), stroke) {
            (Some(digits), Stroke::Up(press)) => digits.up(press.duration),
            (Some(digits), Stroke::Down(key)) => {
                let told = digits.down(key, now);
                self.count_digit(Some(told));
            }
            (None, Stroke::Down(_)) => self.count_digit(None),
            (None, Stroke::Up(_)) => {}
        }
    }

    /// Nobody is there any more who is to be told of those that wait.
    pub(super) fn forget_digits(&mut self) {
        let waiting = self.digits.take().map_or(0, |digits| digits.waiting());
        self.stats.digits -= waiting;
        self.stats.digits_lost += waiting;
    }

    fn count_digit(&mut self, told: Option<bool>) {
        match told {
            Some(true) => self.stats.digits += 1,
            Some(false) | None => self.stats.digits_lost += 1,
        }
    }

    /// Writes events for the peer, if it takes any.
    fn writer(&mut self) -> Option<&mut Writer> {
        let clocks = self.clocks()?;
        let digits = self
            .digits
            .get_or_insert_with(|| Box::new(Writer::new(clocks)));
        digits.count_in(clocks);
        Some(digits)
    }

    fn takes_events(&self) -> bool {
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
