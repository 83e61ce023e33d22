//! Where messages come from and go to.
//!
//! A [`Flow`] is one connection, or one pair of addresses on a UDP socket. What comes in is an [`Arrival`]; what goes
//! out names a [`Target`]: the flow that a request came in on, or the next hop of a request of ours.
//!
//! ```text
//!   Transports::send ──▶ pool ──▶ connection (one task a stream) ──▶ Arrival | Malformed | Closed
//!                          │          ▲    ▲
//!                          └▶ resolve ▶ tcp ▶ tls                    Failed: what could not be sent, and why
//!                             datagrams by udp
//! ```

mod arrive;
mod connection;
mod gate;
mod liveness;
mod local;
mod pool;
mod resolve;
mod settings;
mod shared;
mod tally;
mod tcp;
pub mod tls;
mod transports;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::leg::Leg;

use super::message::{Malformed, Message};

pub use local::{listener_towards, local_address_towards};
pub use resolve::{Lookup, Names, Overrides, Resolve};
pub use settings::Settings;
pub use tally::{Opener, Tally};
pub use transports::{Clients, Listen, StartError, Transports};

/// A transport protocol of SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 3261 §18, datagrams.
    Udp,
    /// RFC 3261 §18, a stream.
    Tcp,
    /// RFC 3261 §26.2, a stream under TLS.
    Tls,
}

impl Protocol {
    /// As it stands in a Via.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
            Protocol::Tls => "TLS",
        }
    }

    /// Whether messages cannot get lost, so that nothing is retransmitted (§17).
    pub fn is_reliable(self) -> bool {
        self != Protocol::Udp
    }

    /// The port where no other is named (§19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Protocol::Tls => 5061,
            Protocol::Udp | Protocol::Tcp => 5060,
        }
    }
}

/// Names one connection for as long as it lives; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// One way to a peer and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Whose listener, or whose client connection, this is.
    pub leg: Leg,
    /// Its protocol.
    pub protocol: Protocol,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection, for a stream.
    pub connection: Option<ConnectionId>,
}

/// A message that came in.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The message. A request's top Via already says where it really came from (§18.2.1).
    pub message: Message,
    /// Where it came in.
    pub flow: Flow,
    /// The very octets that came, for whoever wants to see what the peer wrote.
    pub octets: Arc<[u8]>,
    /// When it was whole here. It may have waited since.
    pub at: Instant,
}

/// What the transports tell the core.
#[derive(Clone, Debug)]
pub enum TransportEvent {
    /// A message that can be used.
    Arrived(Arrival),
    /// One that cannot. Whether it is answered is the core's to decide. If the stream cannot be read further, its
    /// connection closes by itself soon after, so that an answer sent at once still goes out.
    Malformed {
        /// What is wrong, and what an answer needs; its top Via is stamped.
        malformed: Malformed,
        /// Where it came in.
        flow: Flow,
    },
    /// A message that goes back on a flow, a response as a rule, has been written to its socket.
    Sent {
        /// What [`Transports::send`] was given to tell its messages apart.
        client: u64,
    },
    /// A message could not be sent.
    Failed {
        /// What [`Transports::send`] was given to tell its messages apart.
        client: Option<u64>,
        /// Where it should have gone.
        target: Target,
        /// Who and what failed, and where it helps what to do.
        reason: String,
    },
    /// A connection is gone.
    Closed {
        /// Which.
        flow: Flow,
        /// By whom and why.
        reason: String,
    },
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Back where something came from. A connection that is gone is opened anew to the same address where that
    /// can be done (§18.2.2).
    Flow(Flow),
    /// To the next hop of a request.
    Hop(Hop),
}

/// The next hop of a request: a name or an address that the transport resolves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// Which side it is on; decides the listener whose address we speak from, and the TLS rules.
    pub leg: Leg,
    /// How to reach it.
    pub protocol: Protocol,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Target {
    /// The protocol it is reached by.
    pub fn protocol(&self) -> Protocol {
        match self {
            Target::Flow(flow) => flow.protocol,
            Target::Hop(hop) => hop.protocol,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Flow(flow) => write!(f, "{} {}", flow.protocol.name(), flow.remote),
            Target::Hop(hop) => hop.fmt(f),
        }
    }
}

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:{}", self.protocol.name(), self.host, self.port)
    }
}
