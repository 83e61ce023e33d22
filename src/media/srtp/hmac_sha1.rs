//! HMAC-SHA1 (RFC 2104) for many short messages under one key.
//!
//! ```text
//!   SHA1((key ^ opad) ‖ SHA1((key ^ ipad) ‖ message))
//!        ╰─ outer ─╯         ╰─ inner ─╯       each a block of its own, hashed when the key is set
//! ```
//!
//! What is left of a packet of speech is two blocks, and one around them. The `hmac` crate, which copies a hasher with its
//! buffer for each message, takes half as long again.

use sha1::compress;
use sha1::digest::generic_array::GenericArray;
use sha1::digest::typenum::U64;
use zeroize::Zeroizing;

/// Octets of a block of SHA-1, and of its digest.
const BLOCK: usize = 64;
const DIGEST: usize = 20;
/// What a hash begins with (FIPS 180-4 §5.3.1).
const INITIAL: [u32; 5] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// A key.
pub(super) struct HmacSha1 {
    inner: Zeroizing<[u32; 5]>,
    outer: Zeroizing<[u32; 5]>,
}

impl HmacSha1 {
    pub(super) fn new(key: &[u8; DIGEST]) -> HmacSha1 {
        HmacSha1 {
            inner: begun(key, 0x36),
            outer: begun(key, 0x5c),
        }
    }

    /// The code of a message: these octets, and four more after them.
    pub(super) fn sign(&self, message: &[u8], after: [u8; 4]) -> [u8; DIGEST] {
        let mut state = *self.inner;
        let (blocks, rest) = message.as_chunks::<BLOCK>();
        for block in blocks {
            hash(&mut state, block);
        }
        let mut last = [0; 2 * BLOCK];
        let end = rest.len() + after.len();
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()..end].copy_from_slice(&after);
        pad(&mut last, end, message.len() + after.len());
        let (blocks, _) = last.as_chunks::<BLOCK>();
        for block in blocks.iter().take(blocks_of(end)) {
            hash(&mut state, block);
        }
        self.wrap(&state)
    }

    /// The outer of the two hashes.
    fn wrap(&self, inner: &[u32; 5]) -> [u8; DIGEST] {
        let mut state = *self.outer;
        let mut block = [0; BLOCK];
        block[..DIGEST].copy_from_slice(&octets(inner));
        pad(&mut block, DIGEST, DIGEST);
        hash(&mut state, &block);
        octets(&state)
    }
}

/// The state after the block that is the key and a padding octet.
fn begun(key: &[u8; DIGEST], padding: u8) -> Zeroizing<[u32; 5]> {
    let mut block = Zeroizing::new([padding; BLOCK]);
    block.iter_mut().zip(key).for_each(|(to, key)| *to ^= key);
    let mut state = Zeroizing::new(INITIAL);
    hash(&mut state, &block);
    state
}

fn hash(state: &mut [u32; 5], block: &[u8; BLOCK]) {
    let block: &GenericArray<u8, U64> = block.into();
    compress(state, std::slice::from_ref(block));
}

/// Blocks that the end of a message takes with its padding: a one, zeroes, and its length in eight octets.
fn blocks_of(end: usize) -> usize {
    (end + 1 + 8).div_ceil(BLOCK)
}

/// Pads the end of a message of so many octets after the key's block (FIPS 180-4 §5.1.1).
fn pad(last: &mut [u8], end: usize, message: usize) {
    let bits = 8 * (BLOCK + message) as u64;
    let until = blocks_of(end) * BLOCK;
    last[end] = 0x80;
    last[until - 8..until].copy_from_slice(&bits.to_be_bytes());
}

fn octets(state: &[u32; 5]) -> [u8; DIGEST] {
    let mut octets = [0; DIGEST];
    let (words, _) = octets.as_chunks_mut();
    words
        .iter_mut()
        .zip(state)
        .for_each(|(to, word)| *to = word.to_be_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, Mac};
    use proptest::prelude::*;
    use sha1::Sha1;

    use super::*;

    #[test]
    fn codes_are_those_of_rfc_2202() {
        // Its first and third case, whose keys have 20 octets.
        let (greeting, after) = (b"Hi T", *b"here");
        assert_eq!(
            HmacSha1::new(&[0x0b; 20]).sign(greeting, after)[..4],
            [0xb6, 0x17, 0x31, 0x86]
        );
        let code = HmacSha1::new(&[0xaa; 20]).sign(&[0xdd; 46], [0xdd; 4]);
        let expected = [
            0x12, 0x5d, 0x73, 0x42, 0xb9, 0xac, 0x11, 0xcd, 0x91, 0xa3, 0x9a, 0xf4, 0x8a, 0xa1,
            0x7b, 0x4f, 0x63, 0xf1, 0x75, 0xd3,
        ];
        assert_eq!(code, expected);
    }

    proptest! {
        #[test]
        fn codes_are_those_of_another_implementation(
            key: [u8; 20], message in prop::collection::vec(any::<u8>(), 0..300), after: [u8; 4],
        ) {
            let mut other = Hmac::<Sha1>::new_from_slice(&key).unwrap();
            other.update(&message);
            other.update(&after);
            let expected: [u8; 20] = other.finalize().into_bytes().into();
            prop_assert_eq!(HmacSha1::new(&key).sign(&message, after), expected);
        }
    }
}
