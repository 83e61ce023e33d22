//! What an operator may set about call records.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::journal::Rotation;
use crate::number::Written;

/// `[records]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where a JSON line for every call is appended; `None`: nowhere.
    pub file: Option<PathBuf>,
    /// Megabytes (10⁶ octets) after which the file is put aside; 0: never, because logrotate does it.
    pub max_size: u32,
    /// How many files that were put aside are kept.
    pub keep: u16,
    /// Whether phone numbers, Call-IDs and WACIDs are written in full or masked.
    pub numbers: Written,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            file: None,
            max_size: 100,
            keep: 10,
            numbers: Written::Full,
        }
    }
}

impl Settings {
    /// What makes no sense, in words for the operator; each entry names its key.
    pub fn problems(&self) -> Vec<String> {
        match self.keep {
            1..=999 => Vec::new(),
            _ => vec!["records.keep: must be 1 to 999 files".into()],
        }
    }

    pub(super) fn rotation(&self) -> Rotation {
        let max_size = u64::from(self.max_size) * 1_000_000;
        Rotation {
            max_size: (max_size > 0).then_some(max_size),
            keep: self.keep,
        }
    }
}
