//! What a person sees of a running bridge.

mod call_log;
pub mod log;
pub mod trace;

pub use call_log::CallLog;
