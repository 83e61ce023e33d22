//! What one packet says of an event (RFC 4733 §2.3).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   |     event     |E|R| volume    |          duration             |
//! ```

/// The end bit, and what is left of its octet for the volume.
const END: u8 = 1 << 7;
/// Volume of what we write: −10 dBm0.
const VOLUME: u8 = 10;

/// One event as a packet has it. What follows it in the payload, further events, is for tones that are no digits
/// (§2.5.1.5) and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) code: u8,
    /// Whether the event is over.
    pub(super) end: bool,
    /// How long it has lasted, in units of its clock.
    pub(super) duration: u16,
}

impl Report {
    /// `None` where the payload is too short for an event.
    pub(super) fn parse(payload: &[u8]) -> Option<Report> {
        let [code, flags, high, low] = *payload.first_chunk()?;
        Some(Report {
            code,
            end: flags & END != 0,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The payload that says so.
    pub(super) fn payload(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        let end = if self.end { END } else { 0 };
        [self.code, end | VOLUME, high, low]
    }
}
