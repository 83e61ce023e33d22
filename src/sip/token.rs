//! Tags, branches and Call-IDs: the random words of SIP (RFC 3261 §19.3, §8.1.1.7).

/// A source of words that nobody can guess; a test gives it a seed instead.
pub struct Tokens(Source);

enum Source {
    /// What was drawn and not given out yet: a call takes a dozen numbers, and each visit to the system costs as much as all
    /// that is done with one.
    System(Vec<u64>),
    Seeded(u64),
}

/// How many numbers are drawn at once.
const DRAWN: usize = 32;

impl Tokens {
    /// From the operating system.
    pub fn system() -> Tokens {
        Tokens(Source::System(Vec::new()))
    }

    /// The same words for the same seed: for tests alone, since anybody can compute them.
    pub fn seeded(seed: u64) -> Tokens {
        Tokens(Source::Seeded(seed))
    }

    /// 16 hexadecimal digits.
    pub fn word(&mut self) -> String {
        format!("{:016x}", self.number())
    }

    /// 64 random bits.
    pub fn number(&mut self) -> u64 {
        match &mut self.0 {
            Source::System(drawn) => {
                if drawn.is_empty() {
                    draw(drawn);
                }
                drawn.pop().unwrap_or_else(clock_bits)
            }
            Source::Seeded(state) => {
                // SplitMix64: a full period and no bad seeds.
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
        }
    }

    /// A From or To tag.
    pub fn tag(&mut self) -> String {
        self.word()
    }

    /// A Via branch with the magic cookie (§8.1.1.7).
    pub fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.word())
    }

    /// A Call-ID; it holds no host name, which would tell a stranger about us.
    pub fn call_id(&mut self) -> String {
        format!("{}{}", self.word(), self.word())
    }
}

/// Takes numbers from the system. Its generator fails only before the kernel has booted; a second look at it is all one can
/// do.
fn draw(into: &mut Vec<u64>) {
    let mut octets = [0; 8 * DRAWN];
    let filled = getrandom::fill(&mut octets).or_else(|_| getrandom::fill(&mut octets));
    if filled.is_ok() {
        let (numbers, _) = octets.as_chunks();
        into.extend(numbers.iter().map(|number| u64::from_ne_bytes(*number)));
    }
}

/// Unique within the process at least, should the system have no randomness at all.
fn clock_bits() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_differ_and_a_seed_repeats_them() {
        let mut tokens = Tokens::system();
        assert_ne!(tokens.branch(), tokens.branch());
        assert_eq!(Tokens::seeded(7).call_id(), Tokens::seeded(7).call_id());
        assert_ne!(Tokens::seeded(7).tag(), Tokens::seeded(8).tag());
    }
}
