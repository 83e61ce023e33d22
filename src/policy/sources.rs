//! Which addresses may send us requests.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::leg::Leg;
use crate::sip::transport::Protocol;

/// The networks of Meta's AS32934 as its documents listed them on 2024-12-11. Signalling comes from anywhere in them;
/// no smaller set is documented, and the list changes, so it is only the default.
const META: [Ipv4Net; 23] = [
    network([31, 13, 24, 0], 21),
    network([31, 13, 64, 0], 18),
    network([45, 64, 40, 0], 22),
    network([57, 141, 0, 0], 21),
    network([57, 141, 8, 0], 22),
    network([57, 141, 12, 0], 23),
    network([57, 144, 0, 0], 14),
    network([66, 220, 144, 0], 20),
    network([69, 63, 176, 0], 20),
    network([69, 171, 224, 0], 19),
    network([74, 119, 76, 0], 22),
    network([102, 132, 96, 0], 20),
    network([103, 4, 96, 0], 22),
    network([129, 134, 0, 0], 16),
    network([147, 75, 208, 0], 20),
    network([157, 240, 0, 0], 16),
    network([163, 70, 128, 0], 17),
    network([163, 77, 128, 0], 17),
    network([173, 252, 64, 0], 18),
    network([179, 60, 192, 0], 22),
    network([185, 60, 216, 0], 22),
    network([185, 89, 216, 0], 22),
    network([204, 15, 20, 0], 22),
];

const fn network([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, c, d), length)
}

/// The default of the networks that Meta may call from.
pub fn metas_networks() -> Vec<IpNet> {
    META.into_iter().map(IpNet::V4).collect()
}

/// How a request from a strange address is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Answer it with 403: whoever connected can have that much.
    Forbidden,
    /// Do not answer: the source of a datagram is easily forged, and the answer would hit somebody else.
    Silence,
}

impl Refusal {
    /// The status to answer with, if any.
    pub fn status(self) -> Option<u16> {
        match self {
            Refusal::Forbidden => Some(403),
            Refusal::Silence => None,
        }
    }
}

/// The addresses that may send requests, for each leg.
#[derive(Debug, PartialEq, Eq)]
pub struct Sources {
    meta: Vec<IpNet>,
    pbxs: Vec<(String, Vec<IpNet>)>,
}

impl Sources {
    /// Networks of Meta; networks of each PBX, by its name. An empty list admits nobody.
    pub fn new(meta: Vec<IpNet>, pbxs: Vec<(String, Vec<IpNet>)>) -> Self {
        Sources { meta, pbxs }
    }

    /// Admits those that `other` admits as well.
    pub fn join(&mut self, other: Sources) {
        self.meta.extend(other.meta);
        self.meta = IpNet::aggregate(&self.meta);
        for (name, networks) in other.pbxs {
            match self.pbxs.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => {
                    known.extend(networks);
                    *known = IpNet::aggregate(known);
                }
                None => self.pbxs.push((name, networks)),
            }
        }
    }

    /// Whether a request may come from `source` to the listener of `leg`.
    pub fn admit(&self, source: IpAddr, leg: Leg, protocol: Protocol) -> Result<(), Refusal> {
        let welcome = match leg {
            Leg::Meta => holds(&self.meta, source),
            Leg::Pbx => self.pbx_at(source).is_some(),
        };
        if welcome {
            return Ok(());
        }
        Err(match protocol {
            Protocol::Udp => Refusal::Silence,
            Protocol::Tcp | Protocol::Tls => Refusal::Forbidden,
        })
    }

    /// Name of the PBX that sends from `source`; the first whose networks hold it.
    pub fn pbx_at(&self, source: IpAddr) -> Option<&str> {
        let (name, _) = self
            .pbxs
            .iter()
            .find(|(_, networks)| holds(networks, source))?;
        Some(name)
    }
}

/// A socket that takes both families shows IPv4 senders as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
fn holds(networks: &[IpNet], source: IpAddr) -> bool {
    let source = source.to_canonical();
    networks.iter().any(|network| network.contains(&source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn sources() -> Sources {
        let pbxs = vec![
            ("main".to_owned(), vec!["192.0.2.7/32".parse().unwrap()]),
            ("branch".to_owned(), vec!["2001:db8::/32".parse().unwrap()]),
        ];
        Sources::new(metas_networks(), pbxs)
    }

    #[test]
    fn metas_addresses_of_the_samples_are_admitted_and_their_neighbours_are_not() {
        let sources = sources();
        for seen in [
            "31.13.66.215",
            "69.171.251.112",
            "57.144.219.49",
            "::ffff:157.240.1.1",
        ] {
            assert_eq!(
                sources.admit(ip(seen), Leg::Meta, Protocol::Tls),
                Ok(()),
                "{seen}"
            );
        }
        for strange in [
            "31.13.128.0",
            "57.148.0.0",
            "192.0.2.7",
            "127.0.0.1",
            "2a03:2880::1",
        ] {
            let answer = sources.admit(ip(strange), Leg::Meta, Protocol::Tls);
            assert_eq!(answer, Err(Refusal::Forbidden), "{strange}");
        }
    }

    #[test]
    fn the_default_list_is_collapsed() {
        let networks = metas_networks();
        assert_eq!(IpNet::aggregate(&networks).len(), networks.len());
        assert!(networks.iter().all(|n| n.addr() == n.network()));
    }

    #[test]
    fn a_pbx_is_known_by_its_address() {
        let sources = sources();
        assert_eq!(sources.pbx_at(ip("::ffff:192.0.2.7")), Some("main"));
        assert_eq!(sources.pbx_at(ip("2001:db8::5")), Some("branch"));
        assert_eq!(sources.pbx_at(ip("192.0.2.8")), None);
        assert_eq!(
            sources.admit(ip("192.0.2.7"), Leg::Pbx, Protocol::Udp),
            Ok(())
        );
    }

    #[test]
    fn a_stranger_is_answered_over_a_connection_and_ignored_over_udp() {
        let sources = sources();
        let stranger = ip("203.0.113.9");
        let over = |protocol| sources.admit(stranger, Leg::Pbx, protocol);
        assert_eq!(over(Protocol::Udp).unwrap_err().status(), None);
        assert_eq!(over(Protocol::Udp), Err(Refusal::Silence));
        assert_eq!(over(Protocol::Tcp).unwrap_err().status(), Some(403));
        assert_eq!(over(Protocol::Tls), Err(Refusal::Forbidden));
    }

    #[test]
    fn joined_lists_admit_whom_either_admits_and_nobody_twice() {
        let mut sources = sources();
        let other = || {
            let networks = vec!["192.0.2.6/32".parse().unwrap()];
            Sources::new(
                vec!["203.0.113.0/24".parse().unwrap()],
                vec![("main".to_owned(), networks)],
            )
        };
        sources.join(other());
        for pbx in ["192.0.2.6", "192.0.2.7"] {
            assert_eq!(sources.pbx_at(ip(pbx)), Some("main"));
        }
        let metas = |of| sources.admit(ip(of), Leg::Meta, Protocol::Tls).is_ok();
        assert!(metas("203.0.113.9") && metas("31.13.66.215") && !metas("192.0.2.6"));
        let before = format!("{sources:?}");
        sources.join(other());
        assert_eq!(format!("{sources:?}"), before);
    }
}
