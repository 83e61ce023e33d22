//! The DTLS handshake with Meta, as signalling hears of it: done, failed, or never heard of again.

use std::time::Duration;

use wabridge::call::watch::{Mark, Note};
use wabridge::call::{EndedBy, Event, Setup, Summary};
use wabridge::leg::Leg::{self, Meta, Pbx};
use wabridge::media::{MediaEvent, SessionId, SideStats};
use wabridge::policy::{KeyExchange, Keying};
use wabridge::sdp;
use wabridge::sip::message::Common;
use wabridge::sip::{Message, Request, Response, build};

use crate::world::*;

/// The longest there is: it must reach both legs uncut.
const WHY: &str = "the peer's certificate is \
    AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB, not its SDP's \
    CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD:CD";

fn dtls() -> World {
    World::with(with_keying(Keying::Set(KeyExchange::Dtls)))
}

/// A call of either side that both have answered, its caller's ACK still to come.
#[track_caller]
fn answered(caller: Leg) -> (World, Up) {
    let mut w = dtls();
    let up = match caller {
        Meta => {
            let invite = w.metas_invite_keyed(KeyExchange::Dtls);
            let (theirs, ours) = w.user_calls_with(invite);
            let their_ok = pbx_ok(&ours);
            w.answers(caller, theirs, ours, their_ok)
        }
        Pbx => w.is_answered(Pbx),
    };
    (w, up)
}

/// The same with the ACK.
#[track_caller]
fn talking(caller: Leg) -> (World, Up) {
    let (mut w, up) = answered(caller);
    let ack = w.ack(&up);
    w.sends(caller, ack);
    w.is_quiet();
    (w, up)
}

/// The reason that a leg is given when there is no way to Meta.
fn no_path() -> String {
    format!("Q.850;cause=41;text=\"no media path to Meta: {WHY}\"")
}

#[track_caller]
fn ended_for_want_of_a_path(w: &mut World) -> Summary {
    let summary = w.leaves_nothing_behind();
    assert_eq!(summary.ended_by, EndedBy::Bridge);
    assert_eq!(summary.why, format!("no media path to Meta: {WHY}"));
    summary
}

#[test]
fn keys_change_nothing_on_the_wire_and_what_they_took_is_in_the_summary() {
    for caller in [Meta, Pbx] {
        let (mut w, up) = talking(caller);
        w.media.lock().unwrap().carried.meta = SideStats {
            keyed_after: Some(ms(230)),
            kept: 12,
            not_kept: 3,
            ..SideStats::default()
        };
        w.is_keyed();
        w.is_keyed();
        w.is_quiet();
        w.hangs_up(&up, caller);
        let summary = w.leaves_nothing_behind();
        assert_eq!(summary.keying, Some(sdp::Keying::Dtls));
        let meta = &summary.media.meta;
        assert_eq!(
            (meta.keyed_after, meta.kept, meta.not_kept),
            (Some(ms(230)), 12, 3)
        );
    }
}

#[test]
fn a_failed_handshake_ends_the_call_and_both_legs_are_told_why() {
    for caller in [Meta, Pbx] {
        let (mut w, _) = talking(caller);
        w.wait(secs(2));
        w.has_no_path(WHY);
        for leg in [Meta, Pbx] {
            assert_eq!(reason(&w.agrees_to(leg, "BYE")), no_path());
        }
        let summary = ended_for_want_of_a_path(&mut w);
        assert_eq!((summary.status, summary.talked()), (200, secs(2)));
    }
}

#[test]
fn a_handshake_that_fails_before_the_callers_ack_ends_the_call_once_that_is_here() {
    for caller in [Meta, Pbx] {
        let (mut w, up) = answered(caller);
        w.has_no_path(WHY);
        assert_eq!(reason(&w.agrees_to(caller.other(), "BYE")), no_path());
        w.gets_nothing(caller);
        let ack = w.ack(&up);
        w.sends(caller, ack);
        assert_eq!(reason(&w.agrees_to(caller, "BYE")), no_path());
        ended_for_want_of_a_path(&mut w);
    }
}

#[test]
fn a_handshake_fails_and_the_caller_never_acknowledges() {
    for caller in [Meta, Pbx] {
        let (mut w, _) = answered(caller);
        w.has_no_path(WHY);
        w.agrees_to(caller.other(), "BYE");
        w.wait(secs(32));
        while let Some(Message::Response(repeated)) = w.peek(caller) {
            assert_eq!(repeated.status, 200);
            w.next(caller);
        }
        assert_eq!(reason(&w.agrees_to(caller, "BYE")), no_path());
        ended_for_want_of_a_path(&mut w);
    }
}

#[test]
fn a_path_that_is_lost_in_the_middle_of_a_call_ends_it() {
    for caller in [Meta, Pbx] {
        let (mut w, _) = talking(caller);
        w.is_keyed();
        w.wait(secs(100));
        w.has_no_path(WHY);
        for leg in [Meta, Pbx] {
            assert_eq!(reason(&w.agrees_to(leg, "BYE")), no_path());
        }
        assert_eq!(ended_for_want_of_a_path(&mut w).talked(), secs(100));
    }
}

#[test]
fn whoever_hangs_up_while_hands_are_shaken_has_ended_the_call_whatever_becomes_of_the_handshake() {
    for caller in [Meta, Pbx] {
        for leg in [Meta, Pbx] {
            let (mut w, up) = talking(caller);
            let bye = w.within(&up, leg, "BYE");
            w.sends(leg, bye);
            w.gets(leg, 200);
            let bye = w.gets_request(leg.other(), "BYE");
            w.is_keyed();
            w.has_no_path(WHY);
            w.is_quiet();
            w.sends(leg.other(), respond(&bye, 200));
            w.has_no_path(WHY);
            assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(leg));
        }
    }
}

#[test]
fn a_fault_of_the_path_while_the_user_is_rung_refuses_the_pbx_and_not_the_whole_trunk() {
    let mut w = dtls();
    let (theirs, ours) = w.business_calls();
    let mut early = metas_ok(&ours);
    early.status = 183;
    w.sends(Meta, early);
    w.gets(Pbx, 180);
    w.is_keyed();
    w.is_quiet();
    w.has_no_path(WHY);
    let refusal = w.is_refused(Pbx, &theirs, 500);
    assert_eq!(reason(&refusal), no_path());
    assert_eq!(refusal.headers.get("Retry-After"), None);
    assert_eq!(reason(&w.agrees_to(Meta, "CANCEL")), no_path());
    w.refuses(Meta, &ours, 487);
    assert_eq!(ended_for_want_of_a_path(&mut w).status, 500);
}

#[test]
fn a_fault_of_the_path_while_the_pbx_rings_refuses_the_user() {
    let mut w = dtls();
    let invite = w.metas_invite_keyed(KeyExchange::Dtls);
    let (theirs, ours) = w.user_calls_with(invite);
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    w.has_no_path(WHY);
    assert_eq!(reason(&w.is_refused(Meta, &theirs, 500)), no_path());
    w.agrees_to(Pbx, "CANCEL");
    w.refuses(Pbx, &ours, 487);
    assert_eq!(ended_for_want_of_a_path(&mut w).status, 500);
}

#[test]
fn the_connection_to_meta_is_cut_when_the_handshake_fails_and_the_pbx_is_freed_all_the_same() {
    for caller in [Meta, Pbx] {
        let (mut w, _) = talking(caller);
        w.cut = true;
        w.has_no_path(WHY);
        assert_eq!(reason(&w.agrees_to(Pbx, "BYE")), no_path());
        ended_for_want_of_a_path(&mut w);
    }
}

// ---- the ACK that waits for the keys -------------------------------------------------------------------------------

/// A PBX that plays from our ACK on.
fn patient() -> Setup {
    let mut setup = with_keying(Keying::Set(KeyExchange::Dtls));
    std::sync::Arc::make_mut(&mut setup.pbxs[0].0).ack_when_keyed = true;
    setup
}

/// A user's call that the PBX has answered: Meta has our 200 and acknowledges it, the PBX has nothing yet.
#[track_caller]
fn waiting() -> (World, Up) {
    let (mut w, up) = waiting_for_metas_ack();
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    w.is_quiet();
    (w, up)
}

#[track_caller]
fn waiting_for_metas_ack() -> (World, Up) {
    let mut w = World::with(patient());
    let invite = w.metas_invite_keyed(KeyExchange::Dtls);
    let (theirs, ours) = w.user_calls_with(invite);
    let their_ok = pbx_ok(&ours);
    w.sends(Pbx, their_ok.clone());
    let our_ok = w.gets_response(Meta, 200);
    assert_eq!(w.media.lock().unwrap().started, [Pbx, Meta]);
    w.gets_nothing(Pbx);
    let up = Up {
        caller: Meta,
        theirs,
        our_ok,
        ours,
        their_ok,
    };
    (w, up)
}

/// The PBX has its ACK, of the INVITE that it answered, once.
#[track_caller]
fn is_acknowledged(w: &mut World, up: &Up) -> Request {
    let ack = w.gets_request(Pbx, "ACK");
    assert_eq!(ack.cseq().unwrap().number, up.ours.cseq().unwrap().number);
    assert_eq!(ack.uri, up.their_ok.contact().unwrap().uri);
    ack
}

#[test]
fn the_pbx_has_its_ack_when_there_are_keys() {
    let (mut w, up) = waiting();
    w.wait(ms(400));
    w.is_quiet();
    w.is_keyed();
    let first = is_acknowledged(&mut w, &up);
    // Its 200 may be on the way once more, and our ACK may be lost.
    w.sends(Pbx, up.their_ok.clone());
    assert_eq!(is_acknowledged(&mut w, &up), first);
    w.is_keyed();
    w.wait(secs(60));
    w.is_quiet();
    w.hangs_up(&up, Meta);
    let summary = w.leaves_nothing_behind();
    assert_eq!(
        (summary.status, summary.ack_waited),
        (200, Some(ms(400))),
        "the log line says how long it waited, whatever came later"
    );
    let waits = w.notes.iter().filter_map(|note| match note {
        Note::Mark { mark, .. } => matches!(mark, Mark::AckWaited(_)).then_some(mark),
        _ => None,
    });
    assert_eq!(waits.collect::<Vec<_>>(), [&Mark::AckWaited(ms(400))]);
}

/// The times after its first copy at which a PBX repeats a 200 that nobody acknowledges (RFC 3261 §13.3.1.4).
const REPEATS: [u64; 4] = [500, 1500, 3500, 7500];

#[test]
fn a_200_that_the_pbx_repeats_while_there_are_no_keys_is_not_acknowledged_early() {
    let (mut w, up) = waiting();
    let mut now = 0;
    for at in REPEATS {
        w.wait(ms(at - now));
        now = at;
        w.sends(Pbx, up.their_ok.clone());
        w.is_quiet();
    }
    w.is_keyed();
    is_acknowledged(&mut w, &up);
    w.is_quiet();
    w.hangs_up(&up, Pbx);
    let summary = w.leaves_nothing_behind();
    assert_eq!((summary.status, summary.ended_by), (200, EndedBy::Leg(Pbx)));
}

#[test]
fn nothing_is_heard_of_the_handshake_and_the_pbx_has_its_ack_long_before_it_gives_up() {
    for metas_ack in [true, false] {
        let (mut w, up) = match metas_ack {
            true => waiting(),
            false => waiting_for_metas_ack(),
        };
        w.wait(ms(9_999));
        w.gets_nothing(Pbx);
        w.wait(ms(1));
        is_acknowledged(&mut w, &up);
        w.is_keyed();
        w.gets_nothing(Pbx);
        w.sends(Pbx, up.their_ok.clone());
        is_acknowledged(&mut w, &up);
        if !metas_ack {
            while let Some(Message::Response(repeated)) = w.peek(Meta) {
                assert_eq!(repeated.status, 200);
                w.next(Meta);
            }
            let ack = w.ack(&up);
            w.sends(Meta, ack);
        }
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_handshake_that_fails_while_the_ack_waits_gives_the_pbx_its_ack_before_its_bye() {
    for after in [ms(0), ms(3_000)] {
        let (mut w, up) = waiting();
        w.wait(after);
        w.has_no_path(WHY);
        is_acknowledged(&mut w, &up);
        assert_eq!(reason(&w.agrees_to(Pbx, "BYE")), no_path());
        assert_eq!(reason(&w.agrees_to(Meta, "BYE")), no_path());
        ended_for_want_of_a_path(&mut w);
    }
}

#[test]
fn the_handshake_fails_after_the_ack_that_could_wait_no_longer() {
    let (mut w, up) = waiting();
    w.wait(secs(15));
    is_acknowledged(&mut w, &up);
    w.has_no_path(WHY);
    w.agrees_to(Pbx, "BYE");
    w.agrees_to(Meta, "BYE");
    ended_for_want_of_a_path(&mut w);
}

#[test]
fn a_copy_of_the_200_that_comes_after_the_end_is_acknowledged_again() {
    let (mut w, up) = waiting();
    w.has_no_path(WHY);
    is_acknowledged(&mut w, &up);
    let bye = w.gets_request(Pbx, "BYE");
    w.sends(Pbx, up.their_ok.clone());
    is_acknowledged(&mut w, &up);
    w.sends(Pbx, respond(&bye, 200));
    w.agrees_to(Meta, "BYE");
    ended_for_want_of_a_path(&mut w);
}

#[test]
fn the_user_hangs_up_while_the_ack_waits() {
    for metas_ack in [true, false] {
        let (mut w, up) = match metas_ack {
            true => waiting(),
            false => waiting_for_metas_ack(),
        };
        let bye = w.within(&up, Meta, "BYE");
        w.sends(Meta, bye);
        w.gets(Meta, 200);
        is_acknowledged(&mut w, &up);
        w.agrees_to(Pbx, "BYE");
        w.is_keyed();
        assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Meta));
    }
}

#[test]
fn the_pbx_hangs_up_while_the_ack_waits() {
    let (mut w, up) = waiting();
    let bye = w.within(&up, Pbx, "BYE");
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    is_acknowledged(&mut w, &up);
    w.agrees_to(Meta, "BYE");
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Pbx));
}

#[test]
fn the_bridge_stops_while_the_ack_waits() {
    let (mut w, up) = waiting_for_metas_ack();
    w.handle(Event::Stop);
    is_acknowledged(&mut w, &up);
    for leg in [Pbx, Meta] {
        w.agrees_to(leg, "BYE");
    }
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
}

#[test]
fn the_media_engine_gives_up_while_the_ack_waits() {
    let (mut w, up) = waiting();
    w.media.lock().unwrap().open.clear();
    w.handle(Event::Media(MediaEvent::Closed {
        id: SessionId(1),
        stats: Box::default(),
    }));
    is_acknowledged(&mut w, &up);
    for leg in [Pbx, Meta] {
        w.agrees_to(leg, "BYE");
    }
    w.leaves_nothing_behind();
}

#[test]
fn meta_never_acknowledges_a_call_whose_ack_to_the_pbx_had_to_wait() {
    let (mut w, up) = waiting_for_metas_ack();
    w.wait(ms(31_999));
    is_acknowledged(&mut w, &up);
    w.gets_nothing(Pbx);
    w.wait(ms(1));
    w.agrees_to(Pbx, "BYE");
    while let Some(Message::Response(repeated)) = w.peek(Meta) {
        assert_eq!(repeated.status, 200);
        w.next(Meta);
    }
    w.agrees_to(Meta, "BYE");
    assert_eq!(
        w.leaves_nothing_behind().why,
        "Meta never acknowledged our 200"
    );
}

#[test]
fn our_200_does_not_reach_meta_and_the_ack_waits_no_longer_for_it() {
    let mut w = World::with(patient());
    let invite = w.metas_invite_keyed(KeyExchange::Dtls);
    let (_, ours) = w.user_calls_with(invite);
    w.cut = true;
    w.sends(Pbx, pbx_ok(&ours));
    assert_eq!(w.media.lock().unwrap().started, [Pbx]);
    w.wait(secs(10));
    w.gets(Pbx, "ACK");
    w.wait(secs(22));
    w.agrees_to(Pbx, "BYE");
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
}

#[test]
fn another_telephone_that_answers_while_the_ack_waits_is_hung_up_at_once() {
    let (mut w, up) = waiting();
    let mut fork = up.their_ok.clone();
    let to = up.ours.headers.get("To").unwrap();
    fork.headers.set("To", format!("{to};tag=another"));
    w.sends(Pbx, fork);
    w.gets(Pbx, "ACK");
    w.agrees_to(Pbx, "BYE");
    w.wait(secs(1));
    w.is_quiet();
    w.is_keyed();
    is_acknowledged(&mut w, &up);
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn a_cancel_that_crosses_the_answer_of_a_patient_pbx_is_followed_by_ack_and_bye_at_once() {
    let mut w = World::with(patient());
    let invite = w.metas_invite_keyed(KeyExchange::Dtls);
    let (theirs, ours) = w.user_calls_with(invite);
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    w.sends(Meta, build::cancel(&theirs));
    w.gets(Meta, 200);
    w.is_refused(Meta, &theirs, 487);
    let cancel = w.gets_request(Pbx, "CANCEL");
    w.sends(Pbx, pbx_ok(&ours));
    w.gets(Pbx, "ACK");
    w.agrees_to(Pbx, "BYE");
    w.sends(Pbx, respond(&cancel, 481));
    assert_eq!(w.leaves_nothing_behind().status, 487);
}

#[test]
fn a_cancel_that_comes_too_late_does_not_disturb_an_ack_that_waits() {
    let (mut w, up) = waiting_for_metas_ack();
    w.sends(Meta, build::cancel(&up.theirs));
    w.gets(Meta, 200);
    w.is_quiet();
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    w.is_keyed();
    is_acknowledged(&mut w, &up);
    w.hangs_up(&up, Meta);
    assert_eq!(w.leaves_nothing_behind().status, 200);
}

#[test]
fn an_answer_of_no_use_is_acknowledged_and_hung_up_at_once_by_a_patient_bridge_too() {
    let mut w = World::with(patient());
    let invite = w.metas_invite_keyed(KeyExchange::Dtls);
    let (theirs, ours) = w.user_calls_with(invite);
    let mut their_ok = pbx_ok(&ours);
    their_ok.body = b"nonsense".to_vec();
    w.sends(Pbx, their_ok);
    w.gets(Pbx, "ACK");
    w.agrees_to(Pbx, "BYE");
    w.is_refused(Meta, &theirs, 488);
    w.leaves_nothing_behind();
}

#[test]
fn only_a_users_call_that_is_keyed_by_dtls_has_an_ack_that_waits() {
    let at_once = |w: &mut World, leg: Leg| {
        let _: Message = w.gets(leg, "ACK");
    };
    let mut w = World::with(patient());
    let invite = w.metas_invite_keyed(KeyExchange::Sdes);
    let (_, ours) = w.user_calls_with(invite);
    w.sends(Pbx, pbx_ok(&ours));
    at_once(&mut w, Pbx);
    let mut w = World::with(patient());
    let (_, ours) = w.business_calls();
    let their_ok: Response = metas_ok(&ours);
    w.sends(Meta, their_ok);
    at_once(&mut w, Meta);
    w.wait(Duration::from_secs(1));
}
