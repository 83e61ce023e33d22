//! Calls across the bridge.

pub mod settings;

pub use settings::Settings;
