//! A PBX that changes its session in the middle of a call: it is agreed with alone, and Meta never knows.

use wabridge::call::{EndedBy, Event};
use wabridge::leg::Leg::{self, Meta, Pbx};
use wabridge::media::{Direction, MediaEvent, Security, SessionId};
use wabridge::policy::Reinvite;
use wabridge::sdp;
use wabridge::sip::message::Common;

use crate::changes::*;
use crate::log;
use crate::world::*;

const METHODS: [&str; 2] = ["INVITE", "UPDATE"];

#[test]
fn a_pbx_holds_and_resumes_in_every_way_that_there_is() {
    for (held, direction, answered) in [
        (
            but("a=sendrecv", "a=sendonly"),
            Direction::RecvOnly,
            "a=recvonly",
        ),
        (
            but("a=sendrecv", "a=inactive"),
            Direction::Inactive,
            "a=inactive",
        ),
        (
            but("c=IN IP4 192.0.2.7", "c=IN IP4 0.0.0.0"),
            Direction::RecvOnly,
            "a=sendrecv",
        ),
    ] {
        for method in METHODS {
            for (mut w, up) in both() {
                let ok = w.changes(&up, method, &held);
                let said = text(&ok.body);
                assert!(said.contains(answered), "{held}\n{said}");
                assert_eq!(w.with_pbx().direction, direction);
                w.wait(secs(60));
                let resumed = w.changes(&up, method, PBX_SDP);
                assert!(text(&resumed.body).contains("a=sendrecv\r\n"));
                assert_eq!(w.with_pbx().direction, Direction::SendRecv);
                w.meta_knows_nothing();
                w.hangs_up(&up, Meta);
                w.leaves_nothing_behind();
            }
        }
    }
}

#[test]
fn our_version_grows_only_when_we_say_something_else() {
    for (mut w, up) in both() {
        let first = match up.caller {
            Pbx => up.our_ok.body.clone(),
            Meta => up.ours.body.clone(),
        };
        let elsewhere = w.changes(&up, "INVITE", &but("16000", "16010"));
        let hold = w.changes(&up, "INVITE", &but("a=sendrecv", "a=sendonly"));
        let again = w.changes(&up, "UPDATE", &but("a=sendrecv", "a=sendonly"));
        let session = |body: &[u8]| origin(body).split(' ').nth(1).unwrap().to_owned();
        for ok in [&elsewhere, &hold, &again] {
            assert_eq!(session(&ok.body), session(&first));
        }
        let said = [&elsewhere, &hold, &again].map(|ok| version(&ok.body));
        // Our offer had numbers of our own, so that the first answer is other words than it.
        let grown = u64::from(up.caller == Meta);
        assert_eq!(said, [1 + grown, 2 + grown, 2 + grown]);
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_moves_its_media_and_takes_other_numbers() {
    for method in METHODS {
        for (mut w, up) in both() {
            let moved = but("192.0.2.7", "192.0.2.99")
                .replace("16000", "17000")
                .replace("107", "96")
                .replace("m=audio 17000 RTP/AVP 96 101", "m=audio 17000 RTP/AVP 96");
            let ok = w.changes(&up, method, &moved);
            assert!(text(&ok.body).contains("RTP/AVP 96\r\n"));
            let side = w.with_pbx();
            assert_eq!(side.remote_rtp, "192.0.2.99:17000".parse().unwrap());
            let numbers: Vec<u8> = side.send.iter().map(|p| p.number).collect();
            assert_eq!(numbers, [96]);
            w.meta_knows_nothing();
            w.hangs_up(&up, Pbx);
            w.leaves_nothing_behind();
        }
    }
}

#[test]
fn a_pbx_takes_another_key_and_ours_stays() {
    let mut w = World::with(with_pbx(|pbx| {
        pbx.reinvite = Reinvite::Local;
        pbx.keying = sdp::Keying::Sdes;
    }));
    let keyed = |key: &str| {
        but("RTP/AVP", "RTP/SAVP")
            + &format!(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n",
                key.repeat(10)
            )
    };
    let (theirs, ours) = w.user_calls();
    let mut their_ok = pbx_ok(&ours);
    their_ok.body = keyed("CQkJ").into();
    let up = w.answers(Meta, theirs, ours, their_ok);
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    let keys = |w: &World| match w.with_pbx().security {
        Security::Sdes(keys) => keys,
        other => panic!("{other:?}"),
    };
    let before = keys(&w);
    w.changes(&up, "INVITE", &keyed("CAgI"));
    let after = keys(&w);
    assert_eq!(after.receive.0, [8; 30]);
    assert!(after.send == before.send);
    w.meta_knows_nothing();
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn an_offer_that_cannot_be_taken_is_refused_with_words_and_the_call_goes_on_as_it_was() {
    for method in METHODS {
        for (mut w, up) in both() {
            let before = w.with_pbx();
            for (sdp, status) in [
                (but("107 101", "18"), 488),
                (but("16000", "0"), 488),
                (but("RTP/AVP", "RTP/SAVP"), 488),
                (but("c=IN IP4 192.0.2.7", "c=IN IP6 2001:db8::7"), 488),
                ("hello".into(), 400),
            ] {
                let request = w.change(&up, method, Some(&sdp));
                w.sends(Pbx, request.clone());
                let refusal = w.gets_response(Pbx, status);
                assert!(refusal.headers.get("Warning").unwrap().contains("PBX: "));
                w.acknowledges(&request, &refusal);
            }
            let mut request = w.change(&up, method, Some("<presence/>"));
            request.headers.set("Content-Type", "application/pidf+xml");
            w.sends(Pbx, request.clone());
            let refusal = w.gets_response(Pbx, 415);
            assert_eq!(refusal.headers.get("Accept"), Some("application/sdp"));
            w.acknowledges(&request, &refusal);
            let mut request = w.change(&up, method, Some(PBX_SDP));
            request.headers.push("Require", "timer, 100rel");
            w.sends(Pbx, request.clone());
            let refusal = w.gets_response(Pbx, 420);
            assert_eq!(refusal.headers.get("Unsupported"), Some("100rel"));
            w.acknowledges(&request, &refusal);
            assert_eq!(w.with_pbx(), before);
            w.meta_knows_nothing();
            let ok = w.changes(&up, method, &but("a=sendrecv", "a=sendonly"));
            assert!(text(&ok.body).contains("a=recvonly"));
            w.hangs_up(&up, Meta);
            w.leaves_nothing_behind();
        }
    }
}

#[test]
fn a_change_waits_until_the_one_before_has_its_ack() {
    for (mut w, up) in both() {
        let first = w.change(&up, "INVITE", Some(&but("a=sendrecv", "a=sendonly")));
        w.sends(Pbx, first.clone());
        w.gets(Pbx, 200);
        for method in METHODS {
            let second = w.change(&up, method, Some(PBX_SDP));
            w.sends(Pbx, second.clone());
            let refusal = w.gets_response(Pbx, 491);
            w.acknowledges(&second, &refusal);
        }
        // Without an offer nothing can collide.
        let alive = w.change(&up, "UPDATE", None);
        w.sends(Pbx, alive);
        assert!(w.gets_response(Pbx, 200).body.is_empty());
        let ack = w.ack_of(&up, &first);
        w.sends(Pbx, ack);
        w.changes(&up, "INVITE", PBX_SDP);
        w.meta_knows_nothing();
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_has_not_acknowledged_its_own_call_cannot_change_it() {
    let mut w = locally();
    let up = w.is_answered(Pbx);
    let early = w.change(&up, "INVITE", Some(PBX_SDP));
    w.sends(Pbx, early.clone());
    let refusal = w.gets_response(Pbx, 491);
    w.acknowledges(&early, &refusal);
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.changes(&up, "INVITE", &but("a=sendrecv", "a=inactive"));
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_has_no_answer_yet_is_told_to_come_again() {
    let mut w = locally();
    let (invite, ours) = w.business_calls();
    w.sends(Meta, respond(&ours, 180));
    let ringing = w.gets_response(Pbx, 180);
    for method in METHODS {
        w.cseqs += 1;
        let mut early = w.in_dialog(method, w.cseqs, &invite, &ringing, true);
        early.headers.push("Content-Type", "application/sdp");
        early.body = PBX_SDP.into();
        w.sends(Pbx, early.clone());
        let refusal = w.gets_response(Pbx, 500);
        let seconds: u8 = refusal.headers.get("Retry-After").unwrap().parse().unwrap();
        assert!(seconds <= 10);
        w.acknowledges(&early, &refusal);
    }
    w.gets_nothing(Meta);
    let up = w.answers(Pbx, invite, ours.clone(), metas_ok(&ours));
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn a_change_out_of_order_is_refused() {
    for (mut w, up) in both() {
        w.changes(&up, "UPDATE", PBX_SDP);
        let mut late = w.change(&up, "UPDATE", Some(&but("a=sendrecv", "a=inactive")));
        late.headers.set("CSeq", "2 UPDATE");
        w.sends(Pbx, late);
        w.gets(Pbx, 500);
        assert_eq!(w.with_pbx().direction, Direction::SendRecv);
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn our_200_to_a_reinvite_is_repeated_until_the_ack() {
    for (mut w, up) in both() {
        let hold = w.change(&up, "INVITE", Some(&but("a=sendrecv", "a=sendonly")));
        w.sends(Pbx, hold.clone());
        let first = w.gets_response(Pbx, 200);
        // The INVITE comes once more, since our 200 got lost: the dialog repeats it, not the transaction.
        w.sends(Pbx, hold.clone());
        w.gets_nothing(Pbx);
        for after in [500, 1000, 2000] {
            w.wait(ms(after));
            assert_eq!(w.gets_response(Pbx, 200), first);
        }
        let ack = w.ack_of(&up, &hold);
        w.sends(Pbx, ack.clone());
        w.sends(Pbx, ack);
        w.wait(secs(60));
        w.is_quiet();
        w.meta_knows_nothing();
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_never_acknowledges_is_hung_up_on_both_legs() {
    for (mut w, up) in both() {
        let hold = w.change(&up, "INVITE", Some(&but("a=sendrecv", "a=sendonly")));
        w.sends(Pbx, hold);
        w.wait(ms(31_999));
        w.gets_nothing(Meta);
        w.wait(ms(1));
        w.agrees_to(Meta, "BYE");
        while matches!(w.peek(Pbx), Some(wabridge::sip::Message::Response(_))) {
            w.gets(Pbx, 200);
        }
        w.agrees_to(Pbx, "BYE");
        let summary = w.leaves_nothing_behind();
        assert_eq!(summary.ended_by, EndedBy::Bridge);
        assert!(summary.why.contains("re-INVITE"), "{}", summary.why);
    }
}

#[test]
fn either_side_hangs_up_before_our_200_is_acknowledged() {
    for leg in [Meta, Pbx] {
        for (mut w, up) in both() {
            let hold = w.change(&up, "INVITE", Some(&but("a=sendrecv", "a=sendonly")));
            w.sends(Pbx, hold);
            w.gets(Pbx, 200);
            w.hangs_up(&up, leg);
            assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(leg));
        }
    }
}

#[test]
fn a_pbx_that_asks_for_an_offer_gets_all_we_can_do_and_answers_in_its_ack() {
    for (mut w, up) in both() {
        let ask = w.change(&up, "INVITE", None);
        w.sends(Pbx, ask.clone());
        let ok = w.gets_response(Pbx, 200);
        let offer = text(&ok.body);
        assert!(offer.contains(" RTP/AVP 111 101\r\n"), "{offer}");
        assert!(offer.contains("a=sendrecv"), "{offer}");
        assert_eq!(ok.content_type().as_deref(), Some("application/sdp"));
        let before = w.with_pbx();
        let mut ack = w.ack_of(&up, &ask);
        ack.headers.push("Content-Type", "application/sdp");
        ack.body = but("16000", "16020")
            .replace("107", "111")
            .replace("a=sendrecv", "a=sendonly")
            .into();
        w.sends(Pbx, ack);
        let side = w.with_pbx();
        assert_ne!(side, before);
        assert_eq!(side.remote_rtp.port(), 16020);
        assert_eq!(side.direction, Direction::RecvOnly);
        w.meta_knows_nothing();
        w.changes(&up, "INVITE", PBX_SDP);
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_bad_answer_to_our_offer_or_none_leaves_the_session_as_it_was() {
    for answer in ["", "hello", &but("107 101", "18"), &but("16000", "0")] {
        for (mut w, up) in both() {
            let before = w.with_pbx();
            let ask = w.change(&up, "INVITE", None);
            w.sends(Pbx, ask.clone());
            let ok = w.gets_response(Pbx, 200);
            let mut ack = w.ack_of(&up, &ask);
            ack.body = answer.into();
            w.sends(Pbx, ack);
            w.wait(secs(60));
            w.is_quiet();
            assert_eq!(w.with_pbx(), before);
            let next = w.changes(&up, "INVITE", &but("a=sendrecv", "a=sendonly"));
            assert!(version(&next.body) > version(&ok.body));
            w.meta_knows_nothing();
            w.hangs_up(&up, Pbx);
            w.leaves_nothing_behind();
        }
    }
}

#[test]
fn a_pbx_that_moves_is_reached_where_it_says_and_one_that_is_refused_has_not_moved() {
    for method in METHODS {
        for (mut w, up) in both() {
            w.more = vec!["192.0.2.8", "192.0.2.9"];
            let mut bad = w.change(&up, method, Some("hello"));
            bad.headers.set("Contact", "<sip:100@192.0.2.9:5060>");
            w.sends(Pbx, bad.clone());
            let refusal = w.gets_response(Pbx, 400);
            w.acknowledges(&bad, &refusal);
            let mut moves = w.change(&up, method, Some(PBX_SDP));
            moves.headers.set("Contact", "<sip:desk@192.0.2.8:5060>");
            w.sends(Pbx, moves.clone());
            w.gets(Pbx, 200);
            if method == "INVITE" {
                let ack = w.ack_of(&up, &moves);
                w.sends(Pbx, ack);
            }
            let bye = w.within(&up, Meta, "BYE");
            w.sends(Meta, bye);
            w.gets(Meta, 200);
            let bye = w.gets_at("192.0.2.8", "BYE");
            assert_eq!(bye.uri.to_string(), "sip:desk@192.0.2.8:5060");
            w.sends(Pbx, respond(&bye, 200));
            w.leaves_nothing_behind();
        }
    }
}

#[test]
fn a_pbx_on_hold_may_be_silent_and_one_that_has_resumed_may_not() {
    let silent = |leg| {
        Event::Media(MediaEvent::Silent {
            id: SessionId(1),
            leg,
        })
    };
    // Whoever has no music for those on hold sends nothing, though it may (RFC 3264 §8.4).
    let holds = [
        but("a=sendrecv", "a=inactive"),
        but("a=sendrecv", "a=sendonly"),
        but("c=IN IP4 192.0.2.7", "c=IN IP4 0.0.0.0"),
    ];
    let calls = holds
        .iter()
        .flat_map(|hold| both().map(|call| (hold, call)));
    for (hold, (mut w, up)) in calls {
        w.changes(&up, "INVITE", hold);
        w.handle(silent(Pbx));
        w.is_quiet();
        let started = |w: &World| w.media.lock().unwrap().started.clone();
        let before = started(&w).len();
        w.changes(&up, "INVITE", PBX_SDP);
        assert_eq!(started(&w)[before..], [Pbx], "its silence counts anew");
        w.handle(silent(Pbx));
        for leg in Leg::BOTH {
            w.agrees_to(leg, "BYE");
        }
        assert!(w.leaves_nothing_behind().why.contains("no media"));
    }
}

#[test]
fn a_reload_changes_nothing_for_a_call_that_is_up() {
    let mut w = locally();
    let up = w.user_talks();
    w.handle(Event::Reload(std::sync::Arc::new(setup())));
    w.changes(&up, "INVITE", &but("a=sendrecv", "a=sendonly"));
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
    let mut w = World::new();
    let up = w.user_talks();
    w.handle(Event::Reload(std::sync::Arc::new(with_pbx(|pbx| {
        pbx.reinvite = Reinvite::Local;
    }))));
    let hold = w.change(&up, "INVITE", Some(PBX_SDP));
    w.sends(Pbx, hold.clone());
    let refusal = w.gets_response(Pbx, 500);
    w.acknowledges(&hold, &refusal);
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn only_a_pbx_that_may_change_its_session_is_told_so_and_meta_never_is() {
    for (reinvite, allow, supported) in [
        (
            Reinvite::Reject,
            "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO",
            None,
        ),
        (
            Reinvite::Local,
            "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, REFER, INFO",
            Some("norefersub, timer"),
        ),
    ] {
        let with = || World::with(with_pbx(|pbx| pbx.reinvite = reinvite));
        let (mut users, mut businesses) = (with(), with());
        let (user, business) = (users.user_talks(), businesses.business_talks());
        let to_pbx = [&user.ours.headers, &business.our_ok.headers];
        let to_meta = [&business.ours.headers, &user.our_ok.headers];
        for headers in to_pbx {
            assert_eq!(headers.get("Allow"), Some(allow));
            assert_eq!(headers.get("Supported"), supported);
        }
        for headers in to_meta {
            assert!(!headers.get("Allow").unwrap().contains("UPDATE"));
            assert_eq!(headers.get("Supported"), None);
        }
        for (mut w, up) in [(users, user), (businesses, business)] {
            let mut hold = w.within(&up, Meta, "INVITE");
            hold.headers.push("Content-Type", "application/sdp");
            hold.body = PBX_SDP.into();
            w.sends(Meta, hold.clone());
            let refusal = w.gets_response(Meta, 500);
            w.sends(Meta, wabridge::sip::build::ack(&hold, &refusal));
            let update = w.within(&up, Meta, "UPDATE");
            w.sends(Meta, update);
            w.gets(Meta, 405);
            w.hangs_up(&up, Meta);
            w.leaves_nothing_behind();
        }
    }
}

impl World {
    /// The PBX acknowledges that a re-INVITE was refused; an UPDATE needs nothing.
    fn acknowledges(
        &mut self,
        request: &wabridge::sip::Request,
        refusal: &wabridge::sip::Response,
    ) {
        if request.method == wabridge::sip::Method::INVITE {
            self.sends(Pbx, wabridge::sip::build::ack(request, refusal));
        }
    }
}

#[test]
fn the_log_says_why_a_pbx_cannot_hold_or_transfer() {
    let mut w = World::new();
    let up = w.user_talks();
    let hold = w.change(&up, "INVITE", Some(&but("a=sendrecv", "a=sendonly")));
    w.sends(Pbx, hold.clone());
    let refusal = w.gets_response(Pbx, 500);
    w.acknowledges(&hold, &refusal);
    for method in ["UPDATE", "REFER"] {
        let request = w.change(&up, method, None);
        w.sends(Pbx, request);
        w.gets(Pbx, 405);
    }
    let info = log::lines("INFO");
    let told = info.iter().filter(|l| l.contains("reinvite = \"reject\""));
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 3, "{info:#?}");
    for (line, method) in told.iter().zip(["INVITE", "UPDATE", "REFER"]) {
        assert!(line.contains(&format!("method={method}")), "{line}");
    }
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}
