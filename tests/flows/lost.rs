//! Messages that get lost or come twice, and connections that break.

use wabridge::call::EndedBy;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::build;
use wabridge::sip::message::Common;

use crate::world::*;

#[test]
fn our_invite_is_repeated_until_the_pbx_has_it_and_no_longer() {
    let mut w = World::new();
    w.losing = Some(Pbx);
    let invite = w.metas_invite();
    let theirs = w.user_authenticates(invite);
    w.gets(Meta, 100);
    w.wait(ms(600));
    w.losing = None;
    w.wait(ms(1000));
    let ours = w.gets_request(Pbx, "INVITE");
    w.sends(Pbx, respond(&ours, 100));
    w.wait(secs(20));
    w.is_quiet();
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_repeats_its_invite_calls_once() {
    let mut w = World::new();
    let invite = w.pbx_invite(USER);
    w.losing = Some(Pbx);
    w.sends(Pbx, invite.clone());
    w.losing = None;
    let first = w.gets_request(Meta, "INVITE");
    w.sends(Pbx, invite.clone());
    w.gets(Pbx, 100);
    w.is_quiet();
    w.refuses(Meta, &first, 480);
    w.losing = Some(Pbx);
    w.wait(ms(100));
    w.losing = None;
    w.gets(Pbx, 480);
    // Its ACK got lost.
    w.wait(ms(500));
    w.is_refused(Pbx, &invite, 480);
    assert_eq!(w.bridge.stats().calls, 1);
    w.leaves_nothing_behind();
}

#[test]
fn our_200_is_repeated_until_the_ack() {
    for caller in [Meta, Pbx] {
        let mut w = World::new();
        let (theirs, ours) = match caller {
            Meta => w.user_calls(),
            Pbx => w.business_calls(),
        };
        let their_ok = match caller {
            Meta => pbx_ok(&ours),
            Pbx => metas_ok(&ours),
        };
        let up = w.answers(caller, theirs, ours, their_ok);
        w.wait(ms(3600));
        for _ in 0..3 {
            assert_eq!(w.gets_response(caller, 200), up.our_ok);
        }
        let ack = w.ack(&up);
        w.sends(caller, ack.clone());
        w.sends(caller, ack);
        w.wait(secs(60));
        w.is_quiet();
        w.hangs_up(&up, caller);
        w.leaves_nothing_behind();
    }
}

#[test]
fn without_any_ack_both_legs_are_hung_up_after_32_seconds() {
    for caller in [Meta, Pbx] {
        let mut w = World::new();
        let ours = match caller {
            Meta => w.user_calls().1,
            Pbx => w.business_calls().1,
        };
        let callee = caller.other();
        let their_ok = match caller {
            Meta => pbx_ok(&ours),
            Pbx => metas_ok(&ours),
        };
        w.sends(callee, their_ok);
        w.gets(callee, "ACK");
        w.wait(ms(31_999));
        w.gets_nothing(callee);
        w.wait(ms(1));
        let bye = w.agrees_to(callee, "BYE");
        assert!(
            reason(&bye).starts_with("Q.850;cause=102"),
            "{}",
            reason(&bye)
        );
        while let Some(wabridge::sip::Message::Response(repeated)) = w.peek(caller) {
            assert_eq!(repeated.status, 200);
            w.next(caller);
        }
        w.agrees_to(caller, "BYE");
        assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
    }
}

#[test]
fn a_200_that_the_callee_repeats_is_acknowledged_again() {
    for caller in [Meta, Pbx] {
        let mut w = World::new();
        let up = match caller {
            Meta => w.user_talks(),
            Pbx => w.business_talks(),
        };
        let callee = caller.other();
        w.sends(callee, up.their_ok.clone());
        let ack = w.gets_request(callee, "ACK");
        assert_eq!(ack.cseq().unwrap().number, up.ours.cseq().unwrap().number);
        w.is_quiet();
        w.hangs_up(&up, callee);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_refusal_that_the_callee_repeats_is_acknowledged_again_and_told_once() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    w.refuses(Pbx, &ours, 486);
    w.leaves_nothing_behind();
}

#[test]
fn our_cancel_is_repeated_until_the_pbx_has_it() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    w.losing = Some(Pbx);
    w.sends(Meta, build::cancel(&theirs));
    w.gets(Meta, 200);
    w.is_refused(Meta, &theirs, 487);
    w.losing = None;
    w.wait(ms(500));
    w.agrees_to(Pbx, "CANCEL");
    w.refuses(Pbx, &ours, 487);
    w.leaves_nothing_behind();
}

#[test]
fn a_repeated_cancel_is_answered_again() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    w.sends(Meta, respond(&ours, 180));
    w.gets(Pbx, 180);
    let cancel = build::cancel(&theirs);
    w.sends(Pbx, cancel.clone());
    w.gets(Pbx, 200);
    w.is_refused(Pbx, &theirs, 487);
    w.sends(Pbx, cancel);
    w.gets(Pbx, 200);
    w.agrees_to(Meta, "CANCEL");
    w.refuses(Meta, &ours, 487);
    w.leaves_nothing_behind();
}

#[test]
fn the_connection_breaks_under_our_200_and_the_next_copy_starts_the_media() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.cut = true;
    w.sends(Pbx, pbx_ok(&ours));
    w.gets(Pbx, "ACK");
    assert_eq!(w.media.lock().unwrap().started, [Pbx]);
    w.cut = false;
    w.wait(ms(500));
    let our_ok = w.gets_response(Meta, 200);
    assert_eq!(
        w.media.lock().unwrap().started,
        [Pbx, Meta],
        "Meta waits for our first packet from now on"
    );
    let up = Up {
        caller: Meta,
        their_ok: pbx_ok(&ours),
        theirs,
        our_ok,
        ours,
    };
    let ack = w.ack(&up);
    w.sends_over(World::other_flow(Meta), ack);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn the_connection_breaks_in_the_middle_of_a_call_and_the_call_goes_on_over_the_next() {
    let mut w = World::new();
    let up = w.business_talks();
    w.wait(secs(100));
    w.is_quiet();
    let bye = w.within(&up, Meta, "BYE");
    w.sends_over(World::other_flow(Meta), bye);
    w.gets(Meta, 200);
    w.agrees_to(Pbx, "BYE");
    assert_eq!(w.leaves_nothing_behind().talked(), secs(100));
}
