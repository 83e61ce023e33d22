//! What an operator may set about traces.

use serde::{Deserialize, Serialize};

/// `[trace]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Calls of which all SIP messages are kept in memory, the newest; 0 keeps nothing. Of INVITEs that were refused as
    /// many are kept besides.
    pub calls: u16,
    /// Whether `wabridge trace --reveal` may show phone numbers, names and Call-IDs in full. Keys and passwords are never
    /// kept.
    pub reveal_numbers: bool,
}

/// More would take gigabytes where every call is as large as it may be.
const MOST_CALLS: u16 = 10_000;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            calls: 200,
            reveal_numbers: false,
        }
    }
}

impl Settings {
    /// What makes no sense, in words for the operator; each entry names its key.
    pub fn problems(&self) -> Vec<String> {
        match self.calls > MOST_CALLS {
            true => vec![format!(
                "trace.calls: must be 0 to {MOST_CALLS}: a call takes 25 kB as a rule, and up to 64"
            )],
            false => Vec::new(),
        }
    }
}
