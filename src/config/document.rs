//! A TOML file taken apart section by section, so that every section reports its own mistake and every finding
//! knows the line of its key.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Position, Problem, Severity};
use super::value::{Value, Wrong, nearest};

/// Most mistakes of TOML's grammar that are told of one file.
const MOST_ERRORS: usize = 10;

/// The text of a configuration file, where its keys stand, and what was found wrong so far.
pub(super) struct Document<'t> {
    file: &'t Path,
    text: &'t str,
    table: DeTable<'t>,
    keys: Vec<Key>,
    problems: RefCell<Vec<Problem>>,
}

/// A key of the file: `pbx[1].address`, counted from 0, and what belongs to it.
struct Key {
    path: String,
    name: Range<usize>,
    extent: Range<usize>,
}

impl<'t> Document<'t> {
    /// Parses the text; syntax errors become problems, and what can be read around them is kept.
    pub(super) fn parse(file: &'t Path, text: &'t str) -> Document<'t> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut keys = Vec::new();
        index(table.get_ref(), "", &mut keys);
        let document = Document {
            file,
            text,
            table: table.into_inner(),
            keys,
            problems: RefCell::default(),
        };
        // Something that is no TOML at all has a mistake in every line; the first few tell it.
        for error in errors.iter().take(MOST_ERRORS) {
            let at = error.span().map_or(0, |span| span.start);
            let what = error.message().trim_end().replace('\n', ", ");
            document.refuse(at, &what, "");
        }
        document
    }

    /// The file itself.
    pub(super) fn file(&self) -> &Path {
        self.file
    }

    /// The findings, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.position);
        problems
    }

    /// Reads `[name]`. A section that is left out reads as an empty one, so that the keys it needs are named.
    pub(super) fn section<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let empty = Spanned::new(0..0, DeValue::Table(DeTable::new()));
        let value = self.table.get(name).unwrap_or(&empty);
        if !value.get_ref().is_table() {
            self.problem(name, "is not a section", &format!("write [{name}]"));
            return None;
        }
        self.read(name, value)
    }

    /// Reads every `[[name]]`, each with its place in the list, and says whether none had to be left out.
    pub(super) fn list<T: DeserializeOwned>(&self, name: &str) -> (Vec<(usize, T)>, bool) {
        let Some(value) = self.table.get(name) else {
            return (Vec::new(), true);
        };
        let Some(items) = value.get_ref().as_array() else {
            self.problem(
                name,
                "is not a list of sections",
                &format!("write [[{name}]]"),
            );
            return (Vec::new(), false);
        };
        let read = |(at, item): (usize, &Spanned<DeValue<'t>>)| {
            let item = self.read(&format!("{name}[{at}]"), item)?;
            Some((at, item))
        };
        let sections: Vec<_> = items.iter().enumerate().filter_map(read).collect();
        let whole = sections.len() == items.len();
        (sections, whole)
    }

    /// Reports every section that is none of `known`.
    pub(super) fn refuse_others(&self, known: &[&str]) {
        for name in self.table.keys().map(|name| name.get_ref().as_ref()) {
            if !known.contains(&name) {
                let all = || format!("the sections are {}", known.join(", "));
                let remedy = nearest(name, known).unwrap_or_else(all);
                self.problem(name, "unknown section", &remedy);
            }
        }
    }

    /// Reports an error at `path`, for instance `pbx[1].address`.
    pub(super) fn problem(&self, path: &str, what: &str, remedy: &str) {
        self.report(Severity::Error, path, what, remedy);
    }

    /// Reports something that is allowed but should be seen.
    pub(super) fn warning(&self, path: &str, what: &str, remedy: &str) {
        self.report(Severity::Warning, path, what, remedy);
    }

    /// Whether a key is written, or has its default.
    pub(super) fn names(&self, path: &str) -> bool {
        self.keys.iter().any(|key| key.path == path)
    }

    /// Whether anything reported so far forbids using the file.
    pub(super) fn is_refused(&self) -> bool {
        let problems = self.problems.borrow();
        problems.iter().any(|p| p.severity == Severity::Error)
    }

    fn report(&self, severity: Severity, path: &str, what: &str, remedy: &str) {
        self.problems.borrow_mut().push(Problem {
            severity,
            file: self.file.to_owned(),
            position: self.position(path),
            key: without_places(path),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn read<T: DeserializeOwned>(&self, path: &str, value: &Spanned<DeValue<'t>>) -> Option<T> {
        let read = T::deserialize(Value(value));
        read.map_err(|wrong| self.refuse_value(path, &value.span(), wrong))
            .ok()
    }

    fn refuse_value(&self, path: &str, section: &Range<usize>, wrong: Wrong) {
        let Wrong {
            span,
            missing,
            what,
            remedy,
        } = wrong;
        let inside = span.filter(|span| span != section).map(|span| span.start);
        let path = inside.and_then(|at| self.key_at(at)).unwrap_or(path);
        match (missing, inside) {
            // It has no place of its own: the section's header stands for it.
            (Some(key), _) => self.problem(&format!("{path}.{key}"), &what, &remedy),
            (None, Some(at)) => self.refuse(at, &what, &remedy),
            (None, None) => self.problem(path, &what, &remedy),
        }
    }

    /// Reports an error at this byte.
    fn refuse(&self, at: usize, what: &str, remedy: &str) {
        self.problems.borrow_mut().push(Problem {
            severity: Severity::Error,
            file: self.file.to_owned(),
            position: Position::of(self.text, at),
            key: without_places(self.key_at(at).unwrap_or_default()),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    /// Where a key stands; if it is not written, where its section stands.
    fn position(&self, path: &str) -> Position {
        let mut path = path;
        loop {
            if let Some(key) = self.keys.iter().find(|key| key.path == path) {
                return Position::of(self.text, key.name.start);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return Position::START,
            }
        }
    }

    /// The innermost key whose name or value holds this byte.
    fn key_at(&self, offset: usize) -> Option<&str> {
        let holds = |key: &&Key| key.name.contains(&offset) || key.extent.contains(&offset);
        let innermost = self
            .keys
            .iter()
            .filter(holds)
            .max_by_key(|key| key.path.len());
        innermost.map(|key| key.path.as_str())
    }
}

/// Lists the keys of a table and of the tables in it.
fn index(table: &DeTable<'_>, prefix: &str, keys: &mut Vec<Key>) {
    for (name, value) in table {
        let path = format!("{prefix}{}", name.get_ref());
        keys.push(Key {
            path: path.clone(),
            name: name.span(),
            extent: value.span(),
        });
        match value.get_ref() {
            DeValue::Table(table) => index(table, &format!("{path}."), keys),
            DeValue::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let path = format!("{path}[{at}]");
                    keys.push(Key {
                        path: path.clone(),
                        name: item.span(),
                        extent: item.span(),
                    });
                    if let DeValue::Table(table) = item.get_ref() {
                        index(table, &format!("{path}."), keys);
                    }
                }
            }
            _ => {}
        }
    }
}

/// `pbx[1].address` → `pbx.address`: the line says which one, better than a count would.
fn without_places(path: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        size: u8,
        inner: Option<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        deep: bool,
    }

    fn found(text: &str, read: impl FnOnce(&Document<'_>)) -> Vec<String> {
        let document = Document::parse(Path::new("f"), text);
        read(&document);
        let problems = document.into_problems();
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_section_that_is_left_out_names_the_first_key_it_needs() {
        let found = found("", |d| assert_eq!(d.section::<Part>("part"), None));
        assert_eq!(
            found,
            ["f:1:1: part.size: it must be set; conf/wabridge.toml says what it is"]
        );
    }

    #[test]
    fn the_innermost_key_is_named() {
        let text = "[part]\nsize = 1\ninner = { deep = 3 }";
        let found = found(text, |d| assert_eq!(d.section::<Part>("part"), None));
        assert_eq!(
            found,
            ["f:3:18: part.inner.deep: must be true or false, not 3"]
        );
    }

    #[test]
    fn one_bad_section_of_a_list_leaves_the_others_in_their_places() {
        let text = "[[part]]\nsize = 1\n[[part]]\nsize = 256\n[[part]]\nsize = 3";
        let found = found(text, |d| {
            let (parts, whole) = d.list::<Part>("part");
            let sizes: Vec<_> = parts.iter().map(|(at, part)| (*at, part.size)).collect();
            assert_eq!((sizes, whole), (vec![(0, 1), (2, 3)], false));
            d.problem("part[2].size", "odd", "make it even");
            d.problem("part[2].colour", "grey", "paint it");
        });
        assert_eq!(found.len(), 3);
        assert!(
            found[0].starts_with("f:4:8: part.size: must be a whole number from 0 to 255, not 256"),
            "{found:?}"
        );
        assert_eq!(found[1], "f:5:1: part.colour: grey; paint it");
        assert_eq!(found[2], "f:6:1: part.size: odd; make it even");
    }

    #[test]
    fn what_stands_around_a_syntax_error_is_still_read() {
        let text = "[part]\nsize = 1\n[other]\nx = ?\n";
        let found = found(text, |d| {
            assert_eq!(
                d.section("part"),
                Some(Part {
                    size: 1,
                    inner: None
                })
            );
            assert!(d.is_refused());
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("f:4:"), "{found:?}");
    }

    #[test]
    fn a_warning_alone_refuses_nothing() {
        let document = Document::parse(Path::new("f"), "");
        document.warning("part", "so so", "");
        assert!(!document.is_refused());
        document.problem("part", "bad", "");
        assert!(document.is_refused());
    }

    #[test]
    fn sections_that_nobody_knows_and_lists_that_are_none_are_reported() {
        let found = found("part = 1\nlist = 2\n[stray]", |d| {
            d.refuse_others(&["part", "list"]);
            assert_eq!(d.section::<Part>("part"), None);
            assert_eq!(d.list::<Part>("list").0.len(), 0);
        });
        let wanted = [
            "f:1:1: part: is not a section; write [part]",
            "f:2:1: list: is not a list of sections; write [[list]]",
            "f:3:2: stray: unknown section; the sections are part, list",
        ];
        assert_eq!(found, wanted);
    }
}
