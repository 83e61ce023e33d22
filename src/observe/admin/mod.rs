//! The pages that a bridge serves to its own host, over HTTP: metrics, health, status, calls.
//!
//! ```text
//!   door ─ accept ─▶ http: one request a connection, bounded in size, time and number ─▶ pages ─▶ view
//! ```
//!
//! Nobody is authenticated, so it listens on loopback or at a Unix socket unless it is told otherwise.

mod door;
mod http;
mod pages;
mod settings;

pub use door::{Door, DoorError};
pub use http::Server;
pub use settings::{Listen, Settings};
