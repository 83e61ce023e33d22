//! What `/status` and `/calls` say, as JSON; `wabridge status` and `wabridge calls` read it. Numbers and Call-IDs are masked
//! as in the log. Times are seconds since 1970, durations seconds.

use serde::{Deserialize, Serialize};

/// A running bridge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// When it was started.
    pub started: f64,
    /// How long it has run.
    pub uptime: f64,
    /// Whether new calls are taken and can be served.
    pub ready: bool,
    /// Why not.
    pub not_ready: Vec<Reason>,
    /// The business numbers.
    pub numbers: Vec<String>,
    /// Every address of every telephone system.
    pub pbxs: Vec<Pbx>,
    /// What it is registered at, or wants to be.
    pub registrations: Vec<Registration>,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// The calls that are up.
    pub calls: Calls,
    /// What has been counted since the start.
    pub since_start: Sums,
    /// SIP transactions under way.
    pub transactions: usize,
    /// Ports for media, for each local address.
    pub media_ports: Vec<Ports>,
    /// The certificate that Meta is shown.
    pub certificate: Option<Certificate>,
    /// Times that the configuration was read anew.
    pub reloads: Reloads,
    /// Whether call records wait because their file cannot be written. A bridge of before this was told has none that do.
    #[serde(default)]
    pub records_failing: bool,
}

/// Why a bridge is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A word for it, which stays what it is.
    pub reason: String,
    /// What it is about, in words.
    pub detail: String,
}

/// An address of a telephone system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pbx {
    /// The name of the system.
    pub name: String,
    /// Protocol, host and port.
    pub address: String,
    /// Whether it is taken to be alive.
    pub up: bool,
}

/// A registration at a PBX that wants its trunks registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The name of the PBX.
    pub pbx: String,
    /// Protocol, host and port of its registrar.
    pub registrar: String,
    /// Whether we are registered there.
    pub registered: bool,
    /// Why the latest attempt failed, unless it did not.
    pub error: Option<String>,
}

/// Somewhere that requests come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// For whom: `meta`, `pbx` or `admin`.
    pub side: String,
    /// `udp`, `tcp`, `tls`, `http` or `unix`.
    pub protocol: String,
    /// The address, or the file of the socket.
    pub address: String,
}

/// How many calls are up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Not yet answered.
    pub ringing: usize,
    /// Answered.
    pub talking: usize,
    /// Being put away.
    pub ending: usize,
    /// Most at once, all together.
    pub max: usize,
}

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Calls let in.
    pub calls: u64,
    /// INVITEs refused before they were calls.
    pub refused: u64,
    /// What could not be read, from addresses that may send.
    pub malformed: u64,
    /// Requests, and what could not be read, to Meta's listener from addresses that may not call.
    pub strangers_meta: u64,
    /// The same to the PBXs' listeners from addresses that may not call.
    pub strangers_pbx: u64,
}

/// The media ports of one address, in pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The address.
    pub address: String,
    /// Those of calls.
    pub in_use: usize,
    /// Those that rest after a call.
    pub resting: usize,
    /// All of the range.
    pub all: usize,
}

/// The certificate that Meta is shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// When it expires.
    pub expires: f64,
    /// Days until then; negative once it has.
    pub days: f64,
}

/// Times that the configuration was read anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reloads {
    /// Times that it was taken over.
    pub ok: u64,
    /// Times that it was not, and nothing changed.
    pub failed: u64,
    /// When it was last taken over.
    pub last_ok: Option<f64>,
    /// When it last was not.
    pub last_failed: Option<f64>,
}

/// A call that is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Names it for as long as the process lives.
    pub call: u64,
    /// `user-initiated` or `business-initiated`.
    pub direction: String,
    /// `ringing`, `talking` or `ending`.
    pub state: String,
    /// The business number.
    pub number: String,
    /// The WhatsApp user; `None` where it was withheld.
    pub user: Option<String>,
    /// Name of the PBX.
    pub pbx: String,
    /// Time since the INVITE was let in.
    pub seconds: f64,
    /// Time since the answer.
    pub talked: Option<f64>,
    /// How Meta's leg is keyed, once that is agreed.
    pub keying: Option<String>,
    /// What sound Meta is sent.
    pub meta_codec: Option<String>,
    /// What sound the PBX is sent.
    pub pbx_codec: Option<String>,
    /// Call-ID of Meta's leg.
    pub meta_call_id: String,
    /// Call-ID of the PBX's leg.
    pub pbx_call_id: String,
    /// Meta's name for the call.
    pub wacid: Option<String>,
    /// What Meta's leg has carried so far; `None` where the media engine does not say in time.
    pub meta_media: Option<Carried>,
    /// The same for the PBX's leg.
    pub pbx_media: Option<Carried>,
}

/// RTP packets of one leg so far, seen from the bridge, and how they sound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// Came from that side.
    pub received: u64,
    /// Were sent by that side and never came, by their numbers.
    pub lost: u64,
    /// Went to that side.
    pub sent: u64,
    /// How long its sound waits in the jitter buffer now, in milliseconds; `None` where it is passed on as it comes.
    #[serde(default)]
    pub buffered_ms: Option<f64>,
    /// How much of its sound was made up in place of what did not come, in milliseconds.
    #[serde(default)]
    pub mended_ms: u64,
    /// How what came sounds, as last measured; `None` where too little came to tell, or the bridge does not.
    #[serde(default)]
    pub sound_in: Option<Sound>,
    /// How what went sounds to that side, by its reports; `None` where it sends none.
    #[serde(default)]
    pub sound_out: Option<Sound>,
}

/// How one direction of a leg sounded in the last 5 s in which enough was said to tell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sound {
    /// Estimated quality, 1 to 4.5.
    pub mos: f64,
    /// Share of the packets that were lost, 0 to 1.
    pub loss: f64,
    /// Jitter, in milliseconds.
    pub jitter_ms: f64,
    /// Round trip, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// Whether it has turned bad, and not good again.
    pub bad: bool,
}
