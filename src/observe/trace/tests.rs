//! What is kept, whatever comes.

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::sip::message::Limits;
use crate::sip::transport::ConnectionId;

const META: &str = "31.13.66.215:5061";
const PASSED: Duration = Duration::from_millis(20);

struct World {
    traces: Traces,
    now: Instant,
}

impl World {
    fn new(calls: u16) -> World {
        World {
            traces: Traces::new(Settings {
                calls,
                ..Settings::default()
            }),
            now: Instant::now(),
        }
    }

    fn at(&mut self) -> At {
        self.now += PASSED;
        At {
            now: self.now,
            wall: SystemTime::now(),
        }
    }

    fn flow(remote: &str) -> Flow {
        Flow {
            leg: Leg::Meta,
            protocol: Protocol::Tls,
            local: "192.0.2.10:5061".parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection: Some(ConnectionId(1)),
        }
    }

    /// An INVITE comes in, as long as it is told.
    fn invited(&mut self, call_id: &str, remote: &str, padding: usize) {
        let text = format!(
            "INVITE sip:+12145551869@b SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\nFrom: <sip:+12195550714@a>;tag=1\r\n\
             To: <sip:+12145551869@b>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\nX-Padding: {}\r\nContent-Length: 0\r\n\r\n",
            "x".repeat(padding)
        );
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let arrival = Arrival {
            message,
            flow: World::flow(remote),
            octets: text.as_bytes().into(),
            at: self.now,
        };
        let at = self.at();
        self.traces.received(&arrival, at);
    }

    fn unreadable(&mut self, remote: &str, octets: &[u8]) {
        let malformed = Message::parse(octets, &Limits::default()).unwrap_err();
        let at = self.at();
        self.traces.unreadable(&malformed, World::flow(remote), at);
    }

    fn noted(&mut self, note: Note) {
        let at = self.at();
        self.traces.noted(&note, at);
    }

    fn call(&mut self, number: u64) {
        let call_id = format!("call-{number}@a");
        self.invited(&call_id, META, 0);
        self.noted(Note::Began(Box::new(began(number))));
    }

    fn ids(&self, kind: Kind) -> Vec<String> {
        let heads = self.traces.list(false);
        let of_kind = heads.into_iter().filter(|head| head.kind == kind);
        of_kind.map(|head| head.id).collect()
    }
}

fn began(number: u64) -> crate::call::watch::Began {
    crate::call::watch::Began {
        call: crate::call::CallId(number),
        session: crate::media::SessionId(number),
        direction: crate::call::Direction::UserInitiated,
        number: "+12145551869".parse().unwrap(),
        user: Some("+12195550714".parse().unwrap()),
        pbx: "main".into(),
        wacid: None,
        caller_call_id: format!("call-{number}@a"),
        callee_call_id: format!("out-{number}@b"),
    }
}

fn ended(number: u64) -> crate::call::Summary {
    let now = Instant::now();
    let began = began(number);
    crate::call::Summary {
        call: began.call,
        direction: began.direction,
        number: began.number,
        user: began.user,
        pbx: began.pbx,
        told: Default::default(),
        caller_call_id: began.caller_call_id,
        callee_call_id: began.callee_call_id,
        began: now,
        rang: None,
        ack_waited: None,
        answered: None,
        ended: now,
        ended_by: crate::call::EndedBy::Bridge,
        status: 486,
        callee_status: Some(486),
        why: "nobody at +12195550714".into(),
        keying: None,
        codecs: Default::default(),
        transfers: Default::default(),
        media: Default::default(),
    }
}

#[test]
fn the_oldest_call_that_is_over_goes_first() {
    let mut w = World::new(2);
    w.call(1);
    w.call(2);
    w.noted(Note::Ended(Box::new(ended(2))));
    w.call(3);
    assert_eq!(w.ids(Kind::Call), ["1", "3"]);
    w.call(4);
    assert_eq!(w.ids(Kind::Call), ["3", "4"], "all are up: the oldest");
}

#[test]
fn strangers_push_out_each_other_and_no_call() {
    let mut w = World::new(2);
    w.call(1);
    w.invited("waiting-for-its-password@a", META, 0);
    for n in 0..500 {
        w.invited(&format!("flood-{n}"), "203.0.113.9:5060", 12_000);
        w.unreadable(
            "203.0.113.9:5060",
            format!("noise {n} SIP/2.0\r\n\r\n").as_bytes(),
        );
    }
    assert_eq!(w.ids(Kind::Call), ["1"]);
    assert!(
        w.traces.find("waiting-for", false).is_ok(),
        "one of Meta among them"
    );
    assert!(w.ids(Kind::Stray).len() <= 256);
    let keep = w.traces.keep();
    assert!(keep.octets() <= 3 * 1024 * 1024, "{}", keep.octets());
}

#[test]
fn refused_calls_push_out_each_other_and_no_call() {
    let mut w = World::new(3);
    w.call(1);
    for n in 0..50 {
        let call_id = format!("refused-{n}");
        w.invited(&call_id, META, 0);
        w.noted(Note::Refused(Box::new(crate::call::watch::Rejected {
            leg: Leg::Meta,
            source: META.parse().unwrap(),
            pbx: None,
            call_id,
            called: "+12145551869".into(),
            calling: "+12195550714".into(),
            wacid: None,
            status: 403,
            because: crate::call::Because::Digest,
            why: "the password is wrong".into(),
        })));
    }
    assert_eq!(w.ids(Kind::Call), ["1"]);
    assert_eq!(w.ids(Kind::Refused).len(), 3);
    let last = w.traces.find("refused-49", false).unwrap();
    assert_eq!(last.head.end.unwrap().status, 403);
    assert!(w.ids(Kind::Stray).is_empty());
}

#[test]
fn a_flood_within_a_call_costs_its_middle_and_no_other_call() {
    let mut w = World::new(2);
    w.call(1);
    w.call(2);
    for _ in 0..300 {
        w.invited("call-2@a", META, 3_000);
    }
    assert_eq!(w.ids(Kind::Call), ["1", "2"]);
    let flooded = w.traces.find("2", false).unwrap();
    assert!(flooded.events.len() <= 200);
    assert_eq!(flooded.events.len() as u64 + flooded.left_out, 301);
    let octets: usize = flooded.packets().map(|(_, p)| p.octets.len()).sum();
    assert!(octets <= 128 * 1024, "{octets}");
    let (first, last) = (&flooded.events[0], flooded.events.last().unwrap());
    assert_eq!(first.after_ns, 0);
    assert_eq!(last.after(), PASSED * 301, "the newest is there");
}

#[test]
fn a_long_message_is_cut_and_says_so() {
    let mut w = World::new(2);
    w.invited("long", META, 40_000);
    let trace = w.traces.find("long", false).unwrap();
    let (_, packet) = trace.packets().next().unwrap();
    let left_out = packet.length - packet.octets.len();
    assert!((23_000..25_000).contains(&left_out), "{left_out}");
}

#[test]
fn a_call_that_takes_the_call_id_of_an_older_one_has_its_own_trace() {
    let mut w = World::new(5);
    w.call(1);
    w.noted(Note::Ended(Box::new(ended(1))));
    w.invited("call-1@a", META, 0);
    let mut again = began(1);
    again.call = crate::call::CallId(2);
    w.noted(Note::Began(Box::new(again)));
    assert_eq!(w.ids(Kind::Call), ["1", "2"]);
    for id in ["1", "2"] {
        assert_eq!(
            w.traces.find(id, false).unwrap().packets().count(),
            1,
            "{id}"
        );
    }
}

#[test]
fn a_call_that_went_on_to_another_address_is_found_by_both_call_ids() {
    let mut w = World::new(5);
    w.call(1);
    w.noted(Note::Mark {
        call: crate::call::CallId(1),
        mark: crate::call::watch::Mark::Redirected {
            why: "503 Service Unavailable".into(),
            pbx: "backup".into(),
            address: "UDP 192.0.2.8:5060".into(),
            call_id: "second@b".into(),
        },
    });
    for call_id in ["out-1@b", "second@b"] {
        let trace = w.traces.find(&crate::number::tag(call_id), false).unwrap();
        assert_eq!(trace.head.pbx.as_deref(), Some("backup"));
        assert!(trace.events.iter().any(|event| matches!(
            &event.what,
            What::Mark { words, .. } if words.contains("goes on to UDP 192.0.2.8:5060")
        )));
    }
}

#[test]
fn the_media_of_a_call_is_with_its_session_and_when_that_is_over_here() {
    let mut w = World::new(5);
    let settings = Settings {
        media: 10,
        ..Settings::default()
    };
    w.call(1);
    assert_eq!(w.traces.tape("1").unwrap_err(), NoMedia::Off);
    w.traces.configure(settings.clone());
    assert_eq!(w.traces.tape("1").unwrap_err(), NoMedia::None, "too late");
    for number in [2, 3] {
        w.call(number);
        let session = SessionId(number);
        let tape = w.traces.tape(&number.to_string()).unwrap();
        assert!(matches!(tape, Tape::Running(running) if running == session));
    }
    w.traces
        .recorded(SessionId(2), &Arc::new(Recording::of(1_000)));
    for number in [2, 3] {
        w.noted(Note::Ended(Box::new(ended(number))));
    }
    assert!(matches!(w.traces.tape("2"), Ok(Tape::Over(_))));
    assert_eq!(w.traces.tape("3").unwrap_err(), NoMedia::None);
    let unknown = w.traces.tape("somebody").unwrap_err();
    assert_eq!(unknown, NoMedia::Call(Unfound::Unknown));
    w.traces.configure(Settings::default());
    w.traces.configure(settings);
    assert_eq!(w.traces.tape("2").unwrap_err(), NoMedia::None, "forgotten");
}

#[test]
fn a_call_that_is_not_kept_any_more_is_recorded_no_more() {
    let mut w = World::new(1);
    w.traces.configure(Settings {
        calls: 1,
        media: 10,
        ..Settings::default()
    });
    let asked = |w: &mut World, number| {
        let call_id = format!("call-{number}@a");
        w.invited(&call_id, META, 0);
        let at = w.at();
        let mut keep = w.traces.keep();
        keep.noted(&Note::Began(Box::new(began(number))), at);
        let asks = keep.take_asks();
        let asks = asks.iter().map(|ask| (ask.session.0, ask.length.is_some()));
        asks.collect::<Vec<_>>()
    };
    assert_eq!(asked(&mut w, 1), [(1, true)]);
    assert_eq!(asked(&mut w, 2), [(2, true), (1, false)]);
}

#[test]
fn nothing_is_kept_where_none_is_wanted_and_what_was_goes() {
    let mut w = World::new(2);
    w.call(1);
    w.traces.configure(Settings {
        calls: 0,
        ..Settings::default()
    });
    w.call(2);
    w.unreadable(META, b"noise");
    assert_eq!(w.traces.list(false), []);
    assert_eq!(w.traces.find("last", false), Err(Unfound::Empty));
}

#[test]
fn a_call_is_found_by_any_name_that_means_only_it() {
    let mut w = World::new(5);
    w.call(1);
    w.call(2);
    let found = |name: &str| w.traces.find(name, false).map(|trace| trace.head.id);
    assert_eq!(found("1"), Ok("1".into()));
    assert_eq!(found("last"), Ok("2".into()));
    assert_eq!(found("call-1"), Ok("1".into()));
    assert_eq!(found(&crate::number::tag("out-2@b")), Ok("2".into()));
    assert_eq!(
        found("@b"),
        Err(Unfound::Unknown),
        "too short to mean anything"
    );
    assert_eq!(
        found("call-"),
        Err(Unfound::Ambiguous(vec!["1".into(), "2".into()]))
    );
}

#[test]
fn numbers_are_shown_only_where_the_settings_allow_it() {
    let mut w = World::new(5);
    w.call(1);
    w.noted(Note::Ended(Box::new(ended(1))));
    let shown = |traces: &Traces, reveal| {
        serde_json::to_string(&traces.find("1", reveal).unwrap()).unwrap()
            + &serde_json::to_string(&traces.list(reveal)).unwrap()
    };
    for reveal in [false, true] {
        let shown = shown(&w.traces, reveal);
        assert!(
            !shown.contains("2195550714") && !shown.contains("call-1@a"),
            "{shown}"
        );
    }
    w.traces.configure(Settings {
        reveal_numbers: true,
        ..Settings::default()
    });
    assert!(!shown(&w.traces, false).contains("2195550714"));
    assert!(shown(&w.traces, true).contains("2195550714"));
}

#[test]
fn what_cannot_be_read_is_kept_as_it_came() {
    let mut w = World::new(2);
    w.unreadable(META, b"INVITE sip:a@b SIP/2.0\r\nCall-ID: odd\xff\r\n\r\n");
    let trace = w.traces.find("last", false);
    assert_eq!(trace, Err(Unfound::Empty), "it is no call");
    let id = &w.ids(Kind::Stray)[0];
    let trace = w.traces.find(id, false).unwrap();
    let (_, packet) = trace.packets().next().unwrap();
    assert!(packet.fault.is_some());
    assert!(packet.octets.starts_with(b"INVITE sip:~"));
}
