//! How the media of simulated far ends behaves, for `sim` and `demo`.

use std::time::Duration;

use clap::ValueEnum;

use crate::media::Codec;
use crate::sim::body::Setup;
use crate::sim::path;
use crate::sim::relay::{Certified, Checks, Settings};

/// Everything that may be unlike a plain handshake on a short path.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Meta's media")]
pub struct MediaArguments {
    /// The key in Meta's certificate for DTLS.
    #[arg(long, value_enum, value_name = "KEY", default_value_t = Key::Ecdsa)]
    dtls_certificate: Key,
    /// Meta's end of the handshake, where the bridge's offer leaves it to Meta: active is documented.
    #[arg(long, value_enum, value_name = "END", default_value_t = End::Active)]
    dtls_setup: End,
    /// Show another certificate than Meta's SDP names: the bridge must end the call.
    #[arg(long)]
    wrong_fingerprint: bool,
    /// Answer no check of ICE: the bridge must end the call.
    #[arg(long)]
    no_ice: bool,
    /// Answer the first N checks of each call with 487, a role conflict.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "no_ice")]
    role_conflict: u32,
    /// Lose everything until MS milliseconds after the 200, as a relay does that has not heard of it yet.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    late: u64,
    #[command(flatten)]
    path: PathArguments,
}

/// What is between a far end's media and the bridge, in each direction.
#[derive(Clone, Debug, clap::Args)]
pub struct PathArguments {
    /// Milliseconds that each datagram is on the way at least, media and all; a round trip takes twice that.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    path_delay: u64,
    /// Milliseconds that one may take longer than another.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    path_jitter: u64,
    /// Let a datagram overtake those before it, where --path-jitter has it so; otherwise it waits for them.
    #[arg(long, requires = "path_jitter")]
    path_reorder: bool,
    /// Lose so many of a hundred datagrams.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    path_loss: u8,
    /// Lose them in bursts of so many on average (Gilbert); otherwise each is lost or not by itself.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    path_burst: u8,
    /// Which are lost or late: the same number loses the same ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    path_seed: u64,
    /// Spare what comes from the bridge all of that.
    #[arg(long)]
    path_outward_only: bool,
    /// Encode Opus for so many of a hundred packets lost: above 5, at 20 kbit/s, libopus says each packet once more in the
    /// next (FEC), in a narrower band.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    expected_loss: u8,
    /// Speak by a clock that is fast by so many parts of a million, or slow where it is negative.
    #[arg(long, value_name = "PPM", default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100_000..=100_000))]
    clock_drift: i32,
}

impl PathArguments {
    /// What Opus is encoded for.
    pub fn expected_loss(&self) -> u8 {
        self.expected_loss
    }

    /// What they ask for.
    pub fn settings(&self) -> path::Settings {
        path::Settings {
            delay: Duration::from_millis(self.path_delay),
            jitter: Duration::from_millis(self.path_jitter),
            reorder: self.path_reorder,
            loss: self.path_loss,
            burst: self.path_burst,
            drift_ppm: self.clock_drift,
            seed: self.path_seed,
            outward_only: self.path_outward_only,
        }
    }
}

/// A PBX's codec on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PbxCodec {
    /// What WhatsApp speaks: passed through untouched
    Opus,
    /// G.722, wideband
    G722,
    /// G.711 A-law
    Pcma,
    /// G.711 µ-law
    Pcmu,
}

impl PbxCodec {
    /// The same to everybody else.
    pub fn codec(self) -> Codec {
        match self {
            PbxCodec::Opus => Codec::Opus,
            PbxCodec::G722 => Codec::G722,
            PbxCodec::Pcma => Codec::Pcma,
            PbxCodec::Pcmu => Codec::Pcmu,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Key {
    /// On P-256
    Ecdsa,
    /// Of 2048 bits
    Rsa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum End {
    /// Meta sends the ClientHello
    Active,
    /// The bridge does
    Passive,
}

impl MediaArguments {
    /// What Opus is encoded for.
    pub fn expected_loss(&self) -> u8 {
        self.path.expected_loss()
    }

    /// What they ask for.
    pub fn settings(&self) -> Settings {
        Settings {
            certified: match self.dtls_certificate {
                Key::Ecdsa => Certified::Ecdsa,
                Key::Rsa => Certified::Rsa,
            },
            setup: match self.dtls_setup {
                End::Active => Setup::Active,
                End::Passive => Setup::Passive,
            },
            checks: match (self.no_ice, self.role_conflict) {
                (true, _) => Checks::Unanswered,
                (false, 0) => Checks::Answered,
                (false, conflicts) => Checks::Conflict(conflicts),
            },
            wrong_fingerprint: self.wrong_fingerprint,
            late: Duration::from_millis(self.late),
            path: self.path.settings(),
        }
    }
}
