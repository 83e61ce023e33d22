//! What a person sees of a running bridge.

mod call_log;
pub mod log;
pub mod records;
pub mod trace;

pub use call_log::CallLog;
pub use records::{Records, Writer as RecordWriter};
