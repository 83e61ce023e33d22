//! What far ends say, encoded beforehand in every codec that they may be asked for: a tone that begins with a count, a file,
//! or silence.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use super::count;
use super::wav::Wav;
use crate::media::Codec;
use crate::media::sound::{Encoder, OpusSettings, SoundError};

/// What a far end can speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaks {
    /// In the order in which it offers them; of an offer it takes the first that is among them.
    pub codecs: Vec<Codec>,
    /// Milliseconds of sound in each of its packets.
    pub ptime: u16,
    /// Percent of packets that its Opus is made to lose: above 5, at this bit rate, libopus says each packet once more in
    /// the next (FEC), in a narrower band.
    pub expected_loss: u8,
}

impl Default for Speaks {
    fn default() -> Speaks {
        Speaks {
            codecs: vec![Codec::Opus],
            ptime: Format::OPUS.ptime,
            expected_loss: Format::OPUS.expected_loss,
        }
    }
}

/// A codec, and how much of it a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The codec.
    pub codec: Codec,
    /// Milliseconds.
    pub ptime: u16,
    /// Percent of packets that Opus is made to lose.
    pub expected_loss: u8,
}

impl Format {
    /// What Meta's clients send.
    pub const OPUS: Format = Format {
        codec: Codec::Opus,
        ptime: 20,
        expected_loss: 5,
    };

    /// How long a packet takes to say.
    pub fn time(self) -> Duration {
        Duration::from_millis(self.ptime.into())
    }

    /// Samples of a packet.
    pub fn samples(self) -> usize {
        usize::from(self.ptime) * self.codec.sample_rate() as usize / 1000
    }

    /// Units of the clock of timestamps.
    pub fn units(self) -> u32 {
        u32::from(self.ptime) * (self.codec.clock_rate() / 1000)
    }
}

/// The same words in all codecs of a far end.
#[derive(Clone, Debug, Default)]
pub struct Voice(Vec<(Codec, Arc<Recording>)>);

impl Voice {
    /// A tone of `hz`.
    ///
    /// # Errors
    /// When a codec cannot be had, or not with so much sound in a packet.
    pub fn tone(hz: u32, speaks: &Speaks) -> Result<Voice, SoundError> {
        Voice::of(speaks, |format| Recording::tone(hz, format))
    }

    /// A file, over and over.
    ///
    /// # Errors
    /// As [`Voice::tone`].
    pub fn wav(wav: &Wav, speaks: &Speaks) -> Result<Voice, SoundError> {
        Voice::of(speaks, |format| Recording::wav(wav, format))
    }

    /// What to send in this codec; `None`: it is none of the far end's.
    pub fn recording(&self, codec: Codec) -> Option<&Arc<Recording>> {
        let mut all = self.0.iter();
        all.find_map(|(known, recording)| (*known == codec).then_some(recording))
    }

    fn of(
        speaks: &Speaks,
        record: impl Fn(Format) -> Result<Arc<Recording>, SoundError>,
    ) -> Result<Voice, SoundError> {
        let all = speaks.codecs.iter().map(|&codec| {
            let recording = record(Format {
                codec,
                ptime: speaks.ptime,
                expected_loss: speaks.expected_loss,
            })?;
            Ok((codec, recording))
        });
        all.collect::<Result<_, _>>().map(Voice)
    }
}

/// Packets to be sent: some at the beginning, then a round of them over and over. Many phones share one, for encoding is by
/// far the dearest part of a call.
#[derive(Debug)]
pub struct Recording {
    /// The codec and length of each packet.
    pub format: Format,
    beginning: Vec<Vec<u8>>,
    round: Vec<Vec<u8>>,
}

/// How many packets a recording has.
struct Shape {
    beginning: usize,
    /// Encoded in between, for the encoder to settle in, and not kept.
    settling: usize,
    round: usize,
}

impl Recording {
    /// A sine of `hz`, a multiple of 20, so that whole waves fit the round and its end meets its beginning; at first with
    /// the notes of the count beside it.
    ///
    /// # Errors
    /// When the codec cannot be had, or not with so much sound in a packet.
    pub fn tone(hz: u32, format: Format) -> Result<Arc<Recording>, SoundError> {
        /// A multiple of 50, and of each length that a packet may have.
        const ROUND: usize = 1_200;
        const AMPLITUDE: f64 = 0.3 * i16::MAX as f64;
        let rate = format.codec.sample_rate();
        let sine = |hz: u32, n: usize| (TAU * f64::from(hz) * n as f64 / f64::from(rate)).sin();
        let ptime = usize::from(format.ptime).max(1);
        let shape = Shape {
            beginning: (count::COUNTED * count::NOTE_MS).div_ceil(ptime),
            settling: ROUND / ptime,
            round: ROUND / ptime,
        };
        Recording::of(format, shape, |n| {
            let note = count::note(n / (count::NOTE_MS * rate as usize / 1000));
            let note = note.and_then(|note| count::NOTES.get(note));
            let beside = note.map_or(0.0, |hz| 0.5 * sine(*hz, n));
            (AMPLITUDE * (sine(hz, n) + beside)) as i16
        })
    }

    /// A file, over and over: silence after it fills its last packet.
    ///
    /// # Errors
    /// As [`Recording::tone`].
    pub fn wav(wav: &Wav, format: Format) -> Result<Arc<Recording>, SoundError> {
        let wav = wav.at(format.codec.sample_rate());
        let packets = wav.samples.len().div_ceil(format.samples().max(1));
        let packets = packets.max(1);
        let shape = Shape {
            beginning: packets,
            settling: 0,
            round: packets,
        };
        let whole = packets * format.samples().max(1);
        Recording::of(format, shape, |n| {
            wav.samples.get(n % whole).copied().unwrap_or_default()
        })
    }

    /// A second of silence.
    ///
    /// # Errors
    /// As [`Recording::tone`].
    pub fn silence(format: Format) -> Result<Arc<Recording>, SoundError> {
        let shape = Shape {
            beginning: 0,
            settling: 1,
            round: 1_000 / usize::from(format.ptime).max(1),
        };
        Recording::of(format, shape, |_| 0)
    }

    /// The `nth` packet.
    pub fn packet(&self, nth: usize) -> &[u8] {
        let packet = match nth.checked_sub(self.beginning.len()) {
            None => self.beginning.get(nth),
            Some(later) => self.round.get(later % self.round.len().max(1)),
        };
        packet.map_or(&[], Vec::as_slice)
    }

    /// Encodes; Opus as Meta's fmtp asks: mono, wideband, 20 kbit/s, in-band FEC (§7).
    fn of(
        format: Format,
        shape: Shape,
        sample: impl Fn(usize) -> i16,
    ) -> Result<Arc<Recording>, SoundError> {
        let settings = OpusSettings {
            complexity: 9, // what a telephone has time for
            dtx: false,
            bit_rate: 20_000,
            expected_loss: format.expected_loss,
        };
        let rate = format.codec.sample_rate();
        let mut encoder = Encoder::new(format.codec, rate, &settings)?;
        let frame = format.samples();
        let mut encode = |nth: usize| {
            let samples: Vec<i16> = (nth * frame..(nth + 1) * frame).map(&sample).collect();
            let mut packet = Vec::new();
            encoder.encode(&samples, &mut packet).map(|()| packet)
        };
        let settled = shape.beginning + shape.settling;
        let beginning = (0..shape.beginning).map(&mut encode);
        let beginning = beginning.collect::<Result<_, _>>()?;
        (shape.beginning..settled).try_for_each(|nth| encode(nth).map(drop))?;
        let round = (settled..settled + shape.round).map(&mut encode);
        let round = round.collect::<Result<_, _>>()?;
        Ok(Arc::new(Recording {
            format,
            beginning,
            round,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::sound::{Decode, Decoder};
    use crate::sim::tone::{PBX_HZ, USER_HZ, is_heard, is_silence};

    const PTIMES: [u16; 5] = [10, 20, 30, 40, 60];

    /// All that phones may be told to speak.
    fn formats() -> impl Iterator<Item = Format> {
        let codecs = [Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu];
        let all = codecs.into_iter().flat_map(|codec| {
            let format = move |ptime| Format {
                codec,
                ptime,
                ..Format::OPUS
            };
            PTIMES.into_iter().map(format)
        });
        all.filter(|format| (format.codec, format.ptime) != (Codec::Opus, 30))
    }

    /// What is decoded of so many packets.
    fn decoded(recording: &Recording, packets: usize) -> Vec<i16> {
        let format = recording.format;
        let mut decoder = Decoder::new(format.codec, format.codec.sample_rate()).unwrap();
        let mut samples = Vec::new();
        for nth in 0..packets {
            decoder.decode(recording.packet(nth), &mut samples).unwrap();
        }
        assert_eq!(samples.len(), packets * format.samples());
        samples
    }

    #[test]
    fn the_tone_survives_each_codec_in_every_frame_and_over_the_seams() {
        for format in formats() {
            for hz in [USER_HZ, PBX_HZ] {
                let recording = Recording::tone(hz, format).unwrap();
                let rate = format.codec.sample_rate();
                let packets = 6_000 / usize::from(format.ptime);
                let sound = decoded(&recording, packets);
                let frames = sound.chunks(rate as usize / 50);
                let heard = frames.filter(|frame| is_heard(frame, hz, rate)).count();
                assert!(heard >= 297, "{format:?}, {hz} Hz in {heard} of 300 frames");
            }
        }
    }

    #[test]
    fn a_file_is_said_over_and_over_in_each_codec() {
        let wave = |n: u32| 9_000.0 * (TAU * 400.0 * f64::from(n) / 16_000.0).sin();
        let wav = Wav {
            rate: 16_000,
            samples: (0..3_000).map(|n| wave(n) as i16).collect(),
        };
        for format in formats() {
            let recording = Recording::wav(&wav, format).unwrap();
            let rate = format.codec.sample_rate();
            let round = recording.round.len() * format.samples();
            let packets = 3 * recording.round.len();
            let sound = decoded(&recording, packets);
            for start in [0, round, 2 * round] {
                // 187.5 ms long, and Opus is 6.5 ms late.
                let said = &sound[start + rate as usize / 50..start + rate as usize * 18 / 100];
                assert!(is_heard(said, 400, rate), "{format:?} at {start}");
            }
        }
    }

    #[test]
    fn a_packet_of_opus_is_as_small_as_meta_asks() {
        let recording = Recording::tone(USER_HZ, Format::OPUS).unwrap();
        let octets: usize = (0..50).map(|nth| recording.packet(nth).len()).sum();
        assert!((1_000..3_200).contains(&octets), "{octets} octets a second");
        assert_eq!(
            opus::packet::get_nb_channels(recording.packet(0)).unwrap(),
            opus::Channels::Mono
        );
    }

    #[test]
    fn silence_is_silent_and_a_voice_knows_its_own_codecs_alone() {
        let silence = Recording::silence(Format::OPUS).unwrap();
        assert!(is_silence(&decoded(&silence, 60)));
        let speaks = Speaks {
            codecs: vec![Codec::Pcmu, Codec::G722],
            ptime: 30,
            ..Speaks::default()
        };
        let voice = Voice::tone(PBX_HZ, &speaks).unwrap();
        assert!(voice.recording(Codec::G722).is_some());
        assert!(voice.recording(Codec::Pcma).is_none());
        let opus = Speaks {
            codecs: vec![Codec::Opus],
            ..speaks
        };
        assert!(Voice::tone(PBX_HZ, &opus).is_err(), "Opus has no 30 ms");
    }
}
