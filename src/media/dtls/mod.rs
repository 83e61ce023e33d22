//! DTLS-SRTP (RFC 5763, RFC 5764): the handshake from which the SRTP keys of a call come.
//!
//! ```text
//!   Certificate ─▶ Context ─▶ Handshake::new(role, fingerprints of the peer's SDP)
//!                                 │
//!   datagram, now ─▶ handle ──▶   │   ──▶ Send(datagram)…
//!             now ─▶ tick ────▶   │   ──▶ Keys(SrtpKeys), once: authentic peer, common profile
//!        deadline ◀──────────     │   ──▶ Failed(Failure), once
//! ```
//!
//! A machine: no socket, no clock. One [`Certificate`] and one [`Context`] serve the whole process. Only datagrams from
//! the address that ICE nominated may be handed in: until the peer has proved itself, a forged alert or a malformed
//! handshake record ends the handshake, in this as in every other DTLS library. After that strangers cannot harm it.
//!
//! `handshake` is the machine; `certificate` and `fingerprint` are who we are and who the peer must be; `export` turns
//! what was agreed into keys; `library` is all that is not safe Rust.

mod certificate;
mod context;
mod export;
mod fingerprint;
mod handshake;
mod library;

pub use certificate::Certificate;
pub use context::{Context, Settings, SetupError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use handshake::{Action, Failure, Handshake, Role};

#[cfg(test)]
mod tests;
