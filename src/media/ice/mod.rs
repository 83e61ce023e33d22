//! ICE towards Meta (RFC 8445): which of the peer's addresses hears us, and whether it still wants to.
//!
//! `candidate` and `credentials` are what the SDP says of either side.

mod candidate;
mod credentials;

pub use candidate::{Candidate, CandidateError, Kind};
pub use credentials::{Credentials, CredentialsError};
