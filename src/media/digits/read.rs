//! Key presses read out of the packets of one peer, each exactly once (RFC 4733 §2.5.2).
//!
//! ```text
//!   packets   M1  1  ×  ×  ×        M1  1  E  E  E  M5 …         the timestamp of its beginning tells one from another
//!   strokes   Down(1)          Up(1)Down(1) Up(1)   Down(5) …    Up: the end, the next event, or no word of it for long
//! ```

use std::time::{Duration, Instant};

use super::report::Report;
use super::{Clocks, Key, Press, Stroke, count};
use crate::media::rtp::{Header, MAX_MISORDER, Seq, Ssrc, Timestamp};

/// A key of which nothing is heard for so long was let go, and nothing of its end got through. Senders repeat themselves
/// each 20 ms, some each 50 (§2.5.1.2): two packets of those may be lost.
const SILENCE: Duration = Duration::from_millis(150);
/// How many beginnings of events that are over are remembered: more than a network could mix up.
const REMEMBERED: usize = 8;
/// How much shorter than the longest duration a segment may be cut: senders count in whole packets.
const CUT_SHORT: Duration = Duration::from_millis(60);

/// Where an event began, and whose it is: what all its packets have in common.
type Beginning = (Ssrc, Timestamp);

/// Reads the events that one peer sends.
#[derive(Debug, Default)]
pub struct Reader {
    pressed: Option<Pressed>,
    /// Events, and segments of the present one, that are over; a ring.
    over: [Option<Beginning>; REMEMBERED],
    oldest: usize,
    /// Of the newest packet.
    newest: Option<(Ssrc, Seq)>,
    ignored: u64,
}

/// A key that is down.
#[derive(Debug)]
struct Pressed {
    key: Key,
    ssrc: Ssrc,
    clocks: Clocks,
    /// Where its segment begins: it has one, unless it is long.
    began: Timestamp,
    /// Units of all segments before.
    before: u64,
    /// Units of the present segment.
    longest: u16,
    /// When there was word of it last.
    heard: Instant,
}

impl Reader {
    /// Nothing has been pressed yet.
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Takes a packet of events; says what is new in it, in order.
    pub fn read(
        &mut self,
        header: &Header,
        payload: &[u8],
        clocks: Clocks,
        now: Instant,
    ) -> impl Iterator<Item = Stroke> + use<> {
        self.strokes(header, payload, clocks, now)
            .into_iter()
            .flatten()
    }

    /// Lets go of a key of which nothing is heard any more.
    pub fn tick(&mut self, now: Instant) -> Option<Stroke> {
        self.deadline().filter(|due| *due <= now)?;
        self.release()
    }

    /// When [`Reader::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.pressed.as_ref()?.heard + SILENCE)
    }

    /// Lets go of the key that is down, if one is: nothing more will be heard of it, for the peer is put on hold, say.
    pub fn release(&mut self) -> Option<Stroke> {
        let pressed = self.pressed.take()?;
        self.is_over((pressed.ssrc, pressed.began));
        Some(Stroke::Up(pressed.press()))
    }

    /// Packets that told nothing: of no use, of events that are no keys, or too late to be put in order.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn strokes(
        &mut self,
        header: &Header,
        payload: &[u8],
        clocks: Clocks,
        now: Instant,
    ) -> [Option<Stroke>; 3] {
        let report = Report::parse(payload);
        let key = report.and_then(|report| Key::from_code(report.code));
        let (Some(report), Some(key)) = (report, key) else {
            self.ignored += 1;
            return [None; 3];
        };
        let beginning = (header.ssrc, header.timestamp);
        if self.over.contains(&Some(beginning)) {
            // The end is said three times, and a network may repeat and delay all of it.
            return [None; 3];
        }
        let late = self.is_late(header);
        let (mut before, mut down) = (None, None);
        match &mut self.pressed {
            Some(pressed) if (pressed.ssrc, pressed.began) == beginning => {
                if pressed.key != key {
                    self.ignored += 1;
                    return [None; 3];
                }
                pressed.grow(report.duration, now);
            }
            Some(pressed) if pressed.goes_on(header, key, clocks) => {
                let last = (pressed.ssrc, pressed.began);
                pressed.begin_segment(header.timestamp, report.duration, now);
                self.is_over(last);
            }
            // All of it comes after what was pressed later: no digit is better than one in the wrong place.
            _ if late => {
                self.ignored += 1;
                return [None; 3];
            }
            _ => {
                before = self.release();
                self.pressed = Some(Pressed::new(header, key, report.duration, clocks, now));
                down = Some(Stroke::Down(key));
            }
        }
        if !late {
            self.newest = Some((header.ssrc, header.seq));
        }
        let up = if report.end { self.release() } else { None };
        [before, down, up]
    }

    /// Whether the packet is older than the newest one of its source. By the sequence, not the clock: sources have been
    /// seen to set that back.
    fn is_late(&self, header: &Header) -> bool {
        let newest = self.newest.filter(|(ssrc, _)| *ssrc == header.ssrc);
        newest.is_some_and(|(_, newest)| (-MAX_MISORDER..=0).contains(&header.seq.since(newest)))
    }

    /// Packets of this event tell nothing any more.
    fn is_over(&mut self, beginning: Beginning) {
        if let Some(place) = self.over.get_mut(self.oldest) {
            *place = Some(beginning);
        }
        self.oldest = (self.oldest + 1) % REMEMBERED;
    }
}

impl Pressed {
    fn new(header: &Header, key: Key, duration: u16, clocks: Clocks, now: Instant) -> Pressed {
        Pressed {
            key,
            ssrc: header.ssrc,
            clocks,
            began: header.timestamp,
            before: 0,
            longest: duration,
            heard: now,
        }
    }

    /// Packets may come in any order, but no key is held for less than it was.
    fn grow(&mut self, duration: u16, now: Instant) {
        self.longest = self.longest.max(duration);
        self.heard = now;
    }

    /// Whether a packet begins the next segment of this press (§2.5.1.3): where the longest duration ends, on whichever
    /// of its clocks the peer counts timestamps, and without the marker of a new event.
    fn goes_on(&self, header: &Header, key: Key, clocks: Clocks) -> bool {
        let same =
            !header.marker && (header.ssrc, key, clocks) == (self.ssrc, self.key, self.clocks);
        let step = header.timestamp.since(self.began);
        let is_step = |full: u32, rate: u32| {
            let least = u64::from(full).saturating_sub(count(rate, CUT_SHORT));
            u64::try_from(step).is_ok_and(|step| (least..=u64::from(full) + 1).contains(&step))
        };
        let was_long = clocks.time(u64::from(u16::MAX - self.longest)) <= SILENCE;
        same && was_long
            && (is_step(clocks.segment(), clocks.timestamps)
                || is_step(u32::from(u16::MAX), clocks.events))
    }

    fn begin_segment(&mut self, began: Timestamp, duration: u16, now: Instant) {
        self.before = self.before.saturating_add(u64::from(u16::MAX));
        (self.began, self.longest, self.heard) = (began, duration, now);
    }

    fn press(&self) -> Press {
        let units = self.before.saturating_add(u64::from(self.longest));
        Press {
            key: self.key,
            duration: self.clocks.time(units),
        }
    }
}

#[cfg(test)]
mod tests;
