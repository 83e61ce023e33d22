//! Who watches the calls: log, metrics, records and traces hear of everything through one trait, and change nothing.
//!
//! ```text
//!   driver ── what came in, what goes out, notes of the bridge ──▶ Watch, Watch, Watch …
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::live::CallId;
use super::overload::Turn;
use super::refused::{Because, Refused};
use super::summary::{Direction, Summary};
use crate::leg::Leg;
use crate::media::{Codec, Measured, Recording, SessionId};
use crate::number::{E164, User};
use crate::peer::meta;
use crate::sdp::Keying;
use crate::sip::message::{Common, Malformed, Message, Request};
use crate::sip::transport::{Arrival, Flow, Target};

/// When something happened, by both clocks: durations are told by `now`, and people by `wall`.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The clock that never jumps.
    pub now: Instant,
    /// The clock that people read.
    pub wall: SystemTime,
}

impl At {
    /// What the wall's clock says now of an earlier instant.
    pub fn wall_of(&self, earlier: Instant) -> SystemTime {
        let ago = self.now.saturating_duration_since(earlier);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

/// Somebody who watches. All of it is called by the task that runs the signalling of every call: it must neither wait nor
/// panic.
pub trait Watch: Send {
    /// A message came in.
    fn received(&mut self, _arrival: &Arrival, _at: At) {}

    /// Something came in that is no message of use.
    fn unreadable(&mut self, _malformed: &Malformed, _flow: Flow, _at: At) {}

    /// A message goes out. `octets` is what it looks like on the wire.
    fn sent(&mut self, _message: &Message, _octets: &[u8], _target: &Target, _at: At) {}

    /// A session ends, and its media was recorded because somebody who watches asked for that.
    fn recorded(&mut self, _session: SessionId, _recording: &Arc<Recording>) {}

    /// The bridge has taken something in and done all that it asked for; it took so long.
    fn turned(&mut self, _took: Duration) {}

    /// New calls are refused from now on because the bridge is late, or not any more.
    fn overloaded(&mut self, _turn: Turn) {}

    /// The bridge notes something about a call.
    fn noted(&mut self, _note: &Note, _at: At) {}
}

/// What the bridge notes about calls.
#[derive(Clone, Debug)]
pub enum Note {
    /// An INVITE was let in and is a call now.
    Began(Box<Began>),
    /// Something happened in a call.
    Mark {
        /// The call.
        call: CallId,
        /// What happened.
        mark: Mark,
    },
    /// A call is over and left nothing behind.
    Ended(Box<Summary>),
    /// An INVITE was refused before it was a call. Challenges (401, 407) are none of these.
    Refused(Box<Rejected>),
}

/// A call as it begins.
#[derive(Clone, Debug)]
pub struct Began {
    /// Names the call for as long as the process lives.
    pub call: CallId,
    /// Its media session.
    pub session: SessionId,
    /// Who called whom.
    pub direction: Direction,
    /// The business number.
    pub number: E164,
    /// The WhatsApp user; `None` where it was withheld.
    pub user: Option<User>,
    /// Name of the PBX.
    pub pbx: String,
    /// Meta's name for the call, where it is known already.
    pub wacid: Option<String>,
    /// Call-ID of the caller's leg.
    pub caller_call_id: String,
    /// Call-ID of the callee's leg.
    pub callee_call_id: String,
}

impl Began {
    /// The Call-ID of one leg.
    pub fn call_id_of(&self, leg: Leg) -> &str {
        self.direction
            .of(leg, &self.caller_call_id, &self.callee_call_id)
    }
}

/// What happens in a call, besides its messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// The callee's phone rings, or something like it: this provisional status went to the caller.
    Progress(u16),
    /// The PBX did not take the call at one address, and it goes to the next one.
    Redirected {
        /// Why not there.
        why: String,
        /// Name of the PBX that is called now.
        pbx: String,
        /// At which address.
        address: String,
        /// Call-ID of the callee's leg from now on.
        call_id: String,
    },
    /// The callee answered.
    Answered,
    /// The PBX wants somebody else to have its end of the call, and that is called.
    Transferring {
        /// Call-ID of the leg that this would be.
        call_id: String,
    },
    /// That has answered, and is the PBX's leg from now on.
    Transferred,
    /// The PBX's 200 has its ACK, which waited for the keys of Meta's leg; how long.
    AckWaited(Duration),
    /// SDP settled one leg's media.
    Agreed {
        /// The leg.
        leg: Leg,
        /// What sound it is sent.
        codec: Option<Codec>,
        /// How its packets are protected.
        keying: Keying,
        /// Where its RTP is sent to, unless ICE finds that out.
        remote: SocketAddr,
    },
    /// A leg may be sent to from now on.
    Started(Leg),
    /// A leg's DTLS handshake is done.
    Keyed(Leg),
    /// No media can be sent to a leg; why.
    MediaFailed(Leg, String),
    /// Nothing comes from a leg any more.
    Silent(Leg),
    /// One direction of a leg sounds bad from now on, or good again: [`Measured::turn`] is there.
    Turned {
        /// The leg.
        leg: Leg,
        /// The interval with which it turned.
        measured: Measured,
    },
}

/// An INVITE that did not become a call.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The side that it came from.
    pub leg: Leg,
    /// Where it came from.
    pub source: SocketAddr,
    /// Name of the PBX that sent it, if it was one.
    pub pbx: Option<String>,
    /// Its Call-ID.
    pub call_id: String,
    /// User part of its Request-URI: who was called.
    pub called: String,
    /// User part of its From: who called.
    pub calling: String,
    /// Meta's name for the call, where it gave one.
    pub wacid: Option<String>,
    /// What it was told.
    pub status: u16,
    /// The kind of reason.
    pub because: Because,
    /// The reason in words.
    pub why: String,
}

impl Rejected {
    pub(super) fn new(
        invite: &Request,
        flow: Flow,
        pbx: Option<&str>,
        refused: &Refused,
    ) -> Rejected {
        let from = invite.from();
        let calling = from.as_ref().and_then(|from| from.uri.user());
        Rejected {
            leg: flow.leg,
            source: flow.remote,
            pbx: pbx.map(str::to_owned),
            call_id: invite.call_id().to_owned(),
            called: invite.uri.user().unwrap_or_default().to_owned(),
            calling: calling.unwrap_or_default().to_owned(),
            wacid: meta::wacid(&invite.headers).map(str::to_owned),
            status: refused.status,
            because: refused.because,
            why: refused.why.clone(),
        }
    }
}
