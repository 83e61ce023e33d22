//! `[meta]`: the side of the bridge that faces `wa.meta.vc`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use rustls_pki_types::DnsName;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::{listen, networks};
use crate::policy::sources::metas_networks;
use crate::sdp::Setup;
use crate::sip::digest::server as digest;

/// `[meta]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where we listen for Meta's TLS connections.
    #[serde(
        default = "everywhere",
        deserialize_with = "listen::on",
        serialize_with = "listen::written"
    )]
    pub listen: Vec<SocketAddr>,
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
    /// A change takes effect at the next start.
    pub address: Option<IpAddr>,
    /// PEM file with the authorities that may vouch for Meta, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// What our challenges call us; if unset, the hostname of the number that is called.
    pub realm: Option<String>,
    /// The `a=setup` of our offers that are keyed by DTLS.
    #[serde(default)]
    pub dtls_setup: Setup,
    /// Networks that Meta's connections may come from.
    #[serde(default = "metas_networks", deserialize_with = "networks::list")]
    pub allowed_sources: Vec<IpNet>,
    /// How an INVITE from Meta must prove that it is Meta's.
    #[serde(default)]
    pub digest: digest::Settings,
}

impl Settings {
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
        self.check_digest(document);
        self.check_sources(document);
    }

    fn check_digest(&self, document: &Document<'_>) {
        // It stands in quotes in a header.
        let is_plain =
            |realm: &String| !realm.contains(['"', '\\']) && !realm.contains(char::is_control);
        if self
            .realm
            .as_ref()
            .is_some_and(|realm| !is_plain(realm) || realm.is_empty())
        {
            document.problem(
                "meta.realm",
                "a realm is text without quotes and backslashes",
                "leave it out: the hostname is used",
            );
        }
        if self.digest.challenge == digest::Demand::Off {
            document.warning(
                "meta.digest.challenge",
                "Meta's calls are not authenticated",
                "set it to \"407\" unless this is a test",
            );
        }
        if !(5..=3600).contains(&self.digest.nonce_lifetime) {
            document.problem(
                "meta.digest.nonce_lifetime",
                "a challenge must live for 5 to 3600 seconds",
                "leave it out: 60 suits a caller who waits",
            );
        }
        if self.digest.remembered_nonces == 0 {
            document.problem(
                "meta.digest.remembered_nonces",
                "without memory an answer could be used twice",
                "leave it out: 20000 take a few megabytes",
            );
        }
    }

    fn check_sources(&self, document: &Document<'_>) {
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
        let admitted =
            |address: &IpAddr| self.allowed_sources.iter().any(|net| net.contains(address));
        if let Some(address) = self.address.filter(|address| !admitted(address)) {
            document.warning(
                "meta.allowed_sources",
                &format!("calls from meta.address ({address}) are refused"),
                "list its network too",
            );
        }
    }
}

/// A DNS name of more than one kind of label, and no address that looks like one.
pub(super) fn is_host_name(text: &str) -> bool {
    DnsName::try_from(text).is_ok() && text.parse::<IpAddr>().is_err()
}

fn everywhere() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([0, 0, 0, 0], 5061))]
}

fn domain() -> String {
    "wa.meta.vc".into()
}

fn port() -> u16 {
    5061
}
