//! Call records: a JSON line for every call that is over and every INVITE that was refused, for billing and statistics.
//!
//! ```text
//!   signalling ── Note ──▶ Records ── lines, bounded ──▶ Writer, a thread ──▶ Journal ──▶ FILE, FILE.1, FILE.2 …
//!                 (waits for nobody)      a full disk: they wait here
//! ```
//!
//! A line is in the file as soon as the writer gets to it, and on the disk a second later at most. Calls know nothing of
//! it: where lines cannot be written they wait, where too many wait they are lost, and the log says both.

mod journal;
pub mod record;
pub mod settings;
#[cfg(test)]
mod tests;
mod writer;

use std::time::{Duration, Instant, UNIX_EPOCH};

pub use record::Record;
pub use settings::Settings;
pub use writer::{FileState, Writer};

use super::metrics::{Counter, Metrics, table};
use crate::call::watch::{At, Note, Watch};
use writer::Desk;

/// Time between two complaints about the same trouble.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Makes the records.
#[derive(Debug)]
pub struct Records {
    desk: Desk,
    /// When this process began to write, in milliseconds since 1970, and how many records it has made since.
    run: u128,
    made: u64,
    lost: u64,
    counted: Option<[Counter; 2]>,
    complained: Option<Instant>,
}

impl Records {
    fn new(desk: Desk) -> Records {
        let now = std::time::SystemTime::now();
        Records {
            desk,
            run: now
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis(),
            made: 0,
            lost: 0,
            counted: None,
            complained: None,
        }
    }

    /// Counts what is taken and what is lost there too.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Records {
        let counters = ["taken", "lost"].map(|result| metrics.counter(&table::RECORDS, &[result]));
        Records {
            counted: Some(counters),
            ..self
        }
    }

    fn next_id(&mut self) -> String {
        self.made += 1;
        format!("{:x}-{}", self.run, self.made)
    }

    fn complain(&mut self, now: Instant) {
        self.lost += 1;
        if self.complained.is_none_or(|then| now - then >= COMPLAINTS) {
            self.complained = Some(now);
            tracing::error!(
                lost = self.lost,
                "call records are lost: too many wait for the file"
            );
        }
    }
}

impl Watch for Records {
    fn noted(&mut self, note: &Note, at: At) {
        let Some(written) = self.desk.wanted() else {
            return;
        };
        let record = match note {
            Note::Ended(summary) => Record::of_call(self.next_id(), summary, written, at),
            Note::Refused(rejected) => Record::of_refused(self.next_id(), rejected, written, at),
            Note::Began(_) | Note::Mark { .. } => return,
        };
        let taken = self.desk.put(record.line());
        if let Some([takes, losses]) = &self.counted {
            if taken { takes } else { losses }.inc();
        }
        if !taken {
            self.complain(at.now);
        }
    }
}
