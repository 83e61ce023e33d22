//! Finds the tones of keys in sound, as ITU-T Q.24 asks of a receiver.
//!
//! ```text
//! sound   ────────▁▂████████████████▂▁──────────
//! windows       [   ]                              13 ms each, one every 6.5 ms
//!                  [ k ][ k ][ k ][ k ] …          a window is of key k: nearly all in it is k's two tones
//!                  ├─ muted from here              two in a row: most likely a key
//!                  began                           four in a row: a key
//!                                    [   ]×4       four that are not: it has ended
//! ```

use std::f32::consts::TAU;
use std::ops::Range;

use super::{COLUMNS, KEYS, ROWS, amplitude};

/// The part of a second that a window has, and how many times a second one is looked at.
const WINDOW: f32 = 0.013;

/// Windows in a row that make a key (about 32 ms; ITU-T Q.24 has 40 ms recognised and 20 ms not), that make the suspicion of
/// one, and that end one: a break of 10 ms is none.
const BEGINS: u32 = 4;
const SUSPECT: u32 = 1;
const ENDS: u32 = 4;

/// How much of a window's energy the two tones must have.
const PURITY: f32 = 0.75;

/// The weakest tone that is one, in dBm0.
const WEAKEST: f32 = -36.0;

/// By what ratio of energy the two tones may differ: 9 dB, either way.
const TWIST: f32 = 8.0;

/// By what ratio of energy a tone must stand above the others of its group: 5 dB.
const ABOVE: f32 = 3.2;

/// By what ratio of energy each tone may change while a key begins: 3 dB. Voices change faster.
const STEADY: f32 = 2.0;

/// How far off its frequency a tone may be: 1.5% must be taken and 3.5% must not (ITU-T Q.24). The partials of a voice seldom
/// lie so near to both tones of a key.
const OFF: f32 = 0.022;

/// What was found. Positions count the samples heard before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A key went down.
    Began {
        /// Its event code (RFC 4733 §3.2).
        code: u8,
        /// Its first sample.
        at: u64,
    },
    /// It was let go.
    Ended {
        /// Its event code.
        code: u8,
        /// The first sample after it.
        at: u64,
    },
}

/// Listens for keys.
pub struct Detector {
    /// Rows and columns.
    tones: [[Tone; 4]; 2],
    /// The last samples; of fixed length.
    window: Vec<f32>,
    /// Samples between windows, and those heard since the last.
    hop: usize,
    since: usize,
    /// Samples heard.
    heard: u64,
    /// The windows in a row that are of one key.
    run: Option<Run>,
    /// The key that is down.
    down: Option<Down>,
}

/// A tone that is listened for: its angle from sample to sample.
#[derive(Clone, Copy)]
struct Tone(f32);

/// What a window has of a tone.
#[derive(Clone, Copy)]
struct Part {
    tone: Tone,
    energy: f32,
    /// Its phase at the window's end.
    phase: f32,
}

/// Windows in a row that are of one key.
#[derive(Clone, Copy)]
struct Run {
    code: u8,
    windows: u32,
    from: u64,
    /// The least and the most energy of each tone in one of its whole windows.
    least: [f32; 2],
    most: [f32; 2],
    /// The last window's part of each tone, and how far their phases have run ahead since the first.
    last: [Part; 2],
    ahead: [f32; 2],
}

/// A key that is down.
#[derive(Clone, Copy)]
struct Down {
    code: u8,
    /// Windows in a row that are not of it.
    missed: u32,
    /// The end of the last that was.
    until: u64,
}

impl Detector {
    /// For sound at `rate` samples a second.
    pub fn new(rate: u32) -> Detector {
        let rate = rate as f32;
        let length = (rate * WINDOW) as usize;
        let tones = [ROWS, COLUMNS].map(|group| group.map(|hertz| Tone(TAU * hertz / rate)));
        Detector {
            tones,
            window: vec![0.0; length],
            hop: length / 2,
            since: 0,
            heard: 0,
            run: None,
            down: None,
        }
    }

    /// Hears the next samples, and says what it finds. Returns which of these samples belong to a key, or to what looks like the
    /// start of one: to be muted, where the key goes on by other means, so that nobody hears it twice.
    pub fn hear(&mut self, sound: &[i16], mut found: impl FnMut(Found)) -> Range<usize> {
        let began = self.heard;
        let mut muted: Option<(u64, u64)> = None;
        let mut rest = sound;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(self.hop - self.since));
            rest = after;
            self.take(part);
            if self.since == self.hop {
                self.since = 0;
                self.judge(&mut found);
            }
            if let Some(from) = self.suspected_from(part.len()) {
                muted = Some((muted.map_or(from, |(first, _)| first.min(from)), self.heard));
            }
        }
        let place = |at: u64| {
            usize::try_from(at.saturating_sub(began))
                .unwrap_or(usize::MAX)
                .min(sound.len())
        };
        muted.map_or(0..0, |(from, to)| place(from)..place(to))
    }

    /// How many samples were heard so far.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    fn take(&mut self, part: &[i16]) {
        self.window.copy_within(part.len().., 0);
        let kept = self.window.len() - part.len();
        for (slot, &sample) in self.window.iter_mut().skip(kept).zip(part) {
            *slot = sample.into();
        }
        self.since += part.len();
        self.heard = self.heard.saturating_add(part.len() as u64);
    }

    /// From where on what was heard last is a key's, or looks so.
    fn suspected_from(&self, part: usize) -> Option<u64> {
        let run = self
            .run
            .filter(|run| run.windows >= SUSPECT)
            .map(|run| run.from);
        let down = self.down.map(|_| self.heard.saturating_sub(part as u64));
        run.into_iter().chain(down).min()
    }

    /// Looks at the window.
    fn judge(&mut self, found: &mut impl FnMut(Found)) {
        let of = self.key();
        let from = self.heard.saturating_sub(self.window.len() as u64);
        self.run = of.map(|(code, parts)| match self.run {
            Some(run) if run.code == code => run.longer(parts, self.hop),
            _ => Run {
                code,
                windows: 1,
                from,
                least: [f32::MAX; 2],
                most: [0.0; 2],
                last: parts,
                ahead: [0.0; 2],
            },
        });
        if let Some(down) = &mut self.down {
            if of.is_some_and(|(code, _)| code == down.code) {
                (down.missed, down.until) = (0, self.heard);
            } else {
                down.missed += 1;
            }
        }
        if let Some(Down { code, until, .. }) = self.down.take_if(|down| down.missed >= ENDS) {
            found(Found::Ended { code, at: until });
        }
        if let (Some(run), None) = (self.run, self.down)
            && run.windows >= BEGINS
            && run.is_steady()
            && run.is_on_frequency(self.hop)
        {
            self.down = Some(Down {
                code: run.code,
                missed: 0,
                until: self.heard,
            });
            found(Found::Began {
                code: run.code,
                at: run.from,
            });
        }
    }

    /// The key whose two tones make up nearly all of the window, and the part of each.
    fn key(&self) -> Option<(u8, [Part; 2])> {
        let all: f32 = self.window.iter().map(|s| s * s).sum();
        // A tone of amplitude a has the energy a²/2 for each sample.
        let weakest = amplitude(WEAKEST).powi(2) / 2.0 * self.window.len() as f32;
        if all < 2.0 * weakest {
            return None;
        }
        let [rows, columns] = self
            .tones
            .map(|group| group.map(|tone| tone.part(&self.window)));
        let (row, column) = (strongest(&rows)?, strongest(&columns)?);
        let parts = [*rows.get(row)?, *columns.get(column)?];
        let [low, high] = parts.map(|part| part.energy);
        let twist = low.max(high) / low.min(high);
        let is_key = low + high >= PURITY * all && twist <= TWIST && low.min(high) >= weakest;
        let code = KEYS.get(row).and_then(|keys| keys.get(column))?;
        is_key.then_some((*code, parts))
    }
}

impl Tone {
    /// What a window has of it, by Goertzel's recursion.
    fn part(self, window: &[f32]) -> Part {
        let (sine, cosine) = self.0.sin_cos();
        let step = |(one, two): (f32, f32), &sample: &f32| (sample + 2.0 * cosine * one - two, one);
        let (one, two) = window.iter().fold((0.0, 0.0), step);
        let (real, imaginary) = (one - two * cosine, two * sine);
        let energy = 2.0 * (real * real + imaginary * imaginary) / window.len() as f32;
        Part {
            tone: self,
            energy,
            phase: imaginary.atan2(real),
        }
    }
}

impl Run {
    fn longer(mut self, parts: [Part; 2], hop: usize) -> Run {
        self.windows = self.windows.saturating_add(1);
        for ((least, most), part) in self.least.iter_mut().zip(&mut self.most).zip(parts) {
            (*least, *most) = (least.min(part.energy), most.max(part.energy));
        }
        for ((ahead, last), part) in self.ahead.iter_mut().zip(self.last).zip(parts) {
            let turned = part.phase - last.phase - part.tone.0 * hop as f32;
            *ahead += turned - TAU * (turned / TAU).round();
        }
        self.last = parts;
        self
    }

    /// Whether its tones are as steady as a machine's. The first window does not count: the key may have begun within it.
    fn is_steady(self) -> bool {
        self.least
            .iter()
            .zip(self.most)
            .all(|(least, most)| most <= least * STEADY)
    }

    /// Whether its tones have the frequencies of the key, by how their phases have turned.
    fn is_on_frequency(self, hop: usize) -> bool {
        let samples = self.windows.saturating_sub(1) as f32 * hop as f32;
        self.ahead
            .iter()
            .zip(self.last)
            .all(|(ahead, last)| ahead.abs() <= OFF * last.tone.0 * samples)
    }
}

/// Which of a group is the strongest, where it stands above the rest.
fn strongest(group: &[Part; 4]) -> Option<usize> {
    let (place, best) = group
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.energy.total_cmp(&b.1.energy))?;
    let alone =
        |(other, part): (usize, &Part)| other == place || part.energy * ABOVE <= best.energy;
    group.iter().enumerate().all(alone).then_some(place)
}
