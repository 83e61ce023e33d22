//! What the other end is to hear now: packets that come when they like become sound at a steady pace.
//!
//! ```text
//!   insert ──▶ jitter ──▶ decoder ──▶ ready ──▶ stretch ──▶ play, on our clock
//!     │       (in order)  or conceal  (samples)   ▲
//!     └─────▶ delay: base, target ─── too little or too much in hand
//! ```
//!
//! Two clocks meet here, both counted in samples: ours, which is what was played so far, and the source's, which its
//! timestamps tell. The *lag* is how far the source's clock, as it is heard, is behind ours. Packets come with a transit,
//! which is the least lag at which they are in time; so the lag is kept at the [target](delay) of those. It grows when
//! sound is repeated or filled in where nothing is there, and shrinks when some is taken out.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Decode;
use super::delay::Estimate;
use super::jitter::{Place, Queue, Waiting};
use super::ready::Ready;
use super::stretch::{self, Need};
use crate::media::rtp::{Seq, Timestamp};

/// How long sound of a source is held back so that it comes evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds that sound is held back at least. 0: as little as the network lets us, about one packet.
    pub min_delay: u16,
    /// Milliseconds that sound is held back at most; what comes later is lost.
    pub max_delay: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            min_delay: 0,
            max_delay: 200,
        }
    }
}

/// What [`Player::play`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Played {
    /// Sound as it was sent.
    Sound,
    /// Some or all of it is made up in place of what is missing.
    Mended,
    /// The source sends nothing on purpose (DTX): background noise or silence in its place.
    Pause,
    /// Silence: no source, or one that has stopped.
    Nothing,
}

/// What became of the packets of all sources, and what was done to the sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How much later sound is heard than in the quickest case; in a pause, than it was.
    pub delay: Duration,
    /// What `delay` should be.
    pub target: Duration,
    /// The longest that `delay` was.
    pub longest: Duration,
    /// Packets that came.
    pub packets: u64,
    /// Packets that had not come when they should have been heard; some came later.
    pub lost: u64,
    /// Packets that came after something else was heard in their place.
    pub late: u64,
    /// Packets that came more than once, the first not counted.
    pub duplicate: u64,
    /// Packets dropped: unreadable, of no stream that goes on, or too many after a stall.
    pub discarded: u64,
    /// Samples made up, pauses not counted.
    pub concealed: u64,
    /// Of those, samples for which the decoder had the packet after them (FEC).
    pub recovered: u64,
    /// Samples put in to wait longer.
    pub stretched: u64,
    /// Samples taken out to wait less.
    pub shrunk: u64,
}

/// Jitter buffer and decoder of one direction.
pub struct Player<D: Decode> {
    /// Samples a second.
    rate: i64,
    max_delay: i64,
    queue: Queue,
    estimate: Estimate,
    ready: Ready<D>,
    /// When it was last played, and how much.
    last: Option<(Instant, i64)>,
    /// Where in the stream we are; none before its first packet is decoded.
    cursor: Option<Cursor>,
    /// Samples made up since, while the next packet is not there.
    filled: i64,
    /// Nothing came for so long that silence is played.
    idle: bool,
    /// By our clock, when a piece was last put in or taken out.
    changed: i64,
    stats: Stats,
}

#[derive(Clone, Copy)]
struct Cursor {
    /// Where the last decoded packet ends, by the source's clock.
    end: i64,
    seq: i64,
    /// Samples of that packet.
    samples: i64,
    /// It says that nothing follows for now.
    pausing: bool,
}

impl<D: Decode> Player<D> {
    /// Plays what `decoder` makes of a source whose timestamps count `clock_rate`.
    pub fn new(decoder: D, clock_rate: u32, settings: Settings) -> Self {
        let rate = decoder.rate().max(1);
        Player {
            rate: i64::from(rate),
            max_delay: i64::from(settings.max_delay.max(settings.min_delay)) * i64::from(rate)
                / 1000,
            queue: Queue::new(rate, clock_rate),
            estimate: Estimate::new(rate, settings.min_delay, settings.max_delay),
            ready: Ready::new(decoder),
            last: None,
            cursor: None,
            filled: 0,
            idle: true,
            changed: 0,
            stats: Stats::default(),
        }
    }

    /// A packet of sound has come. `marker` is not needed: timestamps tell a talk spurt, and not all sources mark it.
    pub fn insert(&mut self, seq: Seq, timestamp: Timestamp, payload: &[u8], now: Instant) {
        self.stats.packets += 1;
        // 200 ms: the longest packet of any of our codecs is 120 ms.
        let samples = self
            .ready
            .decoder()
            .samples(payload)
            .filter(|s| (1..=self.rate / 5).contains(&(*s as i64)));
        let Some(samples) = samples else {
            self.stats.discarded += 1;
            return;
        };
        let (came, usable) = self.arrival(now);
        let usual = self
            .estimate
            .base()
            .map(|base| (base - self.rate / 2, base + self.rate / 2 + self.max_delay));
        let mut place = self.queue.place(seq, timestamp, came, usual);
        if let Place::Stream {
            at, seq: number, ..
        } = place
            && self.is_past(number, at + samples as i64)
        {
            self.stats.late += 1;
            if !self.queue.refuse() {
                self.queue.note(seq, timestamp, samples, place);
                self.learn(came - at, usable - at);
                return;
            }
            place = Place::Anew;
        }
        let (number, at) = match place {
            Place::Duplicate => {
                self.stats.duplicate += 1;
                return;
            }
            Place::Strange => {
                self.stats.discarded += 1;
                return;
            }
            Place::Anew => {
                self.restart();
                (0, 0)
            }
            Place::Stream { seq, at, .. } => (seq, at),
        };
        self.queue.note(seq, timestamp, samples, place);
        self.learn(came - at, usable - at);
        if matches!(place, Place::Stream { ahead: 2, .. }) && self.ready.decoder().repeats() {
            // The one before did not come; had this one been waited for, it would have been mended.
            self.estimate.mendable(usable - at + samples as i64);
        }
        self.stats.discarded += self.queue.push(number, at, samples, payload);
    }

    /// Fills `out` with what is to be heard now: any length, on a steady clock.
    pub fn play(&mut self, out: &mut [i16], now: Instant) -> Played {
        let wanted = out.len();
        while self.ready.len() < wanted {
            self.make(wanted - self.ready.len());
        }
        self.adapt(wanted);
        self.last = Some((now, wanted as i64));
        self.ready.play(out)
    }

    /// Another source begins (SSRC): nothing known of the last one holds. What was counted stays.
    pub fn reset(&mut self) {
        self.queue.reset();
        self.restart();
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let counts = self.ready.counts();
        let mut stats = Stats {
            concealed: counts.concealed,
            recovered: counts.recovered,
            stretched: counts.stretched,
            shrunk: counts.shrunk,
            ..self.stats
        };
        if let (Some(base), Some(target)) = (self.estimate.base(), self.estimate.target()) {
            stats.target = self.time(target - base);
        }
        stats
    }

    /// When a packet came that came `now`, and when it can first be played, by our clock.
    fn arrival(&self, now: Instant) -> (i64, i64) {
        let Some((last, length)) = self.last else {
            return (self.ready.clock(), self.ready.clock());
        };
        let since = now
            .saturating_duration_since(last)
            .as_micros()
            .min(1_000_000) as i64
            * self.rate
            / 1_000_000;
        let since = since.min(length);
        // Just in time is too late when clocks drift: the time to act is before the first packet misses its turn.
        let margin = 3 * self.rate / 1000;
        let usable = if since + margin > length {
            self.ready.clock() + length
        } else {
            self.ready.clock()
        };
        (self.ready.clock() - length + since, usable)
    }

    fn learn(&mut self, transit: i64, usable: i64) {
        let long_after = self
            .estimate
            .base()
            .is_some_and(|base| transit > base + self.max_delay);
        if self.idle && self.queue.len() == 0 && long_after {
            self.estimate.resume(transit);
        }
        self.estimate.observe(transit, usable, self.ready.clock());
    }

    /// Whether something else was already heard in place of this packet.
    fn is_past(&self, seq: i64, end: i64) -> bool {
        self.cursor
            .is_some_and(|cursor| end <= cursor.end || seq <= cursor.seq)
    }

    fn restart(&mut self) {
        self.queue.reset();
        self.estimate.reset();
        self.cursor = None;
        self.filled = 0;
    }

    /// Appends at least one sample to what is ready, or takes at least one packet from those that wait.
    fn make(&mut self, wanted: usize) {
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
    fn wait(&self) -> Wait {
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
        let missing = front.seq - cursor.seq - 1;
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
        let early =
            (self.estimate.target().unwrap_or(0) - (heard - front.at)).min(gap.max(self.max_delay));
        pause(early)
    }

    fn decode(&mut self) {
        let Some(packet) = self.queue.pop() else {
            return;
        };
        let follows = |c: Cursor| packet.seq == c.seq + 1 && packet.at - c.end <= self.rate / 200;
        if !self.idle && !self.cursor.is_some_and(follows) {
            self.ready.join();
        }
        if let Some(cursor) = self.cursor {
            let missing = u64::try_from(packet.seq - cursor.seq - 1).unwrap_or(0);
            self.stats.lost = self.stats.lost.saturating_add(missing);
        }
        // Another size of packets after a loss: what was made up is not heard again.
        let heard = self
            .cursor
            .filter(|_| self.filled == 0)
            .map_or(0, |c| c.end - packet.at);
        let heard = if heard > self.rate / 200 {
            usize::try_from(heard).unwrap_or(0)
        } else {
            0
        };
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

    /// Brings the lag nearer to its target.
    fn adapt(&mut self, wanted: usize) {
        let (Some(cursor), Some(base), Some(target)) =
            (self.cursor, self.estimate.base(), self.estimate.target())
        else {
            self.stats.delay = Duration::ZERO;
            return;
        };
        if self.filled > 0 || self.idle {
            return;
        }
        let lag = self.ready.end() - cursor.end;
        self.stats.delay = self.time(lag - base);
        self.stats.longest = self.stats.longest.max(self.stats.delay);
        let (excess, ms) = (lag - target, self.rate / 1000);
        let rested = self.ready.clock() - self.changed;
        let by = if excess < -2 * ms && rested >= 40 * ms {
            let need = if excess < -10 * ms {
                Need::Great
            } else {
                Need::Some
            };
            self.ready
                .stretch(usize::try_from(-excess).unwrap_or(0), need)
        } else if excess > 5 * ms {
            // The more there is the sooner it must go; but at most a quarter faster than it was said, and in a quiet
            // place at any time.
            let need = match () {
                () if excess > 60 * ms && rested >= 60 * ms => Need::Great,
                () if excess > 30 * ms && rested >= 60 * ms => Need::Some,
                () if rested >= 200 * ms => Need::Some,
                () => Need::None,
            };
            self.shrink(wanted, excess, need)
        } else {
            0
        };
        if by != 0 {
            self.changed = self.ready.clock();
        }
    }

    fn shrink(&mut self, wanted: usize, excess: i64, need: Need) -> usize {
        let most = usize::try_from(excess)
            .unwrap_or(0)
            .min(stretch::longest(self.rate as usize));
        while self.ready.len() < wanted + most && matches!(self.wait(), Wait::Decode) {
            self.decode();
        }
        self.ready.shrink(wanted, most, need)
    }

    fn time(&self, samples: i64) -> Duration {
        Duration::from_micros(
            u64::try_from(samples)
                .unwrap_or(0)
                .saturating_mul(1_000_000)
                / self.rate as u64,
        )
    }
}

/// What the next samples are made from.
enum Wait {
    /// The next packet: it is its time.
    Decode,
    /// Nothing, in place of lost packets; or the next packet, which may tell what was in the one before.
    Lost { samples: usize, mendable: bool },
    /// Nothing: the next packet is there, and its time is not.
    Pause { samples: usize },
    /// Nothing: no packet is there.
    Empty,
}
