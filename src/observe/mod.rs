//! What a person sees of a running bridge: its log, its metrics, and the pages that it serves on its own host.
//!
//! ```text
//!   call::driver ─ Watch ─▶ call_log, metrics ◀─ MediaEvent::Measured ─ media workers
//!   admin (HTTP) ─▶ view ─▶ asks signalling, media and sockets what they are doing; metrics have the rest
//! ```

pub mod admin;
mod call_log;
pub mod log;
pub mod metrics;
pub mod records;
pub mod status;
pub mod trace;
mod view;

pub use call_log::CallLog;
pub use metrics::{CallMetrics, Metrics, SoundMetrics};
pub use records::{Records, Writer as RecordWriter};
pub use view::{Facts, Unanswered, View};
