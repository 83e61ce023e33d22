//! The media of a call, as it is asked for and told.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

use super::{Octets, Side, Unfound};
use crate::media::{Crossed, Recording};

/// What crossed the wires of both legs, in clear, in the order of its times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// RTP and RTCP.
    pub packets: Vec<MediaPacket>,
}

/// RTP or RTCP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MediaPacket {
    /// When, counted from the beginning of the trace.
    pub after_ns: u64,
    /// Whose leg.
    pub leg: Side,
    /// Whether the bridge sent it.
    pub sent: bool,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// What it was before it was sealed, or is after it was opened.
    pub octets: Octets,
}

/// Why there is no media to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMedia {
    /// There is no such call.
    #[error(transparent)]
    Call(#[from] Unfound),
    /// None is recorded at all.
    #[error(
        "the bridge records no media: set media = 60 under [trace] (trace.media, seconds of each call), reload it, and ask \
         for a call that begins after that"
    )]
    Off,
    /// None of this one.
    #[error(
        "no media of this call is kept: trace.media was not set when it began, or newer calls took the room \
         (trace.media_memory), or it carried none"
    )]
    None,
    /// Its session goes, and has not handed it over yet.
    #[error("the call is just ending: ask again")]
    Ending,
}

impl From<&Recording> for Media {
    fn from(recording: &Recording) -> Media {
        let mut packets: Vec<_> = recording.packets().map(MediaPacket::from).collect();
        // What waited for its turn before it was read is written down later than it came.
        packets.sort_by_key(|packet| packet.after_ns);
        Media { packets }
    }
}

impl From<Crossed<'_>> for MediaPacket {
    fn from(crossed: Crossed<'_>) -> MediaPacket {
        MediaPacket {
            after_ns: u64::try_from(crossed.after.as_nanos()).unwrap_or(u64::MAX),
            leg: crossed.leg.into(),
            sent: crossed.sent,
            local: crossed.local,
            remote: crossed.remote,
            octets: crossed.octets.to_vec().into(),
        }
    }
}
