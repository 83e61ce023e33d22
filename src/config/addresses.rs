//! Addresses and ports of the sections, held against each other and against whom they must be reached by.

use std::net::{IpAddr, SocketAddr};

use super::document::Document;
use super::draft::Draft;
use super::system::Ephemeral;
use super::{Listener, Pbx};
use crate::media;
use crate::sip::transport::Protocol;

impl Draft {
    pub(super) fn check_addresses(&self, document: &Document<'_>) {
        self.check_listeners(document);
        self.check_ways_to_pbxs(document);
        self.check_media_ports(document);
        self.check_media_addresses(document);
    }

    /// No socket can be opened twice, and the sides are told apart by where they come in.
    fn check_listeners(&self, document: &Document<'_>) {
        let (Some(meta), Some(listener)) = (&self.meta, &self.pbx_listener) else {
            return;
        };
        let streams = [
            ("meta.listen", &meta.listen),
            ("pbx_listener.tcp", &listener.tcp),
            ("pbx_listener.tls", &listener.tls),
        ];
        check_sockets(&streams, document);
        check_sockets(&[("pbx_listener.udp", &listener.udp)], document);
        let mut ports = meta.listen.iter().map(SocketAddr::port);
        let first = ports.next().unwrap_or_default();
        if ports.any(|port| port != first) {
            document.warning(
                "meta.listen",
                &format!("Meta is told one port, that of the first address: {first}"),
                "give all of them the same port",
            );
        }
    }

    fn check_ways_to_pbxs(&self, document: &Document<'_>) {
        let Some(listener) = &self.pbx_listener else {
            return;
        };
        if *listener == Listener::OFF {
            let what = "no PBX can reach this bridge";
            document.warning("pbx_listener", what, "give one of its keys an address");
        }
        // Datagrams leave from the port that answers come back to; a connection needs no listener of its own.
        for (at, pbx) in &self.pbxs {
            if pbx.transport == Protocol::Udp
                && let Some(lack) = lack(&listener.udp, pbx)
            {
                document.problem(
                    &format!("pbx[{at}].transport"),
                    &format!("{lack}, so nothing can be sent to {:?}", pbx.name),
                    "give it an address, or reach the PBX over \"tcp\" or \"tls\"",
                );
            }
        }
    }

    fn check_media_ports(&self, document: &Document<'_>) {
        let (Some(media), Some(calls)) = (&self.media, &self.calls) else {
            return;
        };
        let range = media.ports.first()..=media.ports.last();
        let sip = self.pbx_listener.iter().flat_map(|listener| &listener.udp);
        for sip in sip.filter(|sip| range.contains(&sip.port())) {
            let what = format!("the range holds port {} of pbx_listener.udp", sip.port());
            document.problem("media.ports", &what, "move one of them away from the other");
        }
        self.check_neighbours(media, document);
        if let Some((first, last)) = Ephemeral::read().within(range) {
            let what = format!("the system gives the ports {first} to {last} to any program");
            let remedy = format!(
                "move the range out of net.ipv4.ip_local_port_range, or put it into net.ipv4.ip_local_reserved_ports: \
                 sysctl -w net.ipv4.ip_local_reserved_ports={}",
                media.ports
            );
            document.warning("media.ports", &what, &remedy);
        }
        // A call takes one pair towards Meta and one towards the PBX; on one address both come from the same range.
        let pairs = media.ports.pairs().count();
        let metas = [
            Some(media.meta_address),
            media.meta_ipv6_address.map(IpAddr::V6),
        ];
        let mut pbxs = self.pbxs.iter().map(|(_, pbx)| pbx.facing(media).address);
        let shared = pbxs.any(|address| metas.contains(&Some(address)));
        let room = if shared { pairs / 2 } else { pairs };
        if room < calls.max.into() {
            let what = format!(
                "the range carries {room} calls, fewer than calls.max ({})",
                calls.max
            );
            document.warning("media.ports", &what, "widen it, or lower calls.max");
        }
    }

    /// A PBX on this host has ports of its own.
    fn check_neighbours(&self, media: &media::Settings, document: &Document<'_>) {
        let range = media.ports.first()..=media.ports.last();
        let pbxs = self.pbxs.iter().map(|(_, pbx)| pbx.facing(media).address);
        let ours: Vec<_> = pbxs.chain([media.meta_address]).collect();
        let is_here = |ip: IpAddr| ip.is_loopback() || ours.contains(&ip);
        for (_, pbx) in &self.pbxs {
            let here = pbx
                .address
                .iter()
                .filter(|place| place.address.ip().is_some_and(is_here));
            let ports = here.map(|place| pbx.port(place));
            if let Some(port) = ports.into_iter().find(|port| range.contains(port)) {
                let what = format!("the range holds port {port} of {:?}", pbx.name);
                let remedy = "the PBX is on this host: move the range away from its ports";
                document.warning("media.ports", &what, remedy);
            }
        }
    }

    /// Nobody far away can send to an address that means this host, or to a private one.
    fn check_media_addresses(&self, document: &Document<'_>) {
        let (Some(meta), Some(media)) = (&self.meta, &self.media) else {
            return;
        };
        check_public_address(media, document);
        // With meta.address set, "Meta" is a simulator, and may well be here.
        if meta.address.is_none() {
            check_metas_way(media, document);
        }
        for (at, pbx) in &self.pbxs {
            pbx.check_media(&format!("pbx[{at}]"), media, document);
        }
    }
}

/// A NAT translates within one version of IP.
fn check_public_address(media: &media::Settings, document: &Document<'_>) {
    let public = media.meta_public_address;
    if let Some(public) = public.filter(|a| a.is_ipv4() != media.meta_address.is_ipv4()) {
        document.problem(
            "media.meta_public_address",
            &format!("{public} and meta_address are not of one IP version"),
            "give what the NAT makes of meta_address; for IPv6 beside IPv4 there is meta_ipv6_address",
        );
    }
}

fn check_metas_way(media: &media::Settings, document: &Document<'_>) {
    let announced = media.announced_to_meta();
    let key = match media.meta_public_address {
        Some(_) => "media.meta_public_address",
        None => "media.meta_address",
    };
    if announced.is_loopback() {
        document.problem(
            key,
            &format!("Meta cannot send to {announced}"),
            "set media.meta_address to this host's address on the way to the internet",
        );
    } else if is_private(announced) {
        document.warning(
            key,
            &format!("Meta cannot send to {announced}, a private address"),
            "set media.meta_public_address to what the NAT in front makes of it",
        );
    }
    let second = media.meta_ipv6_address.map(IpAddr::V6);
    if let Some(second) = second.filter(|a| a.is_loopback() || is_private(*a)) {
        document.warning(
            "media.meta_ipv6_address",
            &format!("Meta cannot send to {second}"),
            "set it to this host's IPv6 address on the way to the internet, or leave it out",
        );
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Holds every address against those before it, of all the keys together.
fn check_sockets(keys: &[(&str, &Vec<SocketAddr>)], document: &Document<'_>) {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    for (key, addresses) in keys {
        for address in *addresses {
            let other = taken.iter().find(|(_, other)| collide(*address, *other));
            if let Some((other, _)) = other {
                let (what, remedy) = match (other == key, *other) {
                    (true, _) => (
                        format!("{address} is part of another address in this list"),
                        "leave one of them out",
                    ),
                    (false, "meta.listen") => (
                        format!("{other} has this port"),
                        "Meta and the PBX are told apart by the port they reach: give each its own",
                    ),
                    (false, _) => (
                        format!("{other} has this port"),
                        "give it 5071, for instance",
                    ),
                };
                document.problem(key, &what, remedy);
            }
            taken.push((key, *address));
        }
    }
}

/// Why no datagram can be sent to a PBX, if so.
fn lack(udp: &[SocketAddr], pbx: &Pbx) -> Option<&'static str> {
    let version = |v4| udp.iter().any(|listener| listener.is_ipv4() == v4);
    if udp.is_empty() {
        return Some("pbx_listener.udp is off");
    }
    let ips = pbx.address.iter().filter_map(|place| place.address.ip());
    ips.into_iter().find_map(|ip| match ip.is_ipv4() {
        true if !version(true) => Some("pbx_listener.udp has no IPv4 address"),
        false if !version(false) => Some("pbx_listener.udp has no IPv6 address"),
        _ => None,
    })
}

/// Whether two sockets of one kind cannot listen on both: same port, and same address or one that means all of its
/// version of IP.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let alike = a.is_ipv4() == b.is_ipv4() && any;
    a.port() == b.port() && a.port() != 0 && (alike || a.ip() == b.ip())
}
