//! Which of our own addresses a peer knows us by.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// The address of this machine that packets to `peer` come from; sends nothing.
pub fn local_address_towards(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// Of the addresses that we listen on, the one that faces `peer`: of its version of IP, and of several such the one
/// that the routing table leads from. What is said in a Contact and what is sent from go by the same choice.
pub fn listener_towards(listeners: &[SocketAddr], peer: SocketAddr) -> Option<SocketAddr> {
    let mut facing = listeners.iter().filter(|l| l.is_ipv4() == peer.is_ipv4());
    let first = *facing.next()?;
    if facing.next().is_none() {
        return Some(first);
    }
    let facing = || listeners.iter().filter(|l| l.is_ipv4() == peer.is_ipv4());
    let route = local_address_towards(peer).ok();
    let routed = facing().find(|l| Some(l.ip()) == route);
    let chosen = routed
        .or_else(|| facing().find(|l| l.ip().is_unspecified()))
        .or_else(|| facing().find(|l| may_face(l.ip(), peer)));
    Some(chosen.copied().unwrap_or(first))
}

/// Loopback leads nowhere but to this machine.
pub(super) fn may_face(ours: IpAddr, peer: SocketAddr) -> bool {
    !ours.is_loopback() || peer.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(listeners: &[&str], peer: &str) -> Option<String> {
        let listeners: Vec<_> = listeners.iter().map(|l| l.parse().unwrap()).collect();
        listener_towards(&listeners, peer.parse().unwrap()).map(|l| l.to_string())
    }

    #[test]
    fn a_listener_faces_a_peer_of_its_version_of_ip() {
        let both = ["192.0.2.1:5070", "[2001:db8::1]:5071"];
        let towards = |peer| chosen(&both, peer).unwrap();
        assert_eq!(towards("198.51.100.7:5060"), both[0]);
        assert_eq!(towards("[2001:db8::7]:5060"), both[1]);
        assert_eq!(chosen(&both[..1], "[2001:db8::7]:5060"), None);
    }

    #[test]
    fn of_several_the_one_is_chosen_that_the_way_to_the_peer_begins_at() {
        let three = ["192.0.2.1:5070", "127.0.0.1:5072", "127.81.0.1:5071"];
        assert_eq!(chosen(&three, "127.0.0.1:5060").unwrap(), three[1]);
        let any = ["192.0.2.1:5070", "0.0.0.0:5071"];
        assert_eq!(chosen(&any, "127.0.0.1:5060").unwrap(), any[1]);
        let neither = ["192.0.2.1:5070", "127.81.0.1:5071"];
        assert_eq!(chosen(&neither, "127.0.0.1:5060").unwrap(), neither[0]);
    }
}
