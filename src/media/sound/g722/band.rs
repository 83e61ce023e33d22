//! The two bands, each an adaptive quantizer around an adaptive predictor (ITU-T G.722 §6.2).
//!
//! ```text
//!            ┌─────────────── S ◀── Predictor ◀── D, the difference quantized ──┐
//! X ──▶ (X − S) ──▶ quantizer ──▶ I ──▶ inverse quantizer × DET ────────────────┤
//!                                       DET ◀── Scale ◀── I ────────────────────┘
//! ```
//!
//! The encoder runs the decoder's half as well, from the same bits; so both always predict the same.

use super::qmf::limit;

/// Decision values between the lower band's 30 magnitudes, for a scale of 8192 (Q6), and three that are beyond the last:
/// with 32 the processor compares eight at once.
const Q6: [i16; 32] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919, 4095, 4095, 4095,
];

/// Values of those levels, the smallest first (QQ6).
const QQ6: [i16; 30] = [
    17, 54, 91, 130, 170, 211, 254, 300, 347, 396, 447, 501, 558, 618, 682, 750, 822, 899, 982,
    1072, 1170, 1279, 1399, 1535, 1689, 1873, 2088, 2376, 2738, 3101,
];

/// Values of the 15 levels left with the lower band's two lowest bits away (QQ4), and the steps of its scale (WL).
const QQ4: [i16; 8] = [0, 150, 323, 530, 786, 1121, 1612, 2557];
const WL: [i16; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];

/// The higher band: the decision value between its two magnitudes (Q2), their values (QQ2), the steps of its scale (WH).
const Q2: i16 = 564;
const QQ2: [i16; 2] = [202, 926];
const WH: [i16; 2] = [-214, 798];

/// Antilogarithms, 2048 × 2^(n/32) (ILB).
const ILB: [i16; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// The lower band, 0–4 kHz: six bits, of which the loop uses four.
#[derive(Debug)]
pub(super) struct Lower {
    scale: Scale,
    predictor: Predictor,
}

impl Default for Lower {
    fn default() -> Lower {
        Lower {
            scale: Scale { log: 0, factor: 32 },
            predictor: Predictor::default(),
        }
    }
}

impl Lower {
    /// QUANTL: the code for a sample of 15 bits.
    pub(super) fn encode(&mut self, x: i16) -> u8 {
        let error = x.saturating_sub(self.predictor.estimate);
        // One's complement for a magnitude, as the Recommendation has it.
        let magnitude = if error < 0 { !error } else { error };
        let level = self.level(magnitude);
        let code = match (error < 0, level) {
            (true, 0..=1) => 63 - level,
            (true, _) => 33 - level,
            (false, _) => 61 - level,
        };
        self.adapt(code);
        code
    }

    /// Which of the levels a magnitude is of: how many decision values it reaches. They wait for the scale alone, so that all
    /// can be had before the magnitude is; to search them would be to wait for each in turn.
    fn level(&self, magnitude: i16) -> u8 {
        let factor = self.scale.factor;
        let reached = Q6.map(|q| i16::from(magnitude >= scaled(q << 3, factor)));
        reached.iter().sum::<i16>().min(29) as u8
    }

    /// INVQBL and LIMIT: the sample of 15 bits for a code of six bits.
    pub(super) fn decode(&mut self, code: u8) -> i16 {
        let value = match code {
            32..=61 => look_up(&QQ6, 61 - code),
            62.. => -look_up(&QQ6, 63 - code),
            4..=31 => -look_up(&QQ6, 33 - code),
            // No encoder sends these; the Recommendation takes them for the smallest.
            _ => -look_up(&QQ6, 0),
        };
        let difference = scaled(value << 3, self.scale.factor);
        let sample = limit(i32::from(self.predictor.estimate) + i32::from(difference));
        self.adapt(code);
        sample
    }

    /// INVQAL, LOGSCL, SCALEL and the predictor, by the upper four bits of the code.
    fn adapt(&mut self, code: u8) {
        let bits = code >> 2;
        let (level, negative) = match bits {
            0 => (0, false),
            1..=7 => (8 - bits, true),
            _ => (15 - bits, false),
        };
        let value = if negative {
            -look_up(&QQ4, level)
        } else {
            look_up(&QQ4, level)
        };
        let difference = scaled(value << 3, self.scale.factor);
        self.scale.adapt(look_up(&WL, level), 18_432, 8);
        self.predictor.adapt(difference);
    }
}

/// The higher band, 4–8 kHz: two bits.
#[derive(Debug)]
pub(super) struct Higher {
    scale: Scale,
    predictor: Predictor,
}

impl Default for Higher {
    fn default() -> Higher {
        Higher {
            scale: Scale { log: 0, factor: 8 },
            predictor: Predictor::default(),
        }
    }
}

impl Higher {
    /// QUANTH: the code for a sample of 15 bits.
    pub(super) fn encode(&mut self, x: i16) -> u8 {
        let error = x.saturating_sub(self.predictor.estimate);
        let magnitude = if error < 0 { !error } else { error };
        let level = u8::from(magnitude >= scaled(Q2 << 3, self.scale.factor));
        let code = if error < 0 { 1 - level } else { 3 - level };
        self.adapt(code);
        code
    }

    /// The sample of 15 bits for a code of two bits.
    pub(super) fn decode(&mut self, code: u8) -> i16 {
        let estimate = self.predictor.estimate;
        let difference = self.adapt(code);
        limit(i32::from(estimate) + i32::from(difference))
    }

    /// INVQAH, LOGSCH, SCALEH and the predictor; returns the difference quantized.
    fn adapt(&mut self, code: u8) -> i16 {
        let (level, negative) = (1 - (code & 1), code & 2 == 0);
        let value = if negative {
            -look_up(&QQ2, level)
        } else {
            look_up(&QQ2, level)
        };
        let difference = scaled(value << 3, self.scale.factor);
        self.scale.adapt(look_up(&WH, level), 22_528, 10);
        self.predictor.adapt(difference);
        difference
    }
}

/// A quantizer's scale factor (DET) and its logarithm (NB).
#[derive(Debug)]
struct Scale {
    log: i16,
    factor: i16,
}

impl Scale {
    /// LOGSCL and SCALEL, or LOGSCH and SCALEH.
    fn adapt(&mut self, step: i16, most: i16, octaves: u32) {
        self.log = scaled(self.log, 32_512).saturating_add(step).clamp(0, most);
        let mantissa = i32::from(look_up(&ILB, (self.log >> 6) as u8 & 31));
        let octave = u32::from((self.log >> 11).unsigned_abs());
        let factor = if octave > octaves {
            mantissa << (octave - octaves)
        } else {
            mantissa >> (octaves - octave)
        };
        self.factor = (factor << 2).min(i16::MAX.into()) as i16;
    }
}

/// How many zeros the predictor has.
const ZEROS: usize = 6;

/// The predictor: two poles over what was reconstructed, six zeros over the differences.
#[derive(Debug, Default)]
struct Predictor {
    /// A1 and A2, times 16384.
    poles: [i16; 2],
    /// B1 to B6, times 16384.
    zeros: [i16; ZEROS],
    /// The last reconstructed signal (RLT).
    reconstructed: i16,
    /// The last partly reconstructed signals (PLT), newest first.
    partial: [i16; 2],
    /// Twice the last differences (DLT), newest first: the zeros are of half the scale, and a sign is the same of both.
    differences: [i16; ZEROS],
    /// What the zeros predict (SZL).
    zeros_estimate: i16,
    /// What both predict (SL).
    estimate: i16,
}

impl Predictor {
    /// Takes the next difference, and predicts the sample after it.
    fn adapt(&mut self, difference: i16) {
        let partial = difference.saturating_add(self.zeros_estimate);
        let reconstructed = difference.saturating_add(self.estimate);
        self.adapt_zeros(difference);
        self.adapt_poles(partial);
        // Named one by one they are moved within a register; moved in memory, they would be waited for there.
        let [a, b, c, d, e, _] = self.differences;
        self.differences = [double(difference), a, b, c, d, e];
        self.partial = [partial, self.partial[0]];
        self.zeros_estimate = self.predict_by_zeros();
        let earlier = std::mem::replace(&mut self.reconstructed, reconstructed);
        let [one, two] = self.poles;
        self.estimate = scaled(double(reconstructed), one)
            .saturating_add(scaled(double(earlier), two))
            .saturating_add(self.zeros_estimate);
    }

    /// UPZERO: each zero leaks, and grows where its difference has the sign of the new one.
    fn adapt_zeros(&mut self, difference: i16) {
        let gain = if difference == 0 { 0 } else { 128 };
        for (zero, earlier) in self.zeros.iter_mut().zip(self.differences) {
            // All ones where the signs differ, which makes `^` and `-` a change of sign: without a branch, all at once.
            let unlike = (earlier ^ difference) >> 15;
            *zero = scaled(*zero, 32_640).saturating_add((gain ^ unlike) - unlike);
        }
    }

    /// UPPOL2, then UPPOL1, which depends on it: they leak and grow likewise, kept where the filter is stable.
    fn adapt_poles(&mut self, partial: i16) {
        let [first, second] = self.poles;
        let [same1, same2] = self.partial.map(|earlier| (earlier ^ partial) >= 0);
        let quadruple = i32::from(first.saturating_mul(4));
        let coupled = if same1 { -quadruple } else { quadruple }.min(i16::MAX.into()) as i16 >> 7;
        let step = coupled.saturating_add(if same2 { 128 } else { -128 });
        let second = scaled(second, 32_512)
            .saturating_add(step)
            .clamp(-12_288, 12_288);
        let most = 15_360 - second;
        let step = if same1 { 192 } else { -192 };
        let first = scaled(first, 32_640)
            .saturating_add(step)
            .clamp(-most, most);
        self.poles = [first, second];
    }

    /// FILTEZ.
    fn predict_by_zeros(&self) -> i16 {
        let factors = self.zeros.iter().zip(&self.differences);
        let mut terms = [0i16; ZEROS];
        for (term, (&zero, &difference)) in terms.iter_mut().zip(factors) {
            *term = scaled(difference, zero);
        }
        let [mut sum, mut most] = [0i32; 2];
        for term in terms.map(i32::from) {
            sum += term;
            most += term.abs();
        }
        if most <= i16::MAX.into() {
            return sum as i16;
        }
        // Each sum is limited, from the oldest on; where none can reach the limit, they are taken all at once, as above.
        let oldest_first = terms.iter().rev();
        oldest_first.fold(0, |sum: i16, &term| sum.saturating_add(term))
    }
}

/// The Recommendation's product of 16-bit values: `(a × b) >> 15`.
fn scaled(a: i16, b: i16) -> i16 {
    // Only −32768 × −32768 does not fit; the other limit is never met, but for both the processor has one instruction.
    let product = (i32::from(a) * i32::from(b)) >> 15;
    product.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// The Recommendation doubles a signal before it is multiplied by a coefficient.
fn double(signal: i16) -> i16 {
    signal.saturating_add(signal)
}

/// A table's value. Levels are made from a few bits, which end within the tables.
fn look_up(table: &[i16], level: u8) -> i16 {
    table.get(usize::from(level)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::num::i16::ANY;

    proptest::proptest! {
        #[test]
        fn what_the_zeros_predict_is_limited_term_by_term(
            zeros in [ANY; ZEROS], differences in [ANY; ZEROS], soft in 0u32..8,
        ) {
            let zeros = zeros.map(|zero| zero >> soft);
            let predictor = Predictor { zeros, differences, ..Predictor::default() };
            let oldest_first = zeros.iter().zip(differences).rev();
            let sum = oldest_first.fold(0i16, |sum, (&zero, difference)| {
                sum.saturating_add(scaled(difference, zero))
            });
            proptest::prop_assert_eq!(predictor.predict_by_zeros(), sum);
        }

        #[test]
        fn a_level_is_the_first_whose_decision_value_is_not_reached(
            magnitude in 0..=i16::MAX, factor in 0..=i16::MAX,
        ) {
            let lower = Lower { scale: Scale { log: 0, factor }, ..Lower::default() };
            let reached = |q: &&i16| magnitude >= scaled(**q << 3, factor);
            let level = Q6.iter().take(29).take_while(reached).count();
            proptest::prop_assert_eq!(usize::from(lower.level(magnitude)), level);
        }
    }
}
