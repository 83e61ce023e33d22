//! By which name and ports a PBX reaches us: what stands in our Contact and Via.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::DaemonError;
use crate::config;
use crate::peer::pbx::Ports;
use crate::sip::transport::{Names, Protocol, listener_towards, local_address_towards};

/// What a PBX knows us by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ourselves {
    /// A host, as URIs have it.
    pub host: String,
    /// Beside it.
    pub ports: Ports,
}

/// What each of these PBXs knows us by. They are looked for all at once, and no longer than `limit` for each step: one whose
/// name server does not answer holds up no other.
pub(super) async fn towards_each(
    pbxs: &[config::Pbx],
    listeners: &config::Listener,
    names: Names,
    limit: Duration,
) -> Vec<Result<Ourselves, DaemonError>> {
    let names = Arc::new(names);
    let mut sought = Vec::new();
    for pbx in pbxs {
        let peer = match needs_no_look(pbx, listeners) {
            true => None,
            false => Some(look_up(pbx, &names, limit)),
        };
        sought.push((pbx, peer));
    }
    let mut found = Vec::new();
    for (pbx, peer) in sought {
        let peer = match peer {
            None => Ok(None),
            Some(lookups) => first(lookups).await.map(Some),
        };
        let peer = peer.map_err(|source| no_way(pbx, source));
        found.push(peer.and_then(|peer| towards(pbx, listeners, peer)));
    }
    found
}

/// Without its name: as it knew us so far, or else by our address towards where its requests come from. It counts as down
/// while its name leads nowhere; what it knows us by matters when it calls.
///
/// # Errors
///
/// Where no way leads there either.
pub(super) fn in_place_of(
    pbx: &config::Pbx,
    listeners: &config::Listener,
    before: Option<Ourselves>,
) -> Result<Ourselves, DaemonError> {
    if let Some(before) = before {
        let host = pbx.our_host.as_deref().map(bracketed);
        return Ok(Ourselves {
            host: host.unwrap_or(before.host),
            ..before
        });
    }
    let sources = pbx.allowed_sources();
    let source = sources.iter().find(|network| network.prefix_len() > 0);
    let source = source.map(|network| SocketAddr::new(network.addr(), 0));
    towards(pbx, listeners, source)
}

/// As configured, or where the listener that faces the PBX is bound, or our address on the way to it.
fn towards(
    pbx: &config::Pbx,
    listeners: &config::Listener,
    peer: Option<SocketAddr>,
) -> Result<Ourselves, DaemonError> {
    let facing = |list: &[SocketAddr]| {
        let facing = peer.and_then(|peer| listener_towards(list, peer));
        facing.or(list.first().copied())
    };
    let [udp, tcp, tls] = [Protocol::Udp, Protocol::Tcp, Protocol::Tls]
        .map(|protocol| facing(listeners.of(protocol)).map(|listener| listener.port()));
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
    Ok(Ourselves {
        host: bracketed(&host),
        ports: Ports { udp, tcp, tls },
    })
}

/// Whether there is no choice to make: then a name server that does not answer keeps nobody from starting.
fn needs_no_look(pbx: &config::Pbx, listeners: &config::Listener) -> bool {
    let mut lists = [Protocol::Udp, Protocol::Tcp, Protocol::Tls]
        .map(|p| listeners.of(p))
        .into_iter();
    let is_named = matches!(listeners.of(pbx.transport), [only] if !only.ip().is_unspecified());
    lists.all(|list| list.len() < 2) && (pbx.our_host.is_some() || is_named)
}

type Sought = JoinHandle<Result<Vec<SocketAddr>, String>>;

/// Asks for all addresses of a PBX, in their order.
fn look_up(pbx: &config::Pbx, names: &Arc<Names>, limit: Duration) -> Vec<Sought> {
    let places = pbx.address.iter();
    let asked = places.map(|place| {
        let (names, host, port) = (names.clone(), place.address.host.clone(), pbx.port(place));
        tokio::spawn(async move { names.lookup(&host, port, limit).await })
    });
    asked.collect()
}

/// Where a PBX is, to find our side of the way there: the first of its addresses that is known.
async fn first(lookups: Vec<Sought>) -> io::Result<SocketAddr> {
    let mut failure = io::ErrorKind::NotFound.into();
    for lookup in lookups {
        match lookup.await? {
            Ok(found) => {
                if let Some(peer) = found.first() {
                    return Ok(*peer);
                }
            }
            Err(why) => failure = io::Error::other(why),
        }
    }
    Err(failure)
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
    use crate::sip::transport::{Lookup, Overrides, Resolve};

    /// What a PBX there is told of us who listen here for UDP.
    async fn told(address: &str, udp: &str) -> (String, Option<u16>) {
        let pbx = format!("name = 'main'\naddress = '{address}'");
        let pbx = toml::from_str(&pbx).unwrap();
        let listeners = toml::from_str(&format!("udp = {udp}")).unwrap();
        let found = towards_each(
            &[pbx],
            &listeners,
            Names::system(Overrides::new()),
            Duration::from_secs(20),
        )
        .await;
        let ourselves = found.into_iter().next().unwrap().unwrap();
        (ourselves.host, ourselves.ports.udp)
    }

    #[test]
    fn a_pbx_that_cannot_be_found_is_told_our_address_towards_its_sources() {
        let pbx = "name = 'main'\naddress = 'pbx.invalid'\nallowed_sources = ['127.0.0.0/8']";
        let pbx = toml::from_str(pbx).unwrap();
        let listeners = toml::from_str("udp = '0.0.0.0:5070'").unwrap();
        let ourselves = in_place_of(&pbx, &listeners, None).unwrap();
        assert_eq!(ourselves.host, "127.0.0.1");
        assert_eq!(ourselves.ports.udp, Some(5070));
        let before = Ourselves {
            host: "192.0.2.1".into(),
            ..ourselves
        };
        let kept = in_place_of(&pbx, &listeners, Some(before.clone())).unwrap();
        assert_eq!(kept, before, "what it knew us by so far");
    }

    /// A name server that does not answer.
    struct Silent;

    impl Resolve for Silent {
        fn addresses(&self, _host: String) -> Lookup {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn a_name_server_that_does_not_answer_is_not_waited_for_and_holds_up_no_other_pbx() {
        let pbx = |address| {
            let pbx = format!("name = 'main'\naddress = '{address}'");
            toml::from_str::<config::Pbx>(&pbx).unwrap()
        };
        let listeners = toml::from_str("udp = '0.0.0.0:5070'").unwrap();
        let pbxs = [pbx("pbx.invalid"), pbx("127.0.0.1")];
        let names = Names::with(Silent, Overrides::new());
        let found = towards_each(&pbxs, &listeners, names, Duration::from_millis(1)).await;
        let said = found[0].as_ref().unwrap_err().to_string();
        assert!(
            said.contains("the name pbx.invalid took over") && said.contains("pbx.our_host"),
            "{said}"
        );
        assert_eq!(found[1].as_ref().unwrap().host, "127.0.0.1");
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
