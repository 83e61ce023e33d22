//! The quadrature mirror filters, which take the sound apart into two bands and join them again (ITU-T G.722 §5).

/// Half of the 24 coefficients, times 8192: the other half mirrors it.
const HALF: [i32; 12] = [3, -11, -11, 53, 12, -156, 32, 362, -210, -805, 951, 3876];

/// The last 24 values, newest first.
#[derive(Debug, Default)]
struct Line([i16; 24]);

impl Line {
    /// Takes two values, `newest` after `newer`, and returns the sums over those in even and in odd places.
    fn filter(&mut self, newer: i16, newest: i16) -> (i32, i32) {
        self.0.copy_within(..22, 2);
        if let Some(start) = self.0.first_chunk_mut() {
            *start = [newest, newer];
        }
        let coefficients = HALF.iter().chain(HALF.iter().rev());
        let products = || {
            coefficients
                .clone()
                .zip(&self.0)
                .map(|(&h, &x)| h * i32::from(x))
        };
        (
            products().step_by(2).sum(),
            products().skip(1).step_by(2).sum(),
        )
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
