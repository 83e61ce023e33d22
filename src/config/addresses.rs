//! Addresses and ports of the sections, held against each other and against whom they must be reached by.

use std::net::{IpAddr, SocketAddr};

use super::document::Document;
use super::draft::Draft;

impl Draft {
    /// Listeners and media must not take each other's ports.
    pub(super) fn check_ports(&self, document: &Document<'_>) {
        if let (Some(meta), Some(listener)) = (&self.meta, &self.pbx_listener) {
            for (key, address) in [("tcp", listener.tcp), ("tls", listener.tls)] {
                if address.is_some_and(|address| collide(address, meta.listen)) {
                    let remedy =
                        "Meta and the PBX are told apart by the port they reach: give each its own";
                    document.problem(
                        &format!("pbx_listener.{key}"),
                        "meta.listen has this port",
                        remedy,
                    );
                }
            }
            if let (Some(tcp), Some(tls)) = (listener.tcp, listener.tls)
                && collide(tcp, tls)
            {
                let what = "pbx_listener.tcp has this port";
                document.problem(
                    "pbx_listener.tls",
                    what,
                    "give each its own: 5071 for TLS, for instance",
                );
            }
        }
        let Some(media) = &self.media else { return };
        let ports = media.ports.first()..=media.ports.last();
        if let Some(udp) = self.pbx_listener.as_ref().and_then(|listener| listener.udp)
            && ports.contains(&udp.port())
        {
            let what = format!("the range holds port {} of pbx_listener.udp", udp.port());
            document.problem("media.ports", &what, "move one of them away from the other");
        }
        // One pair towards Meta and one towards the PBX; on one address they share the range.
        let calls = media.ports.pairs().count() / 2;
        if let Some(settings) = self
            .calls
            .as_ref()
            .filter(|settings| calls < settings.max.into())
        {
            let what = format!(
                "the range carries {calls} calls at once, fewer than calls.max ({})",
                settings.max
            );
            document.warning("media.ports", &what, "widen it, or lower calls.max");
        }
    }

    /// Nobody far away can send to an address that means this host, or to a private one.
    pub(super) fn check_media_addresses(&self, document: &Document<'_>) {
        let (Some(meta), Some(media)) = (&self.meta, &self.media) else {
            return;
        };
        let announced = media.announced_to_meta();
        let key = match media.meta_public_address {
            Some(_) => "media.meta_public_address",
            None => "media.meta_address",
        };
        // With meta.address set, "Meta" is a simulator, and may well be here.
        if meta.address.is_none() && announced.is_loopback() {
            document.problem(
                key,
                &format!("Meta cannot send to {announced}"),
                "set media.meta_address to this host's address on the way to the internet",
            );
        } else if meta.address.is_none() && is_private(announced) {
            document.warning(
                key,
                &format!("Meta cannot send to {announced}, a private address"),
                "set media.meta_public_address to what the NAT in front makes of it",
            );
        }
        for (_, pbx) in &self.pbxs {
            let is_remote = pbx.address.ip().is_some_and(|ip| !ip.is_loopback());
            if is_remote && media.pbx_address.is_loopback() {
                document.problem(
                    "media.pbx_address",
                    &format!(
                        "the PBX {:?} cannot send to {}",
                        pbx.name, media.pbx_address
                    ),
                    "set it to this host's address on the way to the PBX",
                );
            }
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether two sockets of one kind cannot listen on both: same port, and same address or one that means all.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (any || a.ip() == b.ip())
}
