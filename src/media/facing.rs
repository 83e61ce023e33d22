//! Which of our addresses a PBX has for media.

use std::net::{IpAddr, Ipv4Addr};

/// One of our addresses as a PBX sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facing {
    /// Address of this machine that listens for the PBX's media.
    pub address: IpAddr,
    /// What the PBX is told: the same, unless a one-to-one NAT stands between.
    pub announced: IpAddr,
}

impl From<IpAddr> for Facing {
    /// An address with no NAT before it.
    fn from(address: IpAddr) -> Facing {
        Facing {
            address,
            announced: address,
        }
    }
}

/// Why no peer can be told to send to this address, if so, in words for the operator.
pub fn fault(address: IpAddr) -> Option<String> {
    let is_group = address.is_multicast() || address == Ipv4Addr::BROADCAST;
    match address {
        _ if is_group => Some(format!("{address} is no address of one host; name one")),
        _ if address.is_unspecified() => Some("name the address that the PBX shall send to".into()),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some(format!("write {} instead", address.to_canonical()))
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(format!(
            "{address} is an address of one link only, and SDP cannot name the link; give another one"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_nobody_can_send_to_says_why() {
        for (address, said) in [
            ("0.0.0.0", "name the address"),
            ("::", "name the address"),
            ("239.1.1.1", "no address of one host"),
            ("255.255.255.255", "no address of one host"),
            ("ff02::1", "no address of one host"),
            ("::ffff:192.0.2.1", "write 192.0.2.1 instead"),
            ("fe80::1", "one link only"),
        ] {
            let why = fault(address.parse().unwrap()).unwrap();
            assert!(why.contains(said), "{address}: {why}");
        }
        for address in ["192.0.2.1", "127.0.0.1", "2001:db8::1", "::1", "fd00::1"] {
            assert_eq!(fault(address.parse().unwrap()), None, "{address}");
        }
    }
}
