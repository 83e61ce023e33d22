//! Hanging up: from each side, in both directions, at the same time, and while messages are repeated or lost.

use wabridge::call::EndedBy;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::message::Common;

use crate::world::*;

fn both() -> [(World, Up); 2] {
    let mut users = World::new();
    let user = users.user_talks();
    let mut businesses = World::new();
    let business = businesses.business_talks();
    [(users, user), (businesses, business)]
}

#[test]
fn each_side_may_hang_up_in_both_directions() {
    for leg in [Meta, Pbx] {
        for (mut w, up) in both() {
            w.wait(secs(7));
            let bye = w.hangs_up(&up, leg);
            assert_eq!(reason(&bye), "Q.850;cause=16;text=\"NORMAL_CLEARING\"");
            let summary = w.leaves_nothing_behind();
            assert_eq!(summary.ended_by, EndedBy::Leg(leg));
            assert_eq!(summary.talked(), secs(7));
        }
    }
}

#[test]
fn why_one_side_hung_up_is_told_to_the_other() {
    for (mut w, up) in both() {
        let mut bye = w.within(&up, Pbx, "BYE");
        bye.headers
            .push("Reason", "Q.850;cause=127;text=\"queue full\"");
        w.sends(Pbx, bye);
        w.gets(Pbx, 200);
        let bye = w.agrees_to(Meta, "BYE");
        assert_eq!(reason(&bye), "Q.850;cause=127;text=\"queue full\"");
        w.leaves_nothing_behind();
    }
}

#[test]
fn both_hang_up_at_once_and_both_are_agreed_to() {
    for (mut w, up) in both() {
        let metas = w.within(&up, Meta, "BYE");
        let pbxs = w.within(&up, Pbx, "BYE");
        w.sends(Meta, metas);
        w.gets(Meta, 200);
        let ours = w.gets_request(Pbx, "BYE");
        w.sends(Pbx, pbxs);
        w.gets(Pbx, 200);
        w.sends(Pbx, respond(&ours, 200));
        assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Meta));
    }
}

#[test]
fn a_repeated_bye_is_agreed_to_again_and_told_once() {
    let mut w = World::new();
    let up = w.user_talks();
    let bye = w.within(&up, Pbx, "BYE");
    w.sends(Pbx, bye.clone());
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    w.gets(Pbx, 200);
    w.agrees_to(Meta, "BYE");
    w.leaves_nothing_behind();
}

#[test]
fn our_bye_is_repeated_until_the_pbx_has_it() {
    let mut w = World::new();
    let up = w.business_talks();
    let bye = w.within(&up, Meta, "BYE");
    w.losing = Some(Pbx);
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    w.wait(ms(1600));
    w.losing = None;
    w.wait(ms(2000));
    w.agrees_to(Pbx, "BYE");
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_is_gone_does_not_keep_the_call() {
    let mut w = World::new();
    let up = w.user_talks();
    w.losing = Some(Pbx);
    let bye = w.within(&up, Meta, "BYE");
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    w.leaves_nothing_behind();
}

#[test]
fn a_bye_is_over_whatever_it_is_answered() {
    for status in [481, 408, 500, 404, 603] {
        let mut w = World::new();
        let up = w.user_talks();
        let bye = w.within(&up, Pbx, "BYE");
        w.sends(Pbx, bye);
        w.gets(Pbx, 200);
        let bye = w.gets_request(Meta, "BYE");
        w.sends(Meta, respond(&bye, status));
        w.leaves_nothing_behind();
    }
}

#[test]
fn the_connection_to_meta_is_lost_and_the_pbx_is_freed_all_the_same() {
    let mut w = World::new();
    let up = w.user_talks();
    w.cut = true;
    let bye = w.within(&up, Pbx, "BYE");
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Pbx));
}

#[test]
fn the_callee_hangs_up_before_the_caller_has_acknowledged_and_the_bye_waits_for_the_ack() {
    for caller in [Meta, Pbx] {
        let mut w = World::new();
        let callee = caller.other();
        let up = w.is_answered(caller);
        let bye = w.within(&up, callee, "BYE");
        w.sends(callee, bye);
        w.gets(callee, 200);
        // RFC 3261 §15: no BYE to a caller that may not know yet that it was answered.
        w.gets_nothing(caller);
        w.wait(ms(500));
        w.gets(caller, 200);
        let ack = w.ack(&up);
        w.sends(caller, ack);
        w.agrees_to(caller, "BYE");
        let summary = w.leaves_nothing_behind();
        assert_eq!(summary.ended_by, EndedBy::Leg(callee));
    }
}

#[test]
fn a_caller_that_never_acknowledges_gets_the_bye_when_its_time_is_up() {
    let mut w = World::new();
    let up = w.is_answered(Meta);
    let bye = w.within(&up, Pbx, "BYE");
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    w.wait(secs(32));
    while let Some(wabridge::sip::Message::Response(repeated)) = w.peek(Meta) {
        assert_eq!(repeated.status, 200);
        w.next(Meta);
    }
    w.agrees_to(Meta, "BYE");
    w.leaves_nothing_behind();
}

#[test]
fn the_caller_hangs_up_without_ever_acknowledging() {
    for caller in [Meta, Pbx] {
        let mut w = World::new();
        let up = w.is_answered(caller);
        w.hangs_up(&up, caller);
        let summary = w.leaves_nothing_behind();
        assert_eq!(summary.ended_by, EndedBy::Leg(caller));
    }
}

#[test]
fn acks_and_byes_may_come_over_another_connection_than_the_invite() {
    let mut w = World::new();
    let up = w.is_answered(Meta);
    let ack = w.ack(&up);
    w.sends_over(World::other_flow(Meta), ack);
    w.wait(secs(40));
    w.is_quiet();
    let bye = w.within(&up, Meta, "BYE");
    w.sends_over(World::other_flow(Meta), bye);
    w.gets(Meta, 200);
    w.agrees_to(Pbx, "BYE");
    assert_eq!(w.leaves_nothing_behind().talked(), secs(40));
}

#[test]
fn a_bye_with_the_tags_of_another_call_is_a_stray() {
    let mut w = World::new();
    let up = w.user_talks();
    let mut bye = w.within(&up, Meta, "BYE");
    let to = up.theirs.headers.get("To").unwrap();
    bye.headers.set("To", format!("{to};tag=guessed"));
    w.sends(Meta, bye);
    w.gets(Meta, 481);
    let bye = w.within(&up, Meta, "BYE");
    let mut over_pbx = World::flow(Pbx);
    over_pbx.protocol = wabridge::sip::transport::Protocol::Udp;
    w.sends_over(over_pbx, bye);
    w.gets(Pbx, 481);
    w.is_quiet();
    assert_eq!(up.ours.call_id(), up.their_ok.call_id());
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}
