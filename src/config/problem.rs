//! What is wrong in a configuration file: where, at which key, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The file as it was named to us.
    pub file: PathBuf,
    /// Where it stands; the start of the file where nothing better is known.
    pub position: Position,
    /// The key, as `section.key`; empty where the text is no TOML at all.
    pub key: String,
    /// What is wrong. Never holds a secret.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used, and the log says this at every start.
    Warning,
}

/// A place in a text file. Both count from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Character in the line.
    pub column: usize,
}

impl Position {
    /// Where the first character of a file stands.
    pub const START: Position = Position { line: 1, column: 1 };

    /// The place of byte `offset` in `text`.
    pub fn of(text: &str, offset: usize) -> Position {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before.chars().count() - before[..line_start].chars().count() + 1,
        }
    }
}

/// `FILE:LINE:COLUMN: key: what; remedy`, which editors and terminals turn into a link.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{}:{line}:{column}: ", self.file.display())?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let text = "a = 1\nbü = \"x\"\n";
        assert_eq!(Position::of(text, 0), Position::START);
        let x = text.find('x').unwrap();
        assert_eq!(Position::of(text, x), Position { line: 2, column: 7 });
        assert_eq!(
            Position::of(text, 9999),
            Position { line: 3, column: 1 },
            "past the end is the end"
        );
    }

    #[test]
    fn a_problem_reads_as_one_line() {
        let mut problem = Problem {
            severity: Severity::Error,
            file: "a.toml".into(),
            position: Position { line: 3, column: 1 },
            key: "number.pbx".into(),
            what: "no PBX is named \"x\"".into(),
            remedy: "name one of: main".into(),
        };
        assert_eq!(
            problem.to_string(),
            "a.toml:3:1: number.pbx: no PBX is named \"x\"; name one of: main"
        );
        problem.severity = Severity::Warning;
        assert!(
            problem
                .to_string()
                .starts_with("a.toml:3:1: warning: number.pbx: ")
        );
    }
}
