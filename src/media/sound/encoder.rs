//! The writing half of whichever codec a side speaks.

use super::SoundError;
use super::decoder::narrowband;
use super::g711::{self, Law};
use super::g722::G722Encoder;
use super::opus::{OpusEncoder, OpusSettings};
use crate::media::codec::Codec;

/// An encoder of any codec that we have.
#[derive(Debug)]
pub enum Encoder {
    /// G.711, either law.
    G711(Law),
    /// G.722, both bands or the lower alone.
    G722(Box<G722Encoder>),
    /// Opus.
    Opus(OpusEncoder),
}

impl Encoder {
    /// An encoder for `rate` samples a second: Opus and G.722 8000 or 16000, G.711 8000.
    ///
    /// # Errors
    /// At any other rate, for a codec that carries no sound, or a setting out of its range.
    pub fn new(codec: Codec, rate: u32, opus: &OpusSettings) -> Result<Encoder, SoundError> {
        Ok(match codec {
            Codec::Opus => Encoder::Opus(OpusEncoder::new(rate, opus)?),
            Codec::G722 => Encoder::G722(Box::new(G722Encoder::new(rate)?)),
            Codec::Pcma => Encoder::G711(narrowband(codec, rate, Law::A)?),
            Codec::Pcmu => Encoder::G711(narrowband(codec, rate, Law::Mu)?),
            Codec::TelephoneEvent { .. } => return Err(SoundError::NoSound(codec)),
        })
    }

    /// Samples a second of what it takes.
    pub fn rate(&self) -> u32 {
        match self {
            Encoder::G711(_) => g711::RATE,
            Encoder::G722(encoder) => encoder.rate(),
            Encoder::Opus(encoder) => encoder.rate(),
        }
    }

    /// Appends exactly one payload with all of the samples: whole milliseconds of G.711 and G.722, 10, 20, 40 or 60 ms
    /// of Opus.
    ///
    /// # Errors
    /// For any other length; nothing is appended then.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), SoundError> {
        let rate = self.rate();
        let whole = !samples.is_empty() && samples.len().is_multiple_of(rate as usize / 1000);
        let length = |codec| SoundError::Length {
            codec,
            samples: samples.len(),
            rate,
            takes: "whole milliseconds",
        };
        match self {
            Encoder::Opus(encoder) => return encoder.encode(samples, out),
            Encoder::G711(Law::A) if !whole => return Err(length(Codec::Pcma)),
            Encoder::G711(Law::Mu) if !whole => return Err(length(Codec::Pcmu)),
            Encoder::G722(_) if !whole => return Err(length(Codec::G722)),
            Encoder::G711(law) => law.encode(samples, out),
            Encoder::G722(encoder) => encoder.encode(samples, out),
        }
        Ok(())
    }

    /// So many percent of the packets are likely to be lost: Opus, which alone has FEC, gets ready for it.
    pub fn expect_loss(&mut self, percent: u8) {
        if let Encoder::Opus(encoder) = self {
            encoder.expect_loss(percent);
        }
    }

    /// Whether the last payload has no sound in it, and need not be sent: Opus, where its settings have `dtx`.
    pub fn in_dtx(&self) -> bool {
        matches!(self, Encoder::Opus(encoder) if encoder.in_dtx())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::sound::{Decode, Decoder};

    const ALL: [(Codec, u32); 6] = [
        (Codec::Opus, 8000),
        (Codec::Opus, 16_000),
        (Codec::G722, 8000),
        (Codec::G722, 16_000),
        (Codec::Pcma, 8000),
        (Codec::Pcmu, 8000),
    ];

    #[test]
    fn what_is_encoded_at_a_rate_is_as_long_when_decoded_at_it() {
        for (codec, rate) in ALL {
            let mut encoder = Encoder::new(codec, rate, &OpusSettings::default()).unwrap();
            let mut decoder = Decoder::new(codec, rate).unwrap();
            assert_eq!((encoder.rate(), decoder.rate()), (rate, rate));
            for ms in [10, 20, 40, 60] {
                let samples = vec![1000; ms * rate as usize / 1000];
                let (mut payload, mut out) = (vec![1, 2], Vec::new());
                encoder.encode(&samples, &mut payload).unwrap();
                assert_eq!(
                    decoder.samples(&payload[2..]),
                    Some(samples.len()),
                    "{codec} {rate} {ms} ms"
                );
                decoder.decode(&payload[2..], &mut out).unwrap();
                assert_eq!(out.len(), samples.len());
                assert!(!encoder.in_dtx());
            }
        }
    }

    #[test]
    fn a_rate_or_codec_that_cannot_be_had_is_named_with_what_can() {
        let opus = OpusSettings::default();
        let cannot = [
            (
                Codec::Pcma,
                16_000,
                "PCMA/8000 at 16000 samples a second cannot be had; ask for 8000",
            ),
            (
                Codec::G722,
                48_000,
                "G722/8000 at 48000 samples a second cannot be had; ask for 8000 or 16000",
            ),
            (
                Codec::Opus,
                48_000,
                "opus/48000/2 at 48000 samples a second cannot be had; ask for 8000 or 16000",
            ),
            (
                Codec::TelephoneEvent { rate: 8000 },
                8000,
                "telephone-event/8000 carries events, no sound",
            ),
        ];
        for (codec, rate, message) in cannot {
            assert_eq!(
                Encoder::new(codec, rate, &opus).unwrap_err().to_string(),
                message
            );
            assert_eq!(Decoder::new(codec, rate).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_part_of_a_millisecond_or_nothing_is_no_packet() {
        for (codec, rate) in ALL {
            let mut encoder = Encoder::new(codec, rate, &OpusSettings::default()).unwrap();
            let mut payload = Vec::new();
            assert!(encoder.encode(&[0; 161], &mut payload).is_err(), "{codec}");
            assert!(encoder.encode(&[], &mut payload).is_err(), "{codec}");
            assert!(payload.is_empty());
        }
    }

    #[test]
    fn nothing_is_allocated_for_a_packet_once_the_buffers_have_grown() {
        for (codec, rate) in ALL {
            let mut encoder = Encoder::new(codec, rate, &OpusSettings::default()).unwrap();
            let mut decoder = Decoder::new(codec, rate).unwrap();
            let samples = vec![500; rate as usize / 50];
            let (mut payload, mut out) = (Vec::new(), Vec::new());
            let mut sizes = Vec::new();
            for _ in 0..3 {
                payload.clear();
                out.clear();
                encoder.encode(&samples, &mut payload).unwrap();
                decoder.decode(&payload, &mut out).unwrap();
                decoder.conceal(samples.len(), Some(&payload), &mut out);
                sizes.push((payload.capacity(), out.capacity()));
            }
            assert_eq!(sizes[1], sizes[2], "{codec} {rate}");
        }
    }
}
