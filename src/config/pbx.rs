//! `[[pbx]]` and `[pbx_listener]`: the side of the bridge that faces the telephone system.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::listen;
use super::meta::is_host_name;
use super::networks;
use super::register::Register;
use crate::media::Source;
use crate::number::{self, E164};
use crate::sip::transport::Protocol;

/// `[[pbx]]`: one telephone system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What numbers and log lines call it.
    pub name: String,
    /// Where its SIP is reached.
    pub address: Address,
    /// How it is reached.
    #[serde(default = "transport")]
    pub transport: Protocol,
    /// Name or IP address by which it reaches us, for our Contact and Via. If unset, the address of its listener, or
    /// where that means every address, the one of this host on the way to it.
    pub our_host: Option<String>,
    /// Networks that its requests may come from; if unset, its address alone.
    #[serde(default, deserialize_with = "networks::optional")]
    pub allowed_sources: Option<Vec<IpNet>>,
    /// Our number that calls WhatsApp where the PBX does not say which.
    #[serde(serialize_with = "in_full")]
    pub default_number: Option<E164>,
    /// How its users dial.
    #[serde(default)]
    pub dialling: number::Settings,
    /// Whether its media is encrypted, with keys in SDP (RFC 4568).
    #[serde(default)]
    pub srtp: bool,
    /// Whose media packets are taken for its own.
    #[serde(default = "source")]
    pub source: Source,
    /// Whether its answer to a WhatsApp user is acknowledged only when Meta's DTLS handshake is done.
    #[serde(default)]
    pub ack_when_keyed: bool,
    /// How the bridge registers at it, if it does.
    #[serde(default)]
    pub register: Register,
    /// For `tls`: PEM file with the authorities that may vouch for it, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// For `tls`: whether its certificate is verified.
    #[serde(default = "verify")]
    pub verify: bool,
}

/// `host:port` or `host`; the host is a name or an IP address, an IPv6 one with a port in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// Port, where it is not the transport's own.
    pub port: Option<u16>,
}

/// `[pbx_listener]`: where every PBX reaches us. No address: there is no such listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Where datagrams are received.
    #[serde(
        deserialize_with = "listen::on_or_off",
        serialize_with = "listen::written"
    )]
    pub udp: Vec<SocketAddr>,
    /// Where clear text connections are received.
    #[serde(
        deserialize_with = "listen::on_or_off",
        serialize_with = "listen::written"
    )]
    pub tcp: Vec<SocketAddr>,
    /// Where TLS connections are received; they are shown the certificate of `[meta]`.
    #[serde(
        deserialize_with = "listen::on_or_off",
        serialize_with = "listen::written"
    )]
    pub tls: Vec<SocketAddr>,
}

impl Listener {
    /// Listens nowhere.
    pub const OFF: Listener = Listener {
        udp: Vec::new(),
        tcp: Vec::new(),
        tls: Vec::new(),
    };

    /// Where messages of one protocol are received.
    pub fn of(&self, protocol: Protocol) -> &[SocketAddr] {
        match protocol {
            Protocol::Udp => &self.udp,
            Protocol::Tcp => &self.tcp,
            Protocol::Tls => &self.tls,
        }
    }
}

impl Default for Listener {
    fn default() -> Listener {
        let any = SocketAddr::from(([0, 0, 0, 0], 5070));
        Listener {
            udp: vec![any],
            tcp: vec![any],
            tls: Vec::new(),
        }
    }
}

impl Settings {
    /// The port where its SIP is reached.
    pub fn port(&self) -> u16 {
        self.address.port.unwrap_or(self.transport.default_port())
    }

    /// Networks that its requests may come from.
    pub fn allowed_sources(&self) -> Vec<IpNet> {
        match &self.allowed_sources {
            Some(networks) => networks.clone(),
            None => self.address.ip().map(IpNet::from).into_iter().collect(),
        }
    }

    pub(super) fn check(&self, at: &str, document: &Document<'_>) {
        if self.name.trim().is_empty() {
            document.problem(
                &format!("{at}.name"),
                "the name is empty",
                "numbers refer to it: give it one",
            );
        }
        let is_host = |host: &String| is_host_name(host) || host.parse::<IpAddr>().is_ok();
        if let Some(host) = self.our_host.as_ref().filter(|host| !is_host(host)) {
            document.problem(
                &format!("{at}.our_host"),
                &format!("{host:?} is neither a host name nor an IP address"),
                "leave it out unless this PBX reaches the bridge through a NAT",
            );
        }
        self.check_sources(at, document);
        self.check_tls(at, document);
    }

    fn check_sources(&self, at: &str, document: &Document<'_>) {
        if self.allowed_sources().is_empty() {
            document.problem(
                &format!("{at}.allowed_sources"),
                "nobody may call from this PBX",
                "list the addresses of a PBX that is given by name, such as [\"192.0.2.7\"]",
            );
        }
        for network in self
            .allowed_sources()
            .iter()
            .filter(|net| net.prefix_len() == 0)
        {
            document.warning(
                &format!("{at}.allowed_sources"),
                &format!("{network} lets anybody call WhatsApp users at your cost"),
                "list the addresses of the PBX",
            );
        }
    }

    fn check_tls(&self, at: &str, document: &Document<'_>) {
        match self.transport {
            Protocol::Tls if !self.verify => document.warning(
                &format!("{at}.verify"),
                "the certificate of this PBX is not verified",
                "set ca_file to the authority that signed it, and leave verify out",
            ),
            Protocol::Udp | Protocol::Tcp if self.ca_file.is_some() => document.problem(
                &format!("{at}.ca_file"),
                "there is no certificate to verify without TLS",
                "set transport to \"tls\", or leave ca_file out",
            ),
            _ => {}
        }
        if self.source == Source::Authentic && !self.srtp {
            document.problem(
                &format!("{at}.source"),
                "without SRTP nothing tells this PBX's packets from anybody else's",
                "set srtp to true, or source to \"negotiated\" or \"first\"",
            );
        }
        if self.srtp && self.transport != Protocol::Tls {
            document.warning(
                &format!("{at}.srtp"),
                "the media keys travel in clear text",
                "set transport to \"tls\" with it",
            );
        }
    }
}

impl Address {
    /// The IP address, unless a name is given.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Address, String> {
        let wrong = || format!("{text:?} is no address; write for instance \"127.0.0.1:5060\"");
        if let Ok(host) = text.parse::<IpAddr>() {
            return Ok(Address {
                host: host.to_string(),
                port: None,
            });
        }
        if let Ok(both) = text.parse::<SocketAddr>() {
            return Ok(Address {
                host: both.ip().to_string(),
                port: Some(both.port()),
            });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (text.as_str(), None),
        };
        match is_host_name(host) && port != Some(0) {
            true => Ok(Address {
                host: host.to_owned(),
                port,
            }),
            false => Err(wrong()),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        match (address.port, address.host.contains(':')) {
            (Some(port), true) => format!("[{}]:{port}", address.host),
            (Some(port), false) => format!("{}:{port}", address.host),
            (None, _) => address.host,
        }
    }
}

/// Numbers mask themselves; whoever prints the configuration wants to see what is written there.
fn in_full<S: serde::Serializer>(number: &Option<E164>, serializer: S) -> Result<S::Ok, S::Error> {
    number.as_ref().map(E164::plus).serialize(serializer)
}

fn transport() -> Protocol {
    Protocol::Udp
}

fn source() -> Source {
    Source::Negotiated
}

fn verify() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<(String, Option<u16>), String> {
        let address = Address::try_from(text.to_owned())?;
        assert_eq!(String::from(address.clone()), text);
        Ok((address.host, address.port))
    }

    #[test]
    fn an_address_is_a_host_with_or_without_a_port() {
        assert_eq!(
            address("127.0.0.1:5060"),
            Ok(("127.0.0.1".into(), Some(5060)))
        );
        assert_eq!(
            address("[2001:db8::1]:5060"),
            Ok(("2001:db8::1".into(), Some(5060)))
        );
        assert_eq!(address("2001:db8::1"), Ok(("2001:db8::1".into(), None)));
        assert_eq!(
            address("pbx.example.com:5080"),
            Ok(("pbx.example.com".into(), Some(5080)))
        );
        assert_eq!(address("pbx"), Ok(("pbx".into(), None)));
        for wrong in [
            "",
            ":5060",
            "pbx:",
            "pbx:99999",
            "pbx:0",
            "a b",
            "sip:pbx",
            "pbx:5060:1",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_can_be_turned_off() {
        let listener: Listener = toml::from_str("udp = 'off'\ntls = '[::]:5071'").unwrap();
        assert_eq!(listener.udp, []);
        assert_eq!(listener.tcp, Listener::default().tcp);
        assert_eq!(listener.tls, ["[::]:5071".parse().unwrap()]);
        assert!(toml::from_str::<Listener>("udp = 'on'").is_err());
    }

    #[test]
    fn a_pbx_may_call_from_its_own_address_unless_others_are_listed() {
        let mut pbx: Settings = toml::from_str("name = 'main'\naddress = '127.0.0.1'").unwrap();
        assert_eq!(pbx.allowed_sources(), ["127.0.0.1/32".parse().unwrap()]);
        assert_eq!(pbx.port(), 5060);
        pbx.allowed_sources = Some(vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(pbx.allowed_sources(), ["10.0.0.0/8".parse().unwrap()]);
    }
}
