//! What an operator may set about traces.

use serde::{Deserialize, Serialize};

use crate::media::Length;

/// `[trace]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Calls of which all SIP messages are kept in memory, the newest; 0 keeps nothing. Of INVITEs that were refused as
    /// many are kept besides.
    pub calls: u16,
    /// Seconds of the media of each call that are kept in memory, the newest, decrypted, for `wabridge trace --media`: what
    /// people say to each other. 0 keeps none.
    pub media: u16,
    /// Megabytes that the media of all calls may take. The oldest goes first.
    pub media_memory: u16,
    /// Whether `wabridge trace --reveal` may show phone numbers, names and Call-IDs in full. Keys and passwords are never
    /// kept.
    pub reveal_numbers: bool,
}

/// 160 MB where every call and every refused INVITE is as large as it may be, beside all else in the unit's MemoryMax.
const MOST_CALLS: u16 = 2000;
/// Five minutes: what is told of a call must fit into one answer.
const MOST_MEDIA: u16 = 300;
/// Of `media_memory`, in megabytes.
const MOST_MEMORY: u16 = 4_096;
const MEGABYTE: usize = 1024 * 1024;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            calls: 200,
            media: 0,
            media_memory: 64,
            reveal_numbers: false,
        }
    }
}

impl Settings {
    /// What makes no sense, in words for the operator; each entry names its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.calls > MOST_CALLS {
            problems.push(format!(
                "trace.calls: must be 0 to {MOST_CALLS}: a call takes 25 kB as a rule, and up to 64"
            ));
        }
        if self.media > MOST_MEDIA {
            problems.push(format!("trace.media: must be 0 to {MOST_MEDIA} s"));
        } else if self.media > 0 && self.calls == 0 {
            problems.push(
                "trace.media: is of use only with the messages of a call: set trace.calls too"
                    .into(),
            );
        }
        if self.media_memory > MOST_MEMORY {
            problems.push(format!(
                "trace.media_memory: must be up to {MOST_MEMORY} MB"
            ));
        } else if (1..=MOST_MEDIA).contains(&self.media) && self.most_media() < self.of_a_call() {
            problems.push(format!(
                "trace.media_memory: {} s of one call may take {} MB: set it to that or more",
                self.media,
                self.of_a_call().div_ceil(MEGABYTE)
            ));
        }
        problems
    }

    /// Octets that the media of all calls may take.
    pub fn most_media(&self) -> usize {
        usize::from(self.media_memory) * MEGABYTE
    }

    fn of_a_call(&self) -> usize {
        Length::octets(self.media)
    }
}
