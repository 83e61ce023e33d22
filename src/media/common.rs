//! What all sessions of an engine go by.

use std::net::SocketAddr;

use super::settings::Timing;
use super::{dtls, ice};
use crate::leg::Leg;

/// Times, certificate and addresses, the same for every session.
pub(crate) struct Common {
    /// Times of the packet path.
    pub(crate) timing: Timing,
    /// Times of ICE.
    pub(crate) ice: ice::Settings,
    /// Certificate and times of DTLS.
    pub(crate) dtls: dtls::Context,
    /// Where we listen for Meta: one address of each family that we have. Ports are a session's own, hence 0 here.
    pub(crate) meta: Vec<SocketAddr>,
    /// Where we listen for the PBX.
    pub(crate) pbx: Vec<SocketAddr>,
}

impl Common {
    /// Our addresses towards a leg, for ICE, which wants to know their families.
    pub(crate) fn addresses(&self, leg: Leg) -> &[SocketAddr] {
        match leg {
            Leg::Meta => &self.meta,
            Leg::Pbx => &self.pbx,
        }
    }
}
