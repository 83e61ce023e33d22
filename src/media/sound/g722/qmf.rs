//! The quadrature mirror filters, which take the sound apart into two bands and join them again (ITU-T G.722 §5).

/// The coefficients for the samples in even places, times 8192; those in odd places are the same, the last first.
const EVEN: [i16; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
const ODD: [i16; 12] = [-11, 53, -156, 362, -805, 3876, 951, -210, 32, 12, -11, 3];

/// The last values in even and in odd places, newest first.
#[derive(Debug, Default)]
struct Line {
    even: [i16; 12],
    odd: [i16; 12],
}

impl Line {
    /// Takes two values, `newest` after `newer`, and returns the sums over those in even and in odd places.
    fn filter(&mut self, newer: i16, newest: i16) -> (i32, i32) {
        (
            filter(&mut self.even, newest, &EVEN),
            filter(&mut self.odd, newer, &ODD),
        )
    }
}

/// Takes the newest value, and returns the sum over all.
fn filter(values: &mut [i16; 12], newest: i16, coefficients: &[i16; 12]) -> i32 {
    // Named one by one they are moved within registers; moved in memory, they would be waited for there.
    let [a, b, c, d, e, f, g, h, i, j, k, _] = *values;
    *values = [newest, a, b, c, d, e, f, g, h, i, j, k];
    let pairs = values.iter().zip(coefficients);
    pairs.map(|(&x, &h)| i32::from(x) * i32::from(h)).sum()
}

/// The transmitting side.
#[derive(Debug, Default)]
pub(super) struct Analysis(Line);

impl Analysis {
    /// Two samples of sound in their order, as one each of the lower and the higher band, of 15 bits.
    pub(super) fn split(&mut self, first: i16, second: i16) -> (i16, i16) {
        let (a, b) = self.0.filter(first, second);
        (limit((a + b) >> 14), limit((a - b) >> 14))
    }
}

/// The receiving side.
#[derive(Debug, Default)]
pub(super) struct Synthesis(Line);

impl Synthesis {
    /// One sample of each band, of 15 bits, as two samples of sound.
    pub(super) fn join(&mut self, low: i16, high: i16) -> [i16; 2] {
        let (a, b) = self
            .0
            .filter(low.saturating_add(high), low.saturating_sub(high));
        [a, b].map(|sum| (sum >> 11).clamp(i16::MIN.into(), i16::MAX.into()) as i16)
    }
}

/// LIMIT: to 15 bits.
pub(super) fn limit(value: i32) -> i16 {
    value.clamp(-16_384, 16_383) as i16
}
