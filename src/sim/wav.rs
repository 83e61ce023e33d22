//! Sound in files: RIFF WAVE with 16-bit mono PCM at 8000 or 16000 samples a second, and nothing else.

use std::f64::consts::{PI, TAU};

/// What `fmt ` says of PCM.
const PCM: u16 = 1;

/// Taps on each side of the filter that halves or doubles the rate, and where it cuts off, in Hz: what is above would fold
/// back at 8000 samples a second.
const TAPS: usize = 63;
const CUT_OFF: f64 = 3_700.0;

/// A mono recording.
#[derive(Clone, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second.
    pub rate: u32,
    /// All of them.
    pub samples: Vec<i16>,
}

/// Why a file cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// It is something else, or ends too early.
    #[error("it is no whole RIFF WAVE file: no chunk '{0}'")]
    Missing(&'static str),
    /// Sound of another form.
    #[error(
        "it has {channels} channels of {bits} bits at {rate} Hz, format {format}: make it mono, 16-bit PCM, 8000 or 16000 Hz"
    )]
    Form {
        /// 1 is PCM.
        format: u16,
        /// How many.
        channels: u16,
        /// Samples a second.
        rate: u32,
        /// Bits of a sample.
        bits: u16,
    },
}

impl Wav {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is anything but 16-bit mono PCM at 8000 or 16000 Hz.
    pub fn read(file: &[u8]) -> Result<Wav, WavError> {
        let mut chunks = Chunks(match (file.get(..4), file.get(8..12), file.get(12..)) {
            (Some(b"RIFF"), Some(b"WAVE"), Some(chunks)) => chunks,
            _ => return Err(WavError::Missing("RIFF")),
        });
        let format = chunks
            .find(|(name, _)| name == b"fmt ")
            .and_then(|(_, body)| body.first_chunk::<16>())
            .ok_or(WavError::Missing("fmt "))?;
        let [f0, f1, c0, c1, r0, r1, r2, r3, .., b0, b1] = *format;
        let (format, channels) = (u16::from_le_bytes([f0, f1]), u16::from_le_bytes([c0, c1]));
        let (rate, bits) = (
            u32::from_le_bytes([r0, r1, r2, r3]),
            u16::from_le_bytes([b0, b1]),
        );
        if (format, channels, bits) != (PCM, 1, 16) || ![8_000, 16_000].contains(&rate) {
            return Err(WavError::Form {
                format,
                channels,
                rate,
                bits,
            });
        }
        let (_, data) = chunks
            .find(|(name, _)| name == b"data")
            .ok_or(WavError::Missing("data"))?;
        let (samples, _) = data.as_chunks::<2>();
        Ok(Wav {
            rate,
            samples: samples.iter().map(|s| i16::from_le_bytes(*s)).collect(),
        })
    }

    /// The whole file.
    pub fn write(&self) -> Vec<u8> {
        let octets = (self.samples.len() * 2) as u32;
        let mut file = Vec::with_capacity(44 + self.samples.len() * 2);
        file.extend_from_slice(b"RIFF");
        file.extend_from_slice(&(36 + octets).to_le_bytes());
        file.extend_from_slice(b"WAVEfmt ");
        file.extend_from_slice(&16u32.to_le_bytes());
        file.extend_from_slice(&PCM.to_le_bytes());
        file.extend_from_slice(&1u16.to_le_bytes());
        file.extend_from_slice(&self.rate.to_le_bytes());
        file.extend_from_slice(&(2 * self.rate).to_le_bytes());
        file.extend_from_slice(&2u16.to_le_bytes());
        file.extend_from_slice(&16u16.to_le_bytes());
        file.extend_from_slice(b"data");
        file.extend_from_slice(&octets.to_le_bytes());
        let samples = self.samples.iter().flat_map(|s| s.to_le_bytes());
        file.extend(samples);
        file
    }

    /// The same sound at 8000 or 16000 samples a second, not a sample earlier or later.
    #[must_use]
    pub fn at(&self, rate: u32) -> Wav {
        let samples = match (self.rate, rate) {
            (16_000, 8_000) => {
                let taps = low_pass(1.0);
                let evens = (0..self.samples.len()).step_by(2);
                let filtered = evens.map(|n| filtered(&self.samples, &taps, n));
                filtered.collect()
            }
            (8_000, 16_000) => {
                // A zero after each sample, and what that adds above 4 kHz taken away again.
                let taps = low_pass(2.0);
                let spread: Vec<i16> = self.samples.iter().flat_map(|s| [*s, 0]).collect();
                let all = 0..spread.len();
                all.map(|n| filtered(&spread, &taps, n)).collect()
            }
            _ => return self.clone(),
        };
        Wav { rate, samples }
    }
}

/// Seconds of sound are thousands of numbers.
impl std::fmt::Debug for Wav {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rate, samples) = (self.rate, self.samples.len());
        write!(f, "Wav({samples} samples at {rate} Hz)")
    }
}

/// The chunks of a file: name, size, as many octets, and one more where that is odd.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk::<4>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        // A file that somebody is still writing has no right size, and one that was cut off has less.
        let size = rest.len().min(u32::from_le_bytes(*size) as usize);
        let (body, rest) = rest.split_at_checked(size)?;
        self.0 = rest.get(size % 2..).unwrap_or_default();
        Some((*name, body))
    }
}

/// A low pass at 16 kHz: a sinc under Blackman's window.
fn low_pass(gain: f64) -> Vec<f64> {
    let width = (2 * TAPS + 2) as f64;
    let tap = |n: usize| {
        let x = n as f64 - TAPS as f64;
        let cut_off = 2.0 * CUT_OFF / 16_000.0;
        let sinc = if n == TAPS {
            cut_off
        } else {
            (PI * cut_off * x).sin() / (PI * x)
        };
        let phase = TAU * (n + 1) as f64 / width;
        gain * sinc * (0.42 - 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos())
    };
    (0..=2 * TAPS).map(tap).collect()
}

/// What the filter makes of the samples around the `nth`.
fn filtered(samples: &[i16], taps: &[f64], nth: usize) -> i16 {
    let first = nth.saturating_sub(TAPS);
    let around = samples.get(first..).unwrap_or_default();
    let taps = taps.get(TAPS - (nth - first)..).unwrap_or_default();
    let sum: f64 = around
        .iter()
        .zip(taps)
        .map(|(s, t)| f64::from(*s) * t)
        .sum();
    sum.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sine(rate: u32, hz: f64) -> Wav {
        let sample = |n: u32| 9_000.0 * (TAU * hz * f64::from(n) / f64::from(rate)).sin();
        Wav {
            rate,
            samples: (0..rate / 2).map(|n| sample(n) as i16).collect(),
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        for rate in [8_000, 16_000] {
            let wav = sine(rate, 440.0);
            assert_eq!(Wav::read(&wav.write()), Ok(wav));
        }
    }

    #[test]
    fn chunks_of_others_are_passed_over_and_a_file_that_was_cut_off_is_read_to_its_end() {
        let wav = sine(8_000, 440.0);
        let mut file = wav.write();
        let list = [&b"LIST"[..], &3u32.to_le_bytes(), b"abc", b"\0"].concat();
        file.splice(36..36, list);
        assert_eq!(Wav::read(&file), Ok(wav.clone()));
        file.truncate(file.len() - 1_001);
        assert_eq!(
            Wav::read(&file).unwrap().samples,
            wav.samples[..wav.samples.len() - 501]
        );
    }

    #[test]
    fn what_cannot_be_played_is_named() {
        assert_eq!(Wav::read(b"ID3"), Err(WavError::Missing("RIFF")));
        let mut file = sine(8_000, 440.0).write();
        assert_eq!(Wav::read(&file[..20]), Err(WavError::Missing("fmt ")));
        assert_eq!(Wav::read(&file[..36]), Err(WavError::Missing("data")));
        file[22] = 2;
        file[24..28].copy_from_slice(&44_100u32.to_le_bytes());
        let why = Wav::read(&file).unwrap_err().to_string();
        assert!(
            why.starts_with("it has 2 channels of 16 bits at 44100 Hz"),
            "{why}"
        );
    }

    /// How far two sounds differ, of the louder's amplitude, away from their ends.
    fn difference(one: &Wav, other: &Wav) -> f64 {
        assert_eq!(
            (one.rate, one.samples.len()),
            (other.rate, other.samples.len())
        );
        let inner = 200..one.samples.len() - 200;
        let apart = |n: usize| (f64::from(one.samples[n]) - f64::from(other.samples[n])).abs();
        inner.map(apart).fold(0.0, f64::max) / 9_000.0
    }

    #[test]
    fn another_rate_is_the_same_sound_at_the_same_time_and_nothing_folds_back() {
        for hz in [300.0, 1_000.0, 3_250.0] {
            let (low, high) = (sine(8_000, hz), sine(16_000, hz));
            assert!(difference(&high.at(8_000), &low) < 0.01, "{hz} Hz");
            assert!(difference(&low.at(16_000), &high) < 0.01, "{hz} Hz");
            assert_eq!(low.at(8_000), low);
        }
        for hz in [4_400.0, 6_000.0] {
            let heard = sine(16_000, hz).at(8_000).samples;
            let inner = &heard[200..heard.len() - 200];
            assert!(inner.iter().all(|s| s.abs() < 90), "{hz} Hz");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_reading_panic(mut file: Vec<u8>) {
            let _ = Wav::read(&file);
            file.splice(0..0, *b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0");
            prop_assert!(Wav::read(&file).is_err());
        }
    }
}
