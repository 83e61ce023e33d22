//! What a check has found.

use std::fmt;

use serde::Serialize;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Nobody here can know; what to look at elsewhere.
    Note,
    /// It works, or may; something should be done.
    Warn,
    /// Calls will fail.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it went.
    pub level: Level,
    /// What was looked at, in a word or two.
    pub about: String,
    /// What was found.
    pub what: String,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: String,
}

impl Finding {
    pub fn ok(about: &str, what: impl Into<String>) -> Finding {
        Finding::new(Level::Ok, about, what, "")
    }

    pub fn note(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(Level::Note, about, what, remedy)
    }

    pub fn warn(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(Level::Warn, about, what, remedy)
    }

    pub fn fail(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(Level::Fail, about, what, remedy)
    }

    fn new(
        level: Level,
        about: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            level,
            about: about.to_owned(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// A line, and the remedy on one of its own.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        writeln!(f, "{level:<5} {:<13} {}", self.about, self.what)?;
        match self.remedy.is_empty() {
            true => Ok(()),
            false => writeln!(f, "{:19} → {}", "", self.remedy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_what_was_found() {
        let fail = Finding::fail("files", "too few", "raise LimitNOFILE");
        assert_eq!(
            fail.to_string(),
            "FAIL  files         too few\n                    → raise LimitNOFILE\n"
        );
        assert_eq!(
            Finding::ok("files", "enough").to_string(),
            "ok    files         enough\n"
        );
    }
}
