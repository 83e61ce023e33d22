//! What went over the wire, call by call, kept for whoever asks later.
//!
//! ```text
//!   Watch ─▶ Keep ─────────────▶ Trace ─▶ shown ─────▶ ladder | full messages | pcapng | JSON
//!            bounded; what is             numbers
//!            secret is hidden             masked
//! ```
//!
//! Media is recorded by the media plane, where `Keep` asks for it, and joins the capture.

mod in_clear;
mod keep;
mod ladder;
mod mask;
mod media;
mod octets;
mod pcap;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;
mod words;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::call::watch::{At, Note, Watch};
use crate::leg::Leg;
use crate::media::{Handle, Recording, SessionId};
use crate::sip::message::{Malformed, Message};
use crate::sip::transport::{Arrival, Flow, Protocol, Target};

use keep::Keep;
pub use keep::{Tape, Unfound};
pub use ladder::{Ladder, list};
pub use media::{Media, MediaPacket, NoMedia};
pub use octets::Octets;
pub use pcap::{PcapError, write as write_pcap};
pub use settings::Settings;

/// Everything that is kept of one call, or of what did not become one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// What it was.
    #[serde(flatten)]
    pub head: Head,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// How many more events there were, in the middle, that found no room.
    pub left_out: u64,
}

/// What a list shows of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// By which it is asked for: of a call what the log calls it, of others with a letter in front.
    pub id: String,
    /// What became of it.
    pub kind: Kind,
    /// When the first message came, in nanoseconds since 1970.
    pub began_ns: u64,
    /// `user-initiated` or `business-initiated`.
    pub direction: Option<String>,
    /// The business number.
    pub number: Option<String>,
    /// The WhatsApp user.
    pub user: Option<String>,
    /// Name of the PBX.
    pub pbx: Option<String>,
    /// Meta's name for the call.
    pub wacid: Option<String>,
    /// Call-ID of Meta's leg.
    pub meta_call_id: Option<String>,
    /// Call-ID of the PBX's leg.
    pub pbx_call_id: Option<String>,
    /// How it ended; not yet where there is nothing.
    pub end: Option<End>,
}

/// What became of what was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A call.
    Call,
    /// An INVITE that the bridge refused.
    Refused,
    /// An INVITE that nothing became of, such as one from an address that is not allowed, or that was challenged and did
    /// not come again; or something that could not be read.
    Stray,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// When, counted from the beginning.
    pub after_ns: u64,
    /// From answer to end, in milliseconds; `None` where nobody answered.
    pub talked_ms: Option<u64>,
    /// What the caller was told.
    pub status: u16,
    /// The side that ended it, or the bridge.
    pub ended_by: String,
    /// Why, in words.
    pub why: String,
    /// What media Meta's leg carried, in words.
    pub meta: Option<String>,
    /// What media the leg of the PBX carried, in words.
    pub pbx: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, counted from the beginning.
    pub after_ns: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum What {
    /// A message came or went.
    Message(Packet),
    /// Something else that the bridge noted.
    Mark {
        /// The leg that it is about, if it is about one.
        leg: Option<Side>,
        /// What it says.
        words: String,
    },
}

/// A message, as it was on the wire but for what is secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packet {
    /// Whose leg.
    pub leg: Side,
    /// Whether the bridge sent it.
    pub sent: bool,
    /// What carried it.
    pub protocol: Protocol,
    /// Our address; not known of what went to a next hop.
    pub local: Option<SocketAddr>,
    /// The peer's address; not known of what went to a name.
    pub remote: Option<SocketAddr>,
    /// The next hop that a request went to.
    pub hop: Option<String>,
    /// Why it could not be read, if it could not.
    pub fault: Option<String>,
    /// How long it was; `octets` has the first of it where it was too long to keep.
    pub length: usize,
    /// What it was.
    pub octets: Octets,
}

/// A leg, for programs to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Towards Meta.
    Meta,
    /// Towards the PBX.
    Pbx,
}

impl From<Leg> for Side {
    fn from(leg: Leg) -> Side {
        match leg {
            Leg::Meta => Side::Meta,
            Leg::Pbx => Side::Pbx,
        }
    }
}

impl Side {
    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Meta => "Meta",
            Side::Pbx => "PBX",
        }
    }
}

impl Event {
    /// When, counted from the beginning.
    pub fn after(&self) -> Duration {
        Duration::from_nanos(self.after_ns)
    }
}

impl Trace {
    /// For the eyes of others: what names people is masked. The same text has the same mask in all of it.
    pub fn masked(&self) -> Trace {
        mask::trace(self)
    }

    /// The messages in it.
    pub fn packets(&self) -> impl Iterator<Item = (&Event, &Packet)> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Message(packet) => Some((event, packet)),
            What::Mark { .. } => None,
        })
    }
}

impl Head {
    /// The same for a list: what names people is masked.
    pub fn masked(&self) -> Head {
        mask::head(self)
    }

    /// Whether it failed: it was refused, was not answered, or the bridge had to end it.
    pub fn failed(&self) -> bool {
        match &self.end {
            Some(end) => end.status >= 300 || end.ended_by == "bridge",
            None => self.kind != Kind::Call,
        }
    }
}

/// The traces of a running bridge. Clones are handles to the same ones.
#[derive(Clone, Debug)]
pub struct Traces {
    keep: Arc<Mutex<Keep>>,
    /// Who records media.
    plane: Option<Handle>,
}

impl Traces {
    /// Nothing yet.
    pub fn new(settings: Settings) -> Traces {
        Traces {
            keep: Arc::new(Mutex::new(Keep::new(settings))),
            plane: None,
        }
    }

    /// The same, with media where the settings want it.
    #[must_use]
    pub fn recorded_by(self, plane: Handle) -> Traces {
        Traces {
            plane: Some(plane),
            ..self
        }
    }

    /// From now on by these settings.
    pub fn configure(&self, settings: Settings) {
        self.doing(|keep| keep.configure(settings));
    }

    /// Whether the settings allow numbers to be shown in full.
    pub fn may_reveal(&self) -> bool {
        self.keep().may_reveal()
    }

    /// All that is kept, oldest first. In full only if `reveal` asks for it and the settings allow it.
    pub fn list(&self, reveal: bool) -> Vec<Head> {
        let (heads, plain) = {
            let keep = self.keep();
            (keep.heads(), reveal && keep.may_reveal())
        };
        match plain {
            true => heads,
            false => heads.iter().map(Head::masked).collect(),
        }
    }

    /// The one that is meant: by id, by Call-ID or WACID or an unambiguous part of one, or `last`. In full only if `reveal`
    /// asks for it and the settings allow it.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one.
    pub fn find(&self, name: &str, reveal: bool) -> Result<Trace, Unfound> {
        let (trace, plain) = {
            let keep = self.keep();
            (keep.find(name)?, reveal && keep.may_reveal())
        };
        Ok(match plain {
            true => trace,
            false => trace.masked(),
        })
    }

    /// Where the media of the one that is meant is.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn tape(&self, name: &str) -> Result<Tape, NoMedia> {
        self.keep().tape(name)
    }

    /// Lets something happen, and asks the media plane for what comes of it.
    fn doing(&self, what: impl FnOnce(&mut Keep)) {
        let asks = {
            let mut keep = self.keep();
            what(&mut keep);
            keep.take_asks()
        };
        if let Some(plane) = &self.plane {
            for ask in asks {
                plane.record(ask.session, ask.length);
            }
        }
    }

    /// Held for microseconds, by whoever reads as by the signalling: nothing is printed or masked under it. Only a name by
    /// its hash (`~…`) takes milliseconds, where thousands are kept.
    fn keep(&self) -> MutexGuard<'_, Keep> {
        self.keep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Traces {
    fn received(&mut self, arrival: &Arrival, at: At) {
        self.doing(|keep| keep.received(arrival, at));
    }

    fn unreadable(&mut self, malformed: &Malformed, flow: Flow, at: At) {
        self.doing(|keep| keep.unreadable(malformed, flow, at));
    }

    fn sent(&mut self, message: &Message, octets: &[u8], target: &Target, at: At) {
        self.doing(|keep| keep.sent(message, octets, target, at));
    }

    fn noted(&mut self, note: &Note, at: At) {
        self.doing(|keep| keep.noted(note, at));
    }

    fn recorded(&mut self, session: SessionId, recording: &Arc<Recording>) {
        self.keep().recorded(session, recording);
    }
}
