//! What the next samples are made from: a packet, if it is there and it is its time; else what the decoder makes up.
//!
//! ```text
//!   next packet │ follows the last   some are missing between    a gap, none is missing   is not there
//!   ────────────┼────────────────────────────────────────────────────────────────────────────────────────────
//!   made of     │ it                 its time made up, then it   a pause, then it         made up, then silence
//! ```
//!
//! Nothing is made up before it must be played: until then what is missing may come, or the packet after it, which may tell.

use super::{Cursor, Player};
use crate::media::sound::Decode;
use crate::media::sound::jitter::Waiting;

impl<D: Decode> Player<D> {
    /// Appends at least one sample to what is ready, or takes at least one packet from those that wait.
    pub(super) fn make(&mut self, wanted: usize) {
        self.catch_up();
        match self.wait() {
            Wait::Decode => self.decode(),
            Wait::Lost { samples, mendable } => self.mend(samples, mendable),
            Wait::Pause { samples } => self.pause(wanted, samples),
            Wait::Empty => self.starve(wanted),
        }
    }

    /// Drops what would be heard too late, where something newer is there.
    fn catch_up(&mut self) {
        let heard = self.ready.end();
        let (Some(base), Some(target)) = (self.estimate.base(), self.estimate.target()) else {
            return;
        };
        while let (Some(front), Some(cursor)) = (self.queue.front(), self.cursor)
            && (front.end() <= cursor.end || front.seq <= cursor.seq)
        {
            self.queue.pop();
            self.stats.late += 1;
        }
        let slack = self.rate / 25;
        let late = |front: &Waiting| heard - front.at > base + self.max_delay + slack;
        if self.queue.len() < 2 || !self.queue.front().is_some_and(late) {
            return;
        }
        while self.queue.len() > 1
            && self
                .queue
                .front()
                .is_some_and(|front| heard - front.at > target)
        {
            self.queue.pop();
            self.stats.discarded += 1;
        }
        // The stream goes on where it is now.
        self.cursor = None;
    }

    /// What the next samples are.
    pub(super) fn wait(&self) -> Wait {
        let Some(front) = self.queue.front() else {
            return Wait::Empty;
        };
        let heard = self.ready.end();
        let early = (self.estimate.target().unwrap_or(0) - (heard - front.at)).min(self.max_delay);
        let pause = |samples: i64| match usize::try_from(samples) {
            Ok(samples @ 1..) => Wait::Pause { samples },
            _ => Wait::Decode,
        };
        let Some(cursor) = self.cursor else {
            return pause(early);
        };
        let gap = front.at - cursor.end;
        let missing = self.queue.missing(cursor.seq, front.seq);
        let usual = cursor.samples.max(self.rate / 50);
        if missing == 0 && gap <= self.rate / 200 {
            return Wait::Decode;
        }
        // Sound that is missing is made up; but a gap that the missing packets do not explain is a pause.
        if missing > 0 && !cursor.pausing && !self.idle && gap <= (missing + 1) * usual {
            let left = gap - self.filled;
            // What no codec can make up; to leave it out is not heard.
            if left < self.rate / 400 {
                return Wait::Decode;
            }
            let mendable = left <= cursor.samples;
            let samples = if mendable {
                left
            } else {
                cursor.samples.min(left - cursor.samples)
            };
            return Wait::Lost {
                samples: usize::try_from(samples).unwrap_or(0).max(1),
                mendable,
            };
        }
        pause(early)
    }

    pub(super) fn decode(&mut self) {
        let Some(packet) = self.queue.pop() else {
            return;
        };
        let missing = self.cursor.map(|c| self.queue.missing(c.seq, packet.seq));
        let follows = |c: Cursor| missing == Some(0) && packet.at - c.end <= self.rate / 200;
        if !self.idle && !self.cursor.is_some_and(follows) {
            self.ready.join();
        }
        let lost = missing.and_then(|missing| u64::try_from(missing).ok());
        self.stats.lost = self.stats.lost.saturating_add(lost.unwrap_or(0));
        // Another size of packets after a loss: what was made up is not heard again.
        let heard = self
            .cursor
            .filter(|_| self.filled == 0)
            .map(|c| c.end - packet.at)
            .filter(|heard| *heard > self.rate / 200)
            .and_then(|heard| usize::try_from(heard).ok())
            .unwrap_or(0);
        let before = self.ready.len();
        if !self.ready.decode(&packet.payload, heard) {
            self.stats.discarded += 1;
            self.ready.conceal(packet.samples, None);
        }
        if std::mem::take(&mut self.idle) {
            self.ready.swell(before);
        }
        self.filled = 0;
        self.cursor = Some(Cursor {
            end: packet.end(),
            seq: packet.seq,
            samples: packet.samples as i64,
            // No codec says a sound in two octets; Opus says in them that it will be silent (RFC 7587 §3.1.3).
            pausing: packet.payload.len() <= 2,
        });
        self.pass_over();
    }

    /// Goes on behind the numbers that come next and have no sound: until the next sound the source sends none on purpose.
    pub(super) fn pass_over(&mut self) {
        while let Some(cursor) = &mut self.cursor
            && self.queue.is_soundless(cursor.seq + 1)
        {
            cursor.seq += 1;
            cursor.pausing = true;
        }
    }

    /// Makes up a lost packet, or a part of it.
    fn mend(&mut self, samples: usize, mendable: bool) {
        let next = self.queue.front().map(|packet| packet.payload.clone());
        self.ready
            .conceal(samples, next.as_deref().filter(|_| mendable));
        if let Some(cursor) = &mut self.cursor {
            cursor.end += samples as i64 + std::mem::take(&mut self.filled);
        }
    }

    /// Waits for the time of the next packet, which is there already.
    fn pause(&mut self, wanted: usize, samples: usize) {
        let frame = self.frame(wanted).min(samples);
        if self.idle {
            self.ready.silence(wanted.min(samples));
        } else if self.cursor.is_some() {
            self.ready.breathe(frame);
            self.filled += frame as i64;
        } else {
            self.ready.conceal(frame, None);
        }
    }

    /// Goes on while nothing is there.
    fn starve(&mut self, wanted: usize) {
        let frame = self.frame(wanted);
        let pausing = self.cursor.is_some_and(|cursor| cursor.pausing);
        // Opus says again every 400 ms that it is silent; a voice that stops for longer than 200 ms cannot be made up.
        let patience = if pausing {
            2 * self.rate
        } else {
            self.rate / 5
        };
        if self.idle {
            self.ready.silence(wanted);
            return;
        }
        let before = self.ready.len();
        if pausing {
            self.ready.breathe(frame);
        } else {
            self.ready.conceal(frame, None);
        }
        self.filled += frame as i64;
        if self.filled >= patience {
            self.ready.sink(before);
            self.idle = true;
        }
    }

    /// Whole frames of 10 ms, which every codec can make up.
    fn frame(&self, wanted: usize) -> usize {
        let frame = (self.rate as usize / 100).max(1);
        wanted.div_ceil(frame).max(1) * frame
    }
}

/// What the next samples are made from.
pub(super) enum Wait {
    /// The next packet: it is its time.
    Decode,
    /// Nothing, in place of lost packets; or the next packet, which may tell what was in the one before.
    Lost { samples: usize, mendable: bool },
    /// Nothing: the next packet is there, and its time is not.
    Pause { samples: usize },
    /// Nothing: no packet is there.
    Empty,
}
