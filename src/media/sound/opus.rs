//! Opus by libopus, at the values that Meta's clients use (RFC 6716, RFC 7587): mono, voice, wideband, with FEC.
//!
//! At 8000 samples a second libopus leaves the upper half of the band away by itself; nothing has to be resampled.

use opus::{Application, Bandwidth, Bitrate, Channels, Signal};
use serde::{Deserialize, Serialize};

use super::{Decode, SoundError, Unreadable};
use crate::media::codec::Codec;

/// How sound is put into Opus.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpusSettings {
    /// How hard libopus works for the same bits, 0–10: more is better sound, and more of the processor for each call.
    pub complexity: u8,
    /// Whether silence is left out (discontinuous transmission), which saves packets and may clip the start of words.
    pub dtx: bool,
    /// Bits a second of the sound itself, 6000–64000.
    pub bit_rate: u32,
    /// Percent of packets that are expected to be lost on the way, 0–100, at least: the more, the more of each packet is
    /// spent on a second copy of the one before (FEC). 0 sends none, ever.
    pub expected_loss: u8,
}

impl Default for OpusSettings {
    fn default() -> OpusSettings {
        OpusSettings {
            complexity: 5,
            dtx: false,
            bit_rate: 20_000,
            expected_loss: 5,
        }
    }
}

impl OpusSettings {
    /// Whether libopus can be set so.
    ///
    /// # Errors
    /// Names the first key that is out of its range.
    pub fn check(&self) -> Result<(), SoundError> {
        let setting = |key, value, range| Err(SoundError::Setting { key, value, range });
        if self.complexity > 10 {
            return setting("complexity", self.complexity.into(), "0 to 10");
        }
        if !(6_000..=64_000).contains(&self.bit_rate) {
            return setting("bit_rate", self.bit_rate, "6000 to 64000");
        }
        if self.expected_loss > 100 {
            return setting("expected_loss", self.expected_loss.into(), "0 to 100");
        }
        Ok(())
    }
}

/// The most octets that we let a packet have: a single frame's limit (RFC 6716 §3.2.1), which fits an RTP packet.
const MAX_PAYLOAD: usize = 1275;

/// A payload of this many octets or fewer is a frame without sound, which need not be sent (RFC 6716 §2.1.9).
const MAX_EMPTY: usize = 2;

/// Writes Opus.
#[derive(Debug)]
pub struct OpusEncoder {
    libopus: opus::Encoder,
    rate: u32,
    /// Percent of packets that libopus is to expect the loss of at least.
    least_loss: u8,
    dtx: bool,
    in_dtx: bool,
}

impl OpusEncoder {
    /// An encoder for mono sound at 8000 or 16000 samples a second.
    ///
    /// # Errors
    /// At any other rate, for a setting out of its range, or without memory.
    pub fn new(rate: u32, settings: &OpusSettings) -> Result<OpusEncoder, SoundError> {
        settings.check()?;
        let bandwidth = if known(rate)? == 8000 {
            Bandwidth::Narrowband
        } else {
            Bandwidth::Wideband
        };
        let mut libopus = opus::Encoder::new(rate, Channels::Mono, Application::Voip)?;
        libopus.set_signal(Signal::Voice)?;
        libopus.set_max_bandwidth(bandwidth)?;
        libopus.set_bitrate(Bitrate::Bits(settings.bit_rate.cast_signed()))?;
        libopus.set_complexity(settings.complexity.into())?;
        libopus.set_inband_fec(settings.expected_loss > 0)?;
        libopus.set_packet_loss_perc(settings.expected_loss.into())?;
        libopus.set_dtx(settings.dtx)?;
        Ok(OpusEncoder {
            libopus,
            rate,
            least_loss: settings.expected_loss,
            dtx: settings.dtx,
            in_dtx: false,
        })
    }

    /// Samples a second of what it takes.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Appends one payload of 10, 20, 40 or 60 ms.
    ///
    /// # Errors
    /// For any other length; nothing is appended then.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), SoundError> {
        let (rate, ten) = (self.rate, self.rate as usize / 100);
        if ![ten, 2 * ten, 4 * ten, 6 * ten].contains(&samples.len()) {
            let takes = "10, 20, 40 or 60 ms";
            return Err(SoundError::Length {
                codec: Codec::Opus,
                samples: samples.len(),
                rate,
                takes,
            });
        }
        let start = out.len();
        out.resize(start + MAX_PAYLOAD, 0);
        let written = self
            .libopus
            .encode(samples, out.get_mut(start..).unwrap_or_default());
        out.truncate(start + *written.as_ref().unwrap_or(&0));
        self.in_dtx = written? <= MAX_EMPTY && self.dtx;
        Ok(())
    }

    /// So many percent of the packets are likely to be lost, 0–100. FEC is not made weaker than the settings have it, nor
    /// made at all where they have none.
    pub fn expect_loss(&mut self, percent: u8) {
        if self.least_loss > 0 {
            let loss = percent.clamp(self.least_loss, 100);
            let _ = self.libopus.set_packet_loss_perc(loss.into());
        }
    }

    /// Whether the last payload has no sound in it, so that it need not be sent: only where the settings have `dtx`.
    pub fn in_dtx(&self) -> bool {
        self.in_dtx
    }
}

/// Reads Opus of any kind as mono at its own rate.
#[derive(Debug)]
pub struct OpusDecoder {
    libopus: opus::Decoder,
    rate: u32,
}

impl OpusDecoder {
    /// A decoder that makes 8000 or 16000 samples a second.
    ///
    /// # Errors
    /// At any other rate, or without memory.
    pub fn new(rate: u32) -> Result<OpusDecoder, SoundError> {
        let libopus = opus::Decoder::new(known(rate)?, Channels::Mono)?;
        Ok(OpusDecoder { libopus, rate })
    }

    /// Appends as many samples as libopus makes of the payload, at most `samples`.
    fn append(
        &mut self,
        payload: &[u8],
        fec: bool,
        samples: usize,
        out: &mut Vec<i16>,
    ) -> Result<(), Unreadable> {
        let start = out.len();
        out.resize(start + samples, 0);
        let made = self
            .libopus
            .decode(payload, out.get_mut(start..).unwrap_or_default(), fec);
        out.truncate(start + *made.as_ref().unwrap_or(&0));
        made.map(drop).map_err(|_| Unreadable)
    }
}

impl Decode for OpusDecoder {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        // libopus counts no more than 120 ms, the most that a packet may have (RFC 6716 §3.2.5).
        opus::packet::get_nb_samples(payload, self.rate)
            .ok()
            .filter(|&samples| samples > 0)
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), Unreadable> {
        let samples = self.samples(payload).ok_or(Unreadable)?;
        self.append(payload, false, samples, out)
    }

    fn conceal(&mut self, samples: usize, next: Option<&[u8]>, out: &mut Vec<i16>) {
        let end = out.len() + samples;
        // libopus fills whole units of 2.5 ms, and we ask for 120 ms at most at a time.
        let (unit, most) = (self.rate as usize / 400, self.rate as usize * 12 / 100);
        while out.len() < end {
            let missing = end - out.len();
            let wanted = missing.next_multiple_of(unit).min(most);
            // The copy in `next` is of what comes right before it: the last piece. Where it has no copy, libopus
            // guesses (RFC 6716 §4.4), and so it does where it cannot be read.
            let fits = |payload: &&[u8]| self.samples(payload).is_some_and(|held| held <= wanted);
            let copy = next.filter(|_| missing <= most).filter(fits);
            let filled =
                copy.is_some_and(|payload| self.append(payload, true, wanted, out).is_ok());
            if !filled && self.append(&[], false, wanted, out).is_err() {
                break;
            }
        }
        out.resize(end, 0);
    }
}

/// The rate, where it is one of the two that we use.
fn known(rate: u32) -> Result<u32, SoundError> {
    match rate {
        8000 | 16_000 => Ok(rate),
        _ => Err(SoundError::Rate {
            codec: Codec::Opus,
            rate,
            has: "8000 or 16000",
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
