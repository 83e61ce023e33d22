//! What an operator may set about signalling.

use std::time::Duration;

use serde::Deserialize;

use super::Limits;

/// `[sip]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Largest message in octets, headers and body; a larger one is refused with 513.
    pub max_message: usize,
    /// Most header lines of one message; more are refused with 400.
    pub max_headers: usize,
    /// Connections that peers may have open to us at once; one more is closed at once.
    pub max_connections: u16,
    /// Seconds after which a connection on which nothing came, not even a keep-alive, is closed.
    pub idle_timeout: u16,
    /// Seconds between two keep-alives of ours on a quiet connection (RFC 5626 §3.5.1); 0: none.
    pub keepalive: u16,
    /// Seconds that looking up a name and connecting, TLS included, may take.
    pub connect_timeout: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        let Limits {
            max_message,
            max_headers,
        } = Limits::default();
        Settings {
            max_message,
            max_headers,
            max_connections: 1000,
            idle_timeout: 300,
            keepalive: 30,
            connect_timeout: 5,
        }
    }
}

impl Settings {
    /// How much of a peer's message is read at all.
    pub fn limits(&self) -> Limits {
        Limits {
            max_message: self.max_message,
            max_headers: self.max_headers,
        }
    }

    /// `idle_timeout` as a time.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout.into())
    }

    /// `keepalive` as a time; `None`: send none.
    pub fn keepalive(&self) -> Option<Duration> {
        (self.keepalive > 0).then(|| Duration::from_secs(self.keepalive.into()))
    }

    /// `connect_timeout` as a time.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout.into())
    }

    /// What no peer could work with, in words for the operator; each entry names its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        // Meta's INVITE has about 3 kB and 30 header lines; UDP carries no more than 65535 octets.
        if !(8_192..=1_048_576).contains(&self.max_message) {
            problems.push("sip.max_message: must be 8192 to 1048576 octets".into());
        }
        if !(50..=1_000).contains(&self.max_headers) {
            problems.push("sip.max_headers: must be 50 to 1000 lines".into());
        }
        if self.max_connections == 0 {
            problems.push("sip.max_connections: 0 lets nobody connect".into());
        }
        if self.idle_timeout <= self.keepalive {
            problems.push("sip.idle_timeout: must be longer than sip.keepalive".into());
        }
        if !(1..=32).contains(&self.connect_timeout) {
            problems.push(
                "sip.connect_timeout: must be 1 to 32 seconds, as long as a request waits".into(),
            );
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_no_problem_and_nonsense_is_named_by_its_key() {
        assert!(Settings::default().problems().is_empty());
        let nonsense = "max_message = 100\nmax_headers = 1\nmax_connections = 0\nidle_timeout = 30\nconnect_timeout = 0";
        let settings: Settings = toml::from_str(nonsense).unwrap();
        let problems = settings.problems();
        let keys: Vec<_> = problems
            .iter()
            .filter_map(|p| p.split_once(": "))
            .map(|(key, _)| key)
            .collect();
        let wanted = [
            "max_message",
            "max_headers",
            "max_connections",
            "idle_timeout",
            "connect_timeout",
        ];
        assert_eq!(keys, wanted.map(|key| format!("sip.{key}")));
    }

    #[test]
    fn no_keepalive_is_no_time_at_all() {
        let settings: Settings = toml::from_str("keepalive = 0").unwrap();
        assert_eq!(settings.keepalive(), None);
        assert_eq!(
            Settings::default().keepalive(),
            Some(Duration::from_secs(30))
        );
    }
}
