//! One direction of a call: what one side says, on its way to the other.
//!
//! ```text
//!   near side ─▶ sound ─┬─ the codec that the far side has ──────────────────▶ as it came
//!               │       └─ another ─▶ Transcoder (tones of keys out or in) ──▶ when it is due
//!               └ events ─┬─ the sound is passed on as well ─────────────────▶ as they came
//!                         ├─ sound is transcoded ─▶ Reader ─▶ strokes ───────▶ written anew, on the far side's clock
//!                         └─ the far side has no events ─▶ Reader ─▶ presses ─▶ tones, or news for signalling
//! ```

use std::time::{Duration, Instant};

use super::buffered::Buffered;
use super::codec::Codec;
use super::digits::{Clocks, Press, Reader, Stroke};
use super::due::earliest;
use super::rtp::Ssrc;
use super::side::Heard;
use super::sound::{self, SoundError};
use super::transcode::{Manner, Task, Transcoder};

/// What the far side has agreed to, as far as this direction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The sound that it is sent.
    pub(crate) sound: Codec,
    /// How much of it a packet holds, where that is for us to say; and for Meta, which takes nothing else, always.
    pub(crate) ptime: Duration,
    /// Whether a packet must hold just that.
    pub(crate) strict: bool,
    /// How it is told of digits.
    pub(crate) digits: Digits,
}

/// How a side has digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Digits {
    /// By events in its stream.
    Events,
    /// By tones in its sound.
    Tones,
    /// Not in its media.
    #[default]
    Elsewhere,
}

/// What is to be done about digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The far side is told of it in its stream.
    Stroke(Stroke),
    /// Signalling is.
    Press(Press),
}

/// One direction at work.
#[derive(Default)]
pub(crate) struct Across {
    transcoder: Option<Box<Transcoder>>,
    /// How many there have been: what each makes goes by a source of its own.
    transcoders: u32,
    reader: Option<Box<Reader>>,
    /// A key that was down in sound of which nothing is made any more.
    let_go: Option<Stroke>,
    /// What the jitter buffers before this one did.
    before: Buffered,
    /// A codec that could not be had was told of.
    complained: bool,
}

impl Across {
    /// Whether a packet of sound goes on as it came. Tones of keys are to be found first, or put in.
    pub(crate) fn passes(&self, heard: &Heard<'_>, near: Digits, far: &Wanted) -> bool {
        let in_tones = near == Digits::Tones || far.digits == Digits::Tones;
        let fits = || !far.strict || length(heard).is_none_or(|length| length == far.ptime);
        heard.codec == far.sound && !in_tones && fits()
    }

    /// Takes a packet of sound that does not. `false`: nobody can make of it what is wanted.
    pub(crate) fn hear(
        &mut self,
        heard: &Heard<'_>,
        near: Digits,
        far: &Wanted,
        manner: &Manner,
        now: Instant,
    ) -> bool {
        self.prepare(heard.codec, near, far, manner);
        let transcoder = self.transcoder.as_mut();
        transcoder.map(|t| t.hear(heard, now)).is_some()
    }

    /// Tones of keys are heard though there is no sound to put them in.
    pub(crate) fn sound_in_silence(
        &mut self,
        from: Option<Codec>,
        far: &Wanted,
        manner: &Manner,
        now: Instant,
    ) {
        if let (Some(from), Digits::Tones, None) = (from, far.digits, &self.transcoder) {
            self.prepare(from, Digits::Events, far, manner);
            if let Some(transcoder) = &mut self.transcoder {
                transcoder.begin(now);
            }
        }
    }

    /// Sees to a transcoder that makes what is wanted of this.
    fn prepare(&mut self, from: Codec, near: Digits, far: &Wanted, manner: &Manner) {
        let task = Task {
            from,
            to: far.sound,
            ptime: far.ptime,
            finds_tones: near == Digits::Tones,
            makes_tones: far.digits == Digits::Tones,
        };
        if self.transcoder.as_ref().is_none_or(|t| t.task() != task) {
            self.pass_on();
            self.transcoders = self.transcoders.wrapping_add(1);
            match Transcoder::new(task, Ssrc(self.transcoders), manner) {
                Ok(transcoder) => self.transcoder = Some(Box::new(transcoder)),
                Err(error) => self.complain(&error),
            }
        }
    }

    /// Nothing is transcoded any more, if it was.
    pub(crate) fn pass_on(&mut self) {
        if let Some(mut transcoder) = self.transcoder.take() {
            self.before = self.before.after(transcoder.buffered());
            self.let_go = self.let_go.or(transcoder.release());
        }
    }

    /// Takes note of an event of the near side: its number is no sound's, and so not missing there.
    pub(crate) fn skip(&mut self, heard: &Heard<'_>) {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.skip(&heard.header);
        }
    }

    /// What is being transcoded.
    pub(crate) fn transcoder(&mut self) -> Option<&mut Transcoder> {
        self.transcoder.as_deref_mut()
    }

    /// Whether events of the near side go on as they came: they do where its sound does. `sound` is the near side's.
    pub(crate) fn passes_events(&self, sound: Option<Codec>, far: &Wanted) -> bool {
        let transcodes = self.transcoder.is_some() || sound != Some(far.sound);
        far.digits == Digits::Events && !transcodes
    }

    /// Reads events that do not; what is new in them is for [`Across::tell`].
    pub(crate) fn read(
        &mut self,
        heard: &Heard<'_>,
        sound: Option<Codec>,
        now: Instant,
    ) -> impl Iterator<Item = Stroke> + use<> {
        let clocks = Clocks {
            timestamps: sound.unwrap_or(heard.codec).clock_rate(),
            events: heard.codec.clock_rate(),
        };
        let reader = self.reader.get_or_insert_default();
        reader.read(&heard.header, heard.payload, clocks, now)
    }

    /// A key of which nothing is heard any more is let go.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Stroke> {
        let let_go = self.let_go.take();
        let_go.or_else(|| self.reader.as_mut()?.tick(now))
    }

    /// Who is to be told of a stroke, and how; tones are as good as told. Other than in a stream, a key is told of when it has
    /// been let go.
    pub(crate) fn tell(&mut self, stroke: Stroke, far: Digits) -> Option<Told> {
        match (far, stroke) {
            (Digits::Events, stroke) => Some(Told::Stroke(stroke)),
            (Digits::Tones, Stroke::Up(press)) => {
                let sounded = self.transcoder.as_mut().is_some_and(|t| t.sound(press));
                (!sounded).then_some(Told::Press(press))
            }
            (Digits::Elsewhere, Stroke::Up(press)) => Some(Told::Press(press)),
            (_, Stroke::Down(_)) => None,
        }
    }

    /// When [`Across::tick`], or the transcoder, is next due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let reader = self.reader.as_ref().and_then(|reader| reader.deadline());
        let transcoder = self.transcoder.as_ref().and_then(|t| t.deadline());
        earliest([reader, transcoder])
    }

    /// What the jitter buffer does, and those before it did.
    pub(crate) fn buffered(&self) -> Buffered {
        let now = self.transcoder.as_ref().map(|t| t.buffered());
        now.unwrap_or_default().after(self.before)
    }

    fn complain(&mut self, error: &SoundError) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::error!(%error, "sound cannot be transcoded");
        }
    }
}

/// How long the sound in a packet lasts; `None`: it cannot be told.
fn length(heard: &Heard<'_>) -> Option<Duration> {
    const RATE: u32 = 48_000;
    let (samples, rate) = match heard.codec {
        Codec::Opus => (
            opus::packet::get_nb_samples(heard.payload, RATE).ok()?,
            RATE,
        ),
        // An octet for each tick of the RTP clock, of G.722 as well.
        codec => (heard.payload.len(), codec.clock_rate()),
    };
    Some(sound::lasting(samples as u64, rate))
}
