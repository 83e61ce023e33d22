//! `wabridge config print`: the configuration as it is in force, as a file that can be used in its place.

use std::fmt::Write;

use serde_json::Value;

use super::Config;
use super::in_force::MASK;

impl Config {
    /// As TOML, which loads as the same configuration but for passwords that stand in the file itself. `our_hosts` has for
    /// each PBX the host by which it reaches us, or why that cannot be told.
    ///
    /// # Errors
    ///
    /// If a file name is no UTF-8, which TOML must be.
    pub fn to_toml(
        &self,
        our_hosts: &[Result<String, String>],
    ) -> Result<String, toml::ser::Error> {
        let text = toml::to_string_pretty(&self.in_force())?;
        let mut printed = format!(
            "# What is in force, defaults included. Lines with \"#\" are not set, and follow from the rest.\n\
             # A password in place of which {MASK:?} stands is masked: the file loads, and calls fail.\n\n"
        );
        let (mut numbers, mut pbxs) = (0, 0);
        for line in text.lines() {
            printed += line;
            printed += "\n";
            let notes = match line {
                "[meta]" => self.notes_on_meta(),
                "[[number]]" => {
                    numbers += 1;
                    self.notes_on_number(numbers - 1)
                }
                "[[pbx]]" => {
                    pbxs += 1;
                    self.notes_on_pbx(pbxs - 1, our_hosts)
                }
                _ => Vec::new(),
            };
            for note in notes {
                // Writing to a string cannot fail.
                let _ = writeln!(printed, "# {note}");
            }
        }
        Ok(printed)
    }

    /// As JSON, with what follows from the rest in its place; what is not set is null.
    ///
    /// # Errors
    ///
    /// If a file name is no UTF-8, which JSON must be.
    pub fn to_json(&self, our_hosts: &[Result<String, String>]) -> serde_json::Result<Value> {
        let mut all = serde_json::to_value(self.in_force())?;
        for (at, number) in self.numbers.iter().enumerate() {
            let target = number.target.clone();
            all["number"][at]["target"] = target.unwrap_or_else(|| number.number.plus()).into();
        }
        for (at, pbx) in self.pbxs.iter().enumerate() {
            let facing = pbx.facing(&self.media);
            all["pbx"][at]["media_address"] = facing.address.to_string().into();
            all["pbx"][at]["media_public_address"] = facing.announced.to_string().into();
            let sources = pbx.allowed_sources();
            all["pbx"][at]["allowed_sources"] = serde_json::to_value(sources)?;
            let found = our_hosts.get(at).and_then(|host| host.as_ref().ok());
            all["pbx"][at]["our_host"] = found.map(String::as_str).into();
        }
        Ok(all)
    }

    fn notes_on_meta(&self) -> Vec<String> {
        let realm = "realm: the hostname of the number that is called";
        let authorities = "ca_file: the authorities of this system";
        [
            self.meta.realm.is_none().then_some(realm),
            self.meta.ca_file.is_none().then_some(authorities),
        ]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
    }

    fn notes_on_number(&self, at: usize) -> Vec<String> {
        let number = self.numbers.get(at).filter(|n| n.target.is_none());
        number
            .map(|number| format!("target = {:?}", number.number.plus()))
            .into_iter()
            .collect()
    }

    fn notes_on_pbx(&self, at: usize, our_hosts: &[Result<String, String>]) -> Vec<String> {
        let Some(pbx) = self.pbxs.get(at) else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        match (&pbx.our_host, our_hosts.get(at)) {
            (None, Some(Ok(host))) => notes.push(format!("our_host = {host:?}")),
            (None, Some(Err(why))) => notes.push(format!("our_host: {why}")),
            _ => {}
        }
        let facing = pbx.facing(&self.media);
        if pbx.media_address.is_none() {
            notes.push(format!("media_address = \"{}\"", facing.address));
        }
        if pbx.media_public_address.is_none() {
            notes.push(format!("media_public_address = \"{}\"", facing.announced));
        }
        if pbx.allowed_sources.is_none() {
            let sources: Vec<_> = pbx
                .allowed_sources()
                .iter()
                .map(|n| format!("\"{n}\""))
                .collect();
            notes.push(format!("allowed_sources = [{}]", sources.join(", ")));
        }
        notes
    }
}
