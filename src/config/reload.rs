//! What a reload changes, and what it cannot: sockets and threads that calls in progress are using.

use std::collections::BTreeSet;
use std::fmt;

use toml::{Table, Value};

use super::Config;
use crate::number::E164;

/// A key whose value is another, or a section that came or went. Values are not told: some are secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The key, such as `media.ports` or `pbx[main].address`.
    pub key: String,
    /// What became of it.
    pub kind: Kind,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its value is another.
    Changed,
    /// A section that was not there before.
    Added,
    /// A section that is there no more.
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        match self.kind {
            Kind::Changed => Ok(()),
            Kind::Added => f.write_str(" added"),
            Kind::Removed => f.write_str(" removed"),
        }
    }
}

impl Config {
    /// What can be in force of this configuration in a process that was started with another: what needs a restart is
    /// still as it was.
    #[must_use]
    pub fn without_restart(&self, started: &Config) -> Config {
        let mut now = self.clone();
        now.meta.listen.clone_from(&started.meta.listen);
        // The domain that is not looked up, and what is connected to instead, are known to the sockets from the start.
        now.meta.address = started.meta.address;
        if started.meta.address.is_some() {
            now.meta.domain.clone_from(&started.meta.domain);
            now.meta.port = started.meta.port;
        }
        now.pbx_listener.clone_from(&started.pbx_listener);
        now.sip = started.sip.clone();
        now.transactions = started.transactions.clone();
        now.media = started.media.clone();
        now.log.format = started.log.format;
        now
    }

    /// What is not the same in another configuration, in the order of the keys.
    #[must_use]
    pub fn changes_to(&self, new: &Config) -> Vec<Change> {
        let tables = (self.in_force().table(), new.in_force().table());
        let (Ok(old_table), Ok(new_table)) = tables else {
            return Vec::new();
        };
        let mut changes = BTreeSet::new();
        compare_tables("", &old_table, &new_table, &mut changes);
        // What files hold, and what a mask hides.
        if self.certificate != new.certificate {
            changes.insert(changed("meta.certificate"));
        }
        for old in &self.numbers {
            let new = new.numbers.iter().find(|new| new.number == old.number);
            if new.is_some_and(|new| new.password != old.password) {
                changes.insert(changed(&format!("number[{}].password", old.number)));
            }
        }
        for old in &self.pbxs {
            let new = new.pbxs.iter().find(|new| new.name == old.name);
            let password =
                |pbx: &super::Pbx| pbx.register.login().map(|(_, secret)| secret.clone());
            if new.is_some_and(|new| password(new) != password(old)) {
                changes.insert(changed(&format!("pbx[{}].register.password", old.name)));
            }
        }
        changes.into_iter().collect()
    }
}

fn changed(key: &str) -> Change {
    Change {
        key: key.to_owned(),
        kind: Kind::Changed,
    }
}

fn compare_tables(path: &str, old: &Table, new: &Table, changes: &mut BTreeSet<Change>) {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match (old.get(name), new.get(name)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => {
                compare_tables(&path, old, new, changes);
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) => {
                compare_lists(&path, old, new, changes);
            }
            (old, new) if old != new => {
                changes.insert(changed(&path));
            }
            _ => {}
        }
    }
}

/// Sections are told apart by what they are named by, not by their place.
fn compare_lists(path: &str, old: &[Value], new: &[Value], changes: &mut BTreeSet<Change>) {
    let (Some(old_sections), Some(new_sections)) = (sections(old), sections(new)) else {
        if old != new {
            changes.insert(changed(path));
        }
        return;
    };
    let mut insert = |name: &str, kind| {
        let key = format!("{path}[{name}]");
        changes.insert(Change { key, kind });
    };
    for (name, _) in &new_sections {
        if !old_sections.iter().any(|(old, _)| old == name) {
            insert(name, Kind::Added);
        }
    }
    for (name, _) in &old_sections {
        if !new_sections.iter().any(|(new, _)| new == name) {
            insert(name, Kind::Removed);
        }
    }
    for (name, old) in &old_sections {
        if let Some((_, new)) = new_sections.iter().find(|(new, _)| new == name) {
            compare_tables(&format!("{path}[{name}]"), old, new, changes);
        }
    }
}

fn sections(list: &[Value]) -> Option<Vec<(String, &Table)>> {
    list.iter().map(section).collect()
}

/// A section of a list and what it goes by; a number as the log may show it.
fn section(value: &Value) -> Option<(String, &Table)> {
    let table = value.as_table()?;
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    let number = || Some(text("number")?.parse::<E164>().ok()?.to_string());
    Some((text("name").map(str::to_owned).or_else(number)?, table))
}
