//! Who may call, and whom a number leads to.
//!
//! ```text
//!   sources   may this address send us requests at all?  admitted, answered 403, or met with silence
//!   route     called number ─▶ PBX and extension;  PBX and what it claims ─▶ the business number that calls
//!   rules     a user's call that goes elsewhere than its number says
//!   ways      the addresses of a PBX, in the order in which a call tries them;  health: which of them answer
//!   keying    what the number's media is at Meta: how it gets its keys, and which codecs there are beside Opus
//!   reinvite  what a PBX is told that wants to change a call that is up
//! ```
//!
//! Nothing here believes a header that the other side could have written as it liked: a source address is checked
//! before anything else, and a PBX can call only as a number that was given to it.

pub mod health;
pub mod keying;
pub mod reinvite;
pub mod route;
pub mod rules;
pub mod sources;
pub mod ways;

pub use health::Health;
pub use keying::{AdditionalCodec, KeyExchange, Keying};
pub use reinvite::Reinvite;
pub use route::{Number, Numbers};
pub use sources::Sources;
pub use ways::Way;
