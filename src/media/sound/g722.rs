//! G.722 at 64 kbit/s: two bands of ADPCM, six bits of the lower and two of the higher for two samples (ITU-T G.722).
//!
//! ```text
//! 16 kHz ─▶ QMF ─┬─ XL ─▶ lower band  ── IL, 6 bits ─┐
//!                └─ XH ─▶ higher band ── IH, 2 bits ─┴─▶ octet  IH IL, 8000 a second
//! ```
//!
//! At 8000 samples a second the lower band is the sound, and the filters are left out: with G.711 on the other side there
//! is nothing above 4 kHz to be had, and no resampling to be done. Names in here are those of the Recommendation's §6.

mod band;
mod qmf;

use band::{Higher, Lower};
use qmf::{Analysis, Synthesis};

use super::conceal::Concealment;
use super::{Decode, SoundError, Unreadable};
use crate::media::codec::Codec;

/// Writes G.722.
#[derive(Debug)]
pub struct G722Encoder {
    filter: Option<Analysis>,
    lower: Lower,
    higher: Higher,
}

impl G722Encoder {
    /// An encoder for sound at 16000 samples a second, or at 8000 with the higher band left empty.
    ///
    /// # Errors
    /// At any other rate.
    pub fn new(rate: u32) -> Result<G722Encoder, SoundError> {
        let filter = wideband(rate)?.then(Analysis::default);
        Ok(G722Encoder {
            filter,
            lower: Lower::default(),
            higher: Higher::default(),
        })
    }

    /// Samples a second of what it takes.
    pub fn rate(&self) -> u32 {
        if self.filter.is_some() { 16_000 } else { 8000 }
    }

    /// Appends an octet for two samples at 16000 a second, for each sample at 8000; an odd one at the end is left out.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        let (lower, higher) = (&mut self.lower, &mut self.higher);
        let mut octet = |low, high| higher.encode(high) << 6 | lower.encode(low);
        match &mut self.filter {
            None => out.extend(samples.iter().map(|&sample| octet(sample >> 1, 0))),
            Some(filter) => out.extend(samples.chunks_exact(2).filter_map(|pair| {
                let [first, second] = *pair else { return None };
                let (low, high) = filter.split(first, second);
                Some(octet(low, high))
            })),
        }
    }
}

/// Reads G.722.
#[derive(Debug)]
pub struct G722Decoder {
    filter: Option<Synthesis>,
    lower: Lower,
    higher: Higher,
    concealment: Concealment,
}

impl G722Decoder {
    /// A decoder that makes 16000 samples a second, or 8000 of the lower band alone.
    ///
    /// # Errors
    /// At any other rate.
    pub fn new(rate: u32) -> Result<G722Decoder, SoundError> {
        let filter = wideband(rate)?.then(Synthesis::default);
        let (lower, higher, concealment) =
            (Lower::default(), Higher::default(), Concealment::new(rate));
        Ok(G722Decoder {
            filter,
            lower,
            higher,
            concealment,
        })
    }
}

impl Decode for G722Decoder {
    fn rate(&self) -> u32 {
        if self.filter.is_some() { 16_000 } else { 8000 }
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        let each = if self.filter.is_some() { 2 } else { 1 };
        (!payload.is_empty()).then_some(payload.len().saturating_mul(each))
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), Unreadable> {
        self.samples(payload).ok_or(Unreadable)?;
        let start = out.len();
        let (lower, higher) = (&mut self.lower, &mut self.higher);
        match &mut self.filter {
            // The bands are of 15 bits, the sound is of 16.
            None => out.extend(payload.iter().map(|&octet| lower.decode(octet & 0x3f) << 1)),
            Some(filter) => out.extend(payload.iter().flat_map(|&octet| {
                let (low, high) = (lower.decode(octet & 0x3f), higher.decode(octet >> 6));
                filter.join(low, high)
            })),
        }
        self.concealment
            .heard(out.get_mut(start..).unwrap_or_default());
        Ok(())
    }

    fn conceal(&mut self, samples: usize, _next: Option<&[u8]>, out: &mut Vec<i16>) {
        // The bands stay as they were. To run them over what is made up here gains 1 dB after a short loss, and costs 5
        // after a long one, whose fading they would take for the talker's.
        self.concealment.conceal(samples, out);
    }
}

/// Whether the rate is that of both bands; it may also be that of the lower alone.
fn wideband(rate: u32) -> Result<bool, SoundError> {
    match rate {
        8000 => Ok(false),
        16_000 => Ok(true),
        _ => Err(SoundError::Rate {
            codec: Codec::G722,
            rate,
            has: "8000 or 16000",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets and sound as the ITU-T's own program makes them; see the README beside them.
    const OCTETS: &[u8] = include_bytes!("../../../tests/data/sound/g722.octets");
    const PCM: &[u8] = include_bytes!("../../../tests/data/sound/g722.pcm");

    /// Numbers that are the same everywhere and each time.
    struct Noise(u32);

    impl Noise {
        fn next(&mut self) -> u32 {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.0
        }
    }

    /// Half a second that takes the codec everywhere: hiss, full scale, square and saw waves, silence, pulses.
    fn everything(noise: &mut Noise) -> Vec<i16> {
        let mut phase = 0u16;
        let sample = |i: u16| {
            let hiss = (noise.next() >> 16) as i16;
            phase = phase.wrapping_add(i.wrapping_mul(3));
            let saw = phase as i16;
            match i / 1000 {
                0 => hiss >> 6,
                1 => hiss,
                2 => {
                    if (u32::from(i) * 440 / 8000).is_multiple_of(2) {
                        i16::MAX
                    } else {
                        i16::MIN
                    }
                }
                3 => saw,
                4 => 0,
                5 => (hiss >> 3) + (saw >> 1),
                6 => {
                    if i.is_multiple_of(100) {
                        20_000
                    } else {
                        0
                    }
                }
                _ => saw >> 4,
            }
        };
        (0..8000).map(sample).collect()
    }

    fn tone(rate: u32, hertz: f32) -> Vec<i16> {
        let at = |i: u32| (i as f32 * hertz / rate as f32 * std::f32::consts::TAU).sin();
        (0..rate).map(|i| (8000.0 * at(i)) as i16).collect()
    }

    /// Encoded at one rate, decoded at another.
    fn through(sound: &[i16], from: u32, to: u32) -> Vec<i16> {
        let (mut octets, mut out) = (Vec::new(), Vec::new());
        G722Encoder::new(from).unwrap().encode(sound, &mut octets);
        G722Decoder::new(to)
            .unwrap()
            .decode(&octets, &mut out)
            .unwrap();
        out
    }

    /// dB by which the tone in a sound stands above all else in it, from its second tenth on.
    fn signal_to_noise(sound: &[i16], rate: u32, hertz: f32) -> f32 {
        let sound = &sound[sound.len() / 10..];
        let (mut cos, mut sin, mut all) = (0.0f64, 0.0f64, 0.0f64);
        for (i, &s) in sound.iter().enumerate() {
            let angle = f64::from(hertz) * i as f64 / f64::from(rate) * std::f64::consts::TAU;
            cos += f64::from(s) * angle.cos();
            sin += f64::from(s) * angle.sin();
            all += f64::from(s).powi(2);
        }
        let tone = 2.0 * (cos * cos + sin * sin) / sound.len() as f64;
        (10.0 * (tone / (all - tone)).log10()) as f32
    }

    #[test]
    fn the_octets_are_those_of_the_itu_for_every_kind_of_sound() {
        let mut octets = Vec::new();
        let mut encoder = G722Encoder::new(16_000).unwrap();
        for frame in everything(&mut Noise(1)).chunks(320) {
            encoder.encode(frame, &mut octets);
        }
        assert!(octets == OCTETS);
    }

    #[test]
    fn the_sound_is_that_of_the_itu_even_of_octets_that_no_encoder_makes() {
        let mut noise = Noise(1);
        everything(&mut noise);
        let octets = OCTETS
            .iter()
            .copied()
            .chain((0..2000).map(|_| (noise.next() >> 24) as u8));
        let mut out = Vec::new();
        let mut decoder = G722Decoder::new(16_000).unwrap();
        for packet in octets.collect::<Vec<u8>>().chunks(160) {
            decoder.decode(packet, &mut out).unwrap();
        }
        assert!(
            out.iter()
                .flat_map(|sample| sample.to_le_bytes())
                .eq(PCM.iter().copied())
        );
    }

    #[test]
    fn tones_of_both_bands_come_through_clean() {
        for (hertz, wanted) in [
            (300.0, 35.0),
            (1000.0, 30.0),
            (3000.0, 25.0),
            (5000.0, 10.0),
            (6500.0, 10.0),
        ] {
            let ratio = signal_to_noise(
                &through(&tone(16_000, hertz), 16_000, 16_000),
                16_000,
                hertz,
            );
            assert!(ratio > wanted, "{ratio} dB at {hertz} Hz");
        }
    }

    #[test]
    fn the_lower_band_alone_is_the_same_sound_at_8000_a_second() {
        for (from, to) in [(8000, 8000), (8000, 16_000), (16_000, 8000)] {
            for hertz in [300.0, 1000.0, 3000.0] {
                let out = through(&tone(from, hertz), from, to);
                assert_eq!(out.len(), to as usize);
                let ratio = signal_to_noise(&out, to, hertz);
                assert!(ratio > 20.0, "{ratio} dB at {hertz} Hz from {from} to {to}");
                let peak = out[1000..].iter().max().unwrap();
                assert!(
                    (7000..9000).contains(peak),
                    "{peak} at {hertz} Hz from {from} to {to}"
                );
            }
        }
    }

    #[test]
    fn after_a_loss_it_is_soon_as_if_nothing_had_been_lost() {
        for rate in [8000, 16_000] {
            let sound: Vec<i16> = tone(rate, 150.0)
                .iter()
                .zip(tone(rate, 1100.0))
                .map(|(a, b)| a / 2 + b / 4)
                .collect();
            let mut octets = Vec::new();
            G722Encoder::new(rate).unwrap().encode(&sound, &mut octets);
            let (mut whole, mut torn) = (Vec::new(), Vec::new());
            let (mut all, mut some) = (
                G722Decoder::new(rate).unwrap(),
                G722Decoder::new(rate).unwrap(),
            );
            for (i, packet) in octets.chunks(160).enumerate() {
                all.decode(packet, &mut whole).unwrap();
                match i {
                    20..=22 => some.conceal(rate as usize / 50, None, &mut torn),
                    _ => some.decode(packet, &mut torn).unwrap(),
                }
            }
            assert_eq!(torn.len(), whole.len());
            let ratio = |from_ms: usize| {
                let range = from_ms * rate as usize / 1000..(from_ms + 20) * rate as usize / 1000;
                let pairs = torn[range.clone()].iter().zip(&whole[range]);
                let (off, all) = pairs.fold((1.0, 1.0), |(off, all), (&a, &b)| {
                    (off + f64::from(a - b).powi(2), all + f64::from(b).powi(2))
                });
                10.0 * f64::log10(all / off)
            };
            assert!(
                ratio(500) > 12.0,
                "{} dB 40 ms after it at {rate}",
                ratio(500)
            );
            assert!(
                ratio(560) > 20.0,
                "{} dB 100 ms after it at {rate}",
                ratio(560)
            );
        }
    }

    #[test]
    fn a_packet_is_two_samples_an_octet_or_one_of_the_lower_band() {
        for (rate, samples) in [(16_000, 320), (8000, 160)] {
            let mut decoder = G722Decoder::new(rate).unwrap();
            let mut out = Vec::new();
            assert_eq!(decoder.samples(&[0xfa; 160]), Some(samples));
            decoder.decode(&[0xfa; 160], &mut out).unwrap();
            assert_eq!(out.len(), samples);
            assert_eq!(decoder.samples(&[]), None);
            assert_eq!(decoder.decode(&[], &mut out), Err(Unreadable));
            decoder.conceal(480, Some(&[1, 2]), &mut out);
            assert_eq!(out.len(), samples + 480);
        }
    }
}
