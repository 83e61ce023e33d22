use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::call::Because;
use crate::call::watch::Rejected;
use crate::leg::Leg;
use crate::number::Written;

/// Longest time that anything here may take; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

fn refused(n: usize) -> Note {
    Note::Refused(Box::new(Rejected {
        leg: Leg::Pbx,
        source: SocketAddr::from(([192, 0, 2, 7], 5060)),
        pbx: Some("main".into()),
        call_id: format!("call-{n}"),
        called: "+12195550714".into(),
        calling: "100".into(),
        wacid: None,
        status: 404,
        because: Because::BadNumber,
        why: "a \"quoted\" word\nand a line".into(),
    }))
}

fn now() -> At {
    At {
        now: Instant::now(),
        wall: SystemTime::now(),
    }
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, name: &str) -> Settings {
        Settings {
            file: Some(self.path(name)),
            ..Settings::default()
        }
    }

    /// The Call-IDs of all records in a file, each line of which must be a whole one.
    fn call_ids(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        let id = |line| {
            let record: Value = serde_json::from_str(line).unwrap();
            record["pbx_call_id"].as_str().unwrap().to_owned()
        };
        text.lines().map(id).collect()
    }
}

fn names(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("call-{n}")).collect()
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_full(path: &Path) {
    symlink("/dev/full", path).unwrap();
}

#[test]
fn ten_thousand_records_at_once_are_all_there_in_whole_lines_and_in_their_order() {
    let place = Place::new();
    let (mut records, writer) = Writer::start(&place.settings("records")).unwrap();
    (0..10_000).for_each(|n| records.noted(&refused(n), now()));
    writer.stop();
    assert_eq!(place.call_ids("records"), names(0, 10_000));
    let text = fs::read_to_string(place.path("records")).unwrap();
    let ids: std::collections::BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 10_000, "no id twice");
}

#[test]
fn a_record_is_in_the_file_without_anybody_asking_for_it() {
    let place = Place::new();
    let (mut records, writer) = Writer::start(&place.settings("records")).unwrap();
    records.noted(&refused(1), now());
    until("the record is written", || {
        place.call_ids("records").len() == 1
    });
    writer.stop();
}

#[test]
fn under_rotation_every_record_is_in_exactly_one_file() {
    let place = Place::new();
    let settings = Settings {
        max_size: 1,
        keep: 20,
        ..place.settings("records")
    };
    let (mut records, writer) = Writer::start(&settings).unwrap();
    (0..4000).for_each(|n| records.noted(&refused(n), now()));
    writer.stop();
    let mut files: Vec<String> = (1..20)
        .rev()
        .map(|n| format!("records.{n}"))
        .filter(|name| place.path(name).exists())
        .collect();
    files.push("records".into());
    assert!(files.len() >= 2, "{files:?}");
    let all: Vec<String> = files.iter().flat_map(|name| place.call_ids(name)).collect();
    assert_eq!(all, names(0, 4000));
    for name in &files {
        let size = fs::metadata(place.path(name)).unwrap().len();
        assert!(size <= 1_000_000, "{name}: {size}");
    }
}

#[test]
fn logrotate_needs_to_send_no_signal() {
    let place = Place::new();
    let (mut records, writer) = Writer::start(&place.settings("records")).unwrap();
    for n in 0..5 {
        records.noted(&refused(n), now());
        until("it is written", || !place.call_ids("records").is_empty());
        fs::rename(place.path("records"), place.path(&format!("moved.{n}"))).unwrap();
    }
    records.noted(&refused(5), now());
    writer.stop();
    for n in 0..5 {
        assert_eq!(place.call_ids(&format!("moved.{n}")), names(n, n + 1));
    }
    assert_eq!(place.call_ids("records"), names(5, 6));
}

#[test]
fn on_a_full_disk_records_wait_and_are_written_when_there_is_room_again() {
    let place = Place::new();
    is_full(&place.path("records"));
    let (mut records, writer) = Writer::start(&place.settings("records")).unwrap();
    (0..100).for_each(|n| records.noted(&refused(n), now()));
    until("it is in trouble", || writer.file_state().is_failing());
    fs::remove_file(place.path("records")).unwrap();
    // While the writer is at work the last line may be half written.
    let whole = || fs::read_to_string(place.path("records")).unwrap_or_default();
    until("all are written", || whole().matches('\n').count() == 100);
    (100..110).for_each(|n| records.noted(&refused(n), now()));
    writer.stop();
    assert_eq!(place.call_ids("records"), names(0, 110));
}

#[test]
fn more_than_can_wait_is_lost_and_counted_and_nobody_was_held_up() {
    let place = Place::new();
    is_full(&place.path("records"));
    let (mut records, writer) = Writer::start(&place.settings("records")).unwrap();
    records.noted(&refused(0), now());
    until("it is in trouble", || writer.file_state().is_failing());
    let most = writer::WAITING;
    (1..most + 501).for_each(|n| records.noted(&refused(n), now()));
    assert_eq!(records.lost, 500, "one is in the writer's hands");
    fs::remove_file(place.path("records")).unwrap();
    until("it is well", || !writer.file_state().is_failing());
    writer.stop();
    assert_eq!(place.call_ids("records"), names(0, most + 1));
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_full_disk() {
    let place = Place::new();
    is_full(&place.path("records"));
    let (mut records, writer) = Writer::start(&place.settings("records")).unwrap();
    records.noted(&refused(0), now());
    let begun = Instant::now();
    writer.stop();
    let took = begun.elapsed();
    assert!((2..8).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn a_reload_moves_to_another_file_and_back_to_none() {
    let place = Place::new();
    let (mut records, writer) = Writer::start(&Settings::default()).unwrap();
    records.noted(&refused(0), now());
    writer.reload(&place.settings("a")).unwrap();
    records.noted(&refused(1), now());
    until("a is written", || place.call_ids("a").len() == 1);
    let masked = Settings {
        numbers: Written::Masked,
        ..place.settings("b")
    };
    writer.reload(&masked).unwrap();
    records.noted(&refused(2), now());
    until("b is written", || place.call_ids("b").len() == 1);
    writer.reload(&Settings::default()).unwrap();
    records.noted(&refused(3), now());
    writer.stop();
    assert_eq!(place.call_ids("a"), names(1, 2));
    let b = fs::read_to_string(place.path("b")).unwrap();
    assert!(!b.contains("2195550714") && !b.contains("call-2"), "{b}");
    assert_eq!(b.lines().count(), 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_said_at_once_and_changes_nothing() {
    let place = Place::new();
    let nowhere = place.settings("no/such/folder");
    assert!(Writer::start(&nowhere).is_err());
    let (mut records, writer) = Writer::start(&place.settings("a")).unwrap();
    assert!(writer.reload(&nowhere).is_err());
    records.noted(&refused(0), now());
    writer.stop();
    assert_eq!(place.call_ids("a"), names(0, 1));
}
