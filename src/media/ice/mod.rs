//! ICE towards Meta (RFC 8445): which of the peer's addresses hears us, and whether it still wants to.
//!
//! ```text
//!     Checking ──a check is answered──▶ Nominating ──that one too──▶ Selected ──consent runs out──▶ Lost
//!        └────────────── nothing for too long ──────┴──▶ Failed
//!
//!     agent         what happens when: checks, the one nomination
//!     check         the pairs, and a request that is repeated until it is answered
//!     consent       whether the peer still wants to hear from us (RFC 7675)
//!     speaker       what we say: requests and answers, signed
//!     stun          how it is written (RFC 8489)
//!     candidate, credentials   what the SDP says of either side
//! ```
//!
//! We are a full agent that controls from its first check, because Meta is lite and always controlled. There is one
//! component, RTP with RTCP multiplexed, and one socket for each address family, so a pair is named by its remote
//! address. The first pair that proves itself is nominated, and nothing is nominated after it: Meta's relay must not be
//! moved in mid-call. Later answers on better pairs are not waited for, because a user who has answered is waiting.
//!
//! Written here instead of taken from a crate: towards a lite peer with host candidates a controlling agent is this
//! folder, most of which is STUN and text. The `is` crate, the best there is without sockets, moves to a better pair
//! after the nomination unless every other remote is taken from it, has its own fixed times, and brings gathering,
//! roles, TURN and TCP that a call with Meta has no use for.
//!
//! Who may change what: an answer counts only from where its request went and with the peer's signature; a request only
//! with ours. An address learnt from a signed request (RFC 8445 §7.3.1.3) is tried, and no more than four of them are.

mod agent;
mod candidate;
mod check;
mod consent;
mod credentials;
#[cfg(test)]
pub(crate) mod lite;
mod speaker;
mod stun;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub use agent::Agent;
pub use candidate::{Candidate, CandidateError, Kind};
pub use credentials::{Credentials, CredentialsError};

/// The times an agent keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between the first checks of two pairs, Ta (RFC 8445 §14.2). A dead IPv6 path costs the live IPv4 one this.
    pub pace: Duration,
    /// When an unanswered check is first repeated; the wait then doubles. RFC 8445 §14.3 has 500 ms for agents with many
    /// pairs. We have two, and what is lost here is the first word of a call.
    pub repeat: Duration,
    /// The longest wait between two repetitions: five packets a second, where the call that they are for will be fifty.
    pub repeat_most: Duration,
    /// When the agent gives up unless a pair is selected. Meta's client hangs up after 20 s without media.
    pub give_up: Duration,
    /// Mean time between two consent checks; each is drawn from 0.8 to 1.2 times this (RFC 7675 §5.1).
    pub consent: Duration,
    /// Time after the last answer at which consent is gone (RFC 7675 §5.1). With 20 % loss each
    /// way that ends a call once in half an hour; with 5 %, hardly ever.
    pub lost: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            pace: Duration::from_millis(20),
            repeat: Duration::from_millis(100),
            repeat_most: Duration::from_millis(200),
            give_up: Duration::from_secs(15),
            consent: Duration::from_secs(5),
            lost: Duration::from_secs(30),
        }
    }
}

/// What must be done now, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this from the socket of that family.
    Send {
        /// Where to.
        to: SocketAddr,
        /// One STUN message.
        datagram: Vec<u8>,
    },
    /// This is the peer's address for the rest of the call. Comes once, and only before `Lost`.
    Selected(SocketAddr),
    /// No address could be selected; the agent is done.
    Failed(Failure),
    /// The peer has not consented for [`Settings::lost`]: nothing may be sent to it any more. The agent is done.
    Lost,
}

/// Why no address could be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The peer names no address of a family that we have a socket of.
    #[error("ICE: the peer has no candidate of an address family that we listen on")]
    NoCandidate,
    /// Nothing came back from any candidate.
    #[error(
        "ICE: no candidate of the peer answered: is UDP to and from its addresses allowed on our media ports?"
    )]
    Unanswered,
    /// Answers came, signed with another password than the peer's SDP has.
    #[error("ICE: the peer answered without the signature that its SDP promises")]
    Unauthentic,
    /// The peer answered our checks with an error: 401 knows other credentials, 487 another role.
    #[error("ICE: the peer refused our checks with {0}")]
    Refused(u16),
    /// A pair proved itself, and fell silent before it was agreed on.
    #[error("ICE: the peer fell silent before it confirmed the nominated address")]
    NominationUnanswered,
}

/// What an agent has seen. Counts are messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Checks sent, repetitions and consent checks included.
    pub sent: u64,
    /// Answers with the right signature to checks of ours.
    pub answered: u64,
    /// Error responses to checks of ours.
    pub refused: u64,
    /// Requests of the peer that we answered, errors included.
    pub served: u64,
    /// Messages whose signature is not the peer's.
    pub unauthentic: u64,
    /// What was no STUN, or an answer to nothing that we wait for.
    pub ignored: u64,
}
