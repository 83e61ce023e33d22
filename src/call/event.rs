//! What happens to a [`Bridge`](super::Bridge), what it wants done, and what it counts.

use std::sync::Arc;
use std::time::Instant;

use super::live::CallId;
use super::setup::Setup;
use super::watch::Note;
use crate::media::MediaEvent;
use crate::sip::message::{Malformed, Message};
use crate::sip::transaction::ClientId;
use crate::sip::transport::{Arrival, Flow, Target};

/// What happens to the bridge.
#[derive(Debug)]
pub enum Event {
    /// A message came in.
    Arrived(Arrival),
    /// A new call came in, and the bridge is too late to take it.
    Excess(Arrival),
    /// Something came in that is no message of use.
    Malformed {
        /// What is wrong, and what could be read.
        malformed: Box<Malformed>,
        /// Where it came in.
        flow: Flow,
    },
    /// A message with a receipt is on the wire.
    Sent(Receipt),
    /// A message with a receipt could not be sent.
    Unsent(Receipt, String),
    /// The media engine says something.
    Media(MediaEvent),
    /// New calls follow this set-up; those in progress keep their own.
    Reload(Arc<Setup>),
    /// No new calls; those in progress go on, but no longer than that.
    Drain {
        /// When they end.
        until: Instant,
    },
    /// No new calls; those in progress end.
    Stop,
    /// [`Bridge::deadline`](super::Bridge::deadline) has come.
    Deadline,
}

/// What must be done for the bridge.
#[derive(Debug)]
pub enum Action {
    /// Put a message on the wire.
    Send {
        /// The message.
        message: Message,
        /// Where to.
        target: Target,
        /// What to name when it is on the wire, or cannot be.
        receipt: Option<Receipt>,
    },
    /// Close a stream: its peer has no business here.
    Close(Flow),
    /// Tell whoever watches.
    Note(Note),
}

/// Names a message whose fate somebody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// The request of a client transaction.
    Client(ClientId),
    /// The 200 to a call's INVITE.
    Answer(CallId),
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls let in.
    pub calls: u64,
    /// INVITEs refused before they were calls.
    pub refused: u64,
    /// From Meta's allowed_sources, and no SIP message of use.
    pub malformed_meta: u64,
    /// The same from the allowed_sources of the PBXs.
    pub malformed_pbx: u64,
    /// Requests, and what cannot be read, to Meta's listener from addresses that are not in its allowed_sources.
    pub strangers_meta: u64,
    /// The same to the PBXs' listeners from addresses that are in none of their allowed_sources.
    pub strangers_pbx: u64,
}

impl Stats {
    /// What could not be read, of both sides.
    pub fn malformed(&self) -> u64 {
        self.malformed_meta + self.malformed_pbx
    }
}
