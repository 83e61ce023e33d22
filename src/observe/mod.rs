//! What a person sees of a running bridge.

pub mod log;
