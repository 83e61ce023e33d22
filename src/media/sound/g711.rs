//! G.711, both laws: eight bits for each sample, 8000 samples a second (ITU-T G.711, 11/88).
//!
//! ```text
//! A-law   s eee mmmm   even bits inverted (XOR 0x55)   13-bit samples   table 1
//! µ-law   s eee mmmm   all bits inverted               14-bit samples   table 2
//! ```
//!
//! Samples are 16 bits here, left-justified: an A-law step is 16 of them at its smallest, a µ-law step 8.

use super::conceal::Concealment;
use super::{Decode, Unreadable};

/// Samples a second of G.711.
pub const RATE: u32 = 8000;

/// Which of the two companding laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A-law, `PCMA`.
    A,
    /// µ-law, `PCMU`.
    Mu,
}

/// What µ-law adds to a 14-bit magnitude, so that each segment begins at a power of two.
const MU_BIAS: u16 = 33;

impl Law {
    /// The code between whose decision values the sample lies.
    pub fn code(self, sample: i16) -> u8 {
        // One's complement, as the decision values of the negative half mirror those of the positive one between −1 and 0.
        let magnitude = if sample < 0 { !sample } else { sample }.cast_unsigned();
        match self {
            Law::A => {
                let m = magnitude >> 4;
                // The first two segments are one straight line (table 1a).
                let code = if m < 32 { m } else { segment(m, 4) };
                let sign = if sample < 0 { 0 } else { 0x80 };
                (code as u8 | sign) ^ 0x55
            }
            Law::Mu => {
                let m = ((magnitude >> 2) + MU_BIAS).min(0x1fff);
                let sign = if sample < 0 { 0x80 } else { 0 };
                !((segment(m, 5) - 0x10) as u8 | sign)
            }
        }
    }

    /// The sample that a code stands for.
    pub fn sample(self, code: u8) -> i16 {
        let (bits, positive) = match self {
            Law::A => (code ^ 0x55, code & 0x80 != 0),
            Law::Mu => (!code, code & 0x80 != 0),
        };
        let exponent = (bits >> 4) & 7;
        let mantissa = i16::from(bits & 15);
        let magnitude = match (self, exponent) {
            (Law::A, 0) => (mantissa << 4) + 8,
            (Law::A, e) => ((mantissa << 4) + 0x108) << (e - 1),
            (Law::Mu, e) => (((2 * mantissa + MU_BIAS as i16) << e) - MU_BIAS as i16) << 2,
        };
        if positive { magnitude } else { -magnitude }
    }

    /// Appends the codes of the samples.
    pub fn encode(self, samples: &[i16], out: &mut Vec<u8>) {
        out.extend(samples.iter().map(|&s| self.code(s)));
    }
}

/// Exponent and mantissa of a magnitude of at least `1 << linear`: `linear` is how many bits its first own segment has
/// below its top bit, and that segment counts as number 1.
fn segment(m: u16, linear: u32) -> u16 {
    let shift = m.ilog2() - linear;
    // Segment 1 of A-law has its mantissa in the four bits below the top one; µ-law drops one bit more.
    ((shift as u16 + 1) << 4) | ((m >> (shift + linear - 4)) & 15)
}

/// Reads G.711, and fills in for what is lost in the manner of its Appendix I.
#[derive(Debug)]
pub struct G711Decoder {
    law: Law,
    concealment: Concealment,
}

impl G711Decoder {
    /// A decoder that has heard nothing yet.
    pub fn new(law: Law) -> G711Decoder {
        G711Decoder {
            law,
            concealment: Concealment::new(RATE),
        }
    }
}

impl Decode for G711Decoder {
    fn rate(&self) -> u32 {
        RATE
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        (!payload.is_empty()).then_some(payload.len())
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), Unreadable> {
        self.samples(payload).ok_or(Unreadable)?;
        let start = out.len();
        out.extend(payload.iter().map(|&code| self.law.sample(code)));
        self.concealment
            .heard(out.get_mut(start..).unwrap_or_default());
        Ok(())
    }

    fn conceal(&mut self, samples: usize, _next: Option<&[u8]>, out: &mut Vec<i16>) {
        self.concealment.conceal(samples, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The magnitudes that tables 1 and 2 give, the smallest first: the decision value where each begins, and the value.
    fn values(law: Law) -> Vec<(i32, i32)> {
        // For each segment the first value (column 7) and the step, on the table's scale; how many samples make one of it.
        let (scale, segments): (i32, [(i32, i32); 8]) = match law {
            Law::A => (
                8,
                [
                    (1, 2),
                    (33, 2),
                    (66, 4),
                    (132, 8),
                    (264, 16),
                    (528, 32),
                    (1056, 64),
                    (2112, 128),
                ],
            ),
            Law::Mu => (
                4,
                [
                    (0, 2),
                    (33, 4),
                    (99, 8),
                    (231, 16),
                    (495, 32),
                    (1023, 64),
                    (2079, 128),
                    (4191, 256),
                ],
            ),
        };
        let value = |first, step, i| {
            (
                (first + i * step - step / 2) * scale,
                (first + i * step) * scale,
            )
        };
        segments
            .iter()
            .flat_map(|&(first, step)| (0..16).map(move |i| value(first, step, i)))
            .collect()
    }

    #[test]
    fn every_code_stands_for_the_value_in_the_tables_of_the_recommendation() {
        for n in 0..128u8 {
            // Column 6: A-law has its even bits inverted, µ-law all of them.
            let a = i16::try_from(values(Law::A)[usize::from(n)].1).unwrap();
            assert_eq!(Law::A.sample((n | 0x80) ^ 0x55), a);
            assert_eq!(Law::A.sample(n ^ 0x55), -a);
            let mu = i16::try_from(values(Law::Mu)[usize::from(n)].1).unwrap();
            assert_eq!(Law::Mu.sample(0xff - n), mu);
            assert_eq!(Law::Mu.sample(0x7f - n), -mu);
        }
    }

    #[test]
    fn the_loudest_and_the_softest_codes_are_those_of_the_recommendation() {
        assert_eq!(
            (Law::A.sample(0xaa), Law::A.sample(0x2a)),
            (32_256, -32_256)
        );
        assert_eq!((Law::A.sample(0xd5), Law::A.sample(0x55)), (8, -8));
        assert_eq!(
            (Law::Mu.sample(0x80), Law::Mu.sample(0x00)),
            (32_124, -32_124)
        );
        assert_eq!((Law::Mu.sample(0xff), Law::Mu.sample(0x7f)), (0, 0));
        assert_eq!((Law::A.code(i16::MIN), Law::A.code(i16::MAX)), (0x2a, 0xaa));
        assert_eq!(
            (Law::Mu.code(i16::MIN), Law::Mu.code(i16::MAX)),
            (0x00, 0x80)
        );
    }

    #[test]
    fn every_sample_gets_the_code_between_whose_decision_values_it_lies() {
        for law in [Law::A, Law::Mu] {
            let values = values(law);
            for sample in i16::MIN..=i16::MAX {
                // On a decision value itself a sample goes up, which for a negative one is towards zero.
                let magnitude = if sample < 0 { !sample } else { sample };
                let level = values.partition_point(|&(from, _)| from <= magnitude.into()) - 1;
                let value = i32::from(law.sample(law.code(sample)));
                assert_eq!(value.abs(), values[level].1, "{law:?} of {sample}");
                assert_eq!(
                    law.code(sample) & 0x80 != 0,
                    sample >= 0,
                    "{law:?} sign of {sample}"
                );
            }
        }
    }

    #[test]
    fn coding_again_changes_nothing() {
        for law in [Law::A, Law::Mu] {
            for code in 0..=255u8 {
                let again = law.code(law.sample(code));
                // µ-law has two zeros, and a sample of 0 is the positive one.
                let wanted = if (law, code) == (Law::Mu, 0x7f) {
                    0xff
                } else {
                    code
                };
                assert_eq!(again, wanted, "{law:?} {code:#04x}");
            }
        }
    }

    #[test]
    fn a_packet_is_as_many_samples_as_octets_and_an_empty_one_is_none() {
        let mut decoder = G711Decoder::new(Law::A);
        let mut out = vec![7];
        assert_eq!(decoder.samples(&[0xd5; 160]), Some(160));
        decoder.decode(&[0xd5; 160], &mut out).unwrap();
        assert_eq!(out.len(), 161);
        assert_eq!((out[0], out[160]), (7, 8));
        assert_eq!(decoder.decode(&[], &mut out), Err(Unreadable));
        assert_eq!(out.len(), 161);
    }
}
