//! The addresses that media is received at: whether this host has them.

use std::net::{IpAddr, UdpSocket};

use super::DaemonError;
use crate::config::Config;

/// An address for media, and where the configuration has it.
pub(super) struct Local {
    address: IpAddr,
    /// The key that has it.
    key: String,
    /// The key for the address that a NAT makes of it.
    public: String,
}

/// Every address that media is received at with this configuration.
pub(super) fn addresses(config: &Config) -> Vec<Local> {
    let media = &config.media;
    let local = |key: String, address, public: String| Local {
        address,
        key,
        public,
    };
    let metas = [
        ("media.meta_address", Some(media.meta_address)),
        (
            "media.meta_ipv6_address",
            media.meta_ipv6_address.map(IpAddr::from),
        ),
    ];
    let metas = metas.into_iter().filter_map(|(key, address)| {
        let public = "media.meta_public_address".to_owned();
        Some(local(key.to_owned(), address?, public))
    });
    let pbxs = config.pbxs.iter().map(|pbx| {
        let at = format!("pbx[{}]", pbx.name);
        let public = format!("{at}.media_public_address");
        local(pbx.media_key(&at), pbx.facing(media).address, public)
    });
    metas.chain(pbxs).collect()
}

/// Those of them that PBXs have.
pub(super) fn of_pbxs(config: &Config) -> Vec<IpAddr> {
    let facing = config.pbxs.iter().map(|pbx| pbx.facing(&config.media));
    facing.map(|facing| facing.address).collect()
}

/// Sockets for media are opened call by call: an address that is not ours must be found before the first one. Those that
/// are `known` have been looked at before.
pub(super) fn are_ours(addresses: &[Local], known: &[Local]) -> Result<(), DaemonError> {
    for local in addresses {
        if known.iter().any(|known| known.address == local.address) {
            continue;
        }
        UdpSocket::bind((local.address, 0)).map_err(|source| DaemonError::MediaAddress {
            key: local.key.clone(),
            public: local.public.clone(),
            address: local.address,
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(key: &str, address: &str) -> Local {
        Local {
            address: address.parse().unwrap(),
            key: key.to_owned(),
            public: "pbx[main].media_public_address".to_owned(),
        }
    }

    #[test]
    fn an_address_for_media_that_another_host_has_is_named_with_its_key() {
        let here = || local("media.meta_address", "127.0.0.1");
        assert!(are_ours(&[here()], &[]).is_ok());
        // Reserved for documents (RFC 5737): no host has it.
        let elsewhere = || local("pbx[main].media_address", "192.0.2.10");
        let said = are_ours(&[here(), elsewhere()], &[]).unwrap_err();
        let said = said.to_string();
        for part in [
            "192.0.2.10",
            "set pbx[main].media_address",
            "pbx[main].media_public_address is for",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(are_ours(&[elsewhere()], &[elsewhere()]).is_ok(), "known");
    }
}
