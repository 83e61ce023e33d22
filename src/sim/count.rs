//! The count that a voice begins with, so that whoever hears it knows which packet it heard first.
//!
//! ```text
//!   packet     0    1    2    3    4    5   …  149   150 …
//!   tone       ────────────── the voice's own ──────────────
//!   beside it  ♪a   ♪c   ♪c   ♪b   ♪d   ♪a  …   ♪b   nothing
//! ```
//!
//! The notes follow one fixed order in which no twelve in a row come twice, nor nearly: twelve frames tell where the
//! count was joined, though two of them be misheard. They are sound like any other, so the count survives a codec that puts it into other packets.

use super::tone;
use crate::media::rtp::Timestamp;

/// Packets that are counted: 3 s, more than a bridge may keep back.
pub const COUNTED: usize = 150;

/// In Hz: away from both voices, their harmonics and each other, and within what telephones carry.
pub const NOTES: [u32; 4] = [1450, 1900, 2500, 3250];

/// Frames by which a place in the count is told.
const WINDOW: usize = 12;
/// How many of them may be misheard.
const MISHEARD: usize = 2;

/// Clock units of a frame of Opus.
const FRAME_UNITS: i32 = 960;

/// The note beside the `nth` packet of a voice, as an index into [`NOTES`]; `None` after the count.
pub fn note(nth: usize) -> Option<usize> {
    ORDER.get(nth).map(|note| usize::from(note - b'a'))
}

/// Drawn at random until any twelve in a row differed from any other twelve in five places or more.
const ORDER: &[u8; COUNTED] = b"cabdcdcacabadabcacbcdabdbabcdbdabcdbadcdcacdabadcabcadcbabcdcdcacbdcbadbdcbacdbdacdabcdbcbdcbcadbabdcabdabdbacacbacbdbcdadacbdcbcbacdcdbacacbcbcacadba";

/// Listens to the count at the other end.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    /// When the first sound was heard that was no silence, in the sender's clock.
    first: Option<Timestamp>,
    /// Frames after it, and the note heard in each.
    heard: Vec<(i32, usize)>,
}

impl Counting {
    /// Takes one decoded frame of 20 ms, and the timestamp that it had.
    pub fn frame(&mut self, samples: &[i16], at: Timestamp) {
        if self.heard.len() >= WINDOW || tone::is_silence(samples) {
            return;
        }
        let first = *self.first.get_or_insert(at);
        // What a codec decodes lags behind by some milliseconds: a frame begins with the end of the one before.
        let settled = samples.get(samples.len() * 2 / 5..).unwrap_or_default();
        if let Some(note) = tone::loudest(settled, &NOTES) {
            self.heard.push((at.since(first) / FRAME_UNITS, note));
        }
    }

    /// Which packet of the voice was heard first, 0 being the first that it ever sent. `None`: too little of the count
    /// was heard to tell.
    pub fn first_packet(&self) -> Option<u64> {
        let matches = |start: usize| {
            let right = |(after, expected): &&(i32, usize)| {
                let nth = usize::try_from(*after).ok().map(|after| start + after);
                nth.and_then(note) == Some(*expected)
            };
            self.heard.iter().filter(right).count()
        };
        let best = (0..COUNTED).max_by_key(|start| (matches(*start), std::cmp::Reverse(*start)))?;
        (self.heard.len() >= WINDOW && matches(best) + MISHEARD >= WINDOW).then_some(best as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tone::{FRAME, PBX_HZ, Recording, SAMPLE_RATE, USER_HZ};

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
    fn told(hz: u32, from: usize, lost: &[usize]) -> Option<u64> {
        let (voice, silence) = (Recording::tone(hz).unwrap(), Recording::silence().unwrap());
        let mut decoder = opus::Decoder::new(SAMPLE_RATE, opus::Channels::Mono).unwrap();
        let mut counting = Counting::default();
        let mut at = Timestamp(u32::MAX - 30 * 960);
        let before = (0..5).map(|nth| silence.packet(nth));
        let heard = (from..from + 60).map(|nth| (!lost.contains(&nth)).then(|| voice.packet(nth)));
        for packet in before.map(Some).chain(heard) {
            if let Some(packet) = packet {
                let mut samples = [0; FRAME];
                decoder.decode(packet, &mut samples, false).unwrap();
                counting.frame(&samples, at);
            }
            at = at.plus(960);
        }
        counting.first_packet()
    }

    #[test]
    fn the_packet_that_was_heard_first_is_told_wherever_the_count_is_joined() {
        for hz in [USER_HZ, PBX_HZ] {
            for from in (0..COUNTED - WINDOW).step_by(7) {
                assert_eq!(told(hz, from, &[]), Some(from as u64), "{hz} Hz");
            }
        }
    }

    #[test]
    fn losses_in_between_do_not_confuse_the_count() {
        assert_eq!(told(PBX_HZ, 0, &[1, 2, 5, 9]), Some(0));
        assert_eq!(told(PBX_HZ, 0, &[0, 1, 4]), Some(2));
    }

    #[test]
    fn nothing_is_told_of_silence_or_of_a_voice_past_its_count() {
        assert_eq!(told(PBX_HZ, COUNTED, &[]), None);
        assert_eq!(Counting::default().first_packet(), None);
        let mut counting = Counting::default();
        (0..50).for_each(|n| counting.frame(&[0; FRAME], Timestamp(n * 960)));
        assert_eq!(counting.first_packet(), None);
    }
}
