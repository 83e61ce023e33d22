//! What an operator may set about sockets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sip::message::Limits;

/// The transport part of the `[sip]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Largest message in octets, headers and body; a larger one is refused with 513.
    pub max_message: usize,
    /// Most header lines of one message; more are refused with 400.
    pub max_headers: usize,
    /// Seconds after which a connection is closed that carried nothing in either direction. The next message opens
    /// it anew; calls are not touched.
    pub idle_timeout: u16,
    /// Seconds in which a message that has begun to arrive must be complete, and in which a new connection must
    /// have brought its first one. Keeps slow senders from holding connections.
    pub message_timeout: u16,
    /// Seconds between keep-alives (double CRLF, RFC 5626 §3.5.1) on connections that we opened; 0: none. Keep it
    /// below the idle timeout of the firewall in front of you.
    pub keepalive: u16,
    /// Whether a keep-alive must be answered within 10 seconds, else the connection is closed. Meta does not say
    /// that it answers, so leave this off unless you know your peers do.
    pub keepalive_answer: bool,
    /// Seconds for each step of opening a connection: the name lookup, every address tried, the TLS handshake.
    pub connect_timeout: u16,
    /// Most connections that each side may have open to us at once; further ones are closed on arrival.
    pub max_connections: usize,
    /// Most of them from one address, so that a single stranger cannot take all places.
    pub max_connections_per_address: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let limits = Limits::default();
        Settings {
            max_message: limits.max_message,
            max_headers: limits.max_headers,
            idle_timeout: 600,
            message_timeout: 30,
            keepalive: 30,
            keepalive_answer: false,
            connect_timeout: 5,
            max_connections: 1024,
            max_connections_per_address: 256,
        }
    }
}

impl Settings {
    /// What would keep every call from working, in words for the operator; each entry names its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        // A call of Meta's with its SDP and headers is about 3000 octets.
        if self.max_message < 8192 {
            problems.push("sip.max_message: ordinary calls need 8192 or more".into());
        }
        if self.max_headers < 32 {
            problems.push("sip.max_headers: ordinary calls need 32 or more".into());
        }
        for (key, zero) in [
            ("idle_timeout", self.idle_timeout == 0),
            ("message_timeout", self.message_timeout == 0),
            ("connect_timeout", self.connect_timeout == 0),
            ("max_connections", self.max_connections == 0),
            (
                "max_connections_per_address",
                self.max_connections_per_address == 0,
            ),
        ] {
            if zero {
                problems.push(format!("sip.{key}: must be more than 0"));
            }
        }
        problems
    }

    /// How much of a message is read.
    pub fn limits(&self) -> Limits {
        Limits {
            max_message: self.max_message,
            max_headers: self.max_headers,
        }
    }

    /// `connect_timeout` as a time.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default_and_default_has_no_problem() {
        let settings: Settings = toml::from_str("").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.problems(), Vec::<String>::new());
    }

    #[test]
    fn a_value_that_stops_every_call_is_a_problem() {
        let settings: Settings =
            toml::from_str("max_message = 100\nmax_headers = 3\nmax_connections = 0").unwrap();
        assert_eq!(settings.problems().len(), 3);
        assert!(toml::from_str::<Settings>("max_mesage = 100").is_err());
    }
}
