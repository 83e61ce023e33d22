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
//! which is the least lag at which they are in time; so the lag is kept at a target that is enough for nearly all of them.
//! It grows when sound is repeated or filled in where nothing is there, and shrinks when some is taken out.

#[cfg(test)]
mod fixtures;
mod making;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::delay::Estimate;
use super::jitter::{Place, Queue};
use super::ready::Ready;
use super::stretch::{self, Need};
use super::{Decode, lasting};
use crate::media::rtp::{Seq, Timestamp};
use making::Wait;

/// Seconds that a little too much may wait for a quiet place, before it is taken out of a voice.
const PATIENCE: i64 = 3;

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
    /// Times that [`Player::play`] had sound.
    pub plays: u64,
    /// The sum of `delay` at each of them.
    pub waited: Duration,
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
    /// And when no more than should was last waiting, or less of it than before.
    fitted: i64,
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
            fitted: 0,
            stats: Stats::default(),
        }
    }

    /// A packet of sound has come. `marker` is not needed: timestamps tell a talk spurt, and not all sources mark it.
    pub fn insert(&mut self, seq: Seq, timestamp: Timestamp, payload: &[u8], now: Instant) {
        self.stats.packets += 1;
        let Some(samples) = self.samples(payload) else {
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
        let follows_a_gap =
            matches!(place, Place::Stream { ahead: 2, .. }) && !self.queue.is_soundless(number - 1);
        if follows_a_gap && self.ready.decoder().repeats() {
            // The one before did not come; had this one been waited for, it would have been mended.
            self.estimate.mendable(usable - at + samples as i64);
        }
        self.stats.discarded += self.queue.push(number, at, samples, payload);
    }

    /// A packet of the source has come that is no sound (RFC 4733): its number is not missing, and where it is next no sound
    /// is for now.
    pub fn skip(&mut self, seq: Seq) {
        self.queue.skip(seq);
        self.pass_over();
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
        self.restart();
    }

    /// How long sound is held back at most.
    pub fn most(&self) -> Duration {
        self.time(self.max_delay)
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

    /// Samples of a packet that can be: of 200 ms at most, where the longest of any of our codecs is 120 ms.
    fn samples(&self, payload: &[u8]) -> Option<usize> {
        let samples = self.ready.decoder().samples(payload)?;
        (1..=self.rate as usize / 5)
            .contains(&samples)
            .then_some(samples)
    }

    /// When a packet came that came `now`, and when it can first be played, by our clock.
    fn arrival(&self, now: Instant) -> (i64, i64) {
        let clock = self.ready.clock();
        let Some((last, length)) = self.last else {
            return (clock, clock);
        };
        let since = now
            .saturating_duration_since(last)
            .as_micros()
            .min(1_000_000) as i64
            * self.rate
            / 1_000_000;
        // Just in time is too late when clocks drift: the time to act is before the first packet misses its turn.
        let margin = 3 * self.rate / 1000;
        let late = (length - margin..2 * length).contains(&since);
        (
            clock - length + since.min(length),
            if late { clock + length } else { clock },
        )
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
        self.stats.plays += 1;
        self.stats.waited = self.stats.waited.saturating_add(self.stats.delay);
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
            // The more there is the sooner it must go; but at most a quarter faster than it was said. What is little may wait
            // for a quiet place, which comes at any time where somebody talks.
            let need = match () {
                () if excess > 60 * ms && rested >= 60 * ms => Need::Great,
                () if excess > 30 * ms && rested >= 60 * ms => Need::Some,
                () if self.ready.clock() - self.fitted >= PATIENCE * self.rate => Need::Some,
                () => Need::None,
            };
            self.shrink(wanted, excess, need)
        } else {
            self.fitted = self.ready.clock();
            0
        };
        if by != 0 {
            (self.changed, self.fitted) = (self.ready.clock(), self.ready.clock());
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
        lasting(u64::try_from(samples).unwrap_or(0), self.rate as u32)
    }
}
