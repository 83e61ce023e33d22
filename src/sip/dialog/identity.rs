//! How we name ourselves to one side, and what we do for it.

use crate::sip::Abilities;
use crate::sip::header::{NameAddr, Via};
use crate::sip::transport::Protocol;
use crate::sip::uri::SipUri;

/// What our Vias and Contacts say to one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The protocol that the peer is spoken to by.
    pub protocol: Protocol,
    /// Our name or address there; IPv6 in brackets.
    pub host: String,
    /// Our listener's port.
    pub port: u16,
    /// User-Agent and Server.
    pub agent: &'static str,
    /// Allow and Supported.
    pub abilities: Abilities,
}

impl Identity {
    /// An identity under the program's own name.
    pub fn new(protocol: Protocol, host: &str, port: u16) -> Identity {
        Identity {
            protocol,
            host: host.to_owned(),
            port,
            agent: concat!("wabridge/", env!("CARGO_PKG_VERSION")),
            abilities: Abilities::CALLS,
        }
    }

    /// The Via of a request of ours.
    pub fn via(&self, branch: &str) -> Via {
        Via::new(self.protocol.name(), &self.host, self.port, branch)
    }

    /// Where the peer reaches us within a dialog. The transport is written unless it is UDP, the default.
    pub fn contact(&self, user: Option<&str>) -> NameAddr {
        let uri = SipUri::new(user, &self.host).with_port(self.port);
        NameAddr::new(match self.protocol {
            Protocol::Udp => uri,
            Protocol::Tcp => uri.with_param("transport", Some("tcp")),
            Protocol::Tls => uri.with_param("transport", Some("tls")),
        })
    }
}
