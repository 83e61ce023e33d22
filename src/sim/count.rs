//! The count that a voice begins with, so that whoever hears it knows how much of it was missed.
//!
//! ```text
//!   20 ms      0    1    2    3    4    5   …  149   150 …
//!   tone       ────────────── the voice's own ──────────────
//!   beside it  ♪a   ♪c   ♪c   ♪b   ♪d   ♪a  …   ♪b   nothing
//! ```
//!
//! The notes follow one fixed order in which no twelve in a row come twice, nor nearly: twelve frames tell where the
//! count was joined, though two of them be misheard. They are sound like any other, so the count survives a codec that puts
//! it into other packets, and none is above what a telephone line carries.

use std::cmp::Reverse;

use super::tone;
use crate::media::Codec;
use crate::media::rtp::Timestamp;

/// How long a note sounds, in milliseconds.
pub const NOTE_MS: usize = 20;

/// Notes of the count: 3 s, more than a bridge may keep back.
pub const COUNTED: usize = 150;

/// In Hz: away from both voices, their harmonics and each other, and within what telephones carry.
pub const NOTES: [u32; 4] = [1450, 1900, 2500, 3250];

/// Notes by which a place in the count is told.
const WINDOW: usize = 12;
/// How many of them may be misheard.
const MISHEARD: usize = 2;

/// Notes' worth of sound that is listened to, those that are lost included.
const LISTENED: usize = 40;

/// Notes may begin anywhere in what is heard; they are looked for at so many places within one's length.
const PLACES: usize = 4;

/// The `nth` note of the count, as an index into [`NOTES`]; `None` after it.
pub fn note(nth: usize) -> Option<usize> {
    ORDER.get(nth).map(|note| usize::from(note - b'a'))
}

/// Drawn at random until any twelve in a row differed from any other twelve in five places or more.
const ORDER: &[u8; COUNTED] = b"cabdcdcacabadabcacbcdabdbabcdbdabcdbadcdcacdabadcabcadcbabcdcdcacbdcbadbdcbacdbdacdabcdbcbdcbcadbabdcabdabdbacacbacbdbcdadacbdcbcbacdcdbacacbcbcacadba";

/// Listens to the count at the other end.
#[derive(Clone, Debug)]
pub struct Counting {
    codec: Codec,
    /// When the first sound was heard that was no silence, in the sender's clock.
    first: Option<Timestamp>,
    /// What was heard from there on, silence where nothing came.
    sound: Vec<i16>,
}

impl Counting {
    /// For sound of this codec.
    pub fn new(codec: Codec) -> Counting {
        Counting {
            codec,
            first: None,
            sound: Vec::new(),
        }
    }

    /// Takes some decoded sound, at most a note's length of it, and the timestamp of its first sample.
    pub fn hear(&mut self, samples: &[i16], at: Timestamp) {
        if self.first.is_none() && tone::is_silence(samples) {
            return;
        }
        let first = *self.first.get_or_insert(at);
        let units = i64::from(at.since(first));
        let rate = i64::from(self.codec.sample_rate());
        let place = usize::try_from(units * rate / i64::from(self.codec.clock_rate()));
        // Before the first, or so late that the count is told without it.
        let Some(place) = place.ok().filter(|place| *place < LISTENED * self.note()) else {
            return;
        };
        let end = place + samples.len();
        if self.sound.len() < end {
            self.sound.resize(end, 0);
        }
        if let Some(there) = self.sound.get_mut(place..end) {
            there.copy_from_slice(samples);
        }
    }

    /// Which note of the voice was heard first, 0 being the first that it ever sent. `None`: too little of the count was
    /// heard to tell.
    pub fn first_note(&self) -> Option<u64> {
        let places = (0..PLACES).map(|place| self.notes(place * self.note() / PLACES));
        let told = places
            .filter(|heard| heard.len() >= WINDOW)
            .flat_map(|heard| {
                (0..COUNTED).map(move |start| (matches(&heard, start), Reverse(start)))
            });
        let (matches, Reverse(start)) = told.max()?;
        (matches + MISHEARD >= WINDOW).then_some(start as u64)
    }

    /// The first notes that are heard if one begins at `offset`, each with its number since then.
    fn notes(&self, offset: usize) -> Vec<(usize, usize)> {
        let sound = self.sound.get(offset..).unwrap_or_default();
        let rate = self.codec.sample_rate();
        let heard = sound.chunks_exact(self.note()).enumerate();
        let notes = heard.filter_map(|(nth, samples)| {
            // What a codec decodes lags behind by some milliseconds: a note begins with the end of the one before.
            let settled = samples.get(samples.len() * 2 / 5..)?;
            let note = tone::loudest(settled, &NOTES, rate)?;
            (!tone::is_silence(settled)).then_some((nth, note))
        });
        notes.take(WINDOW).collect()
    }

    /// Samples of a note.
    fn note(&self) -> usize {
        NOTE_MS * self.codec.sample_rate() as usize / 1000
    }
}

/// How many of the notes are right if the first is number `start` of the count.
fn matches(heard: &[(usize, usize)], start: usize) -> usize {
    let right = |(after, expected): &&(usize, usize)| note(start + after) == Some(*expected);
    heard.iter().filter(right).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::sound::{Decode, Decoder};
    use crate::sim::speech::{Format, Recording};
    use crate::sim::tone::{PBX_HZ, USER_HZ};

    #[test]
    fn two_misheard_notes_leave_one_place_in_the_count() {
        let windows: Vec<&[u8]> = ORDER.windows(WINDOW).collect();
        for (nth, one) in windows.iter().enumerate() {
            for other in windows.iter().skip(nth + 1) {
                let differ = one.iter().zip(*other).filter(|(a, b)| a != b).count();
                assert!(differ > 2 * MISHEARD, "{nth}");
            }
        }
    }

    /// What is told after a voice was heard from its packet `from` on, with these packets of it lost, behind silence.
    fn told(voice: &Recording, from: usize, lost: &[usize]) -> Option<u64> {
        let codec = voice.format.codec;
        let silence = Recording::silence(voice.format).unwrap();
        let mut decoder = Decoder::new(codec, codec.sample_rate()).unwrap();
        let mut counting = Counting::new(codec);
        let units = voice.format.units();
        let mut at = Timestamp(u32::MAX - 30 * units);
        let before = (0..5).map(|nth| silence.packet(nth));
        let heard = (from..from + 60).map(|nth| (!lost.contains(&nth)).then(|| voice.packet(nth)));
        for packet in before.map(Some).chain(heard) {
            if let Some(packet) = packet {
                let mut samples = Vec::new();
                decoder.decode(packet, &mut samples).unwrap();
                counting.hear(&samples, at);
            }
            at = at.plus(units);
        }
        counting.first_note()
    }

    #[test]
    fn what_was_heard_first_is_told_in_each_codec_wherever_the_count_is_joined() {
        for codec in [Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu] {
            for hz in [USER_HZ, PBX_HZ] {
                let format = Format {
                    codec,
                    ..Format::OPUS
                };
                let voice = Recording::tone(hz, format).unwrap();
                for from in (0..COUNTED - WINDOW).step_by(7) {
                    assert_eq!(
                        told(&voice, from, &[]),
                        Some(from as u64),
                        "{codec}, {hz} Hz"
                    );
                }
            }
        }
    }

    #[test]
    fn losses_in_between_do_not_confuse_the_count() {
        let voice = Recording::tone(PBX_HZ, Format::OPUS).unwrap();
        assert_eq!(told(&voice, 0, &[1, 2, 5, 9]), Some(0));
        assert_eq!(told(&voice, 0, &[0, 1, 4]), Some(2));
    }

    #[test]
    fn a_voice_that_was_put_into_other_packets_is_told_wherever_its_notes_begin() {
        let codec = Codec::Pcmu;
        let voice = Recording::tone(
            USER_HZ,
            Format {
                codec,
                ..Format::OPUS
            },
        )
        .unwrap();
        let mut decoder = Decoder::new(codec, 8_000).unwrap();
        let mut sound = Vec::new();
        for nth in 0..30 {
            decoder.decode(voice.packet(nth), &mut sound).unwrap();
        }
        for late in (0..160).step_by(8) {
            let mut counting = Counting::new(codec);
            let heard = [vec![0; late], sound.clone()].concat();
            let packets = heard.chunks(80).enumerate();
            packets.for_each(|(n, samples)| counting.hear(samples, Timestamp(n as u32 * 80)));
            assert_eq!(counting.first_note(), Some(0), "{late} samples late");
        }
    }

    #[test]
    fn a_voice_that_was_stretched_and_pressed_together_is_told_by_the_order_of_its_notes() {
        let codec = Codec::Pcma;
        let voice = Recording::tone(
            PBX_HZ,
            Format {
                codec,
                ..Format::OPUS
            },
        )
        .unwrap();
        for from in [0, 31, 100] {
            let mut decoder = Decoder::new(codec, 8_000).unwrap();
            let mut sound = Vec::new();
            (from..from + 40)
                .for_each(|nth| decoder.decode(voice.packet(nth), &mut sound).unwrap());
            let mut counting = Counting::new(codec);
            let mut at = Timestamp(0);
            for (nth, part) in sound.chunks(320).enumerate() {
                // Some five milliseconds are left out of each 40, or said twice.
                let part = match nth % 3 {
                    0 => part[..280].to_vec(),
                    1 => [part, &part[280..]].concat(),
                    _ => part.to_vec(),
                };
                counting.hear(&part, at);
                at = at.plus(part.len() as u32);
            }
            assert_eq!(counting.first_note(), Some(from as u64));
        }
    }

    #[test]
    fn nothing_is_told_of_silence_or_of_a_voice_past_its_count() {
        let voice = Recording::tone(PBX_HZ, Format::OPUS).unwrap();
        assert_eq!(told(&voice, COUNTED, &[]), None);
        assert_eq!(Counting::new(Codec::Opus).first_note(), None);
        let mut counting = Counting::new(Codec::Opus);
        (0..50).for_each(|n| counting.hear(&[0; 320], Timestamp(n * 960)));
        assert_eq!(counting.first_note(), None);
    }
}
