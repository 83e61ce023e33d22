//! What is left of a call when it is over.

use std::time::{Duration, Instant};

use super::live::CallId;
use crate::leg::Leg;
use crate::media::{Codec, SessionStats};
use crate::number::{E164, User};
use crate::sdp::Keying;

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A WhatsApp user called a business number.
    UserInitiated,
    /// A PBX called a WhatsApp user.
    BusinessInitiated,
}

impl Direction {
    /// Both of them.
    pub const BOTH: [Direction; 2] = [Direction::UserInitiated, Direction::BusinessInitiated];

    /// A word for it, for records and metrics: it stays what it is.
    pub fn word(self) -> &'static str {
        match self {
            Direction::UserInitiated => "user-initiated",
            Direction::BusinessInitiated => "business-initiated",
        }
    }

    /// The leg that the INVITE came from.
    pub fn caller(self) -> Leg {
        match self {
            Direction::UserInitiated => Leg::Meta,
            Direction::BusinessInitiated => Leg::Pbx,
        }
    }

    /// The leg that is called.
    pub fn callee(self) -> Leg {
        self.caller().other()
    }

    /// What belongs to a leg, of what the caller and the callee have.
    pub fn of<T>(self, leg: Leg, caller: T, callee: T) -> T {
        match leg == self.caller() {
            true => caller,
            false => callee,
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Who brought a call to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// A leg: it hung up, cancelled or refused.
    Leg(Leg),
    /// The bridge: a timer, a fault or its own stop.
    Bridge,
}

impl std::fmt::Display for EndedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EndedBy::Leg(leg) => leg.word(),
            EndedBy::Bridge => "bridge",
        })
    }
}

/// What Meta said of a call, in whichever of its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its name for the call.
    pub wacid: Option<String>,
    /// How long it says the call lasted.
    pub duration: Option<Duration>,
    /// Why it refused or ended the call, in its own words.
    pub words: Option<String>,
}

/// What sound each leg was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codecs {
    /// Meta.
    pub meta: Option<Codec>,
    /// The PBX.
    pub pbx: Option<Codec>,
}

/// What became of the transfers that the PBX asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// The call has another leg for them.
    pub done: u32,
    /// Who was named did not take the call.
    pub failed: u32,
    /// Call-ID of the leg that the PBX had last; `None` where it is its first.
    pub call_id: Option<String>,
}

/// A finished call.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Names the call for as long as the process lives.
    pub call: CallId,
    /// Who called whom.
    pub direction: Direction,
    /// The business number.
    pub number: E164,
    /// The WhatsApp user; `None` where it was withheld.
    pub user: Option<User>,
    /// Name of the PBX.
    pub pbx: String,
    /// What Meta said of it.
    pub told: Told,
    /// Call-ID of the caller's leg, which Meta makes of the WACID.
    pub caller_call_id: String,
    /// Call-ID of the callee's leg.
    pub callee_call_id: String,
    /// When the INVITE was let in.
    pub began: Instant,
    /// When the caller was first told that the callee's phone rings.
    pub rang: Option<Instant>,
    /// When the callee answered.
    pub answered: Option<Instant>,
    /// How long our ACK to the PBX waited for the keys of Meta's leg, if it did.
    pub ack_waited: Option<Duration>,
    /// When the end began.
    pub ended: Instant,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// What the caller was told: 200, or why not.
    pub status: u16,
    /// The callee's own final status; `None` if it gave none.
    pub callee_status: Option<u16>,
    /// Why it ended, in words.
    pub why: String,
    /// How Meta's leg was keyed; `None` where nothing was agreed.
    pub keying: Option<Keying>,
    /// What sound each leg was sent, as last agreed.
    pub codecs: Codecs,
    /// Whether the PBX has transferred it.
    pub transfers: Transfers,
    /// What its media carried.
    pub media: SessionStats,
}

impl Summary {
    /// The Call-ID of one leg.
    pub fn call_id_of(&self, leg: Leg) -> &str {
        self.direction
            .of(leg, &self.caller_call_id, &self.callee_call_id)
    }

    /// From answer to end.
    pub fn talked(&self) -> Duration {
        self.answered.map_or(Duration::ZERO, |at| {
            self.ended.saturating_duration_since(at)
        })
    }
}
