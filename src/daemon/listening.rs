//! Where the daemon listens and by which certificate, from the configuration; and which of it the system gave.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::config::{self, Config};
use crate::leg::Leg;
use crate::sip::transport::tls::{self, TlsError};
use crate::sip::transport::{Listen, Names, Overrides, Protocol};

use super::Addresses;

pub(super) fn server_tls(config: &Config) -> Result<Arc<ServerConfig>, TlsError> {
    let certificate = &config.certificate;
    tls::server_config_from(certificate.chain().to_vec(), certificate.key().clone_key())
}

pub(super) fn listens(config: &Config) -> Result<Vec<Listen>, TlsError> {
    let tls = server_tls(config)?;
    let listen = |leg, protocol, address: SocketAddr| Listen {
        leg,
        protocol,
        address,
        tls: (protocol == Protocol::Tls).then(|| tls.clone()),
    };
    let meta = config.meta.listen.iter();
    let mut listens: Vec<_> = meta
        .map(|address| listen(Leg::Meta, Protocol::Tls, *address))
        .collect();
    for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Tls] {
        let addresses = config.pbx_listener.of(protocol).iter();
        listens.extend(addresses.map(|address| listen(Leg::Pbx, protocol, *address)));
    }
    Ok(listens)
}

pub(super) fn addresses(listens: &[Listen], bound: &[SocketAddr]) -> Addresses {
    let mut addresses = Addresses {
        meta: Vec::new(),
        pbx: config::Listener::OFF,
    };
    for (listen, address) in listens.iter().zip(bound) {
        let list = match (listen.leg, listen.protocol) {
            (Leg::Meta, _) => &mut addresses.meta,
            (Leg::Pbx, Protocol::Udp) => &mut addresses.pbx.udp,
            (Leg::Pbx, Protocol::Tcp) => &mut addresses.pbx.tcp,
            (Leg::Pbx, Protocol::Tls) => &mut addresses.pbx.tls,
        };
        list.push(*address);
    }
    addresses
}

/// As the log shows addresses; `None`: there are none.
pub(super) fn listed(addresses: &[SocketAddr]) -> Option<String> {
    let texts: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

pub(super) fn names(config: &Config) -> Names {
    let meta = &config.meta;
    let overrides = meta.address.map(|ip| {
        (
            meta.domain.to_ascii_lowercase(),
            SocketAddr::new(ip, meta.port),
        )
    });
    Names::system(Overrides::from_iter(overrides))
}
