//! One direction of a call whose two sides have no codec in common: packets that come when they like become others, at a
//! steady pace.
//!
//! ```text
//!   hear ──▶ Player: in order, decoded, mended ──▶ a frame when it is due ──▶ Encoder ──▶ next
//! ```
//!
//! What comes out is a source of its own, with numbers of its own; the other side's [`Stream`](super::stream::Stream) takes
//! it on as it does any other. From the first packet on it never falls silent: where nothing is heard, the other side hears
//! a quiet noise, and the line does not seem dead.

mod lull;

use std::time::{Duration, Instant};

use super::buffered::Buffered;
use super::codec::Codec;
use super::digits::{Press, Stroke, ToneReader};
use super::rtp::{Header, Seq, Ssrc, Timestamp};
use super::side::Heard;
use super::sound::tones::Generator;
use super::sound::{
    self, ComfortNoise, Decoder, Encoder, OpusSettings, Played, Player, SoundError,
};
use lull::Lull;

/// How far we may be behind our own clock, before what was missed is left out: a worker that could not run.
const MOST_BEHIND: Duration = Duration::from_millis(200);

/// Our clock goes so far behind that of the packets: then one that is a little late, as from a far end that is busy, is still
/// in time.
const LEAD: Duration = Duration::from_millis(10);

/// What a transcoder makes of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// What comes.
    pub(crate) from: Codec,
    /// What is wanted.
    pub(crate) to: Codec,
    /// How much sound a packet of it is to hold: 10 to 60 ms.
    pub(crate) ptime: Duration,
    /// Whether keys are pressed in it by tones, which are to be told of and not to be heard.
    pub(crate) finds_tones: bool,
    /// Whether keys are to be heard in it.
    pub(crate) makes_tones: bool,
}

/// How sound is treated, whatever the call.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) opus: OpusSettings,
    pub(crate) player: sound::Settings,
}

/// One direction at work.
pub(crate) struct Transcoder {
    task: Task,
    player: Player<Decoder>,
    encoder: Encoder,
    comfort: ComfortNoise,
    lull: Lull,
    keys: Option<ToneReader>,
    generator: Option<Generator>,
    /// What keys were found since it was last asked.
    strokes: Vec<Stroke>,
    /// Whom we hear.
    source: Option<Ssrc>,
    /// By what source what comes out goes; nobody sees it but the stream that takes it on.
    ours: Ssrc,
    /// When the next frame is due; `None` before anything was heard.
    due: Option<Instant>,
    frame: Duration,
    rate: u32,
    /// The number of the next frame, and where its sound begins on the clock of `task.to`.
    seq: Seq,
    timestamp: Timestamp,
    samples: Vec<i16>,
    payload: Vec<u8>,
}

impl Transcoder {
    /// For one task; what comes out goes by the source `ours`. It is numbered anew, so it must not be taken for late
    /// packets of another transcoder.
    ///
    /// # Errors
    /// When a codec cannot be had.
    pub(crate) fn new(task: Task, ours: Ssrc, manner: &Manner) -> Result<Transcoder, SoundError> {
        let rate = task.from.sample_rate().min(task.to.sample_rate());
        let decoder = Decoder::new(task.from, rate)?;
        let frame = frame(task);
        Ok(Transcoder {
            player: Player::new(decoder, task.from.clock_rate(), manner.player),
            encoder: Encoder::new(task.to, rate, &manner.opus)?,
            comfort: ComfortNoise::new(rate, SEED),
            lull: Lull::default(),
            keys: task.finds_tones.then(|| ToneReader::new(rate)),
            generator: task.makes_tones.then(|| Generator::new(rate)),
            strokes: Vec::new(),
            source: None,
            ours,
            due: None,
            frame,
            rate,
            seq: Seq(0),
            timestamp: Timestamp(0),
            samples: vec![0; units(frame, rate) as usize],
            payload: Vec::new(),
            task,
        })
    }

    /// What it was made for.
    pub(crate) fn task(&self) -> Task {
        self.task
    }

    /// Takes a packet of sound. Another source is another voice: nothing of the last one is mixed into it.
    pub(crate) fn hear(&mut self, heard: &Heard<'_>, now: Instant) {
        let Header {
            ssrc,
            seq,
            timestamp,
            ..
        } = heard.header;
        if self.source.replace(ssrc).is_some_and(|was| was != ssrc) {
            self.player.reset();
        }
        self.player.insert(seq, timestamp, heard.payload, now);
        self.begin(now);
    }

    /// What comes out is likely to be lost at so many percent.
    pub(crate) fn expect_loss(&mut self, percent: u8) {
        self.encoder.expect_loss(percent);
    }

    /// From now on there is sound, if only a soft noise, unless there is already.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.due.get_or_insert(now + LEAD);
    }

    /// Takes note of a packet of the same source that is no sound.
    pub(crate) fn skip(&mut self, header: &Header) {
        if self.source == Some(header.ssrc) {
            self.player.skip(header.seq);
        }
    }

    /// When [`Transcoder::next`] has something next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The next packet that is due, and since when; call it until there is none.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(Instant, Heard<'_>)> {
        loop {
            let due = self.due.filter(|due| *due <= now)?;
            if now.saturating_duration_since(due) > MOST_BEHIND {
                self.skip_to(now);
            } else if self.make(due) {
                let header = Header {
                    marker: false,
                    payload_type: 0,
                    seq: self.seq.plus(u16::MAX),
                    timestamp: self.timestamp.plus(self.units().wrapping_neg()),
                    ssrc: self.ours,
                };
                let (codec, payload) = (self.task.to, &self.payload);
                return Some((
                    due,
                    Heard {
                        header,
                        codec,
                        payload,
                    },
                ));
            }
        }
    }

    /// What keys were found in what was made by now.
    pub(crate) fn strokes(&mut self) -> impl Iterator<Item = Stroke> + use<'_> {
        self.strokes.drain(..)
    }

    /// Lets go of the key that is down in the sound, if one is, for no more of that is heard.
    pub(crate) fn release(&mut self) -> Option<Stroke> {
        self.keys.as_mut()?.release()
    }

    /// Has a key heard after those before it; `false`: it cannot be.
    pub(crate) fn sound(&mut self, press: Press) -> bool {
        let generator = self.generator.as_mut();
        generator.is_some_and(|g| g.press(press.key.code(), press.duration))
    }

    /// What its jitter buffer does.
    pub(crate) fn buffered(&self) -> Buffered {
        Buffered::of(&self.player.stats(), self.rate, self.player.most())
    }

    /// Makes the frame that is due; `false` if it need not be sent.
    fn make(&mut self, due: Instant) -> bool {
        self.due = Some(due + self.frame);
        self.timestamp = self.timestamp.plus(self.units());
        let played = self.player.play(&mut self.samples, due);
        match played {
            Played::Nothing => {
                let length = self.samples.len();
                self.samples.clear();
                self.comfort.make(length, &mut self.samples);
            }
            Played::Sound => self.comfort.hear(&self.samples),
            Played::Mended | Played::Pause => {}
        }
        if let Some(keys) = &mut self.keys {
            keys.read(&mut self.samples, |stroke| self.strokes.push(stroke));
        }
        let mut is_lull = played == Played::Nothing;
        if let Some(generator) = &mut self.generator {
            is_lull &= generator.is_idle();
            generator.write(&mut self.samples);
        }
        self.payload.clear();
        let sends = if is_lull { self.go_on() } else { self.encode() };
        if sends {
            self.seq = self.seq.next();
        }
        sends
    }

    /// Makes a packet of the samples; `false` if it need not be sent.
    fn encode(&mut self) -> bool {
        self.lull.end();
        let made = self.encoder.encode(&self.samples, &mut self.payload);
        made.is_ok() && !self.encoder.in_dtx()
    }

    /// Makes the next packet of a silence; `false` if it need not be sent.
    fn go_on(&mut self) -> bool {
        if let Some(packet) = self.lull.next() {
            self.payload.extend_from_slice(packet);
        } else {
            let made = self.encoder.encode(&self.samples, &mut self.payload);
            if made.is_err() || self.encoder.in_dtx() {
                self.payload.clear();
            }
            self.lull.learn(&self.payload, self.frame);
        }
        !self.payload.is_empty()
    }

    /// Leaves out what should have been said up to now.
    fn skip_to(&mut self, now: Instant) {
        while let Some(due) = self.due.filter(|due| *due + self.frame <= now) {
            self.due = Some(due + self.frame);
            self.timestamp = self.timestamp.plus(self.units());
        }
    }

    /// A frame on the RTP clock of what is made.
    fn units(&self) -> u32 {
        units(self.frame, self.task.to.clock_rate())
    }
}

/// Where the noise of a silent line begins; it need not be hard to guess.
const SEED: u32 = 1;

/// How much sound goes into a packet: as is wanted, but Opus has no frames of 30 or 50 ms (RFC 6716 §2.1.4).
fn frame(task: Task) -> Duration {
    let ms = task.ptime.as_millis().clamp(10, 60) as u64 / 10 * 10;
    let ms = match (task.to, ms) {
        (Codec::Opus, 30) => 20,
        (Codec::Opus, 50) => 40,
        _ => ms,
    };
    Duration::from_millis(ms)
}

/// A length of time on a clock of `rate` Hz.
fn units(time: Duration, rate: u32) -> u32 {
    (time.as_millis() as u32).saturating_mul(rate / 1000)
}

#[cfg(test)]
mod tests;
