//! Tracing set-up: one subscriber for the process, on standard error.
//!
//! A thread of its own writes the lines: whoever reads them may be slow, or stand still, and calls go on. What does not fit
//! into its queue is lost, counted and told of.
//!
//! The level follows the configuration while the process runs; the format is chosen once, at start.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use crate::number;

/// Lines that may wait to be written: a few megabytes.
const WAITING: usize = 8192;
/// How often it is looked after whether lines got lost.
const LOOK: Duration = Duration::from_secs(10);

/// `[log]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, and the same for single parts
    /// (`info,wabridge::sip=debug`).
    pub level: Level,
    /// How it is written.
    pub format: Format,
    /// Whether phone numbers, WACIDs and Call-IDs are written in full. They are personal data: leave it off
    /// unless a fault demands it.
    pub reveal_numbers: bool,
}

/// A filter in the notation of `tracing`, checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Level(String);

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One line of text an event.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

impl Default for Level {
    fn default() -> Level {
        Level("info".into())
    }
}

impl TryFrom<String> for Level {
    type Error = String;

    fn try_from(text: String) -> Result<Level, String> {
        match EnvFilter::builder().parse(&text) {
            Ok(_) if !text.trim().is_empty() => Ok(Level(text)),
            Ok(_) => Err("an empty level would log nothing; write \"error\"".into()),
            Err(e) => Err(format!(
                "{e}; write for instance \"info\" or \"info,wabridge::sip=debug\""
            )),
        }
    }
}

impl Level {
    /// The filter this stands for.
    fn filter(&self) -> EnvFilter {
        EnvFilter::builder().parse_lossy(&self.0)
    }
}

/// Changes what is logged while the process runs. When it is dropped, what has been logged is written, as far as whoever reads
/// it takes it within a second.
#[derive(Debug)]
pub struct Log {
    level: reload::Handle<EnvFilter, Registry>,
    lost: Lost,
    _writes_the_rest: WorkerGuard,
}

/// How many lines were lost, since whoever reads the log was too slow.
#[derive(Clone, Debug)]
pub struct Lost {
    counter: ErrorCounter,
    told: usize,
}

impl Lost {
    /// Tells the log itself, whenever there were more. It has no end.
    pub async fn watch(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.tell();
        }
    }

    /// A line that says so and is lost as well grows the number, so that the next look tells again.
    fn tell(&mut self) {
        let lost = self.counter.dropped_lines();
        if lost != self.told {
            self.told = lost;
            tracing::warn!(
                lost,
                "so many lines of this log are lost since the start: whoever reads it is too slow"
            );
        }
    }
}

impl Log {
    /// Starts logging to standard error, for the whole process and until it ends.
    ///
    /// # Errors
    ///
    /// If something else logs for this process already.
    pub fn start(settings: &Settings) -> Result<Log, TryInitError> {
        let colour = std::io::stderr().is_terminal();
        let (subscriber, log) = subscriber(settings, colour, std::io::stderr(), WAITING);
        subscriber.try_init()?;
        number::reveal(settings.reveal_numbers);
        Ok(log)
    }

    /// Takes over a new level, and whether numbers are revealed. The format stays as it was.
    pub fn reload(&self, settings: &Settings) {
        number::reveal(settings.reveal_numbers);
        // It fails only once the subscriber is gone, and then there is nothing left to change.
        let _ = self.level.reload(settings.level.filter());
    }

    /// What was lost.
    pub fn lost(&self) -> Lost {
        self.lost.clone()
    }
}

fn subscriber(
    settings: &Settings,
    colour: bool,
    out: impl Write + Send + 'static,
    waiting: usize,
) -> (impl Subscriber + Send + Sync, Log) {
    let (filter, level) = reload::Layer::new(settings.level.filter());
    let queue = NonBlockingBuilder::default().thread_name("log");
    let (queue, guard) = queue.buffered_lines_limit(waiting).finish(out);
    let counter = queue.error_counter();
    let lines = fmt::layer().with_writer(queue);
    let lines = match settings.format {
        Format::Text => lines.with_ansi(colour).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let log = Log {
        level,
        lost: Lost { counter, told: 0 },
        _writes_the_rest: guard,
    };
    (tracing_subscriber::registry().with(filter).with(lines), log)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, mpsc};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).unwrap()
    }

    fn writing(settings: &Settings) -> (impl Subscriber + Send + Sync, Log, Paper) {
        let paper = Paper::default();
        let (subscriber, log) = subscriber(settings, false, paper.clone(), 100);
        (subscriber, log, paper)
    }

    #[test]
    fn the_level_follows_a_reload() {
        let (subscriber, log, paper) = writing(&settings(""));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("too early");
            log.reload(&settings("level = 'debug'"));
            tracing::debug!("in time");
            log.reload(&settings("level = 'warn'"));
            tracing::info!("too late");
        });
        drop(log);
        let text = paper.text();
        assert!(text.contains("in time"), "{text}");
        assert!(!text.contains("too"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line_with_its_fields() {
        let (subscriber, log, paper) = writing(&settings("format = 'json'"));
        tracing::subscriber::with_default(subscriber, || tracing::warn!(status = 488, "refused"));
        drop(log);
        let line: serde_json::Value = serde_json::from_str(paper.text().trim()).unwrap();
        assert_eq!(
            (&line["level"], &line["status"]),
            (&"WARN".into(), &488.into())
        );
        assert_eq!(line["message"], "refused");
    }

    /// Takes nothing until it is let.
    struct Paused(mpsc::Receiver<()>, Paper);

    impl Write for Paused {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whoever_reads_nothing_stops_nobody_and_is_told_how_much_was_lost() {
        let (go_on, paused) = mpsc::channel();
        let paper = Paper::default();
        let out = Paused(paused, paper.clone());
        let (subscriber, log) = subscriber(&settings(""), false, out, 10);
        let mut lost = log.lost();
        tracing::subscriber::with_default(subscriber, || {
            for line in 0..100 {
                tracing::info!(line, "said");
            }
            // Ten wait, and one may be in the writer's hands.
            let count = lost.counter.dropped_lines();
            assert!((89..=90).contains(&count), "{count}");
            drop(go_on);
            let all = 100 - count;
            while paper.text().lines().count() < all {
                std::thread::yield_now();
            }
            lost.tell();
            lost.tell();
        });
        drop(log);
        let text = paper.text();
        let told: Vec<_> = text.lines().filter(|l| l.contains("are lost")).collect();
        assert_eq!(told.len(), 1, "{text}");
        let count = lost.counter.dropped_lines();
        assert!(told[0].contains(&format!("lost={count}")), "{text}");
    }

    #[test]
    fn a_level_that_means_nothing_is_refused() {
        let error = toml::from_str::<Settings>("level = 'info,wabridge=loud'").unwrap_err();
        assert!(error.message().contains("write for instance"), "{error}");
        assert!(toml::from_str::<Settings>("level = ''").is_err());
    }
}
