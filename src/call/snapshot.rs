//! What a bridge is doing at one moment, for whoever asks: a copy, so that nobody looks into the machine itself.

use std::time::Instant;

use super::event::Stats;
use super::summary::Codecs;
use super::watch::Began;
use crate::sdp::Keying;
use crate::sip::register::Standing;
use crate::sip::transport::Hop;

/// A bridge at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The moment.
    pub taken: Instant,
    /// The calls that are up, those that are being closed included, in the order in which they began.
    pub calls: Vec<LiveCall>,
    /// Every address of every PBX.
    pub pbxs: Vec<PbxAddress>,
    /// What we are registered at, or want to be.
    pub registrations: Vec<Registered>,
    /// Most calls at once.
    pub max_calls: usize,
    /// Transactions under way.
    pub transactions: usize,
    /// As many may be: beyond them requests are refused.
    pub max_transactions: usize,
    /// Requests refused so, by leg.
    pub turned_away: [u64; 2],
    /// Whether it takes no new calls any more.
    pub stopping: bool,
    /// What has been counted.
    pub stats: Stats,
}

/// A call that is up.
#[derive(Clone, Debug)]
pub struct LiveCall {
    /// Who called whom, and the names that it goes by.
    pub who: Began,
    /// How far it is.
    pub phase: Phase,
    /// When the INVITE was let in.
    pub began: Instant,
    /// When the callee answered.
    pub answered: Option<Instant>,
    /// How Meta's leg is keyed, once that is agreed.
    pub keying: Option<Keying>,
    /// What sound each leg is sent, once that is agreed.
    pub codecs: Codecs,
}

/// An address of a PBX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PbxAddress {
    /// Name of the PBX.
    pub pbx: String,
    /// The address.
    pub hop: Hop,
    /// Whether it is taken to be alive.
    pub is_up: bool,
}

/// A registration at a PBX that wants its trunks registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Name of the PBX.
    pub pbx: String,
    /// The registrar.
    pub registrar: Hop,
    /// How it stands.
    pub standing: Standing,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The callee has not answered.
    Ringing,
    /// Both sides have.
    Talking,
    /// It has ended, and what is left of it is being put away.
    Ending,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 3] = [Phase::Ringing, Phase::Talking, Phase::Ending];

    /// A word for it: it stays what it is.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Ringing => "ringing",
            Phase::Talking => "talking",
            Phase::Ending => "ending",
        }
    }
}
