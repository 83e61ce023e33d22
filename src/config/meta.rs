//! `[meta]`: the side of the bridge that faces `wa.meta.vc`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use rustls_pki_types::DnsName;
use serde::Deserialize;

use super::document::Document;
use crate::policy::sources::metas_networks;

/// `[meta]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where we listen for Meta's TLS connections.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// The name that Meta knows us by: it stands in our From and Contact, and the certificate must cover it.
    pub hostname: String,
    /// PEM file with our certificate and the chain up to a public authority.
    pub certificate: PathBuf,
    /// PEM file with the certificate's key.
    pub key: PathBuf,
    /// Meta's SIP domain; its certificate must cover it.
    #[serde(default = "domain")]
    pub domain: String,
    /// Meta's port.
    #[serde(default = "port")]
    pub port: u16,
    /// Connects here in place of the domain's addresses: for a simulator. The certificate is checked all the same.
    pub address: Option<IpAddr>,
    /// PEM file with the authorities that may vouch for Meta, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How an INVITE from Meta must prove that it is Meta's.
    #[serde(default)]
    pub challenge: Challenge,
    /// Seconds for which a nonce of ours may be answered.
    #[serde(default = "nonce_lifetime")]
    pub nonce_lifetime: u16,
    /// The realm of our challenges; if unset, `hostname`.
    pub realm: Option<String>,
    /// Networks that Meta's connections may come from.
    #[serde(default = "metas_networks")]
    pub allowed_sources: Vec<IpNet>,
}

/// How Meta is asked for its password (RFC 3261 §22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Challenge {
    /// As a proxy does, which is what Meta's documents show.
    #[default]
    #[serde(rename = "407")]
    Proxy,
    /// As a server does.
    #[serde(rename = "401")]
    Server,
    /// Not at all: the source address alone decides.
    #[serde(rename = "off")]
    Off,
}

impl Settings {
    /// The realm of our challenges.
    pub fn realm(&self) -> &str {
        self.realm.as_deref().unwrap_or(&self.hostname)
    }

    pub(super) fn check(&self, document: &Document<'_>) {
        if !is_host_name(&self.hostname) {
            document.problem(
                "meta.hostname",
                &format!("{:?} is no host name", self.hostname),
                "give the full name that is set as SIP server of the number at Meta, not an address",
            );
        }
        if !is_host_name(&self.domain) {
            document.problem(
                "meta.domain",
                &format!("{:?} is no host name", self.domain),
                "leave it out: Meta's is wa.meta.vc",
            );
        }
        if self.port == 0 {
            document.problem(
                "meta.port",
                "0 is no port to connect to",
                "leave it out: Meta's is 5061",
            );
        }
        if self.challenge == Challenge::Off {
            document.warning(
                "meta.challenge",
                "Meta's calls are not authenticated",
                "set it to \"407\" unless this is a test",
            );
        }
        if !(5..=3600).contains(&self.nonce_lifetime) {
            document.problem(
                "meta.nonce_lifetime",
                "a nonce must live for 5 to 3600 seconds",
                "leave it out: 60 suits a caller who waits",
            );
        }
        if self.allowed_sources.is_empty() {
            document.problem(
                "meta.allowed_sources",
                "an empty list lets nobody call",
                "leave it out to allow the networks that Meta publishes",
            );
        }
        if let Some(everyone) = self
            .allowed_sources
            .iter()
            .find(|net| net.prefix_len() == 0)
        {
            document.warning(
                "meta.allowed_sources",
                &format!("{everyone} lets the whole internet try"),
                "leave it out to allow the networks that Meta publishes",
            );
        }
    }
}

/// A DNS name of more than one kind of label, and no address that looks like one.
pub(super) fn is_host_name(text: &str) -> bool {
    DnsName::try_from(text).is_ok() && text.parse::<IpAddr>().is_err()
}

fn listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 5061))
}

fn domain() -> String {
    "wa.meta.vc".into()
}

fn port() -> u16 {
    5061
}

fn nonce_lifetime() -> u16 {
    60
}
