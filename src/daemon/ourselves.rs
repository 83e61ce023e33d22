//! By which name and ports a PBX reaches us: what stands in our Contact and Via.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::DaemonError;
use crate::config;
use crate::peer::pbx::Ports;
use crate::sip::transport::{Protocol, listener_towards, local_address_towards};

/// As configured, or where the listener that faces the PBX is bound, or our address on the way to it.
pub(super) async fn towards(
    pbx: &config::Pbx,
    listeners: &config::Listener,
) -> Result<(String, Ports), DaemonError> {
    let lists = [Protocol::Udp, Protocol::Tcp, Protocol::Tls].map(|p| listeners.of(p));
    let peer = match needs_no_look(pbx, lists, listeners.of(pbx.transport)) {
        true => None,
        false => Some(peer(pbx).await?),
    };
    let facing = |list: &[SocketAddr]| {
        let facing = peer.and_then(|peer| listener_towards(list, peer));
        facing.or(list.first().copied())
    };
    let [udp, tcp, tls] = lists.map(|list| facing(list).map(|listener| listener.port()));
    let bound = facing(listeners.of(pbx.transport)).map(|listener| listener.ip());
    let bound = bound.filter(|ip| !ip.is_unspecified());
    let host = match (&pbx.our_host, bound, peer) {
        (Some(host), _, _) => host.clone(),
        (None, Some(ip), _) => ip.to_string(),
        (None, None, Some(peer)) => local_address_towards(peer)
            .map_err(|source| no_way(pbx, source))?
            .to_string(),
        (None, None, None) => return Err(no_way(pbx, io::ErrorKind::NotFound.into())),
    };
    Ok((bracketed(&host), Ports { udp, tcp, tls }))
}

/// Whether there is no choice to make: then a name server that does not answer keeps nobody from starting.
fn needs_no_look(pbx: &config::Pbx, lists: [&[SocketAddr]; 3], spoken: &[SocketAddr]) -> bool {
    let is_named = matches!(spoken, [only] if !only.ip().is_unspecified());
    lists.iter().all(|list| list.len() < 2) && (pbx.our_host.is_some() || is_named)
}

/// Where a PBX is, to find our side of the way there: the first of its addresses that is known.
async fn peer(pbx: &config::Pbx) -> Result<SocketAddr, DaemonError> {
    let mut failure = io::ErrorKind::NotFound.into();
    for place in &pbx.address {
        let host = place.address.host.as_str();
        match tokio::net::lookup_host((host, pbx.port(place))).await {
            Ok(mut found) => {
                if let Some(peer) = found.next() {
                    return Ok(peer);
                }
            }
            Err(error) => failure = error,
        }
    }
    Err(no_way(pbx, failure))
}

fn no_way(pbx: &config::Pbx, source: io::Error) -> DaemonError {
    DaemonError::OurHost {
        name: pbx.name.clone(),
        source,
    }
}

/// A host as URIs have it: IPv6 in brackets.
pub(super) fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a PBX there is told of us who listen here for UDP.
    async fn told(address: &str, udp: &str) -> (String, Option<u16>) {
        let pbx = format!("name = 'main'\naddress = '{address}'");
        let pbx = toml::from_str(&pbx).unwrap();
        let listeners = toml::from_str(&format!("udp = {udp}")).unwrap();
        let (host, ports) = towards(&pbx, &listeners).await.unwrap();
        (host, ports.udp)
    }

    #[tokio::test]
    async fn a_pbx_is_told_the_listener_that_faces_it() {
        let both = "['127.81.0.1:5070', '[::1]:5072']";
        assert_eq!(
            told("127.0.0.1", both).await,
            ("127.81.0.1".into(), Some(5070))
        );
        assert_eq!(told("::1", both).await, ("[::1]".into(), Some(5072)));
        let any = "['0.0.0.0:5070', '[::]:5072']";
        assert_eq!(
            told("127.0.0.1", any).await,
            ("127.0.0.1".into(), Some(5070))
        );
        assert_eq!(told("::1", any).await, ("[::1]".into(), Some(5072)));
    }

    #[tokio::test]
    async fn one_listener_with_an_address_needs_no_name_server() {
        let told = told("pbx.invalid", "'127.81.0.1:5070'").await;
        assert_eq!(told, ("127.81.0.1".into(), Some(5070)));
    }
}
