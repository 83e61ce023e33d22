//! What an operator may set about calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[calls]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Calls at once, both directions together; one more is answered 503.
    pub max: u16,
    /// Seconds a phone at the PBX may ring before the WhatsApp user is told that nobody answers (480). Meta gives up
    /// by itself after 30 to 60 s.
    pub ring_timeout: u16,
    /// Seconds a WhatsApp user may ring before the PBX is told that nobody answers (480). Meta usually ends it
    /// earlier.
    pub answer_timeout: u16,
    /// Seconds for which calls may go on when the bridge is to stop, while new ones are refused (503); then they are
    /// ended. 0 ends them at once.
    pub drain_time: u16,
    /// Milliseconds that new calls may wait for the bridge. When they have waited longer for twenty times as long, the machine
    /// has less time than they take: from then on, while one waits longer, those that come are answered 503, and the others are
    /// served as ever. 0 refuses none, as long as no more than 640 wait.
    pub overload_delay: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max: 2000,
            ring_timeout: 55,
            answer_timeout: 90,
            drain_time: 300,
            overload_delay: 20,
        }
    }
}

impl Settings {
    /// `ring_timeout` as a time.
    pub fn ring_timeout(&self) -> Duration {
        Duration::from_secs(self.ring_timeout.into())
    }

    /// `answer_timeout` as a time.
    pub fn answer_timeout(&self) -> Duration {
        Duration::from_secs(self.answer_timeout.into())
    }

    /// `drain_time` as a time.
    pub fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time.into())
    }

    /// `overload_delay` as a time.
    pub fn overload_delay(&self) -> Duration {
        Duration::from_millis(self.overload_delay.into())
    }

    /// What makes no sense, in words for the operator; each entry names its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.max == 0 {
            problems.push("calls.max: 0 lets nobody call".into());
        }
        for (key, value) in [
            ("ring_timeout", self.ring_timeout),
            ("answer_timeout", self.answer_timeout),
        ] {
            if !(1..=300).contains(&value) {
                problems.push(format!("calls.{key}: must be 1 to 300 seconds"));
            }
        }
        if self.drain_time > 3600 {
            problems.push("calls.drain_time: must be 0 to 3600 seconds".into());
        }
        // Meta repeats nothing, and a caller hears nothing for as long.
        if self.overload_delay > 1000 {
            problems.push("calls.overload_delay: must be 0 to 1000 milliseconds".into());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_named_by_its_key() {
        let settings: Settings = toml::from_str(
            "max = 0\nring_timeout = 301\nanswer_timeout = 0\ndrain_time = 3601\n\
                 overload_delay = 1001",
        )
        .unwrap();
        let problems = settings.problems();
        let keys = [
            "calls.max: ",
            "calls.ring_timeout: ",
            "calls.answer_timeout: ",
            "calls.drain_time: ",
            "calls.overload_delay: ",
        ];
        assert_eq!(problems.len(), keys.len(), "{problems:?}");
        for (problem, key) in problems.iter().zip(keys) {
            assert!(problem.starts_with(key), "{problems:?}");
        }
        assert!(Settings::default().problems().is_empty());
    }
}
