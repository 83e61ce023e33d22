//! Which packets of one source have been seen (RFC 3711 §3.3.1, §3.3.2).
//!
//! ```text
//!           too old │ ◀──── WINDOW: seen once each ────▶ │ ahead: at most REACH │ too far
//!                                                     highest
//! ```
//!
//! Indices are the 48 bits of RFC 3711: rollover counter, then sequence number. They start where the source starts.

/// How far behind the highest index a packet may still be accepted: ten seconds of 20 ms packets.
pub const WINDOW: u64 = 512;

/// How far ahead a packet may be. Short of half the sequence space by a window, so that whoever measures from
/// any packet inside the window, not from the highest, comes to the same rollover counter.
const REACH: u64 = (1 << 15) - WINDOW;

const WORDS: usize = (WINDOW / 64) as usize;

/// The packets of one source that have been seen.
#[derive(Clone, Debug)]
pub struct Seen {
    highest: u64,
    /// Bit `index % WINDOW` says whether that index was seen, for the WINDOW indices up to `highest`.
    bits: [u64; WORDS],
}

impl Seen {
    /// A source whose first packet has this index.
    pub fn starting_with(index: u64) -> Seen {
        let mut seen = Seen {
            highest: index,
            bits: [0; WORDS],
        };
        seen.set(index, true);
        seen
    }

    /// The index that a sequence number stands for, if it is neither seen, nor too old, nor too far ahead.
    pub fn place(&self, seq: u16) -> Option<u64> {
        let ahead = seq.wrapping_sub(self.highest as u16);
        let index = if u64::from(ahead) <= REACH {
            self.highest + u64::from(ahead)
        } else {
            // A source that started at 5 did not send 65 530 before: no rollover counter is below zero.
            self.highest.checked_sub(u64::from(ahead.wrapping_neg()))?
        };
        self.is_new(index).then_some(index)
    }

    /// Whether an index may still be accepted.
    pub fn is_new(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(age) => age < WINDOW && !self.get(index),
        }
    }

    /// Remembers an index; only for packets that proved authentic, or anybody could move the window.
    pub fn accept(&mut self, index: u64) {
        if index > self.highest {
            let fresh = (index - self.highest).min(WINDOW);
            for skipped in index + 1 - fresh..index {
                self.set(skipped, false);
            }
            self.highest = index;
        }
        self.set(index, true);
    }

    fn get(&self, index: u64) -> bool {
        let (word, bit) = position(index);
        self.bits[word] & bit != 0
    }

    fn set(&mut self, index: u64, seen: bool) {
        let (word, bit) = position(index);
        if seen {
            self.bits[word] |= bit;
        } else {
            self.bits[word] &= !bit;
        }
    }
}

fn position(index: u64) -> (usize, u64) {
    ((index % WINDOW / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_index_goes_on_across_the_wrap_and_back() {
        let mut seen = Seen::starting_with(65_534);
        assert_eq!(seen.place(1), Some(65_537));
        seen.accept(65_537);
        assert_eq!(
            seen.place(65_535),
            Some(65_535),
            "late, from before the wrap"
        );
        assert_eq!(seen.place(65_534), None, "seen");
        assert_eq!(seen.place(1), None, "seen");
        assert_eq!(seen.place(2), Some(65_538));
    }

    #[test]
    fn nothing_lies_before_the_first_rollover() {
        let seen = Seen::starting_with(5);
        assert_eq!(seen.place(65_530), None);
        assert_eq!(seen.place(4), Some(4), "reordered at the very start");
    }

    #[test]
    fn what_is_too_old_or_too_far_ahead_is_refused() {
        let seen = Seen::starting_with(40_000);
        assert_eq!(seen.place(40_000 - 511), Some(40_000 - 511));
        assert_eq!(seen.place(40_000 - 512), None);
        let furthest = 40_000 + (1 << 15) - 512;
        assert_eq!(seen.place(furthest as u16), Some(furthest));
        assert_eq!(seen.place((furthest + 1) as u16), None);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_all_that_was_seen(
            first in 0u64..200_000, steps in prop::collection::vec(-700i64..900, 1..400),
        ) {
            let mut seen = Seen::starting_with(first);
            let mut list = std::collections::HashSet::from([first]);
            let mut highest = first;
            for step in steps {
                let Some(index) = highest.checked_add_signed(step) else { continue };
                let fresh = index + WINDOW > highest && !list.contains(&index);
                prop_assert_eq!(seen.is_new(index), fresh);
                prop_assert_eq!(seen.place(index as u16), fresh.then_some(index));
                if fresh {
                    seen.accept(index);
                    list.insert(index);
                    highest = highest.max(index);
                }
            }
        }
    }
}
