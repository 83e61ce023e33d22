//! SIP (RFC 3261), from bytes to dialogs.
//!
//! ```text
//!   transport    datagrams and streams become whole messages (framing, message); each knows its Flow
//!   transaction  retransmission and matching (§17)
//!   dialog       early, confirmed, ended; CSeq, routes, ACK, BYE (§12–§15)
//! ```
//!
//! To this module an SDP body is bytes, and Meta and the PBX are just peers.

mod abilities;
pub mod build;
pub mod dialog;
pub mod digest;
pub mod framing;
pub mod grammar;
pub mod header;
pub mod message;
pub mod register;
pub mod seldom;
pub mod token;
pub mod transaction;
pub mod transport;
pub mod uri;

pub use abilities::Abilities;
pub use header::{NameAddr, Via};
pub use message::{Headers, Limits, Malformed, Message, Method, Request, Response};
pub use uri::{SipUri, Uri};

/// What we do, for Allow: the methods that a call needs. A re-INVITE is refused all the same (call machine).
pub const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS";
