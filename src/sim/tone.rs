//! The tones that two phones tell each other by.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::count;

/// Samples a second at which phones speak and listen: wideband, all that Meta's clients send.
pub const SAMPLE_RATE: u32 = 16_000;

/// Samples of a 20 ms packet.
pub const FRAME: usize = 320;

/// What the WhatsApp user's phone says, in Hz. No harmonic of it is [`PBX_HZ`], nor is either a tone of a telephone
/// network (350–480, 620, 950, 1400, 1800 Hz) or of a DTMF key.
pub const USER_HZ: u32 = 580;

/// What the extension's phone says, in Hz.
pub const PBX_HZ: u32 = 1020;

/// Opus packets to be sent: some at the beginning, then one second of them over and over. Many phones share one, for
/// encoding is by far the dearest part of a call.
#[derive(Debug)]
pub struct Recording {
    beginning: Vec<Vec<u8>>,
    round: Vec<Vec<u8>>,
}

impl Recording {
    /// A sine of `hz`, a whole number of which fits the second, so that its end meets its beginning; at first with the
    /// notes of the count beside it.
    ///
    /// # Errors
    /// When libopus fails.
    pub fn tone(hz: u32) -> Result<Arc<Recording>, opus::Error> {
        const AMPLITUDE: f64 = 0.3 * i16::MAX as f64;
        let sine =
            |hz: u32, n: u32| (TAU * f64::from(hz) * f64::from(n) / f64::from(SAMPLE_RATE)).sin();
        Recording::of(count::COUNTED, |n| {
            let note = count::note(n as usize / FRAME).and_then(|note| count::NOTES.get(note));
            let beside = note.map_or(0.0, |hz| 0.5 * sine(*hz, n));
            (AMPLITUDE * (sine(hz, n) + beside)) as i16
        })
    }

    /// A second of silence.
    ///
    /// # Errors
    /// When libopus fails.
    pub fn silence() -> Result<Arc<Recording>, opus::Error> {
        Recording::of(0, |_| 0)
    }

    /// The packet of the `nth` 20 ms.
    pub fn packet(&self, nth: usize) -> &[u8] {
        let packet = match nth.checked_sub(self.beginning.len()) {
            None => self.beginning.get(nth),
            Some(later) => self.round.get(later % self.round.len().max(1)),
        };
        packet.map_or(&[], Vec::as_slice)
    }

    /// Encodes as Meta's fmtp asks: mono, wideband, 20 kbit/s, in-band FEC (§7). The first `beginning` packets are not
    /// repeated.
    fn of(beginning: usize, sample: impl Fn(u32) -> i16) -> Result<Arc<Recording>, opus::Error> {
        const LONGEST_PACKET: usize = 400;
        let mut encoder =
            opus::Encoder::new(SAMPLE_RATE, opus::Channels::Mono, opus::Application::Voip)?;
        encoder.set_bitrate(opus::Bitrate::Bits(20_000))?;
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(5)?;
        // A whole number of seconds, the last but one for the encoder to settle in: the last goes round without a seam.
        const SECOND: usize = SAMPLE_RATE as usize / FRAME;
        let packets = (beginning.div_ceil(SECOND) + 2) * SECOND;
        let mut packets = (0..packets).map(|nth| {
            let start = (nth * FRAME) as u32;
            let frame: Vec<i16> = (start..start + FRAME as u32).map(&sample).collect();
            encoder.encode_vec(&frame, LONGEST_PACKET)
        });
        let beginning = packets.by_ref().take(beginning).collect::<Result<_, _>>()?;
        let mut round = packets.collect::<Result<Vec<_>, _>>()?;
        let round = round.split_off(round.len() - SECOND);
        Ok(Arc::new(Recording { beginning, round }))
    }
}

/// Whether `samples` are too quiet to be heard.
pub fn is_silence(samples: &[i16]) -> bool {
    const QUIETEST: f64 = 0.01 * i16::MAX as f64;
    energy(samples) < QUIETEST.powi(2) * samples.len() as f64 || samples.is_empty()
}

/// Which of the tones `hz` sounds in `samples`; `None`: none, or none clearly.
pub fn loudest(samples: &[i16], hz: &[u32]) -> Option<usize> {
    const LEAST_SHARE: f64 = 0.04;
    let mut found: Vec<(usize, f64)> = hz
        .iter()
        .map(|hz| share(samples, *hz))
        .enumerate()
        .collect();
    found.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    match found.as_slice() {
        [(first, most), (_, next), ..] if *most >= LEAST_SHARE && *most > 2.0 * next => {
            Some(*first)
        }
        _ => None,
    }
}

/// Whether a tone of `hz` is most of what `samples` hold, and loud enough to be heard. 20 ms are enough to tell.
pub fn is_heard(samples: &[i16], hz: u32) -> bool {
    const LEAST_SHARE: f64 = 0.6;
    !is_silence(samples) && share(samples, hz) >= LEAST_SHARE
}

/// How much of the energy of `samples` is a tone of `hz`, from 0 to 1.
fn share(samples: &[i16], hz: u32) -> f64 {
    let whole = samples.len() as f64 * energy(samples);
    if whole > 0.0 {
        goertzel(samples, hz) * 2.0 / whole
    } else {
        0.0
    }
}

fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|s| f64::from(*s).powi(2)).sum()
}

/// Squared magnitude of the spectrum at `hz` (Goertzel's algorithm).
fn goertzel(samples: &[i16], hz: u32) -> f64 {
    let twice_cos = 2.0 * (TAU * f64::from(hz) / f64::from(SAMPLE_RATE)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (f64::from(*sample) + twice_cos * last - before, last);
    }
    last * last + before * before - twice_cos * last * before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, amplitude: f64) -> Vec<i16> {
        let sample = |n: usize| (TAU * hz * n as f64 / f64::from(SAMPLE_RATE)).sin() * amplitude;
        (0..FRAME).map(|n| sample(n) as i16).collect()
    }

    #[test]
    fn each_tone_is_found_in_itself_and_nowhere_else() {
        assert!(is_heard(&sine(USER_HZ.into(), 9_000.0), USER_HZ));
        assert!(is_heard(&sine(PBX_HZ.into(), 9_000.0), PBX_HZ));
        for other in [
            350.0, 440.0, 480.0, 697.0, 770.0, 941.0, 1209.0, 1160.0, 1740.0, 2040.0, 3060.0,
        ] {
            assert!(!is_heard(&sine(other, 9_000.0), USER_HZ), "{other}");
            assert!(!is_heard(&sine(other, 9_000.0), PBX_HZ), "{other}");
        }
        assert!(!is_heard(&sine(USER_HZ.into(), 9_000.0), PBX_HZ));
        assert!(!is_heard(&sine(PBX_HZ.into(), 9_000.0), USER_HZ));
    }

    #[test]
    fn silence_noise_and_a_whisper_are_no_tone() {
        assert!(!is_heard(&[], USER_HZ));
        assert!(!is_heard(&[0; FRAME], USER_HZ));
        assert!(!is_heard(&sine(USER_HZ.into(), 300.0), USER_HZ));
        let mut state = 1u32;
        let noise: Vec<i16> = (0..FRAME)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i16
            })
            .collect();
        assert!(!is_heard(&noise, USER_HZ));
    }

    #[test]
    fn the_tone_survives_the_codec_in_every_frame_and_over_the_seam() {
        for hz in [USER_HZ, PBX_HZ] {
            let recording = Recording::tone(hz).unwrap();
            let mut decoder = opus::Decoder::new(SAMPLE_RATE, opus::Channels::Mono).unwrap();
            let mut heard = 0;
            for nth in 0..150 {
                let mut samples = [0; FRAME];
                let len = decoder
                    .decode(recording.packet(nth), &mut samples, false)
                    .unwrap();
                heard += usize::from(is_heard(&samples[..len], hz));
            }
            assert!(heard >= 147, "{hz} Hz in {heard} of 150 frames");
        }
    }

    #[test]
    fn a_packet_is_as_small_as_meta_asks() {
        let recording = Recording::tone(USER_HZ).unwrap();
        let octets: usize = (0..50).map(|nth| recording.packet(nth).len()).sum();
        assert!((1_000..3_200).contains(&octets), "{octets} octets a second");
        assert_eq!(
            opus::packet::get_nb_channels(recording.packet(0)).unwrap(),
            opus::Channels::Mono
        );
    }
}
