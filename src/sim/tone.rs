//! The tones that two phones tell each other by.

use std::f64::consts::TAU;

/// What the WhatsApp user's phone says, in Hz. No harmonic of it is [`PBX_HZ`], nor is either a tone of a telephone
/// network (350–480, 620, 950, 1400, 1800 Hz) or of a DTMF key.
pub const USER_HZ: u32 = 580;

/// What the extension's phone says, in Hz.
pub const PBX_HZ: u32 = 1020;

/// Whether `samples` are too quiet to be heard.
pub fn is_silence(samples: &[i16]) -> bool {
    const QUIETEST: f64 = 0.01 * i16::MAX as f64;
    energy(samples) < QUIETEST.powi(2) * samples.len() as f64 || samples.is_empty()
}

/// Which of the tones `hz` sounds in `samples`, `rate` of them a second; `None`: none, or none clearly.
pub fn loudest(samples: &[i16], hz: &[u32], rate: u32) -> Option<usize> {
    const LEAST_SHARE: f64 = 0.04;
    let mut found: Vec<(usize, f64)> = hz
        .iter()
        .map(|hz| share(samples, *hz, rate))
        .enumerate()
        .collect();
    found.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    match found.as_slice() {
        [(first, most), (_, next), ..] if *most >= LEAST_SHARE && *most > 2.0 * next => {
            Some(*first)
        }
        _ => None,
    }
}

/// Whether a tone of `hz` is most of what `samples` hold, `rate` of them a second, and loud enough to be heard. 10 ms are
/// enough to tell.
pub fn is_heard(samples: &[i16], hz: u32, rate: u32) -> bool {
    const LEAST_SHARE: f64 = 0.6;
    !is_silence(samples) && share(samples, hz, rate) >= LEAST_SHARE
}

/// How much of the energy of `samples` is a tone of `hz`, from 0 to 1.
fn share(samples: &[i16], hz: u32, rate: u32) -> f64 {
    let whole = samples.len() as f64 * energy(samples);
    if whole > 0.0 {
        goertzel(samples, hz, rate) * 2.0 / whole
    } else {
        0.0
    }
}

fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|s| f64::from(*s).powi(2)).sum()
}

/// Squared magnitude of the spectrum at `hz` (Goertzel's algorithm).
fn goertzel(samples: &[i16], hz: u32, rate: u32) -> f64 {
    let twice_cos = 2.0 * (TAU * f64::from(hz) / f64::from(rate)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (f64::from(*sample) + twice_cos * last - before, last);
    }
    last * last + before * before - twice_cos * last * before
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8_000;

    /// 20 ms.
    fn sine(hz: f64, amplitude: f64) -> Vec<i16> {
        let sample = |n: u32| (TAU * hz * f64::from(n) / f64::from(RATE)).sin() * amplitude;
        (0..RATE / 50).map(|n| sample(n) as i16).collect()
    }

    fn is_heard(samples: &[i16], hz: u32) -> bool {
        super::is_heard(samples, hz, RATE)
    }

    #[test]
    fn each_tone_is_found_in_itself_and_nowhere_else() {
        assert!(is_heard(&sine(USER_HZ.into(), 9_000.0), USER_HZ));
        assert!(is_heard(&sine(PBX_HZ.into(), 9_000.0), PBX_HZ));
        for other in [
            350.0, 440.0, 480.0, 697.0, 770.0, 941.0, 1209.0, 1160.0, 1740.0, 2040.0, 3060.0,
        ] {
            assert!(!is_heard(&sine(other, 9_000.0), USER_HZ), "{other}");
            assert!(!is_heard(&sine(other, 9_000.0), PBX_HZ), "{other}");
        }
        assert!(!is_heard(&sine(USER_HZ.into(), 9_000.0), PBX_HZ));
        assert!(!is_heard(&sine(PBX_HZ.into(), 9_000.0), USER_HZ));
    }

    #[test]
    fn silence_noise_and_a_whisper_are_no_tone() {
        assert!(!is_heard(&[], USER_HZ));
        assert!(!is_heard(&[0; 160], USER_HZ));
        assert!(!is_heard(&sine(USER_HZ.into(), 300.0), USER_HZ));
        let mut state = 1u32;
        let noise: Vec<i16> = (0..160)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i16
            })
            .collect();
        assert!(!is_heard(&noise, USER_HZ));
    }
}
