//! What whoever watches is told of calls.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use wabridge::call::watch::{Mark, Note};
use wabridge::call::{Because, Event};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::media::quality::Impairment;
use wabridge::media::{Codec, Interval, Measured, MediaEvent, SessionId, Turn, Way};
use wabridge::sip::build;
use wabridge::sip::message::Common;

use crate::world::*;

#[test]
fn whoever_watches_sees_a_call_from_its_invite_to_its_end() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    let up = w.answers(Meta, theirs, ours.clone(), pbx_ok(&ours));
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    let mut bye = w.within(&up, Meta, "BYE");
    bye.headers.push("x-wa-meta-call-duration", "3");
    bye.headers
        .push("Reason", "Q.850;cause=16;text=\"User hung up\"");
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    let bye = w.gets_request(Pbx, "BYE");
    w.sends(Pbx, build::response(&bye, 200, None));
    let summary = w.leaves_nothing_behind();

    let (mut began, mut marks) = (None, Vec::new());
    for note in &w.notes {
        match note {
            Note::Began(call) => began = Some(call.clone()),
            Note::Mark { call, mark } => {
                assert_eq!(*call, summary.call);
                marks.push(mark.clone());
            }
            Note::Ended(_) => {}
            Note::Refused(rejected) => panic!("a challenge is no refusal: {rejected:?}"),
        }
    }
    let began = began.expect("a call begins");
    assert_eq!(began.call, summary.call);
    assert_eq!(began.call_id_of(Pbx), ours.call_id());
    assert_eq!((began.pbx.as_str(), summary.pbx.as_str()), ("main", "main"));
    let told: Vec<_> = marks
        .iter()
        .filter(|mark| matches!(mark, Mark::Progress(_) | Mark::Answered | Mark::Started(_)))
        .collect();
    assert_eq!(
        told,
        [
            &Mark::Progress(180),
            &Mark::Answered,
            &Mark::Started(Pbx),
            &Mark::Started(Meta)
        ]
    );
    let agreed = |wanted| {
        marks.iter().any(
            |mark| matches!(mark, Mark::Agreed { leg, codec: Some(Codec::Opus), .. } if *leg == wanted),
        )
    };
    assert!(agreed(Meta) && agreed(Pbx), "{marks:?}");
    assert_eq!(summary.callee_status, Some(200));
    assert_eq!(summary.codecs.meta, Some(Codec::Opus));
    assert!(summary.rang.is_some() && summary.rang <= summary.answered);
    assert_eq!(summary.told.duration, Some(secs(3)));
    assert!(
        summary
            .told
            .wacid
            .is_some_and(|id| id.starts_with("wacid."))
    );
    assert!(
        summary
            .told
            .words
            .is_some_and(|words| words.contains("User hung up"))
    );
}

#[test]
fn a_refused_invite_says_whom_it_was_for_and_what_kind_of_reason_there_was() {
    let mut w = World::new();
    let invite = w.pbx_invite("12");
    w.sends(Pbx, invite.clone());
    w.is_refused(Pbx, &invite, 404);
    let [Note::Refused(rejected)] = w.notes.as_slice() else {
        panic!("{:?}", w.notes);
    };
    assert_eq!(
        (rejected.status, rejected.because),
        (404, Because::BadNumber)
    );
    assert_eq!((rejected.leg, rejected.pbx.as_deref()), (Pbx, Some("main")));
    assert_eq!(rejected.called, "12");
    assert_eq!(rejected.call_id, invite.call_id());
}

/// What a log is written on.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    /// Its lines, each an object.
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        for secret in [&BUSINESS[1..], &USER[1..]] {
            assert!(!text.contains(secret), "{text}");
        }
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

#[test]
fn a_direction_that_turns_bad_is_noted_and_said_in_the_log_and_the_call_goes_on() {
    let mut w = World::new();
    let up = w.user_talks();
    let mut measured = Measured {
        way: Way::Out,
        interval: Interval {
            mos: 2.4,
            loss: 0.2,
            jitter_ms: 12.0,
            buffered_ms: None,
            round_trip_ms: Some(90.0),
        },
        turn: Some(Turn::Bad(Impairment::Loss)),
    };
    let paper = Paper::default();
    let writer = paper.clone();
    let log = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(log, || {
        let (id, leg) = (SessionId(1), Pbx);
        for turn in [measured.turn, None, Some(Turn::Good)] {
            measured.turn = turn;
            w.handle(Event::Media(MediaEvent::Measured { id, leg, measured }));
        }
        // Of a session that is over already.
        let id = SessionId(9);
        w.handle(Event::Media(MediaEvent::Measured { id, leg, measured }));
    });
    w.is_quiet();
    let [bad, good] = paper.lines().try_into().unwrap();
    assert_eq!(
        (&bad["level"], &good["level"]),
        (&"WARN".into(), &"INFO".into())
    );
    let bad = &bad["fields"];
    assert_eq!(bad["message"], "a call sounds bad");
    assert_eq!(bad["why"], "the PBX reports loss of what we send");
    assert_eq!((&bad["leg"], &bad["way"]), (&"pbx".into(), &"out".into()));
    assert_eq!((&bad["mos"], &bad["loss"]), (&2.4.into(), &0.2.into()));
    assert_eq!(bad["round_trip_ms"], 90.0);
    assert_eq!(bad["pbx"], "main");
    let good = &good["fields"];
    assert_eq!(good["message"], "a call sounds good again");
    assert!(good.get("why").is_none(), "{good}");
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
    let turns = w.notes.iter().filter_map(|note| match note {
        Note::Mark {
            mark: Mark::Turned { leg: Pbx, measured },
            ..
        } => measured.turn,
        _ => None,
    });
    let turns: Vec<_> = turns.collect();
    assert_eq!(turns, [Turn::Bad(Impairment::Loss), Turn::Good]);
}
