//! How the simulated Meta's media behaves, for `sim meta` and `demo`.

use std::time::Duration;

use clap::ValueEnum;

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
    /// Milliseconds that each datagram is on the way, media and all; a round trip takes twice that.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    path_delay: u64,
    /// Lose so many of a hundred datagrams in each direction.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    path_loss: u8,
    /// Which ones: the same number loses the same ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    path_seed: u64,
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
            path: path::Settings {
                delay: Duration::from_millis(self.path_delay),
                loss: self.path_loss,
                seed: self.path_seed,
            },
        }
    }
}
