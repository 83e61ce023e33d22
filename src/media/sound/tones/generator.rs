//! Makes the tones of keys, one after the other.

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::time::Duration;

use super::{COLUMNS, KEYS, ROWS, amplitude};

/// dBm0 of each of the two tones.
const LEVEL: f32 = -10.0;

/// The shortest tone, which is the 40 ms that every receiver must recognise (ITU-T Q.24) between its two edges, and the
/// longest.
const SHORTEST: Duration = Duration::from_millis(45);
const LONGEST: Duration = Duration::from_secs(10);

/// The shortest pause that every receiver must take for one.
const PAUSE: Duration = Duration::from_millis(40);

/// Keys that may wait for their turn; what is pressed beyond is dropped.
const MOST_WAITING: usize = 64;

/// Writes the tones of keys over sound.
pub struct Generator {
    rate: u32,
    waiting: VecDeque<(Pair, usize)>,
    now: Option<Sounding>,
}

/// The two tones of a key, in Hz.
type Pair = [f32; 2];

/// A key that is being sounded, then the pause after it.
struct Sounding {
    pair: Pair,
    /// Samples of the tone.
    tone: usize,
    /// Samples written so far.
    written: usize,
}

impl Generator {
    /// For sound at `rate` samples a second.
    pub fn new(rate: u32) -> Generator {
        Generator {
            rate,
            waiting: VecDeque::new(),
            now: None,
        }
    }

    /// Has a key (its event code, 0–15) sounded for so long, 45 ms to 10 s, after those pressed before it. `false`: there is
    /// no such key, or 64 wait already.
    pub fn press(&mut self, code: u8, duration: Duration) -> bool {
        let Some(pair) = pair(code).filter(|_| self.waiting.len() < MOST_WAITING) else {
            return false;
        };
        let tone = self.samples(duration.clamp(SHORTEST, LONGEST));
        self.waiting.push_back((pair, tone));
        true
    }

    /// Whether all that was pressed has been written.
    pub fn is_idle(&self) -> bool {
        self.now.is_none() && self.waiting.is_empty()
    }

    /// Writes over the sound for as long as keys are to be heard: their tones, and silence for the pauses. Without any, it
    /// stays as it is.
    pub fn write(&mut self, sound: &mut [i16]) {
        let (rate, pause) = (self.rate as f32, self.samples(PAUSE));
        for sample in sound {
            if self.now.is_none() {
                let next = self.waiting.pop_front();
                self.now = next.map(|(pair, tone)| Sounding {
                    pair,
                    tone,
                    written: 0,
                });
            }
            let Some(now) = &mut self.now else { return };
            *sample = now.sample(rate);
            now.written += 1;
            if now.written >= now.tone + pause {
                self.now = None;
            }
        }
    }

    fn samples(&self, duration: Duration) -> usize {
        usize::try_from(duration.as_micros() * u128::from(self.rate) / 1_000_000)
            .unwrap_or(usize::MAX)
    }
}

impl Sounding {
    fn sample(&self, rate: f32) -> i16 {
        // The edges take 2.5 ms, so that the rest of the band hears no click.
        let edge = rate / 400.0;
        let from_edge = self.written.min(self.tone.saturating_sub(self.written)) as f32;
        let [low, high] = self
            .pair
            .map(|hertz| (self.written as f32 * hertz / rate).fract() * TAU);
        (amplitude(LEVEL) * (from_edge / edge).min(1.0) * (low.sin() + high.sin())) as i16
    }
}

fn pair(code: u8) -> Option<Pair> {
    let keys = KEYS.iter().zip(ROWS).flat_map(|(keys, row)| {
        keys.iter()
            .zip(COLUMNS)
            .map(move |(&key, column)| (key, [row, column]))
    });
    keys.into_iter()
        .find(|(key, _)| *key == code)
        .map(|(_, pair)| pair)
}
