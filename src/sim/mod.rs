//! The two far ends of a call, for the demo, the tests and anybody without a Meta account.
//!
//! ```text
//!   Phone ── what it says:  Recording (a tone), Keypad (digits), or an echo ──▶ RTP, RTCP
//!         ◀─ what it hears: Ear: decodes, looks for the other's tone, collects digits
//! ```
//!
//! Nothing here knows the bridge above `sip`, `sdp` and `media`: a simulator that shared our reading of Meta's
//! rules would share our mistakes.

pub mod digits;
pub mod ear;
pub mod phone;
pub mod tone;
