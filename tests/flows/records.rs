//! Call records, compared with files: `tests/golden/cdr/<case>.json`. `UPDATE_GOLDEN=1 cargo test --test flows` rewrites
//! them; the reviewer reads that diff.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde_json::Value;
use wabridge::call::watch::{At, Note, Watch};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::media::{Interval, Quality, Reported, SideStats};
use wabridge::number::Written;
use wabridge::observe::metrics::{CallMetrics, Metrics};
use wabridge::observe::records::Record;
use wabridge::sip::build;

use crate::world::*;

/// 2026-03-01T08:00:00.250Z, when every one of these ladders begins.
fn morning() -> SystemTime {
    SystemTime::UNIX_EPOCH + ms(1_772_352_000_250)
}

/// The records of what a world has noted, as they would have been made at its end.
pub fn records(w: &World, began: Instant, written: Written) -> Vec<Record> {
    let at = At {
        now: w.now,
        wall: morning() + (w.now - began),
    };
    let record = |note: &Note| match note {
        Note::Ended(summary) => Some(Record::of_call("19c-1".into(), summary, written, at)),
        Note::Refused(rejected) => Some(Record::of_refused("19c-2".into(), rejected, written, at)),
        _ => None,
    };
    w.notes.iter().filter_map(record).collect()
}

#[track_caller]
fn is_golden(case: &str, records: &[Record]) {
    let [record] = records else {
        panic!("{case}: one record: {records:#?}");
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/cdr/{case}.json"));
    let text = serde_json::to_string_pretty(record).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{case}: UPDATE_GOLDEN=1 rewrites it");
}

/// A user calls, is answered after 3 s, and hangs up after 7,25 s more.
fn users_call() -> (World, Instant) {
    let mut w = World::new();
    let began = w.now;
    w.media.lock().unwrap().carried.meta = SideStats {
        received: 362,
        lost: 3,
        jitter_ms: 2.437,
        sent: 363,
        round_trip_ms: Some(81.25),
        reported: Some(Reported {
            lost: 7,
            jitter_ms: 4.0,
        }),
        repeated: 1,
        quality_in: Quality {
            worst: Some(Interval {
                mos: 3.987,
                loss: 0.012,
                jitter_ms: 2.9,
                buffered_ms: None,
                round_trip_ms: Some(81.25),
            }),
            ..Quality::default()
        },
        ..SideStats::default()
    };
    w.media.lock().unwrap().carried.pbx = SideStats {
        received: 363,
        sent: 361,
        buffered_ms: Some(20.0),
        buffered_mean_ms: Some(23.54),
        mended_ms: 40,
        discarded: 2,
        ..SideStats::default()
    };
    let (theirs, ours) = w.user_calls();
    w.sends(Pbx, respond(&ours, 100));
    w.wait(secs(1));
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    w.wait(secs(2));
    let up = w.answers(Meta, theirs, ours.clone(), pbx_ok(&ours));
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    w.wait(ms(7250));
    let mut bye = w.within(&up, Meta, "BYE");
    bye.headers.push("x-wa-meta-call-duration", "7");
    bye.headers
        .push("Reason", "Q.850;cause=16;text=\"User hung up\"");
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    let bye = w.gets_request(Pbx, "BYE");
    w.sends(Pbx, build::response(&bye, 200, None));
    w.leaves_nothing_behind();
    (w, began)
}

#[test]
fn a_call_of_a_user_leaves_all_that_there_is_to_know() {
    let (w, began) = users_call();
    is_golden("user-call", &records(&w, began, Written::Full));
}

#[test]
fn where_numbers_are_masked_nothing_gives_one_away() {
    let (w, began) = users_call();
    let records = records(&w, began, Written::Masked);
    is_golden("user-call-masked", &records);
    let line = records[0].line();
    for secret in [&BUSINESS[1..], &USER[1..]] {
        assert!(!line.contains(secret), "{line}");
    }
}

#[test]
fn a_call_that_meta_refuses_has_metas_status_and_what_the_pbx_was_told_of_it() {
    let mut w = World::new();
    let began = w.now;
    let (theirs, ours) = w.business_calls();
    w.wait(ms(340));
    let file = "dialogs/bic-errors/403a-no-permission.sip";
    w.sends(Meta, metas_words(&ours, file));
    w.gets(Meta, "ACK");
    w.is_refused(Pbx, &theirs, 403);
    w.leaves_nothing_behind();
    is_golden("refused-by-meta", &records(&w, began, Written::Full));
}

#[test]
fn an_invite_that_becomes_no_call_leaves_why() {
    let mut w = World::new();
    let began = w.now;
    let invite = w.pbx_invite("12");
    w.sends(Pbx, invite.clone());
    w.is_refused(Pbx, &invite, 404);
    is_golden("refused-invite", &records(&w, began, Written::Full));
}

#[test]
fn where_numbers_are_masked_a_refused_invite_gives_no_user_away() {
    let mut w = World::new();
    let began = w.now;
    let invite = w.pbx_invite("12");
    w.sends(Pbx, invite.clone());
    w.is_refused(Pbx, &invite, 404);
    for (dialled, shown) in [
        ("US.AbC12dEf34", "US.AbC1****34"),
        ("+12195550714", "+1219*****14"),
        ("12", "12"),
    ] {
        for note in &mut w.notes {
            if let Note::Refused(rejected) = note {
                rejected.called = dialled.to_owned();
            }
        }
        let user = |written| records(&w, began, written)[0].user.clone();
        assert_eq!(user(Written::Masked).as_deref(), Some(shown));
        assert_eq!(user(Written::Full).as_deref(), Some(dialled));
    }
}

/// The names in a record, those of a leg's media under the name of Meta's.
fn fields(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, value) in value.as_object().unwrap() {
        names.insert(name.clone());
        for inner in value.as_object().into_iter().flat_map(|o| o.keys()) {
            names.insert(format!("*_media.{inner}"));
        }
    }
    names
}

#[test]
fn every_field_has_its_row_in_the_table_and_every_row_its_field() {
    let (w, began) = users_call();
    let record = serde_json::to_value(&records(&w, began, Written::Full)[0]).unwrap();
    let page = include_str!("../../docs/records.md");
    let row = |line: &'static str| line.strip_prefix("| `")?.split('`').next();
    let rows: BTreeSet<String> = page.lines().filter_map(row).map(str::to_owned).collect();
    assert_eq!(fields(&record), rows);
}

#[test]
fn the_sample_in_the_page_is_the_record_of_a_call() {
    let page = include_str!("../../docs/records.md");
    let samples = page.lines().filter(|line| line.starts_with("{\"schema\""));
    let samples: Vec<Value> = samples
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let golden: Value = serde_json::from_str(include_str!("../golden/cdr/user-call.json")).unwrap();
    assert_eq!(samples, [golden]);
}

/// The metrics after all that was noted.
pub fn metrics(w: &World, began: Instant) -> String {
    let metrics = Arc::new(Metrics::new());
    let mut counted = CallMetrics::new(metrics.clone());
    let at = At {
        now: began,
        wall: morning(),
    };
    w.notes.iter().for_each(|note| counted.noted(note, at));
    metrics.text().unwrap()
}

#[test]
fn a_call_whose_sound_waited_in_a_jitter_buffer_is_counted_as_transcoded() {
    let (w, began) = users_call();
    let text = metrics(&w, began);
    for (pbx, count) in [("opus", 1), ("PCMA", 0)] {
        let labels = format!("{{meta_codec=\"opus\",pbx_codec=\"{pbx}\"}}");
        let line = format!("\nwabridge_calls_transcoded_total{labels} {count}\n");
        assert!(text.contains(&line), "{line} in {text}");
    }
}
