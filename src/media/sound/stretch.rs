//! Makes sound longer or shorter without a change of pitch, by a piece after which it looks like itself.
//!
//! ```text
//!   shrink   a b c d e f g h   →   a╳d e f g h      the first becomes what comes a piece later, mixed over at ╳
//!   stretch  a b c d e f g h   →   a b c d╳a b c d e f g h
//! ```
//!
//! In a voice such a piece is a period of its pitch or several, in noise or silence it is any. (The method is known as WSOLA.)

/// Parts of a second: the shortest piece of 2.5 ms, the longest of 15 ms, and what is mixed at a join, 5 ms.
const SHORTEST: usize = 400;
const LONGEST_MS: usize = 15;
const MIX: usize = 200;

/// How much two joined pieces must look alike; 1 is the same.
const ALIKE: f32 = 0.75;

/// Root mean square of what nobody hears as a voice: 50 dB below full scale.
const QUIET: f32 = 100.0;

/// The longest piece taken out or put in at once, in samples.
pub(super) fn longest(rate: usize) -> usize {
    rate * LONGEST_MS / 1000
}

/// How sure it must be that nobody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Only where it is quiet.
    None,
    /// Where the pieces are alike.
    Some,
    /// Anywhere.
    Great,
}

/// Takes a piece of at most `most` samples out of the start of `sound`; returns how long it was.
pub(super) fn shrink(sound: &mut Vec<i16>, rate: usize, most: usize, need: Need) -> usize {
    let mix = rate / MIX;
    let most = most.min(longest(rate)).min(sound.len().saturating_sub(mix));
    let Some(join) = find(sound, rate / SHORTEST, most, mix, need) else {
        return 0;
    };
    let mixed = join.mix(sound.get(..mix), sound.get(join.piece..));
    if let Some(place) = sound.get_mut(join.piece..join.piece + mixed.len()) {
        place.copy_from_slice(&mixed);
    }
    sound.drain(..join.piece);
    join.piece
}

/// Repeats a piece of the start of `sound`, at least `least` samples long where that can be; returns how long it was.
pub(super) fn stretch(sound: &mut Vec<i16>, rate: usize, least: usize, need: Need) -> usize {
    let mix = (rate / MIX).min(sound.len() / 3);
    let most = longest(rate).min(sound.len().saturating_sub(mix));
    let least = least.clamp(rate / SHORTEST, most.max(rate / SHORTEST));
    // A long piece is not worth a join that is heard.
    let sure = if need == Need::Great {
        Need::Some
    } else {
        need
    };
    let join = find(sound, least, most, mix, sure)
        .or_else(|| find(sound, rate / SHORTEST, most, mix, need));
    let Some(join) = join else { return 0 };
    let mixed = join.mix(sound.get(join.piece..join.piece + mix), sound.get(..));
    let head: Vec<i16> = sound.iter().copied().take(join.piece).collect();
    sound.splice(..mixed.len(), head.into_iter().chain(mixed));
    join.piece
}

/// A place to join sound with itself.
struct Join {
    piece: usize,
    alike: f32,
}

/// The piece of `least..=most` samples after which `sound` looks most like its start, over `window` samples.
fn find(sound: &[i16], least: usize, most: usize, window: usize, need: Need) -> Option<Join> {
    let start = sound.get(..window).filter(|start| !start.is_empty())?;
    if least > most {
        return None;
    }
    let whole = sound.get(..most + window)?;
    if power(whole) < QUIET * QUIET * whole.len() as f32 {
        return Some(Join {
            piece: most,
            alike: 0.0,
        });
    }
    if need == Need::None {
        return None;
    }
    let own = power(start);
    let best = (least..=most)
        .filter_map(|piece| {
            let other = sound.get(piece..piece + window)?;
            let alike = product(start, other) / (own * power(other)).sqrt().max(1.0);
            Some(Join { piece, alike })
        })
        .max_by(|a, b| a.alike.total_cmp(&b.alike))?;
    (best.alike >= ALIKE || need == Need::Great).then_some(best)
}

fn product(a: &[i16], b: &[i16]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f32::from(*a) * f32::from(*b))
        .sum()
}

fn power(sound: &[i16]) -> f32 {
    product(sound, sound)
}

impl Join {
    /// `from` going over into `to`, as loud as they are: what is less alike would lose power in the middle.
    fn mix(&self, from: Option<&[i16]>, to: Option<&[i16]>) -> Vec<i16> {
        let from = from.unwrap_or_default();
        let (length, alike) = (from.len(), self.alike.clamp(0.0, 1.0));
        let mixed = from
            .iter()
            .zip(to.unwrap_or_default())
            .enumerate()
            .map(|(i, (from, to))| {
                let new = (i + 1) as f32 / (length + 1) as f32;
                let old = 1.0 - new;
                let gain = (old * old + new * new + 2.0 * old * new * alike)
                    .sqrt()
                    .max(0.5);
                ((f32::from(*from) * old + f32::from(*to) * new) / gain) as i16
            });
        mixed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: usize = 16_000;

    /// A buzz like that of a voice at 120 Hz, 40 ms of it.
    fn voice() -> Vec<i16> {
        let wave = |i: usize, n: usize| {
            let turn = i as f32 * 120.0 * n as f32 / RATE as f32 * std::f32::consts::TAU;
            4_000.0 / n as f32 * turn.sin()
        };
        (0..640)
            .map(|i| (1..12).map(|n| wave(i, n)).sum::<f32>() as i16)
            .collect()
    }

    /// A hiss like that of an f, the same each time.
    fn hiss() -> Vec<i16> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16 / 8
        };
        (0..6_400).map(|_| next()).collect()
    }

    fn step(sound: &[i16]) -> i32 {
        let step = |pair: &[i16]| (i32::from(pair[0]) - i32::from(pair[1])).abs();
        sound.windows(2).map(step).max().unwrap_or(0)
    }

    #[test]
    fn a_voice_loses_or_repeats_whole_periods_and_nobody_hears_where() {
        // 133 samples are a period of 120 Hz.
        let (mut shorter, mut longer) = (voice(), voice());
        assert_eq!(shrink(&mut shorter, RATE, 200, Need::Some), 133);
        assert_eq!(stretch(&mut longer, RATE, 100, Need::Some), 133);
        assert_eq!((shorter.len(), longer.len()), (640 - 133, 640 + 133));
        // Around the join, where the period is not a whole number of samples, it is the voice to the sample.
        assert_eq!(shorter[80..], voice()[213..]);
        assert_eq!(
            (&longer[..133], &longer[213..]),
            (&voice()[..133], &voice()[80..])
        );
        for changed in [&shorter, &longer] {
            assert!(
                step(changed) <= step(&voice()) * 11 / 10,
                "{}",
                step(changed)
            );
        }
    }

    #[test]
    fn joins_of_a_hiss_are_as_loud_as_it_is() {
        let (mut shorter, mut longer) = (vec![], vec![]);
        for part in hiss().chunks(640) {
            let (mut a, mut b) = (part.to_vec(), part.to_vec());
            assert_eq!(
                shrink(&mut a, RATE, 200, Need::Some) + stretch(&mut b, RATE, 100, Need::Some),
                0
            );
            let removed = shrink(&mut a, RATE, 200, Need::Great);
            let added = stretch(&mut b, RATE, 100, Need::Great);
            assert!((40..=200).contains(&removed) && (40..=240).contains(&added));
            // The join alone: where two hisses are mixed.
            shorter.extend_from_slice(&a[..80]);
            longer.extend_from_slice(&b[added..added + 80]);
        }
        let level = |sound: &[i16]| (power(sound) / sound.len() as f32).sqrt();
        for joins in [&shorter, &longer] {
            let change = 20.0 * (level(joins) / level(&hiss())).log10();
            assert!(change.abs() < 1.0, "{change} dB");
        }
    }

    #[test]
    fn in_quiet_places_the_most_is_taken_at_once() {
        let mut quiet: Vec<i16> = hiss().iter().take(640).map(|s| s / 100).collect();
        assert_eq!(shrink(&mut quiet, RATE, 1_000, Need::None), 240);
        assert_eq!(shrink(&mut voice(), RATE, 1_000, Need::None), 0);
    }

    #[test]
    fn what_is_too_short_stays_as_it_is() {
        for length in 0..60 {
            let mut sound: Vec<i16> = voice().into_iter().take(length).collect();
            let taken = shrink(&mut sound, RATE, 1_000, Need::Great);
            assert!(taken == 0 && sound.len() == length, "{length}");
            let added = stretch(&mut sound, RATE, 1_000, Need::Great);
            assert_eq!(sound.len(), length + added);
        }
    }
}
