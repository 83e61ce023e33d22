//! What is said: sound that an encoder works for as it does for speech.

use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

use wabridge::media::Codec;
use wabridge::sim::speech::{Format, Recording};
use wabridge::sim::wav::Wav;

/// Samples a second.
const RATE: usize = 16_000;

/// Ten seconds of a voice that is none: harmonics of a gliding pitch under two gliding formants, with noise between, in
/// syllables of a quarter of a second, and a pause every two seconds.
pub fn voice() -> Wav {
    let mut noise = 1u32;
    let mut phase = 0.0;
    let sample = |n: usize| {
        let t = n as f64 / RATE as f64;
        let pitch = 120.0 + 40.0 * (TAU * 0.7 * t).sin();
        phase += TAU * pitch / RATE as f64;
        let formants = [
            500.0 + 250.0 * (TAU * 1.3 * t).sin(),
            1_600.0 + 500.0 * (TAU * 0.9 * t).cos(),
        ];
        let harmonic = |nth: usize| {
            let hz = pitch * nth as f64;
            let gain: f64 = formants
                .iter()
                .map(|f| (-((hz - f) / 220.0).powi(2)).exp())
                .sum();
            gain * (phase * nth as f64).sin()
        };
        let voiced: f64 = (1..30).map(harmonic).sum();
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hiss = f64::from((noise >> 16) as i16) / 32_768.0;
        let syllable = (TAU * 2.0 * t).sin().powi(2);
        let speaks = if t % 2.0 < 1.6 { 1.0 } else { 0.0 };
        (speaks * (3_500.0 * voiced * syllable + 400.0 * hiss * (1.0 - syllable))) as i16
    };
    Wav {
        rate: RATE as u32,
        samples: (0..10 * RATE).map(sample).collect(),
    }
}

/// It in packets of 20 ms: all of it, or what of it is said at its own turn; at the other's there is the noise of a room.
pub fn spoken(codec: Codec, turn: Option<Range<f64>>) -> Arc<Recording> {
    let format = Format {
        codec,
        ..Format::OPUS
    };
    let mut wav = voice();
    if let Some(turn) = turn {
        let mut noise = 1u32;
        for (nth, sample) in wav.samples.iter_mut().enumerate() {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if !turn.contains(&(nth as f64 / RATE as f64)) {
                *sample = (noise >> 16) as i16 / 1_000;
            }
        }
    }
    Recording::wav(&wav, format).expect("every codec has 20 ms")
}

/// How long silence lies between two beeps, and where in it the beep begins: in packets of 20 ms.
pub const BEEP_EVERY: usize = 25;

/// A beep of 1 kHz and 40 ms each half second, at the beginning of a packet.
pub fn beeps(codec: Codec) -> Arc<Recording> {
    let half = RATE / 2;
    let sample = |n: usize| match n % half {
        at if at < RATE / 25 => (9_000.0 * (TAU * 1_000.0 * at as f64 / RATE as f64).sin()) as i16,
        _ => 0,
    };
    let wav = Wav {
        rate: RATE as u32,
        samples: (0..2 * RATE).map(sample).collect(),
    };
    let format = Format {
        codec,
        ..Format::OPUS
    };
    Recording::wav(&wav, format).expect("every codec has 20 ms")
}
