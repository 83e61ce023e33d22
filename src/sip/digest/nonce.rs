//! Nonces that prove themselves, so that none has to be remembered before it was answered.
//!
//! ```text
//!   nonce = when ‖ serial ‖ HMAC-SHA-256(key, when ‖ serial ‖ Call-ID ‖ realm)
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::hex;

/// When a nonce was issued, and which one it was in all: no two are alike, and later ones compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    millis: u64,
    serial: u64,
}

/// Makes nonces and knows its own.
#[derive(Debug)]
pub(super) struct Mint {
    key: Key,
    started: Instant,
    issued: u64,
}

impl Mint {
    pub(super) fn new(key: [u8; 32], started: Instant) -> Self {
        Mint {
            key: Key(key),
            started,
            issued: 0,
        }
    }

    /// A nonce that is good for this call and realm only.
    pub(super) fn issue(&mut self, call_id: &str, realm: &str, now: Instant) -> String {
        let stamp = Stamp {
            millis: self.millis(now),
            serial: self.issued,
        };
        self.issued = self.issued.wrapping_add(1);
        self.write(stamp, call_id, realm)
    }

    /// The stamp of a nonce; `None` unless it is ours and was made for this call and realm.
    pub(super) fn read(&self, nonce: &str, call_id: &str, realm: &str) -> Option<Stamp> {
        let field = |range| u64::from_str_radix(nonce.get(range)?, 16).ok();
        let stamp = Stamp {
            millis: field(0..16)?,
            serial: field(16..32)?,
        };
        is_same(&self.write(stamp, call_id, realm), nonce).then_some(stamp)
    }

    /// How long ago a nonce was issued.
    pub(super) fn age(&self, stamp: Stamp, now: Instant) -> Duration {
        Duration::from_millis(self.millis(now).saturating_sub(stamp.millis))
    }

    /// An `opaque` for this call. Clients echo it, as Meta's do; the nonce alone proves all that has to be.
    pub(super) fn opaque(&self, call_id: &str) -> String {
        hex(&self.key.sign(&[b"opaque", call_id.as_bytes()])[..16])
    }

    fn write(&self, Stamp { millis, serial }: Stamp, call_id: &str, realm: &str) -> String {
        let (when, which) = (millis.to_be_bytes(), serial.to_be_bytes());
        let parts: [&[u8]; 5] = [
            b"nonce",
            &when,
            &which,
            call_id.as_bytes(),
            realm.as_bytes(),
        ];
        format!(
            "{millis:016x}{serial:016x}{}",
            hex(&self.key.sign(&parts)[..16])
        )
    }

    fn millis(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.started).as_millis();
        u64::try_from(age).unwrap_or(u64::MAX)
    }
}

/// Compares without telling by its duration where two texts begin to differ.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    let pairs = a.bytes().zip(b.bytes());
    let differ = pairs.fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
    a.len() == b.len() && differ == 0
}

/// Signs nonces.
struct Key([u8; 32]);

impl Key {
    /// HMAC-SHA-256 (RFC 2104) over the parts, each with its length in front so that none can flow into the next.
    fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.hmac(|hash| {
            for part in parts {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        })
    }

    fn hmac(&self, feed: impl FnOnce(&mut Sha256)) -> [u8; 32] {
        let pad = |with: u8| {
            let mut block = [with; 64];
            block.iter_mut().zip(self.0).for_each(|(b, k)| *b ^= k);
            block
        };
        let mut inner = Sha256::new_with_prefix(pad(0x36));
        feed(&mut inner);
        Sha256::new_with_prefix(pad(0x5c))
            .chain_update(inner.finalize())
            .finalize()
            .into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_read_back_for_its_own_call_and_realm_only() {
        let now = Instant::now();
        let mut mint = Mint::new([7; 32], now);
        let later = now + Duration::from_millis(2500);
        let nonce = mint.issue("call", "realm", later);
        let stamp = mint.read(&nonce, "call", "realm").unwrap();
        assert_eq!(
            mint.age(stamp, later + Duration::from_secs(1)),
            Duration::from_secs(1)
        );
        assert_eq!(mint.read(&nonce, "callr", "ealm"), None);
        assert_eq!(mint.read(&nonce, "call", "other"), None);
        assert_eq!(Mint::new([8; 32], now).read(&nonce, "call", "realm"), None);
    }

    #[test]
    fn no_two_nonces_are_alike_and_later_ones_compare_greater() {
        let now = Instant::now();
        let mut mint = Mint::new([7; 32], now);
        let mut next = |now| {
            let nonce = mint.issue("call", "realm", now);
            mint.read(&nonce, "call", "realm").unwrap()
        };
        let (first, second) = (next(now), next(now));
        let third = next(now + Duration::from_secs(1));
        assert!(first < second && second < third);
    }

    #[test]
    fn texts_compare_by_all_of_their_length() {
        assert!(is_same("abc", "abc"));
        assert!(!is_same("abc", "abd") && !is_same("abc", "ab") && !is_same("", "a"));
    }

    #[test]
    fn the_key_signs_as_rfc_4231_says() {
        let mut key = [0; 32];
        key[..20].fill(0x0b); // test case 1; HMAC fills a short key up with zeros
        let signed = Key(key).hmac(|hash| hash.update(b"Hi There"));
        assert_eq!(
            hex(&signed),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(format!("{:?}", Key(key)), "Key(…)");
    }
}
