//! What an operator may set about calls.

use std::time::Duration;

use serde::Deserialize;

/// `[calls]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Calls at once, both directions together; one more is answered 503.
    pub max: u16,
    /// Seconds a phone at the PBX may ring before the WhatsApp user is told that nobody answers (480). Meta gives up
    /// by itself after 30 to 60 s.
    pub ring_timeout: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max: 1000,
            ring_timeout: 55,
        }
    }
}

impl Settings {
    /// `ring_timeout` as a time.
    pub fn ring_timeout(&self) -> Duration {
        Duration::from_secs(self.ring_timeout.into())
    }

    /// What makes no sense, in words for the operator; each entry names its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.max == 0 {
            problems.push("calls.max: 0 lets nobody call".into());
        }
        if !(1..=300).contains(&self.ring_timeout) {
            problems.push("calls.ring_timeout: must be 1 to 300 seconds".into());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_named_by_its_key() {
        let settings: Settings = toml::from_str("max = 0\nring_timeout = 301").unwrap();
        let problems = settings.problems();
        assert!(problems[0].starts_with("calls.max: "), "{problems:?}");
        assert!(
            problems[1].starts_with("calls.ring_timeout: "),
            "{problems:?}"
        );
        assert!(Settings::default().problems().is_empty());
    }
}
