//! Random words and numbers for tags, branches, keys and ids of the far ends.

/// `digits` random hexadecimal digits.
pub fn hex(digits: usize) -> String {
    let mut word = String::with_capacity(digits + 16);
    while word.len() < digits {
        word.push_str(&format!("{:016x}", number()));
    }
    word.truncate(digits);
    word
}

/// 64 random bits.
///
/// # Panics
/// When the operating system has no randomness to give.
pub fn number() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

/// A random UUID, as it stands in an `a=msid`.
pub fn uuid() -> String {
    let digits = hex(32);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts
        .map(|part| digits.get(part).unwrap_or_default().to_owned())
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_length_asked_for_and_differ() {
        for digits in [0, 1, 16, 30, 32] {
            assert_eq!(hex(digits).len(), digits);
        }
        assert_ne!(hex(32), hex(32));
        let lengths: Vec<usize> = uuid().split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
}
