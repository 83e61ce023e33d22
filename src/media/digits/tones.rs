//! Key presses that are tones in a PBX's sound. The other way, [`Generator`] takes a [`Press`] as it is.
//!
//! [`Generator`]: crate::media::sound::tones::Generator

use super::{Key, Press, Stroke};
use crate::media::sound::lasting;
use crate::media::sound::tones::{Detector, Found};

/// Hears the keys in sound.
pub struct ToneReader {
    detector: Detector,
    /// Samples a second.
    rate: u32,
    /// The key that is down, and its first sample.
    down: Option<(Key, u64)>,
}

impl ToneReader {
    /// For sound at `rate` samples a second.
    pub fn new(rate: u32) -> ToneReader {
        ToneReader {
            detector: Detector::new(rate),
            rate,
            down: None,
        }
    }

    /// Hears what comes next, says what is new in it, in order, and mutes what belongs to a key, which goes on by other
    /// means.
    pub fn read(&mut self, sound: &mut [i16], mut each: impl FnMut(Stroke)) {
        let (rate, down) = (self.rate, &mut self.down);
        let muted = self.detector.hear(sound, |found| match found {
            Found::Began { code, at } => {
                *down = Key::from_code(code).map(|key| (key, at));
                if let Some((key, _)) = *down {
                    each(Stroke::Down(key));
                }
            }
            Found::Ended { at, .. } => {
                if let Some((key, from)) = down.take() {
                    let duration = lasting(at.saturating_sub(from), rate);
                    each(Stroke::Up(Press { key, duration }));
                }
            }
        });
        if let Some(muted) = sound.get_mut(muted) {
            muted.fill(0);
        }
    }

    /// Lets go of the key that is down, if one is: no more of it will be heard.
    pub fn release(&mut self) -> Option<Stroke> {
        let (key, from) = self.down.take()?;
        let duration = lasting(self.detector.heard().saturating_sub(from), self.rate);
        Some(Stroke::Up(Press { key, duration }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::sound::tones::Generator;

    /// What is heard of these presses, 20 ms of sound at a time, and how much of it is left in the sound.
    fn heard(rate: u32, presses: &[Press]) -> (Vec<Stroke>, usize) {
        let (mut generator, mut reader) = (Generator::new(rate), ToneReader::new(rate));
        for press in presses {
            assert!(generator.press(press.key.code(), press.duration));
        }
        let (mut strokes, mut loud) = (Vec::new(), 0);
        for _ in 0..500 {
            let mut sound = vec![0; rate as usize / 50];
            generator.write(&mut sound);
            reader.read(&mut sound, |stroke| strokes.push(stroke));
            loud += sound.iter().filter(|s| s.unsigned_abs() > 1_000).count();
        }
        (strokes, loud)
    }

    #[test]
    fn each_tone_is_a_press_of_its_length_and_is_muted() {
        for rate in [8_000, 16_000] {
            let lengths = [40, 60, 100, 400].into_iter().cycle();
            let presses: Vec<_> = (0..16)
                .zip(lengths)
                .map(|(code, ms)| Press {
                    key: Key::from_code(code).unwrap(),
                    duration: Duration::from_millis(ms),
                })
                .collect();
            let (strokes, loud) = heard(rate, &presses);
            assert_eq!(strokes.len(), 2 * presses.len());
            for (press, pair) in presses.iter().zip(strokes.chunks(2)) {
                assert_eq!(pair[0], Stroke::Down(press.key));
                let Stroke::Up(heard) = pair[1] else {
                    panic!("it is let go")
                };
                assert_eq!(heard.key, press.key);
                let off = heard.duration.abs_diff(press.duration);
                assert!(off <= Duration::from_millis(14), "{off:?}");
            }
            let each = loud / presses.len() * 1_000 / rate as usize;
            assert!(each < 20, "{each} ms of a tone are heard");
        }
    }
}
