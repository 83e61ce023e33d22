//! What the service manager hears of us (sd_notify(3)): that the bridge is ready, reloads, drains, and lives.
//!
//! ```text
//!   cli/run.rs ── ready, reloading, draining ──▶ Voice ──▶ $NOTIFY_SOCKET
//!            └─ how a reload went ───────▶ Outcomes ──▶ $RUNTIME_DIRECTORY/reload ──▶ wabridge reload
//!   signalling, every media worker ──▶ Pulse ──▶ beats ──▲  WATCHDOG=1 only if all of them have turned
//! ```

mod outcome;
mod pulse;
mod voice;

pub use outcome::{Outcome, Outcomes};
pub use pulse::{Pulse, Stuck, beats, calls};
pub use voice::Voice;
