//! What the pages for operators show of the configuration that is in force.

use super::Addresses;
use crate::config::Config;
use crate::observe::admin::Listen;
use crate::observe::{Facts, status};

/// The facts of a configuration, and where its sockets are.
pub(super) fn of(config: &Config, addresses: &Addresses, admin: Option<&Listen>) -> Facts {
    let sip = [
        ("meta", "tls", &addresses.meta),
        ("pbx", "udp", &addresses.pbx.udp),
        ("pbx", "tcp", &addresses.pbx.tcp),
        ("pbx", "tls", &addresses.pbx.tls),
    ];
    let listener = |side: &str, protocol: &str, address: String| status::Listener {
        side: side.to_owned(),
        protocol: protocol.to_owned(),
        address,
    };
    let sip = sip.into_iter().flat_map(|(side, protocol, addresses)| {
        let each = addresses.iter();
        each.map(move |address| listener(side, protocol, address.to_string()))
    });
    let admin = admin.and_then(|admin| match admin {
        Listen::Off => None,
        Listen::Tcp(address) => Some(listener("admin", "http", address.to_string())),
        Listen::Unix(path) => Some(listener("admin", "unix", path.display().to_string())),
    });
    Facts {
        numbers: config.numbers.iter().map(|n| n.number.clone()).collect(),
        listeners: sip.chain(admin).collect(),
        certificate_expires: config.certificate.expires(),
    }
}
