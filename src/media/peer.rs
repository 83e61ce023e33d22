//! Whose packets a side accepts, and where its own go (symmetric RTP, RFC 4961).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::outbox::Socket;
use super::{Security, SideSpec, Source};

/// Not known yet.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The addresses of the far end of one side.
#[derive(Debug)]
pub(crate) struct Peer {
    source: Source,
    rtp: SocketAddr,
    /// `None`: multiplexed with RTP.
    rtcp: Option<SocketAddr>,
    learnt_rtp: Option<SocketAddr>,
    learnt_rtcp: Option<SocketAddr>,
}

impl Peer {
    /// The peer of a side as agreed, with nothing learnt yet.
    pub(crate) fn new(spec: &SideSpec) -> Peer {
        let (source, rtp, rtcp) = far_end(spec);
        Peer {
            source,
            rtp,
            rtcp,
            learnt_rtp: None,
            learnt_rtcp: None,
        }
    }

    /// Whether `spec` names the same far end, so that what was learnt of it still holds.
    pub(crate) fn is_still(&self, spec: &SideSpec) -> bool {
        (self.source, self.rtp, self.rtcp) == far_end(spec)
    }

    /// ICE has found where the peer is.
    pub(crate) fn settle(&mut self, remote: SocketAddr) {
        self.learnt_rtp = Some(remote);
    }

    /// Whether a packet from this address may be the peer's, as far as its address tells.
    pub(crate) fn admits(&self, socket: Socket, from: SocketAddr) -> bool {
        match (self.source, self.learnt(socket)) {
            // A peer that multiplexes RTCP though nobody agreed to it is still the same peer.
            (Source::Negotiated, _) => from == self.rtp || Some(from) == self.rtcp,
            (Source::Authentic, _) => true,
            (Source::First, Some(learnt)) => from == learnt,
            // RTP and RTCP come from one host, whichever of them was first.
            (Source::First, None) => self
                .learnt_rtp
                .or(self.learnt_rtcp)
                .is_none_or(|other| other.ip() == from.ip()),
        }
    }

    /// Whether this address is known to be the peer's without looking into a packet that could be opened.
    pub(crate) fn knows(&self, socket: Socket, from: SocketAddr) -> bool {
        self.admits(socket, from) && (self.source != Source::First || self.learnt(socket).is_some())
    }

    /// A valid packet came from this admitted address: from now on it is the peer's.
    pub(crate) fn learn(&mut self, socket: Socket, from: SocketAddr) {
        if self.source == Source::First {
            match socket {
                Socket::Rtp => self.learnt_rtp.get_or_insert(from),
                Socket::Rtcp => self.learnt_rtcp.get_or_insert(from),
            };
        }
    }

    /// Where RTP goes; `None` while the peer has no address that could be sent to.
    pub(crate) fn rtp(&self) -> Option<SocketAddr> {
        sendable(self.learnt_rtp.as_ref().unwrap_or(&self.rtp)).copied()
    }

    /// Where RTCP goes, and from which of our sockets.
    pub(crate) fn rtcp(&self) -> Option<(Socket, SocketAddr)> {
        match &self.rtcp {
            None => Some((Socket::Rtp, self.rtp()?)),
            Some(agreed) => {
                let address = self.learnt_rtcp.as_ref().unwrap_or(agreed);
                Some((Socket::Rtcp, *sendable(address)?))
            }
        }
    }

    /// Whether there is such an address: each packet asks for it, and an address is large.
    pub(crate) fn takes_rtcp(&self) -> bool {
        let agreed = match &self.rtcp {
            None => self.learnt_rtp.as_ref().unwrap_or(&self.rtp),
            Some(agreed) => self.learnt_rtcp.as_ref().unwrap_or(agreed),
        };
        sendable(agreed).is_some()
    }

    fn learnt(&self, socket: Socket) -> Option<SocketAddr> {
        match socket {
            Socket::Rtp => self.learnt_rtp,
            Socket::Rtcp => self.learnt_rtcp,
        }
    }
}

/// Whose packets are accepted, and where RTP and RTCP go at first. With DTLS, whatever SDP says, the keys tell who it is,
/// ICE where, and RTCP is multiplexed (RFC 8834 §4.5).
fn far_end(spec: &SideSpec) -> (Source, SocketAddr, Option<SocketAddr>) {
    match spec.security {
        Security::Dtls(_) => (Source::Authentic, NOWHERE, None),
        Security::Plain | Security::Sdes(_) => (spec.source, spec.remote_rtp, spec.remote_rtcp),
    }
}

/// RFC 3264 §8.4 knows 0.0.0.0 as "do not send", and port 0 is no port.
fn sendable(address: &SocketAddr) -> Option<&SocketAddr> {
    (!address.ip().is_unspecified() && address.port() != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Direction, Security};

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn peer(source: Source, remote_rtp: &str) -> Peer {
        Peer::new(&SideSpec {
            remote_rtp: at(remote_rtp),
            remote_rtcp: Some(at("192.0.2.1:4001")),
            send: Vec::new(),
            receive: Vec::new(),
            security: Security::Plain,
            source,
            direction: Direction::SendRecv,
            ptime: std::time::Duration::from_millis(20),
            tones: false,
            extended_reports: Default::default(),
        })
    }

    #[test]
    fn a_negotiated_peer_is_known_by_address_and_port_and_nothing_is_learnt() {
        let mut peer = peer(Source::Negotiated, "192.0.2.1:4000");
        assert!(peer.knows(Socket::Rtp, at("192.0.2.1:4000")));
        assert!(peer.knows(Socket::Rtcp, at("192.0.2.1:4001")));
        assert!(!peer.admits(Socket::Rtp, at("192.0.2.1:4002")));
        assert!(!peer.admits(Socket::Rtp, at("192.0.2.2:4000")));
        peer.learn(Socket::Rtp, at("192.0.2.2:4000"));
        assert_eq!(peer.rtp(), Some(at("192.0.2.1:4000")));
    }

    #[test]
    fn a_peer_known_by_its_keys_may_send_from_anywhere_and_is_sent_to_as_agreed() {
        let mut peer = peer(Source::Authentic, "192.0.2.1:4000");
        assert!(peer.admits(Socket::Rtp, at("192.0.2.9:61000")));
        assert!(peer.knows(Socket::Rtp, at("192.0.2.9:61000")));
        peer.learn(Socket::Rtp, at("192.0.2.9:61000"));
        assert_eq!(peer.rtp(), Some(at("192.0.2.1:4000")));
    }

    #[test]
    fn the_first_source_is_learnt_for_both_directions_and_then_alone_admitted() {
        let mut peer = peer(Source::First, "10.0.0.9:4000");
        assert!(peer.admits(Socket::Rtp, at("192.0.2.1:61000")));
        assert!(
            !peer.knows(Socket::Rtp, at("192.0.2.1:61000")),
            "until a packet proves valid"
        );
        peer.learn(Socket::Rtp, at("192.0.2.1:61000"));
        assert_eq!(peer.rtp(), Some(at("192.0.2.1:61000")));
        assert!(!peer.admits(Socket::Rtp, at("192.0.2.1:61001")));
        assert!(
            !peer.admits(Socket::Rtcp, at("192.0.2.7:61001")),
            "RTCP of another host"
        );
        assert!(peer.admits(Socket::Rtcp, at("192.0.2.1:61001")));
        peer.learn(Socket::Rtcp, at("192.0.2.1:61001"));
        assert_eq!(peer.rtcp(), Some((Socket::Rtcp, at("192.0.2.1:61001"))));
    }

    #[test]
    fn nothing_is_sent_to_an_address_that_is_none() {
        assert_eq!(peer(Source::First, "0.0.0.0:4000").rtp(), None);
        assert_eq!(peer(Source::First, "192.0.2.1:0").rtp(), None);
    }
}
