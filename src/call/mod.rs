//! Calls across the bridge.
//!
//! ```text
//!   user-initiated                                   business-initiated
//!   Meta            bridge             PBX           PBX             bridge            Meta
//!    │ INVITE ─────▶ │                  │             │ INVITE ─────▶ │                  │
//!    │ ◀──────── 407 │                  │             │ ◀──────── 100 │ INVITE ────────▶ │
//!    │ ACK, INVITE ▶ │                  │             │               │ ◀──────────── 407 │
//!    │ ◀──────── 100 │ INVITE ────────▶ │             │               │ ACK, INVITE ───▶ │
//!    │ ◀──────── 180 │ ◀──────────── 180 │             │ ◀──────── 180 │ ◀──────────── 180 │
//!    │               │ ◀──────────── 200 │             │               │ ◀──────────── 200 │
//!    │ ◀──────── 200 │ ACK ───────────▶ │             │ ◀──────── 200 │ ACK, media ────▶ │
//!    │ ◀────── media │                  │             │ ACK ────────▶ │                  │
//!    │ ACK ────────▶ │                  │             │ BYE ────────▶ │ BYE ───────────▶ │
//!    │ BYE ────────▶ │ BYE ───────────▶ │             │ ◀──────── 200 │ ◀──────────── 200 │
//! ```
//!
//! Where DTLS keys Meta's leg, "media" is ICE and the handshake first, which may end the call; and our ACK waits for it where
//! the PBX asks for that.
//!
//! Where a PBX may change a call that is up (`reinvite = "local"`), re-INVITE, UPDATE, REFER and session timers stay between it
//! and the bridge; to Meta the call is the same from its answer to its BYE.
//!
//! [`Bridge`] is the whole of signalling as one machine: transactions, dialogs, calls, digest and admission, without
//! a socket, a clock or a task. [`driver`] runs it.

mod admission;
mod arrival;
mod authentication;
mod bridge;
mod closing;
pub mod driver;
mod errands;
mod event;
pub mod intake;
mod live;
mod machine;
mod outgoing;
pub mod overload;
mod perform;
mod quality;
mod refused;
mod registrations;
pub mod settings;
mod setup;
mod snapshot;
mod summary;
mod upkeep;
pub mod watch;

pub use bridge::Bridge;
pub use errands::Place;
pub use event::{Action, Event, Receipt, Stats};
pub use live::CallId;
pub use quality::why_bad;
pub use refused::Because;

pub use settings::Settings;
pub use setup::Setup;
pub use snapshot::{LiveCall, PbxAddress, Phase, Registered, Snapshot};
pub use summary::{Codecs, Direction, EndedBy, Summary, Told, Transfers};
pub use watch::Watch;
