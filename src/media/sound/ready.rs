//! Sound decoded or made up, not yet played: what it is made of, and where on our clock each kind of it ends.

use super::stretch::{self, Need};
use super::{Decode, Played};

/// A decoder and what it made that is still to be played.
pub(super) struct Ready<D> {
    decoder: D,
    /// Samples a second.
    rate: usize,
    /// Samples played so far: by our clock, the start of the next to be played.
    clock: i64,
    sound: Vec<i16>,
    /// The last samples are the decoder's guess.
    guessing: bool,
    /// Where the last sound, mending and pause end.
    ends: Ends,
    counts: Counts,
}

/// What was done, in samples; as in [`Stats`](super::Stats).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) concealed: u64,
    pub(super) recovered: u64,
    pub(super) stretched: u64,
    pub(super) shrunk: u64,
}

#[derive(Clone, Copy, Default)]
struct Ends {
    sound: i64,
    mended: i64,
    pause: i64,
}

impl<D: Decode> Ready<D> {
    pub(super) fn new(decoder: D) -> Self {
        Ready {
            rate: decoder.rate().max(1) as usize,
            decoder,
            clock: 0,
            sound: Vec::new(),
            guessing: false,
            ends: Ends::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn decoder(&self) -> &D {
        &self.decoder
    }

    /// Samples played so far.
    pub(super) fn clock(&self) -> i64 {
        self.clock
    }

    /// Samples that wait to be played.
    pub(super) fn len(&self) -> usize {
        self.sound.len()
    }

    /// When by our clock the next sample will be played that is made.
    pub(super) fn end(&self) -> i64 {
        self.clock + self.sound.len() as i64
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Decodes a packet, without its first `heard` samples; `false` if it cannot be read.
    pub(super) fn decode(&mut self, payload: &[u8], heard: usize) -> bool {
        let before = self.sound.len();
        if self.decoder.decode(payload, &mut self.sound).is_err() || self.sound.len() == before {
            self.sound.truncate(before);
            return false;
        }
        self.guessing = false;
        let cut = heard.min(self.sound.len() - before);
        self.sound.drain(before..before + cut);
        self.ends.sound = self.end();
        true
    }

    /// Makes up what is missing. `next` is the packet right after it.
    pub(super) fn conceal(&mut self, samples: usize, next: Option<&[u8]>) {
        self.guess(samples, next);
        self.ends.mended = self.end();
        self.counts.concealed += samples as u64;
        self.counts.recovered += next.map_or(0, |_| samples as u64);
    }

    /// Fills a pause with what the decoder holds for its background.
    pub(super) fn breathe(&mut self, samples: usize) {
        self.guess(samples, None);
        self.ends.pause = self.end();
    }

    pub(super) fn silence(&mut self, samples: usize) {
        self.sound.resize(self.sound.len() + samples, 0);
    }

    /// Lets the decoder go over to where the stream goes on: decoders join what they guessed to what comes.
    pub(super) fn join(&mut self) {
        if !self.guessing {
            self.conceal(self.rate / 100, None);
        }
    }

    /// Makes what comes after the first `before` samples swell from nothing, within 5 ms.
    pub(super) fn swell(&mut self, before: usize) {
        fade(self.sound.iter_mut().skip(before).take(self.rate / 200));
    }

    /// Makes what comes after the first `before` samples sink to nothing.
    pub(super) fn sink(&mut self, before: usize) {
        fade(self.sound.iter_mut().skip(before).rev());
    }

    /// Puts in a piece, of `least` samples if that can be; returns how long it was.
    pub(super) fn stretch(&mut self, least: usize, need: Need) -> usize {
        let added = stretch::stretch(&mut self.sound, self.rate, least, need);
        self.counts.stretched += added as u64;
        self.shift(added as i64);
        added
    }

    /// Takes out a piece of at most `most` samples, but leaves `kept` samples; returns how long it was.
    pub(super) fn shrink(&mut self, kept: usize, most: usize, need: Need) -> usize {
        let most = most.min(self.sound.len().saturating_sub(kept));
        let removed = stretch::shrink(&mut self.sound, self.rate, most, need);
        self.counts.shrunk += removed as u64;
        self.shift(-(removed as i64));
        removed
    }

    /// Plays what is ready, and tells what it is. What is missing at the end is silence.
    pub(super) fn play(&mut self, out: &mut [i16]) -> Played {
        let length = out.len().min(self.sound.len());
        let (now, later) = out.split_at_mut(length);
        if let Some(first) = self.sound.get(..length) {
            now.copy_from_slice(first);
        }
        later.fill(0);
        self.sound.drain(..length);
        let from = self.clock;
        self.clock += out.len() as i64;
        match &self.ends {
            ends if ends.mended > from => Played::Mended,
            ends if ends.sound > from => Played::Sound,
            ends if ends.pause > from => Played::Pause,
            _ => Played::Nothing,
        }
    }

    fn guess(&mut self, samples: usize, next: Option<&[u8]>) {
        let end = self.sound.len() + samples;
        self.decoder.conceal(samples, next, &mut self.sound);
        self.sound.resize(end, 0);
        self.guessing = true;
    }

    /// The start of what is ready became longer: all of it ends later.
    fn shift(&mut self, by: i64) {
        let ends = &mut self.ends;
        for end in [&mut ends.sound, &mut ends.mended, &mut ends.pause] {
            *end += if *end > self.clock { by } else { 0 };
        }
    }
}

/// Swells from nothing.
fn fade<'a>(sound: impl ExactSizeIterator<Item = &'a mut i16>) {
    let length = sound.len() as f32 + 1.0;
    for (i, sample) in sound.enumerate() {
        *sample = (f32::from(*sample) * (i + 1) as f32 / length) as i16;
    }
}
