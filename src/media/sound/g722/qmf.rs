//! The quadrature mirror filters, which take the sound apart into two bands and join them again (ITU-T G.722 §5).

/// The 24 coefficients, times 8192, in twos: for the samples in even and in odd places.
const COEFFICIENTS: [[i32; 2]; 12] = [
    [3, -11],
    [-11, 53],
    [12, -156],
    [32, 362],
    [-210, -805],
    [951, 3876],
    [3876, 951],
    [-805, -210],
    [362, 32],
    [-156, 12],
    [53, -11],
    [-11, 3],
];

/// The last 24 values in twos, newest first.
#[derive(Debug, Default)]
struct Line([[i16; 2]; 12]);

impl Line {
    /// Takes two values, `newest` after `newer`, and returns the sums over those in even and in odd places.
    fn filter(&mut self, newer: i16, newest: i16) -> (i32, i32) {
        self.0.copy_within(..11, 1);
        self.0[0] = [newest, newer];
        let pairs = COEFFICIENTS.iter().zip(&self.0);
        pairs.fold((0, 0), |(a, b), (h, x)| {
            (a + h[0] * i32::from(x[0]), b + h[1] * i32::from(x[1]))
        })
    }
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
