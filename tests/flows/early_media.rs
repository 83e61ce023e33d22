//! Media: what starts when, and what ends a call.

use wabridge::call::{EndedBy, Event};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::media::{MediaEvent, SessionId};
use wabridge::sip::message::Common;

use crate::world::*;

#[test]
fn a_pbx_hears_what_meta_sends_early_and_meta_nothing_before_its_answer() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    let mut early = metas_ok(&ours);
    early.status = 183;
    w.sends(Meta, early);
    let progress = w.gets_response(Pbx, 183);
    assert_eq!(progress.content_type().as_deref(), Some("application/sdp"));
    assert_eq!(w.media.lock().unwrap().started, [Pbx]);
    let their_ok = metas_ok(&ours);
    let up = w.answers(Pbx, theirs, ours, their_ok);
    assert_eq!(up.our_ok.body, progress.body, "the answer is the same");
    assert_eq!(up.our_ok.to(), progress.to());
    assert!(w.media.lock().unwrap().started.ends_with(&[Meta]));
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn an_answer_that_came_early_counts_when_the_200_has_none() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    let mut early = metas_ok(&ours);
    early.status = 183;
    w.sends(Meta, early);
    let progress = w.gets_response(Pbx, 183);
    let mut their_ok = metas_ok(&ours);
    their_ok.body.clear();
    their_ok.headers.remove("Content-Type");
    let up = w.answers(Pbx, theirs, ours, their_ok);
    assert_eq!(up.our_ok.body, progress.body);
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn an_early_sdp_of_no_use_does_not_end_the_call() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    let mut early = respond(&ours, 183);
    early.headers.push("Content-Type", "application/sdp");
    early.body = b"nonsense".to_vec();
    w.sends(Meta, early);
    assert!(w.gets_response(Pbx, 183).body.is_empty());
    assert!(w.media.lock().unwrap().started.is_empty());
    w.refuses(Meta, &ours, 486);
    w.is_refused(Pbx, &theirs, 486);
    w.leaves_nothing_behind();
}

#[test]
fn early_media_of_the_pbx_is_held_back_and_meta_is_sent_nothing_before_our_200_is_out() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    let mut early = pbx_ok(&ours);
    early.status = 183;
    w.sends(Pbx, early);
    let progress = w.gets_response(Meta, 183);
    assert!(progress.body.is_empty());
    assert_eq!(progress.headers.get("Content-Type"), None);
    assert!(w.media.lock().unwrap().started.is_empty());
    w.cut = true;
    w.sends(Pbx, pbx_ok(&ours));
    w.gets(Pbx, "ACK");
    assert_eq!(
        w.media.lock().unwrap().started,
        [Pbx],
        "our 200 is not on the wire"
    );
    w.cut = false;
    w.wait(ms(500));
    let our_ok = w.gets_response(Meta, 200);
    assert_eq!(w.media.lock().unwrap().started, [Pbx, Meta]);
    let up = Up {
        caller: Meta,
        their_ok: pbx_ok(&ours),
        theirs,
        our_ok,
        ours,
    };
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn a_leg_that_falls_silent_ends_the_call_and_both_are_told_which() {
    for silent in [Meta, Pbx] {
        for caller in [Meta, Pbx] {
            let mut w = World::new();
            match caller {
                Meta => w.user_talks(),
                Pbx => w.business_talks(),
            };
            w.handle(Event::Media(MediaEvent::Silent {
                id: SessionId(1),
                leg: silent,
            }));
            let expected = format!("Q.850;cause=102;text=\"no media from {silent}\"");
            for leg in [Meta, Pbx] {
                let bye = w.agrees_to(leg, "BYE");
                assert_eq!(reason(&bye), expected);
            }
            let summary = w.leaves_nothing_behind();
            assert_eq!(summary.ended_by, EndedBy::Bridge);
            assert_eq!(summary.why, format!("no media from {silent}"));
        }
    }
}

#[test]
fn a_pbx_that_is_silent_while_the_user_is_rung_does_not_lose_the_call() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    let mut early = metas_ok(&ours);
    early.status = 183;
    w.sends(Meta, early);
    w.gets(Pbx, 183);
    w.wait(secs(30));
    w.handle(Event::Media(MediaEvent::Silent {
        id: SessionId(1),
        leg: Pbx,
    }));
    w.is_quiet();
    let their_ok = metas_ok(&ours);
    let up = w.answers(Pbx, theirs, ours, their_ok);
    assert_eq!(
        w.media.lock().unwrap().started,
        [Pbx, Pbx, Meta],
        "from the answer on its silence counts anew"
    );
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn a_session_that_the_engine_gives_up_ends_the_call() {
    let closed = || {
        Event::Media(MediaEvent::Closed {
            id: SessionId(1),
            stats: Box::default(),
        })
    };
    let mut w = World::new();
    w.user_talks();
    w.media.lock().unwrap().open.clear();
    w.handle(closed());
    for leg in [Meta, Pbx] {
        w.agrees_to(leg, "BYE");
    }
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);

    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    w.media.lock().unwrap().open.clear();
    w.handle(closed());
    w.is_refused(Meta, &theirs, 503);
    w.agrees_to(Pbx, "CANCEL");
    w.refuses(Pbx, &ours, 487);
    assert_eq!(w.leaves_nothing_behind().status, 503);
}

#[test]
fn payload_numbers_of_each_leg_are_its_own() {
    let mut w = World::new();
    let up = w.user_talks();
    let media = w.media.lock().unwrap();
    let numbers = |leg| -> Vec<u8> {
        let (_, side) = media.agreed.iter().find(|(of, _)| *of == leg).unwrap();
        side.send.iter().map(|payload| payload.number).collect()
    };
    assert_eq!(numbers(Meta), [111, 126]);
    assert_eq!(numbers(Pbx), [111, 101]);
    let body = String::from_utf8(up.our_ok.body.clone()).unwrap();
    assert!(body.contains("RTP/SAVP 111 126"), "{body}");
    assert!(
        body.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80"),
        "{body}"
    );
}
