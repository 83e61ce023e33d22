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
    /// Percent of packets that are expected to be lost on the way, 0–100: the more, the more of each packet is spent
    /// on a second copy of the one before (FEC). 0 sends none.
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
        self.in_dtx = written? <= MAX_EMPTY;
        Ok(())
    }

    /// Whether the last payload has no sound in it, so that it need not be sent.
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
            let copy = next.filter(|_| missing <= most && self.holds_copy(next, wanted));
            let filled =
                copy.is_some_and(|payload| self.append(payload, true, wanted, out).is_ok());
            if !filled && self.append(&[], false, wanted, out).is_err() {
                break;
            }
        }
        out.resize(end, 0);
    }
}

impl OpusDecoder {
    /// Whether a gap of `wanted` samples has room for the copy that the packet after it may carry.
    fn holds_copy(&self, next: Option<&[u8]>, wanted: usize) -> bool {
        next.and_then(|payload| self.samples(payload))
            .is_some_and(|samples| samples <= wanted)
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
mod tests {
    use super::*;

    /// 20 ms after 20 ms of something like a voice: a buzz at 140 Hz that swells and sinks.
    fn voice(rate: u32, frame: usize) -> Vec<i16> {
        let length = rate as usize / 50;
        let sample = |i: usize| {
            let t = (frame * length + i) as f32 / rate as f32;
            let swell = 0.5 - 0.5 * (t * 3.0 * std::f32::consts::TAU).cos();
            let tone = |n: f32| (t * 140.0 * n * std::f32::consts::TAU).sin() / n;
            (6000.0 * swell * (1..=9).map(|n| tone(n as f32)).sum::<f32>()) as i16
        };
        (0..length).map(sample).collect()
    }

    fn encoder(rate: u32, settings: OpusSettings) -> OpusEncoder {
        OpusEncoder::new(rate, &settings).unwrap()
    }

    fn energy(sound: &[i16]) -> f64 {
        sound.iter().map(|&s| f64::from(s).powi(2)).sum()
    }

    #[test]
    fn a_second_of_voice_is_20_kbit_and_sounds_as_loud_after_it() {
        for rate in [8000, 16_000] {
            let mut encoder = encoder(rate, OpusSettings::default());
            let mut decoder = OpusDecoder::new(rate).unwrap();
            let (mut bytes, mut heard, mut said) = (0, Vec::new(), Vec::new());
            for frame in 0..100 {
                let mut payload = Vec::new();
                encoder.encode(&voice(rate, frame), &mut payload).unwrap();
                assert_eq!(decoder.samples(&payload), Some(rate as usize / 50));
                decoder.decode(&payload, &mut heard).unwrap();
                said.extend(voice(rate, frame));
                bytes += payload.len();
            }
            assert_eq!(heard.len(), said.len());
            assert!(
                (3500..=6500).contains(&bytes),
                "{bytes} octets in two seconds at {rate}"
            );
            let louder = energy(&heard) / energy(&said);
            assert!((0.7..1.4).contains(&louder), "{louder} at {rate}");
        }
    }

    #[test]
    fn a_lost_packet_is_read_from_the_copy_in_the_next_one() {
        // Late in the encoder's life a loss is mended with and without the packet after it: the copy must be nearer to
        // what was said than libopus's guess.
        let mut encoder = encoder(
            16_000,
            OpusSettings {
                expected_loss: 20,
                ..OpusSettings::default()
            },
        );
        let mut packets = Vec::new();
        for frame in 0..60 {
            let mut payload = Vec::new();
            encoder.encode(&voice(16_000, frame), &mut payload).unwrap();
            packets.push(payload);
        }
        let (mut with, mut without) = (0.0, 0.0);
        for lost in 20..50 {
            let play = |next: Option<&[u8]>, lose: bool| {
                let mut decoder = OpusDecoder::new(16_000).unwrap();
                let mut out = Vec::new();
                for payload in &packets[..lost] {
                    decoder.decode(payload, &mut out).unwrap();
                }
                out.clear();
                if lose {
                    decoder.conceal(320, next, &mut out)
                } else {
                    decoder.decode(&packets[lost], &mut out).unwrap()
                }
                assert_eq!(out.len(), 320);
                out
            };
            let whole = play(None, false);
            let off = |out: Vec<i16>| -> f64 {
                out.iter()
                    .zip(&whole)
                    .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                    .sum()
            };
            with += off(play(Some(&packets[lost + 1]), true));
            without += off(play(None, true));
        }
        assert!(
            with < without * 0.7,
            "{with} with the copy, {without} without"
        );
    }

    #[test]
    fn any_gap_is_filled_exactly_whatever_comes_next() {
        let mut decoder = OpusDecoder::new(16_000).unwrap();
        let mut payload = Vec::new();
        encoder(16_000, OpusSettings::default())
            .encode(&voice(16_000, 3), &mut payload)
            .unwrap();
        for samples in [0, 1, 39, 40, 160, 320, 333, 960, 1920, 1921, 16_000] {
            for next in [
                None,
                Some(payload.as_slice()),
                Some(&[]),
                Some(&[0xff, 0x3f, 1]),
                Some(&[3]),
            ] {
                let mut out = vec![1];
                decoder.conceal(samples, next, &mut out);
                assert_eq!(out.len(), samples + 1);
            }
        }
    }

    #[test]
    fn silence_need_not_be_sent_with_dtx() {
        let mut encoder = encoder(
            16_000,
            OpusSettings {
                dtx: true,
                ..OpusSettings::default()
            },
        );
        let (mut payload, mut left_out) = (Vec::new(), 0);
        for _ in 0..100 {
            payload.clear();
            encoder.encode(&[0; 320], &mut payload).unwrap();
            assert_eq!(encoder.in_dtx(), payload.len() <= 2);
            left_out += usize::from(encoder.in_dtx());
        }
        assert!(left_out > 70, "{left_out} of 100 packets");
        for frame in 0..10 {
            encoder.encode(&voice(16_000, frame), &mut payload).unwrap();
        }
        assert!(!encoder.in_dtx(), "a voice is sent");
    }

    #[test]
    fn all_frame_lengths_that_meta_may_agree_to_are_one_payload_each() {
        let mut encoder = encoder(16_000, OpusSettings::default());
        let mut decoder = OpusDecoder::new(16_000).unwrap();
        for ms in [10, 20, 40, 60] {
            let (mut payload, mut out) = (vec![9], Vec::new());
            encoder.encode(&vec![100; ms * 16], &mut payload).unwrap();
            decoder.decode(&payload[1..], &mut out).unwrap();
            assert_eq!(out.len(), ms * 16);
        }
        let mut payload = vec![9];
        let error = encoder
            .encode(&[0; 480], &mut payload)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "opus/48000/2 cannot put 480 samples at 16000 Hz into one packet; give it 10, 20, 40 or 60 ms"
        );
        assert_eq!(payload, [9]);
    }

    #[test]
    fn a_stereo_packet_of_music_at_full_band_is_heard_as_mono() {
        let mut stereo = opus::Encoder::new(48_000, Channels::Stereo, Application::Audio).unwrap();
        let sound: Vec<i16> = (0..1920)
            .flat_map(|i| [((i * 37) % 4000) as i16 - 2000; 2])
            .collect();
        let payload = stereo.encode_vec(&sound, 1275).unwrap();
        let mut out = Vec::new();
        OpusDecoder::new(8000)
            .unwrap()
            .decode(&payload, &mut out)
            .unwrap();
        assert_eq!(out.len(), 320);
        assert!(energy(&out) > 0.0);
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        let broken = [
            (
                OpusSettings {
                    complexity: 11,
                    ..OpusSettings::default()
                },
                "complexity = 11 is out of range; set 0 to 10",
            ),
            (
                OpusSettings {
                    bit_rate: 5999,
                    ..OpusSettings::default()
                },
                "bit_rate = 5999 is out of range; set 6000 to 64000",
            ),
            (
                OpusSettings {
                    expected_loss: 101,
                    ..OpusSettings::default()
                },
                "expected_loss = 101 is out of range; set 0 to 100",
            ),
        ];
        for (settings, message) in broken {
            assert_eq!(
                OpusEncoder::new(16_000, &settings).unwrap_err().to_string(),
                message
            );
        }
    }

    #[test]
    fn settings_are_read_from_toml_and_unknown_keys_refused() {
        let settings: OpusSettings = toml::from_str("complexity = 9\ndtx = true").unwrap();
        assert_eq!(
            settings,
            OpusSettings {
                complexity: 9,
                dtx: true,
                ..OpusSettings::default()
            }
        );
        assert!(toml::from_str::<OpusSettings>("complexty = 9").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_payload_makes_more_than_120_ms_or_a_panic(
            payloads in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..200), 1..6),
        ) {
            for rate in [8000, 16_000] {
                let mut decoder = OpusDecoder::new(rate).unwrap();
                for payload in &payloads {
                    let (samples, mut out) = (decoder.samples(payload), Vec::new());
                    let read = decoder.decode(payload, &mut out);
                    proptest::prop_assert!(out.len() <= rate as usize * 12 / 100);
                    proptest::prop_assert_eq!(out.len(), if read.is_ok() { samples.unwrap() } else { 0 });
                    decoder.conceal(rate as usize / 50, Some(payload), &mut out);
                }
            }
        }
    }
}
