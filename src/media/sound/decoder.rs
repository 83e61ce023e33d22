//! The reading half of whichever codec a side speaks.

use super::g711::{self, G711Decoder, Law};
use super::g722::G722Decoder;
use super::opus::OpusDecoder;
use super::{Decode, SoundError, Unreadable};
use crate::media::codec::Codec;

/// A decoder of any codec that we have.
#[derive(Debug)]
pub enum Decoder {
    /// G.711, either law.
    G711(G711Decoder),
    /// G.722, both bands or the lower alone.
    G722(Box<G722Decoder>),
    /// Opus.
    Opus(OpusDecoder),
}

impl Decoder {
    /// A decoder that makes `rate` samples a second: Opus and G.722 8000 or 16000, G.711 8000.
    ///
    /// # Errors
    /// At any other rate, or for a codec that carries no sound.
    pub fn new(codec: Codec, rate: u32) -> Result<Decoder, SoundError> {
        Ok(match codec {
            Codec::Opus => Decoder::Opus(OpusDecoder::new(rate)?),
            Codec::G722 => Decoder::G722(Box::new(G722Decoder::new(rate)?)),
            Codec::Pcma => Decoder::G711(G711Decoder::new(narrowband(codec, rate, Law::A)?)),
            Codec::Pcmu => Decoder::G711(G711Decoder::new(narrowband(codec, rate, Law::Mu)?)),
            Codec::TelephoneEvent { .. } => return Err(SoundError::NoSound(codec)),
        })
    }

    fn codec(&self) -> &dyn Decode {
        match self {
            Decoder::G711(decoder) => decoder,
            Decoder::G722(decoder) => decoder.as_ref(),
            Decoder::Opus(decoder) => decoder,
        }
    }

    fn codec_mut(&mut self) -> &mut dyn Decode {
        match self {
            Decoder::G711(decoder) => decoder,
            Decoder::G722(decoder) => decoder.as_mut(),
            Decoder::Opus(decoder) => decoder,
        }
    }
}

impl Decode for Decoder {
    fn rate(&self) -> u32 {
        self.codec().rate()
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        self.codec().samples(payload)
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), Unreadable> {
        self.codec_mut().decode(payload, out)
    }

    fn conceal(&mut self, samples: usize, next: Option<&[u8]>, out: &mut Vec<i16>) {
        self.codec_mut().conceal(samples, next, out);
    }

    fn repeats(&self) -> bool {
        matches!(self, Decoder::Opus(_))
    }
}

/// The law of a codec that has no other rate than G.711's.
pub(super) fn narrowband(codec: Codec, rate: u32, law: Law) -> Result<Law, SoundError> {
    if rate == g711::RATE {
        Ok(law)
    } else {
        Err(SoundError::Rate {
            codec,
            rate,
            has: "8000",
        })
    }
}
