//! Key presses written into one stream as events (RFC 4733 §2.5.1), one after another.
//!
//! ```text
//!   packets   M20 40 60 E E E       M20 40E E E      duration in ms; all of a press have the timestamp of its beginning
//!   at       0   20 40 60 80 100   120 …             and the last two of its end are in the gap that follows it
//!   key       ▔▔▔▔▔▔▔▔▔▔▔▔▁▁▁▁▁▁▁▁▁▁▔▔▔▔▔▔▔
//! ```
//!
//! A packet tells of the 20 ms that begin when it is sent, as one of sound would. Presses that come faster than they can
//! be written wait: none is dropped, or merged with the one before, until [`MOST_WAITING`] do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::report::Report;
use super::{Clocks, Key, Press};
use crate::media::rtp::Timestamp;

/// From one packet of an event to the next.
const PACKET: Duration = Duration::from_millis(20);
/// A key is held for so long at least, for shorter tones are not heard as digits (ITU-T Q.24).
const SHORTEST: Duration = Duration::from_millis(40);
/// And so much time is between it and the next (the same).
const GAP: Duration = Duration::from_millis(40);
/// How often the end of an event is said (§2.5.1.4).
const ENDS: u8 = 3;
/// How many presses may wait. Nobody dials as many; whoever sends more is not dialling.
const MOST_WAITING: usize = 128;

/// A packet of an event that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whether the event begins here.
    pub marker: bool,
    /// When it, or its segment, began on the stream's clock.
    pub timestamp: Timestamp,
    /// What it says.
    pub payload: [u8; 4],
}

/// Writes the presses for one stream.
#[derive(Debug)]
pub struct Writer {
    clocks: Clocks,
    waiting: VecDeque<Waiting>,
    writing: Option<Writing>,
    /// When the next press may begin.
    free: Option<Instant>,
    dropped: u64,
}

/// How long a key is held.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// It is still down.
    Down,
    /// It has been let go.
    For(Duration),
}

#[derive(Debug)]
struct Waiting {
    key: Key,
    hold: Hold,
    since: Instant,
}

#[derive(Debug)]
struct Writing {
    key: Key,
    hold: Hold,
    began: Instant,
    /// Where its segment began.
    timestamp: Timestamp,
    /// Units of the segments before.
    before: u64,
    /// Units that have been told of, all in all.
    told: u64,
    /// How often the end has been said.
    ends: u8,
    due: Instant,
}

impl Writer {
    /// For a stream whose events are counted in `clocks`.
    pub fn new(clocks: Clocks) -> Writer {
        Writer {
            clocks,
            waiting: VecDeque::new(),
            writing: None,
            free: None,
            dropped: 0,
        }
    }

    /// A key goes down, and stays so until [`Writer::up`]. It is written while it is held.
    /// Whether there is room for it; if not, its end is none of anybody's.
    pub fn down(&mut self, key: Key, now: Instant) -> bool {
        self.let_go(now);
        self.wait(key, Hold::Down, now)
    }

    /// The key that is down has been let go, after so long. What was written of it by then stays.
    pub fn up(&mut self, duration: Duration) {
        if let Some((hold, _)) = self.held() {
            *hold = Hold::For(duration);
        }
    }

    /// A key was pressed. Whether there is room for it.
    pub fn press(&mut self, press: Press, now: Instant) -> bool {
        self.wait(press.key, Hold::For(press.duration), now)
    }

    /// From now on the stream is counted in these clocks: its codecs have been agreed anew. A press of which half is
    /// written goes no further; whoever hears it notices (§2.5.2.2).
    pub fn count_in(&mut self, clocks: Clocks) {
        if self.clocks != clocks {
            self.clocks = clocks;
            self.writing = None;
        }
    }

    /// A packet that is due now, where the stream's clock stands at `clock`. To be asked until there is none.
    pub fn next(&mut self, clock: Timestamp, now: Instant) -> Option<Packet> {
        if self.writing.is_none() {
            self.begin(clock, now);
        }
        let writing = self.writing.as_mut().filter(|w| w.due <= now)?;
        let packet = writing.packet(self.clocks, now);
        if writing.ends == ENDS {
            let over = writing.began + self.clocks.time(writing.told);
            self.free = Some(now.max(over + GAP));
            self.writing = None;
        }
        Some(packet)
    }

    /// When [`Writer::next`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        if let Some(writing) = &self.writing {
            return Some(writing.due);
        }
        let since = self.waiting.front()?.since;
        Some(self.free.map_or(since, |free| free.max(since)))
    }

    /// Whether a key is being written, or waits: until then there is no sound in the stream.
    pub fn is_active(&self) -> bool {
        self.writing.is_some() || !self.waiting.is_empty()
    }

    /// Presses of which nothing has been written.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Presses that there was no room for.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn wait(&mut self, key: Key, hold: Hold, since: Instant) -> bool {
        let fits = self.waiting.len() < MOST_WAITING;
        if fits {
            self.waiting.push_back(Waiting { key, hold, since });
        } else {
            self.dropped += 1;
        }
        fits
    }

    /// The next key cannot go down before the last one is up.
    fn let_go(&mut self, now: Instant) {
        if let Some((hold, since)) = self.held() {
            *hold = Hold::For(now.saturating_duration_since(since));
        }
    }

    /// The press that is still down, and since when: there is one at most.
    fn held(&mut self) -> Option<(&mut Hold, Instant)> {
        let written = self.writing.iter_mut().map(|w| (&mut w.hold, w.began));
        let waiting = self.waiting.iter_mut().map(|w| (&mut w.hold, w.since));
        let mut all = written.chain(waiting);
        all.find(|(hold, _)| matches!(hold, Hold::Down))
    }

    fn begin(&mut self, timestamp: Timestamp, now: Instant) {
        if self.free.is_some_and(|free| now < free) {
            return;
        }
        let Some(Waiting { key, hold, .. }) = self.waiting.pop_front() else {
            return;
        };
        self.writing = Some(Writing {
            key,
            hold,
            began: now,
            timestamp,
            before: 0,
            told: 0,
            ends: 0,
            due: now,
        });
    }
}

impl Writing {
    /// The packet that is due.
    fn packet(&mut self, clocks: Clocks, now: Instant) -> Packet {
        let marker = self.told == 0 && self.ends == 0;
        if now > self.due + PACKET {
            // The worker was held up. What was missed then is not made up for, but the key was down meanwhile.
            self.due = now;
        }
        let elapsed = self.due.saturating_duration_since(self.began) + PACKET;
        let grown = clocks.units(elapsed).max(self.told);
        let whole = match self.hold {
            Hold::Down => None,
            Hold::For(duration) => Some(clocks.units(duration.max(SHORTEST)).max(self.told)),
        };
        let told = whole.map_or(grown, |whole| whole.min(grown));
        let Ok(duration) = u16::try_from(told.saturating_sub(self.before)) else {
            return self.end_segment(clocks, marker);
        };
        let end = whole == Some(told);
        self.told = told;
        self.ends += u8::from(end);
        self.due += PACKET;
        self.packet_of(self.timestamp, marker, end, duration)
    }

    /// §2.5.1.3: what does not fit into the duration is a segment of its own, that begins where this one ends. Neither
    /// end nor beginning of the event are there, so neither bit says so.
    fn end_segment(&mut self, clocks: Clocks, marker: bool) -> Packet {
        let segment = self.packet_of(self.timestamp, marker, false, u16::MAX);
        self.before = self.before.saturating_add(u64::from(u16::MAX));
        self.told = self.before;
        self.timestamp = self.timestamp.plus(clocks.segment());
        segment
    }

    fn packet_of(&self, timestamp: Timestamp, marker: bool, end: bool, duration: u16) -> Packet {
        let code = self.key.code();
        Packet {
            marker,
            timestamp,
            payload: Report {
                code,
                end,
                duration,
            }
            .payload(),
        }
    }
}

#[cfg(test)]
mod tests;
