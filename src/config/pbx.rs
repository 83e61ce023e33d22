//! `[[pbx]]` and `[pbx_listener]`: the side of the bridge that faces the telephone system.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::meta::is_host_name;
use super::networks;
use super::pbx_address::{self, Place};
use super::register::Register;
use super::{headers, listen};
use crate::media::digits::Form;
use crate::media::{Codec, Source};
use crate::number::{self, E164};
use crate::policy::{Reinvite, health};
use crate::sip::transport::Protocol;

/// `[[pbx]]`: one telephone system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What numbers and log lines call it.
    pub name: String,
    /// Where its SIP is reached: one address at least.
    #[serde(
        deserialize_with = "pbx_address::one_or_more",
        serialize_with = "pbx_address::as_written"
    )]
    pub address: Vec<Place>,
    /// How it is reached.
    #[serde(default = "transport")]
    pub transport: Protocol,
    /// Name or IP address by which it reaches us, for our Contact and Via. If unset, the address of its listener, or
    /// where that means every address, the one of this host on the way to it.
    pub our_host: Option<String>,
    /// Address of this machine that listens for its media, and that it is told; if unset, `media.pbx_address`.
    pub media_address: Option<IpAddr>,
    /// Address that it is told, where a one-to-one NAT stands between it and `media_address`; if unset, that.
    pub media_public_address: Option<IpAddr>,
    /// Networks that its requests may come from; if unset, its address alone.
    #[serde(default, deserialize_with = "networks::optional")]
    pub allowed_sources: Option<Vec<IpNet>>,
    /// Seconds between two OPTIONS to each of its addresses; 0: none is sent.
    #[serde(default = "options_interval")]
    pub options_interval: u16,
    /// Failures in a row after which an address is down.
    #[serde(default = "down_after")]
    pub down_after: u8,
    /// Answers in a row after which it is up again.
    #[serde(default = "up_after")]
    pub up_after: u8,
    /// Seconds after which a call that an address has not answered at all goes to the next one.
    #[serde(default = "try_timeout")]
    pub try_timeout: u8,
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
    /// What is offered to it and taken from it, in our order of preference.
    #[serde(default = "formats")]
    pub codecs: Vec<Format>,
    /// Milliseconds of sound that it is asked to put into a packet.
    #[serde(default = "ptime")]
    pub ptime: u8,
    /// How it tells of digits, and is told of them.
    #[serde(default)]
    pub dtmf: Form,
    /// Further headers of every INVITE to it.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether its answer to a WhatsApp user is acknowledged only when Meta's DTLS handshake is done.
    #[serde(default)]
    pub ack_when_keyed: bool,
    /// What becomes of its wish to change a call that is up.
    #[serde(default)]
    pub reinvite: Reinvite,
    /// How the bridge registers at it, if it does.
    #[serde(default)]
    pub register: Register,
    /// For `tls`: PEM file with the authorities that may vouch for it, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// For `tls`: whether its certificate is verified.
    #[serde(default = "verify")]
    pub verify: bool,
}

/// What a packet may carry, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Sound as Meta has it.
    Opus,
    /// Sound, wideband.
    G722,
    /// Sound: G.711 A-law.
    Pcma,
    /// Sound: G.711 µ-law.
    Pcmu,
    /// Digits (RFC 4733).
    TelephoneEvent,
}

impl From<Format> for Codec {
    fn from(format: Format) -> Codec {
        match format {
            Format::Opus => Codec::Opus,
            Format::G722 => Codec::G722,
            Format::Pcma => Codec::Pcma,
            Format::Pcmu => Codec::Pcmu,
            Format::TelephoneEvent => Codec::TelephoneEvent { rate: 8000 },
        }
    }
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
    /// The port of one of its addresses.
    pub fn port(&self, place: &Place) -> u16 {
        let port = place.address.port;
        port.unwrap_or(self.transport.default_port())
    }

    /// How its addresses are watched.
    pub fn health(&self) -> health::Settings {
        health::Settings {
            interval: Duration::from_secs(self.options_interval.into()),
            down_after: self.down_after,
            up_after: self.up_after,
        }
    }

    /// Networks that its requests may come from.
    pub fn allowed_sources(&self) -> Vec<IpNet> {
        match &self.allowed_sources {
            Some(networks) => networks.clone(),
            None => {
                let ips = self.address.iter().filter_map(|place| place.address.ip());
                ips.map(IpNet::from).collect()
            }
        }
    }

    /// `try_timeout` as a time.
    pub fn try_timeout(&self) -> Duration {
        Duration::from_secs(self.try_timeout.into())
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
        self.check_places(at, document);
        self.check_times(at, document);
        self.check_sources(at, document);
        self.check_tls(at, document);
        self.check_codecs(at, document);
        self.check_dtmf(at, document);
        headers::check(&format!("{at}.headers"), &self.headers, document);
    }

    /// Whether there is a codec of sound among its codecs.
    pub(super) fn has_sound(&self) -> bool {
        let mut formats = self.codecs.iter();
        formats.any(|format| *format != Format::TelephoneEvent)
    }

    fn check_codecs(&self, at: &str, document: &Document<'_>) {
        let codecs = &self.codecs;
        let problem = |key, what, remedy| document.problem(&format!("{at}.{key}"), what, remedy);
        if !self.has_sound() {
            problem(
                "codecs",
                "there is no codec of sound",
                "list what the PBX speaks: \"opus\", \"g722\", \"pcma\", \"pcmu\"",
            );
        }
        if (1..codecs.len()).any(|place| codecs[..place].contains(&codecs[place])) {
            problem("codecs", "one of them is listed twice", "list each once");
        }
        if !PTIMES.contains(&self.ptime) {
            problem("ptime", "must be 10, 20, 30, 40, 50 or 60 ms", "");
        }
    }

    fn check_places(&self, at: &str, document: &Document<'_>) {
        let same = |a: &Place, b: &Place| {
            let of = |place: &Place| (place.address.host.to_ascii_lowercase(), self.port(place));
            of(a) == of(b)
        };
        for (place, twin) in self.address.iter().enumerate() {
            if self.address[..place].iter().any(|other| same(other, twin)) {
                document.problem(
                    &format!("{at}.address[{place}]"),
                    "this address is listed already",
                    "list each once; a weight gives it a larger share",
                );
            }
        }
        let named = self.address.iter().find(|p| p.address.ip().is_none());
        if let (Some(named), None, false) = (
            named,
            &self.allowed_sources,
            self.allowed_sources().is_empty(),
        ) {
            document.warning(
                &format!("{at}.allowed_sources"),
                &format!("calls from {} are refused", named.address.host),
                "list the addresses of all its hosts: names are not looked up for this",
            );
        }
    }

    fn check_times(&self, at: &str, document: &Document<'_>) {
        let interval = self.options_interval;
        let times = [
            (
                "options_interval",
                interval == 0 || (2..=3600).contains(&interval),
                "must be 2 to 3600 seconds, or 0 for none",
            ),
            (
                "down_after",
                (1..=20).contains(&self.down_after),
                "must be 1 to 20",
            ),
            (
                "try_timeout",
                (1..=60).contains(&self.try_timeout),
                "must be 1 to 60 seconds",
            ),
            (
                "up_after",
                (1..=20).contains(&self.up_after),
                "must be 1 to 20",
            ),
        ];
        for (key, fits, what) in times {
            if !fits {
                document.problem(&format!("{at}.{key}"), what, "");
            }
        }
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

/// Numbers mask themselves; whoever prints the configuration wants to see what is written there.
fn in_full<S: serde::Serializer>(number: &Option<E164>, serializer: S) -> Result<S::Ok, S::Error> {
    number.as_ref().map(E164::plus).serialize(serializer)
}

fn transport() -> Protocol {
    Protocol::Udp
}

/// Milliseconds that a packet of sound may be asked to hold.
const PTIMES: [u8; 6] = [10, 20, 30, 40, 50, 60];

fn formats() -> Vec<Format> {
    vec![
        Format::Opus,
        Format::G722,
        Format::Pcma,
        Format::Pcmu,
        Format::TelephoneEvent,
    ]
}

fn ptime() -> u8 {
    20
}

fn source() -> Source {
    Source::Negotiated
}

fn verify() -> bool {
    true
}

fn options_interval() -> u16 {
    30
}

fn down_after() -> u8 {
    health::Settings::default().down_after
}

fn try_timeout() -> u8 {
    3
}

fn up_after() -> u8 {
    health::Settings::default().up_after
}

#[cfg(test)]
mod tests {
    use super::super::pbx_address::Address;
    use super::*;

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
        assert_eq!(pbx.port(&pbx.address[0]), 5060);
        pbx.address = ["127.0.0.1", "pbx.example.com", "2001:db8::8"]
            .map(|text| Place::only(Address::try_from(text.to_owned()).unwrap()))
            .into();
        let both = ["127.0.0.1/32", "2001:db8::8/128"].map(|net| net.parse().unwrap());
        assert_eq!(pbx.allowed_sources(), both);
        pbx.allowed_sources = Some(vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(pbx.allowed_sources(), ["10.0.0.0/8".parse().unwrap()]);
    }
}
