//! Whom we believe to be Meta, and whom a PBX.

use std::collections::BTreeMap;

use crate::config::{self, Config};
use crate::sip::transport::tls::{self, ByHost, ClientTls, Roots, TlsError};
use crate::sip::transport::{Clients, Protocol};

/// Who may vouch for the far ends of the TLS connections that we open.
#[derive(Clone, Debug)]
pub struct Trust {
    /// For Meta.
    pub meta: Roots,
    /// For PBXs over TLS, by their names.
    pub pbxs: BTreeMap<String, Roots>,
}

impl Trust {
    /// What the configuration says: a file of authorities, or those of the system.
    pub fn of(config: &Config) -> Trust {
        let roots = |file: Option<&std::path::PathBuf>| match file {
            Some(file) => Roots {
                files: vec![file.clone()],
                ..Roots::only(Vec::new())
            },
            None => Roots::system(),
        };
        let pbxs = over_tls(config).filter(|pbx| pbx.verify);
        let pbxs = pbxs.map(|pbx| (pbx.name.clone(), roots(pbx.ca_file.as_ref())));
        Trust {
            meta: roots(config.meta.ca_file.as_ref()),
            pbxs: pbxs.collect(),
        }
    }
}

pub(super) fn clients(config: &Config, trust: &Trust) -> Result<Clients, TlsError> {
    let meta = ClientTls {
        config: tls::client_config(&trust.meta)?,
        server_name: Some(config.meta.domain.clone()),
    };
    let mut pbxs = ByHost::default();
    for pbx in over_tls(config) {
        let client = match (pbx.verify, trust.pbxs.get(&pbx.name)) {
            (false, _) => tls::client_config_without_verification()?,
            (true, Some(roots)) => tls::client_config(roots)?,
            (true, None) => tls::client_config(&Roots::system())?,
        };
        for place in &pbx.address {
            let host = &place.address.host;
            let client = ClientTls {
                config: client.clone(),
                server_name: Some(host.clone()),
            };
            pbxs.insert(host, pbx.allowed_sources(), client);
        }
    }
    Ok(Clients {
        meta: Some(meta),
        pbxs,
    })
}

fn over_tls(config: &Config) -> impl Iterator<Item = &config::Pbx> {
    let is_over_tls = |pbx: &&config::Pbx| pbx.transport == Protocol::Tls;
    config.pbxs.iter().filter(is_over_tls)
}
