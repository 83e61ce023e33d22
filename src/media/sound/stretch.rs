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
    let own = power(start);
    let best = (least..=most)
        .filter_map(|piece| {
            let other = sound.get(piece..piece + window)?;
            let product: f32 = start
                .iter()
                .zip(other)
                .map(|(a, b)| f32::from(*a) * f32::from(*b))
                .sum();
            let alike = product / (own * power(other)).sqrt().max(1.0);
            Some(Join { piece, alike })
        })
        .max_by(|a, b| a.alike.total_cmp(&b.alike))?;
    let enough = match need {
        Need::None => false,
        Need::Some => best.alike >= ALIKE,
        Need::Great => true,
    };
    enough.then_some(best)
}

fn power(sound: &[i16]) -> f32 {
    sound.iter().map(|s| f32::from(*s) * f32::from(*s)).sum()
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
