//! Digits in the sound itself: the tone pairs of a telephone's keys (DTMF, ITU-T Q.23), found and made.
//!
//! ```text
//!           1209  1336  1477  1633 Hz
//!     697     1     2     3     A
//!     770     4     5     6     B
//!     852     7     8     9     C
//!     941     *     0     #     D
//! ```
//!
//! Keys are meant by their event codes, as in RFC 4733 §3.2: 0–9, then `*` 10, `#` 11, A–D 12–15. They are secrets as often
//! as not, which is why nothing here can be printed.

mod detector;
mod generator;

pub use detector::{Detector, Found};
pub use generator::Generator;

/// The lower tones in Hz, one for each row of keys.
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];

/// The upper tones in Hz, one for each column.
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// The event codes in each row.
const KEYS: [[u8; 4]; 4] = [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];

/// The level of a tone at full scale in dBm0: 3.14 in A-law, 3.17 in µ-law (ITU-T G.711, table 5).
const FULL_SCALE: f32 = 3.15;

/// The amplitude of a tone at a level in dBm0.
fn amplitude(dbm0: f32) -> f32 {
    f32::from(i16::MAX) * 10f32.powf((dbm0 - FULL_SCALE) / 20.0)
}

#[cfg(test)]
pub(in crate::media) mod tests;
