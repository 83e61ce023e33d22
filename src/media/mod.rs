//! The packet path.
//!
//! ```text
//!   Meta's relay                                                            PBX
//!   SRTP, RTCP multiplexed                                RTP and RTCP, or SRTP
//!        │                                                                  │
//!   socket ▶ demux ▶ unprotect ▶ ┌─────────── session ───────────┐ ◀ unprotect ◀ demux ◀ sockets
//!   socket ◀──────── protect  ◀  │ one SSRC, one sequence, one   │ ▶ protect ─────────▶ sockets
//!                                │ clock towards each side       │
//!                                └───────────────────────────────┘
//! ```
//!
//! Signalling opens a session, tells it what was agreed for each side ([`SideSpec`]) and when it may speak
//! ([`Command::Start`]); the session answers with [`MediaEvent`]s. A session lives on one worker thread from its
//! first packet to its last.
//!
//! Machines, without socket or clock: `session` joins two `side`s, and has what of the PBX's speech came `early`, before its
//! answer was read, and what is `kept` until Meta can be sent to; a side has what was `agreed` (payload numbers, keys), its
//! `peer` (whose packets count), the one `stream` the peer hears, its `reports` (which judge `intervals`, by what is `heard` at
//! the peer, too; and have what is `extended` in RTCP), and an `outbox` for what it wants sent. Where keys are not in SDP, a side has a
//! `path`: `ice` finds the peer's address, `dtls` shakes hands over it. What all sessions share is `common`. Drivers:
//! `engine` is the door, `worker` a thread, `slot` a session with its `sockets` and, if it is recorded, its `tape`; `ports` the
//! range of one address, `pools` those of all; which of them a PBX has is its `facing`.
//!
//! ```text
//!   Agree(Dtls) and Start{Meta} ▶ ICE checks ▶ Selected ▶ DTLS handshake ▶ Keyed ▶ what was kept ▶ live packets
//!                                      └───────────── Failed ───────────┴─────── Failed: no consent any more
//!   Start{Pbx} ▶ packets of the PBX are kept: the newest of them, for as long as the settings say ──┘
//! ```

mod across;
mod agreed;
mod arrivals;
mod buffered;
pub mod codec;
mod common;
pub mod demux;
pub mod digits;
pub mod dtls;
mod due;
mod early;
mod engine;
mod extended;
mod facing;
mod heard;
pub mod ice;
mod intervals;
mod io;
mod kept;
mod losses;
mod outbox;
mod path;
mod peer;
mod pools;
mod ports;
pub mod quality;
pub mod reception;
pub mod replay;
mod reports;
pub mod rtcp;
pub mod rtp;
pub mod sdes;
mod session;
pub mod settings;
mod side;
mod slot;
mod sockets;
pub mod sound;
pub mod srtp;
mod stats;
mod stream;
mod tape;
mod totals;
mod transcode;
mod worker;
pub mod xr;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use codec::Codec;
pub use digits::Press;
pub use engine::{Engine, Handle};
pub use facing::{Facing, fault};
pub use intervals::{Interval, Measured, Quality, Turn, Way};
pub use io::{Io, usable};
pub use ports::PortUse;
pub use settings::{PortRange, Settings};
pub use stats::{Reported, SessionStats, SideStats};
pub use tape::{Crossed, Length, Recording};
pub use totals::Count;

use crate::leg::Leg;

/// Names one session of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Where one side of a session listens, as its SDP must say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPorts {
    /// RTP: an even port.
    pub rtp: SocketAddr,
    /// RTCP: the next port, for a peer that does not multiplex (RFC 5761).
    pub rtcp: Option<SocketAddr>,
    /// RTP on the other version of IP, as a second ICE candidate (RFC 8445 §5.1.1.1).
    pub other_family: Option<SocketAddr>,
}

/// A freshly opened session and where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Names the session in all that follows.
    pub id: SessionId,
    /// Towards Meta: RTCP multiplexed; where there is a second address, one socket of each version of IP.
    pub meta: LocalPorts,
    /// Towards the PBX: a pair.
    pub pbx: LocalPorts,
    /// Of the certificate that the engine shows in every DTLS handshake.
    pub fingerprint: dtls::Fingerprint,
}

/// Why no session could be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Every port of the configured range is in use or resting.
    #[error("no media port is free on {address} (media.ports {first}-{last}): widen the range")]
    Exhausted {
        /// The address whose range is exhausted.
        address: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The operating system refused the sockets.
    #[error("cannot open a media socket on {address}: {reason}")]
    Socket {
        /// The address that could not be bound.
        address: IpAddr,
        /// What the system said.
        reason: String,
    },
}

impl OpenError {
    /// The address that there are no sockets on.
    pub fn address(&self) -> IpAddr {
        match self {
            OpenError::Exhausted { address, .. } | OpenError::Socket { address, .. } => *address,
        }
    }
}

/// What carries media: the engine, or a stand-in where a test needs no packets.
pub trait Plane {
    /// Takes ports for both sides and listens on them; nothing is sent yet. `pbx`: which address the PBX's side has.
    fn open(&mut self, pbx: Facing) -> Result<Opened, OpenError>;
    /// Has the PBX's side of a session listen at another address, for the call goes to another PBX, and says where. When
    /// that fails, it listens where it did.
    fn face(&mut self, id: SessionId, pbx: Facing) -> Result<LocalPorts, OpenError>;
    /// Tells a session something new. Unknown ids are ignored: the session may just have ended.
    fn command(&mut self, id: SessionId, command: Command);
    /// Ends a session and gives its ports back after their rest; its last [`MediaEvent`] is `Closed`.
    fn close(&mut self, id: SessionId);
}

/// What signalling tells a session.
#[derive(Clone, Debug)]
pub enum Command {
    /// What was agreed with one side; replaces what was agreed before.
    Agree {
        /// The side it was agreed with.
        leg: Leg,
        /// What was agreed.
        side: SideSpec,
    },
    /// This side may now be sent to. Towards Meta: our 200 is out, or its 200 has our ACK; never earlier, because
    /// the app takes the first packet as "answered" (Meta FAQ, 2025-11-13). Until then packets for it are dropped, but
    /// those that the PBX sends after its own start are kept for Meta. Said of the PBX once more, when it has answered,
    /// it makes that begin anew.
    Start {
        /// The side that may be sent to.
        leg: Leg,
    },
    /// Whoever is at this side has left, and the next [`Command::Agree`] is with somebody else: nothing is sent until then, and
    /// what waits for this side, digits say, is nobody else's.
    Leave {
        /// The side that was left.
        leg: Leg,
    },
    /// A key was pressed on the other side, which said so in signalling: this one is told of it in its stream, after the
    /// presses before it.
    Press {
        /// The side that is told.
        leg: Leg,
        /// What was pressed.
        press: Press,
    },
}

/// What SDP agreed for one side of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideSpec {
    /// Where its RTP is sent to, unless ICE finds that out. An unspecified address (0.0.0.0, ::) is the hold of RFC 2543:
    /// neither RTP nor RTCP may be sent there (RFC 3264 §8.4), and `direction` says so for RTP.
    pub remote_rtp: SocketAddr,
    /// Where its RTCP is sent to; `None`: multiplexed with RTP (RFC 5761).
    pub remote_rtcp: Option<SocketAddr>,
    /// Which extended reports its SDP asks for (RFC 3611 §5). Meta is sent none, whatever it asks for.
    pub extended_reports: xr::Wanted,
    /// Payload numbers this side expects from us, by codec, most preferred first.
    pub send: Vec<Payload>,
    /// Payload numbers this side uses when it sends to us.
    pub receive: Vec<Payload>,
    /// How its packets are protected.
    pub security: Security,
    /// Whether the peer must send from `remote_rtp`, or may be learnt from its first packet.
    pub source: Source,
    /// Which way RTP flows: a side on hold is not sent to, though its session lives on.
    pub direction: Direction,
    /// How much sound a packet for it holds, where we make that packet: 10 to 60 ms.
    pub ptime: Duration,
    /// Whether it has its digits as tones in its sound.
    pub tones: bool,
}

impl SideSpec {
    /// What sound this side is sent: the first codec of it.
    pub fn sound(&self) -> Option<Codec> {
        let mut codecs = self.send.iter().map(|payload| payload.codec);
        codecs.find(|codec| codec.is_audio())
    }
}

/// How the packets of one side are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// By SRTP, with keys that SDP carried (RFC 4568).
    Sdes(SrtpKeys),
    /// By SRTP, with keys of a DTLS handshake over the path that ICE finds (RFC 5763, RFC 8445). Checks begin at
    /// [`Command::Start`]; until there are keys, no media is sent to that side. Where it is sent to and whose packets
    /// count is then the path's and the keys' to say, whatever the addresses and [`Source`] of the [`SideSpec`] are.
    Dtls(Box<DtlsSpec>),
}

/// What SDP said of ICE and DTLS on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsSpec {
    /// Which end of the handshake is ours.
    pub role: dtls::Role,
    /// What the peer's certificate must be: one of these (RFC 8122 §5).
    pub fingerprints: Vec<dtls::Fingerprint>,
    /// What our SDP says: the peer's checks are signed with it.
    pub local: ice::Credentials,
    /// What the peer's SDP says: our checks are signed with it.
    pub remote: ice::Credentials,
    /// Where the peer may be.
    pub candidates: Vec<ice::Candidate>,
}

/// Which way RTP flows on one side, seen from us (RFC 3264 §6.1). RTCP flows both ways in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We send and receive.
    SendRecv,
    /// We only send.
    SendOnly,
    /// We only receive: the peer plays its music on hold, or gave no address to send to.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether RTP may be sent to this side.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether RTP may come from this side.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// One line of a payload map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// RTP payload type, 0–127.
    pub number: u8,
    /// What it means.
    pub codec: Codec,
}

/// Whose packets a side accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Only packets from the negotiated address.
    Negotiated,
    /// The address and port of the first valid packet, from then on only that (a peer behind NAT).
    First,
    /// Packets from anywhere that SRTP authenticates; ours go to the negotiated address. For keyed sides alone.
    Authentic,
}

/// Both directions' SRTP keys of one side (RFC 3711).
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// Cipher and tag for both directions.
    pub profile: SrtpProfile,
    /// Protects what we send.
    pub send: MasterKey,
    /// Opens what the peer sends.
    pub receive: MasterKey,
}

/// SRTP master key followed by master salt: 16 + 14 octets for AES_CM_128, 16 + 12 and 32 + 12 for GCM.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(pub Vec<u8>);

/// Protection profiles that the relay carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpProfile {
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 4568 §6.2.1).
    AesCm128HmacSha1_80,
    /// `AEAD_AES_128_GCM` (RFC 7714). From DTLS only: SDES offers the one above.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM` (RFC 7714). From DTLS only.
    AeadAes256Gcm,
}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SrtpKeys({:?}, secret)", self.profile)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(secret)")
    }
}

/// What a session tells signalling.
#[derive(Clone, Debug)]
pub enum MediaEvent {
    /// Nothing at all has come from this leg for the configured time.
    Silent {
        /// The session.
        id: SessionId,
        /// The leg that is silent.
        leg: Leg,
    },
    /// The DTLS handshake with this leg is done: from now on it can be sent to.
    Keyed {
        /// The session.
        id: SessionId,
        /// The leg that has keys.
        leg: Leg,
    },
    /// There is no path to this leg, or no key, or it does not consent to our packets any more (RFC 7675): nothing can
    /// be sent to it.
    Failed {
        /// The session.
        id: SessionId,
        /// The leg that cannot be sent to.
        leg: Leg,
        /// Why, in words fit for a Reason header.
        why: String,
    },
    /// A key was pressed on this leg, and the other one cannot be told of it in its stream.
    Pressed {
        /// The session.
        id: SessionId,
        /// The leg on which it was pressed.
        leg: Leg,
        /// What was pressed.
        press: Press,
    },
    /// What one direction of a leg was like of late: every few seconds in which enough was sent to tell, of each leg that
    /// has started.
    Measured {
        /// The session.
        id: SessionId,
        /// The leg.
        leg: Leg,
        /// What it was like.
        measured: Measured,
    },
    /// What was recorded of the session, which ends: only where somebody wanted that ([`Handle::record`]).
    Recorded {
        /// The session.
        id: SessionId,
        /// What there is.
        recording: Arc<Recording>,
    },
    /// The session is gone; its ports rest. Always the last event of a session.
    Closed {
        /// The session.
        id: SessionId,
        /// What it carried.
        stats: Box<SessionStats>,
    },
}
