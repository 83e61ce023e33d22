//! Comfort noise: a soft hiss where nothing comes, so that a silent line does not sound dead (in the spirit of RFC 3389).

/// The levels in dBov, below full scale: at first, and the least and the most that is ever made.
const FIRST: f32 = -65.0;
const LEAST: f32 = -78.0;
const MOST: f32 = -50.0;

/// Noise as loud as the background heard before it.
#[derive(Debug)]
pub struct ComfortNoise {
    rate: u32,
    /// The background's level in dBov.
    level: f32,
    /// A linear congruential generator, and what came of it last, from −1 to 1.
    chance: u32,
    last: f32,
}

impl ComfortNoise {
    /// For sound at `rate` samples a second; the same seed makes the same noise.
    pub fn new(rate: u32, seed: u32) -> ComfortNoise {
        ComfortNoise {
            rate,
            level: FIRST,
            chance: seed,
            last: 0.0,
        }
    }

    /// Hears sound, of which it follows the background: quickly down in the pauses of speech, slowly up.
    pub fn hear(&mut self, sound: &[i16]) {
        if sound.is_empty() {
            return;
        }
        let energy: f32 = sound.iter().map(|&s| f32::from(s).powi(2)).sum();
        let heard = 10.0 * (energy / sound.len() as f32 + 1e-3).log10() - 20.0 * 32_768f32.log10();
        let seconds = sound.len() as f32 / self.rate as f32;
        // 12 dB above what the background was is most likely speech.
        let rise = if heard > self.level + 12.0 { 0.5 } else { 6.0 } * seconds;
        let fall = (self.level - heard) * (seconds * 10.0).min(1.0);
        self.level = if heard > self.level {
            heard.min(self.level + rise)
        } else {
            self.level - fall
        };
        self.level = self.level.clamp(LEAST, MOST);
    }

    /// Appends so many samples of noise.
    pub fn make(&mut self, samples: usize, out: &mut Vec<i16>) {
        // The mean of two numbers even between −a and a has the power a²/6.
        let peak = 6f32.sqrt() * 32_768.0 * 10f32.powf(self.level / 20.0);
        out.extend((0..samples).map(|_| {
            self.chance = self
                .chance
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            let next = self.chance.cast_signed() as f32 / 2f32.powi(31);
            // The mean of neighbours, for a hiss that is softer than white noise.
            let mean = (next + std::mem::replace(&mut self.last, next)) / 2.0;
            (peak * mean).round() as i16
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The level of a sound in dBov.
    fn level(sound: &[i16]) -> f64 {
        let power = sound.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / sound.len() as f64;
        10.0 * power.log10() - 20.0 * 32_768f64.log10()
    }

    fn made(noise: &mut ComfortNoise) -> Vec<i16> {
        let mut out = Vec::new();
        noise.make(16_000, &mut out);
        assert_eq!(out.len(), 16_000);
        out
    }

    /// Noise of another hand, so loud, 20 ms at a time for so long.
    fn hear(noise: &mut ComfortNoise, dbov: f32, ms: usize) {
        let mut chance = 5u32;
        for _ in 0..ms / 20 {
            let sound: Vec<i16> = std::iter::repeat_with(|| {
                chance = chance.wrapping_mul(22_695_477).wrapping_add(1);
                (chance.cast_signed() as f32 / 2f32.powi(31)
                    * 3f32.sqrt()
                    * 32_768.0
                    * 10f32.powf(dbov / 20.0)) as i16
            })
            .take(160)
            .collect();
            noise.hear(&sound);
        }
    }

    #[test]
    fn before_anything_was_heard_it_is_a_hiss_at_65_db_below_full_scale() {
        let sound = made(&mut ComfortNoise::new(8000, 1));
        assert!((level(&sound) + 65.0).abs() < 1.0, "{}", level(&sound));
        assert!(
            sound.windows(16).any(|part| part != &sound[..16]),
            "and no tone"
        );
    }

    #[test]
    fn it_is_as_loud_as_the_background_between_words() {
        for background in [-72.0, -60.0, -53.0] {
            let mut noise = ComfortNoise::new(8000, 1);
            for _ in 0..10 {
                hear(&mut noise, -20.0, 600);
                hear(&mut noise, background, 600);
            }
            let made = level(&made(&mut noise));
            assert!(
                (made - f64::from(background)).abs() < 3.0,
                "{made} after {background}"
            );
        }
    }

    #[test]
    fn a_loud_line_does_not_make_it_loud_nor_a_dead_one_dead() {
        let mut noise = ComfortNoise::new(8000, 1);
        hear(&mut noise, -20.0, 120_000);
        assert!(level(&made(&mut noise)) < -49.0);
        noise.hear(&[0; 80_000]);
        let sound = made(&mut noise);
        assert!((-80.0..-75.0).contains(&level(&sound)), "{}", level(&sound));
        noise.hear(&[]);
        assert!(sound.iter().any(|&s| s != 0));
    }
}
