//! Text with the number of a call in it, in many places: prepared once, filled in by copying.

use super::wire::DIGITS;

/// Stands for the number.
pub const NUMBER: &str = "NNNNNNNNNN";

/// A text to fill in.
pub struct Form {
    text: Vec<u8>,
    places: Vec<usize>,
}

impl Form {
    /// Of a text with [`NUMBER`] in it.
    pub fn of(text: &str) -> Form {
        let places = text.match_indices(NUMBER).map(|(at, _)| at).collect();
        let text = text.as_bytes().to_vec();
        Form { text, places }
    }

    /// Adds it, with this number.
    pub fn fill(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.text);
        let digits = digits(number);
        for place in &self.places {
            let at = start + place;
            out[at..at + DIGITS].copy_from_slice(&digits);
        }
    }
}

/// The number, in as many digits as there is room for.
fn digits(mut number: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}
