//! Fills in for sound that was lost, for codecs that cannot themselves: in the manner of ITU-T G.711 Appendix I.
//!
//! ```text
//! heard ────────────────┐ lost                                             ┌ heard again
//!   … [period][period]  │ [period][period]… then two, then three periods   │ mixed over, then as heard
//!                       │ full for 10 ms, then fading, silent from 60 ms   │
//! ```
//!
//! Unlike the Appendix this holds nothing back while all is well: the seam at the start of a loss is bent together
//! afterwards, where the Appendix prepares it 3.75 ms ahead.

/// The longest and shortest period looked for, as parts of a second: voices of 66 to 200 Hz. A higher voice is found at
/// a multiple of its period.
const LONGEST: usize = 66;
const SHORTEST: usize = 200;

/// How many periods may be repeated as one: more as a loss grows, so that it does not sound like a tone.
const MOST_PERIODS: usize = 3;

/// Keeps what was last heard, and goes on from there when nothing comes.
#[derive(Debug)]
pub struct Concealment {
    rate: usize,
    /// What was heard or made last, oldest first; of fixed length.
    history: Vec<i16>,
    /// The history as it was when the loss began.
    past: Vec<i16>,
    loss: Option<Loss>,
}

/// A loss that has not ended.
#[derive(Debug)]
struct Loss {
    /// Samples in a period.
    period: usize,
    /// How far the first sample repeated lies from where the sound stopped.
    step: f32,
    /// Samples made so far.
    made: usize,
    now: Loop,
    /// What was repeated before `now`, and the samples that remain of the change.
    before: Option<(Loop, usize)>,
}

/// A place in the last so many periods, repeated.
#[derive(Clone, Copy, Debug)]
struct Loop {
    periods: usize,
    at: usize,
}

impl Concealment {
    /// For sound at `rate` samples a second.
    pub fn new(rate: u32) -> Concealment {
        let rate = rate as usize;
        let longest = rate / LONGEST;
        let kept = MOST_PERIODS * longest + longest / 4 + 1;
        Concealment {
            rate,
            history: vec![0; kept],
            past: vec![0; kept],
            loss: None,
        }
    }

    /// Takes sound that arrived; the first after a loss is changed at its start, to come in without a click.
    pub fn heard(&mut self, sound: &mut [i16]) {
        if let Some(mut loss) = self.loss.take() {
            // Appendix I §2.7: the longer the loss, the longer the two are mixed, to 10 ms.
            let mix = (loss.period / 4 + loss.made * 2 / 5)
                .min(self.rate / 100)
                .min(sound.len());
            for (i, sample) in sound.iter_mut().take(mix).enumerate() {
                let new = (i + 1) as f32 / (mix + 1) as f32;
                *sample = (loss.next(&self.past, self.rate) * (1.0 - new)
                    + f32::from(*sample) * new) as i16;
            }
        }
        self.remember(sound);
    }

    /// Appends `samples` in place of what was lost.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let mut loss = self.loss.take().unwrap_or_else(|| {
            self.past.copy_from_slice(&self.history);
            Loss::new(&self.past, self.rate)
        });
        let start = out.len();
        out.extend((0..samples).map(|_| loss.next(&self.past, self.rate) as i16));
        self.loss = Some(loss);
        self.remember(out.get(start..).unwrap_or_default());
    }

    fn remember(&mut self, sound: &[i16]) {
        let kept = self.history.len();
        let new = sound
            .get(sound.len().saturating_sub(kept)..)
            .unwrap_or_default();
        self.history.copy_within(new.len().., 0);
        if let Some(end) = self.history.get_mut(kept - new.len()..) {
            end.copy_from_slice(new);
        }
    }
}

impl Loss {
    fn new(past: &[i16], rate: usize) -> Loss {
        let period = period(past, rate);
        let step = back(past, 1) - back(past, period + 1);
        Loss {
            period,
            step,
            made: 0,
            now: Loop { periods: 1, at: 0 },
            before: None,
        }
    }

    /// The next sample in place of what was lost.
    fn next(&mut self, past: &[i16], rate: usize) -> f32 {
        let (ten_ms, seam) = (rate / 100, self.period / 4);
        if self.now.periods < MOST_PERIODS && self.made == ten_ms * self.now.periods {
            let more = Loop {
                periods: self.now.periods + 1,
                at: self.now.at % self.period,
            };
            self.before = Some((std::mem::replace(&mut self.now, more), seam));
        }
        let mut sample = self.now.next(past, self.period);
        if let Some((before, left)) = &mut self.before {
            let old = *left as f32 / (seam + 1) as f32;
            sample = before.next(past, self.period) * old + sample * (1.0 - old);
            *left = left.saturating_sub(1);
        }
        self.before = self.before.filter(|(_, left)| *left > 0);
        if self.made < seam {
            sample += self.step * (1.0 - self.made as f32 / seam as f32);
        }
        let fade = self.made.saturating_sub(ten_ms) as f32 / (5 * ten_ms) as f32;
        self.made = self.made.saturating_add(1);
        sample * (1.0 - fade).max(0.0)
    }
}

impl Loop {
    /// The next sample of it: the last `periods`, whose end passes over into what came before their start.
    fn next(&mut self, past: &[i16], period: usize) -> f32 {
        let (length, seam) = (period * self.periods, period / 4);
        let left = length.saturating_sub(self.at).max(1);
        self.at = if left > 1 { self.at + 1 } else { 0 };
        let sample = back(past, left);
        if left > seam {
            return sample;
        }
        let new = (seam - left + 1) as f32 / (seam + 1) as f32;
        sample * (1.0 - new) + back(past, length + left) * new
    }
}

/// The sample so many before the end.
fn back(past: &[i16], by: usize) -> f32 {
    past.len()
        .checked_sub(by)
        .and_then(|i| past.get(i))
        .map_or(0.0, |&s| s.into())
}

/// The lag in samples at which the last 20 ms resemble what came before them most.
fn period(past: &[i16], rate: usize) -> usize {
    let (shortest, longest) = (rate / SHORTEST, rate / LONGEST);
    // First in steps of a quarter of a millisecond, then every lag around the best of them.
    let coarse = rate / 4000;
    let near = best(past, rate, (shortest..=longest).step_by(coarse), coarse);
    let around = near.saturating_sub(coarse).max(shortest)..=(near + coarse).min(longest);
    best(past, rate, around, 1)
}

/// Of some lags the one with the highest normalised correlation, counting every `stride`th sample.
fn best(past: &[i16], rate: usize, lags: impl Iterator<Item = usize>, stride: usize) -> usize {
    let recent = past
        .get(past.len().saturating_sub(rate / 50)..)
        .unwrap_or_default();
    let likeness = |lag: usize| {
        let start = past.len().saturating_sub(recent.len() + lag);
        let earlier = past.get(start..).unwrap_or_default();
        let (mut product, mut energy) = (0.0, 1.0);
        for (&a, &b) in recent.iter().zip(earlier).step_by(stride) {
            product += f32::from(a) * f32::from(b);
            energy += f32::from(b) * f32::from(b);
        }
        product / f32::sqrt(energy)
    };
    let scored = lags.map(|lag| (lag, likeness(lag)));
    scored
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(rate / SHORTEST, |(lag, _)| lag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hertz: f32, from: usize, samples: usize) -> Vec<i16> {
        let at = |i: usize| (i as f32 * hertz / rate as f32 * std::f32::consts::TAU).sin();
        (from..from + samples)
            .map(|i| (8000.0 * at(i)) as i16)
            .collect()
    }

    fn loudness(sound: &[i16]) -> f64 {
        (sound.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / sound.len() as f64).sqrt()
    }

    /// The steepest step between neighbours.
    fn steepest(sound: &[i16]) -> i32 {
        sound
            .windows(2)
            .map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs())
            .max()
            .unwrap()
    }

    /// 200 ms of a tone heard, then `lost` ms made up, then the tone again; all of it as played.
    fn played(rate: u32, hertz: f32, lost: usize) -> Vec<i16> {
        let ms = rate as usize / 1000;
        let mut concealment = Concealment::new(rate);
        let mut out = Vec::new();
        for frame in 0..10 {
            let mut heard = tone(rate, hertz, frame * 20 * ms, 20 * ms);
            concealment.heard(&mut heard);
            out.extend(heard);
        }
        for _ in 0..lost / 10 {
            concealment.conceal(10 * ms, &mut out);
        }
        let mut heard = tone(rate, hertz, out.len(), 60 * ms);
        concealment.heard(&mut heard);
        out.extend(heard);
        out
    }

    #[test]
    fn a_tone_goes_on_through_the_first_10_ms_of_a_loss_as_if_nothing_were_missing() {
        for rate in [8000, 16_000] {
            for hertz in [90.0, 123.0, 200.0, 440.0, 1000.0] {
                let ms = rate as usize / 1000;
                let lost = 200 * ms..210 * ms;
                let sound = played(rate, hertz, 10);
                let wanted = tone(rate, hertz, lost.start, lost.len());
                let off: Vec<i16> = sound[lost]
                    .iter()
                    .zip(&wanted)
                    .map(|(a, b)| a - b)
                    .collect();
                let ratio = 20.0 * (loudness(&wanted) / loudness(&off)).log10();
                assert!(ratio > 12.0, "{ratio} dB for {hertz} Hz at {rate}");
            }
        }
    }

    #[test]
    fn no_click_is_heard_where_a_loss_begins_or_ends() {
        for rate in [8000, 16_000] {
            for hertz in [90.0, 123.0, 157.0, 200.0, 440.0] {
                for lost in [10, 20, 30, 40, 60, 200] {
                    let usual = steepest(&tone(rate, hertz, 0, rate as usize));
                    let steepest = steepest(&played(rate, hertz, lost));
                    assert!(
                        steepest <= usual * 2,
                        "{steepest} after {usual}: {lost} ms of {hertz} Hz at {rate}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_long_loss_fades_and_is_silent_from_60_ms_on() {
        let sound = played(8000, 200.0, 100);
        let ms = |from: usize, to: usize| loudness(&sound[1600 + from * 8..1600 + to * 8]);
        let whole = loudness(&sound[..1600]);
        assert!(ms(0, 10) > whole * 0.9);
        assert!(
            (0.4..0.8).contains(&(ms(30, 40) / whole)),
            "{}",
            ms(30, 40) / whole
        );
        assert!(ms(50, 60) < whole * 0.2);
        assert_eq!(ms(60, 100), 0.0);
        assert!(
            loudness(&sound[sound.len() - 400..]) > whole * 0.95,
            "and it is back in full after it"
        );
    }

    #[test]
    fn before_anything_was_heard_a_loss_is_silence() {
        let mut out = Vec::new();
        Concealment::new(8000).conceal(4000, &mut out);
        assert_eq!(out, vec![0; 4000]);
    }

    #[test]
    fn what_was_heard_is_not_touched_where_nothing_was_lost() {
        let sound = tone(8000, 300.0, 0, 8000);
        let mut concealment = Concealment::new(8000);
        for frame in sound.chunks(160) {
            let mut heard = frame.to_vec();
            concealment.heard(&mut heard);
            assert_eq!(heard, frame);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_sound_and_any_losses_are_filled_exactly(
            parts in proptest::collection::vec((proptest::bool::ANY, proptest::collection::vec(proptest::num::i16::ANY, 0..900)), 0..12),
        ) {
            for rate in [8000, 16_000] {
                let mut concealment = Concealment::new(rate);
                for (lost, sound) in &parts {
                    let mut heard = sound.clone();
                    if *lost {
                        heard.clear();
                        concealment.conceal(sound.len(), &mut heard);
                    } else {
                        concealment.heard(&mut heard);
                    }
                    proptest::prop_assert_eq!(heard.len(), sound.len());
                }
            }
        }
    }
}
