//! Who asks, and by which name.

use super::room::Group;
use super::{Keep, Serial, Tape};
use crate::observe::trace::{Head, Kind, NoMedia, Trace};

/// Shortest part of a Call-ID that finds it.
const LEAST_PART: usize = 4;

/// Why there is no trace to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfound {
    /// Nothing is kept at all.
    #[error("no call is kept: there was none since the start, or trace.calls is 0")]
    Empty,
    /// Nothing has that name.
    #[error("no call that is kept has this id, Call-ID or WACID; `wabridge trace` lists them")]
    Unknown,
    /// More than one has it.
    #[error("that is part of the Call-IDs of several calls: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
}

impl Keep {
    /// What is kept of each, oldest first.
    pub(in crate::observe::trace) fn heads(&self) -> Vec<Head> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(serial, _)| **serial);
        let heads = groups.iter().map(|(_, group)| group.trace.head.clone());
        heads.collect()
    }

    /// The one that is meant.
    pub(in crate::observe::trace) fn find(&self, name: &str) -> Result<Trace, Unfound> {
        self.named(name).map(|(_, group)| group.trace.clone())
    }

    /// Where the media of the one that is meant is.
    pub(in crate::observe::trace) fn tape(&self, name: &str) -> Result<Tape, NoMedia> {
        let (serial, _) = self.named(name)?;
        match self.settings.media {
            0 => Err(NoMedia::Off),
            _ => self.shelf.find(serial).ok_or(NoMedia::None),
        }
    }

    fn named(&self, name: &str) -> Result<(Serial, &Group), Unfound> {
        let mut groups: Vec<_> = self.groups.iter().map(|(s, group)| (*s, group)).collect();
        groups.sort_by_key(|(serial, _)| *serial);
        if groups.is_empty() {
            return Err(Unfound::Empty);
        }
        let mut all = groups.iter().copied();
        if name == "last" {
            let last = all.rfind(|(_, group)| group.trace.head.kind == Kind::Call);
            return last.ok_or(Unfound::Empty);
        }
        if let Some(found) = all.find(|(_, group)| group.trace.head.id == name) {
            return Ok(found);
        }
        let called = |group: &Group| {
            // A call that went on to another address has more Call-IDs than its head shows.
            let ids = group.call_ids.iter().map(|(_, call_id)| call_id);
            let mut ids = ids.chain(&group.trace.head.wacid);
            match name.starts_with('~') {
                true => ids.any(|id| crate::number::tag(id) == name),
                false => ids.any(|id| id.contains(name)),
            }
        };
        if name.len() >= LEAST_PART {
            groups.retain(|(_, group)| called(group));
        } else {
            groups.clear();
        }
        match groups.as_slice() {
            [] => Err(Unfound::Unknown),
            [found] => Ok(*found),
            several => Err(Unfound::Ambiguous(
                several
                    .iter()
                    .map(|(_, group)| group.trace.head.id.clone())
                    .collect(),
            )),
        }
    }
}
