//! What all sessions of an engine go by.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use super::settings::Timing;
use super::transcode::Manner;
use super::{dtls, ice};

/// Times, certificate and addresses, the same for every session.
pub(crate) struct Common {
    /// Times of the packet path.
    pub(crate) timing: Timing,
    /// How sound is treated where it is transcoded.
    pub(crate) manner: Manner,
    /// Times of ICE.
    pub(crate) ice: ice::Settings,
    /// Certificate and times of DTLS.
    pub(crate) dtls: dtls::Context,
    /// Where we listen for Meta: one address of each family that we have. Ports are a session's own, hence 0 here.
    pub(crate) meta: Vec<SocketAddr>,
    /// By which addresses our SDP says that Meta reaches us.
    pub(crate) announced: Announced,
}

/// The addresses in our SDP, held against those that Meta sees us at: a NAT that nobody told us of leaves calls without
/// sound where no ICE makes up for it.
pub(crate) struct Announced {
    addresses: Vec<IpAddr>,
    /// What the log has named last.
    named: Mutex<Option<IpAddr>>,
}

impl Announced {
    /// One address of each family that our SDP has.
    pub(crate) fn new(addresses: Vec<IpAddr>) -> Announced {
        Announced {
            addresses,
            named: Mutex::new(None),
        }
    }

    /// Meta sees us there. Says so in the log where our SDP says otherwise, once for each address.
    pub(crate) fn seen_at(&self, seen: IpAddr) {
        let of_family = |address: &&IpAddr| address.is_ipv4() == seen.is_ipv4();
        let Some(announced) = self.addresses.iter().find(of_family) else {
            return;
        };
        if self.is_news(seen, *announced) {
            tracing::warn!(
                %seen, %announced,
                "Meta sees our media at another address than our SDP announces: set media.meta_public_address to it, or \
                 calls that are keyed by SDES have no sound from Meta"
            );
        }
    }

    fn is_news(&self, seen: IpAddr, announced: IpAddr) -> bool {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = seen != announced && *named != Some(seen);
        if is_news {
            *named = Some(seen);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_our_sdp_does_not_announce_is_named_once() {
        let [ours, nat, other] = [1, 2, 3].map(|last| IpAddr::from([198, 51, 100, last]));
        let announced = Announced::new(vec![ours, "2001:db8::1".parse().unwrap()]);
        assert!(!announced.is_news(ours, ours));
        assert!(announced.is_news(nat, ours));
        assert!(!announced.is_news(nat, ours));
        assert!(announced.is_news(other, ours));
        assert!(announced.is_news(nat, ours), "it has changed back");
    }
}
