//! The bridge stops, or is told of other settings.

use std::sync::Arc;

use wabridge::call::{EndedBy, Event, Setup};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::policy::Numbers;

use crate::refusals::outside;
use crate::world::*;

#[test]
fn calls_that_talk_get_a_bye_on_both_legs() {
    for caller in [Meta, Pbx] {
        let mut w = World::new();
        match caller {
            Meta => w.user_talks(),
            Pbx => w.business_talks(),
        };
        w.handle(Event::Stop);
        for leg in [Meta, Pbx] {
            let bye = w.agrees_to(leg, "BYE");
            assert_eq!(reason(&bye), "Q.850;cause=41;text=\"the bridge stops\"");
        }
        assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
    }
}

#[test]
fn a_caller_that_has_not_acknowledged_yet_gets_its_bye_at_once_when_the_bridge_stops() {
    let mut w = World::new();
    let (_, ours) = w.user_calls();
    w.sends(Pbx, pbx_ok(&ours));
    w.gets(Pbx, "ACK");
    w.gets(Meta, 200);
    w.handle(Event::Stop);
    for leg in [Meta, Pbx] {
        w.agrees_to(leg, "BYE");
    }
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
}

#[test]
fn calls_that_ring_are_refused_and_cancelled() {
    for caller in [Meta, Pbx] {
        let mut w = World::new();
        let (theirs, ours) = match caller {
            Meta => w.user_calls(),
            Pbx => w.business_calls(),
        };
        let callee = caller.other();
        w.sends(callee, respond(&ours, 180));
        w.gets(caller, 180);
        w.handle(Event::Stop);
        w.is_refused(caller, &theirs, 503);
        let cancel = w.agrees_to(callee, "CANCEL");
        assert!(reason(&cancel).contains("the bridge stops"));
        w.refuses(callee, &ours, 487);
        assert_eq!(w.leaves_nothing_behind().status, 503);
    }
}

#[test]
fn nobody_calls_a_bridge_that_stops() {
    let mut w = World::new();
    w.handle(Event::Stop);
    let invite = w.pbx_invite(USER);
    w.sends(Pbx, invite.clone());
    w.is_refused(Pbx, &invite, 503);
    let invite = w.metas_invite();
    let invite = w.user_authenticates(invite);
    w.is_refused(Meta, &invite, 503);
    w.is_left_empty();
}

/// What the bridge is told to do for five minutes at most.
fn drain(w: &mut World) {
    let until = w.now + secs(300);
    w.handle(Event::Drain { until });
}

/// A call from either side is refused, and the question whether one would be taken too; both say when to ask again.
fn takes_no_calls(w: &mut World) {
    let invite = w.pbx_invite(USER);
    w.sends(Pbx, invite.clone());
    let refusal = w.is_refused(Pbx, &invite, 503);
    assert_eq!(refusal.headers.get("Retry-After"), Some("30"));
    let invite = w.metas_invite();
    let invite = w.user_authenticates(invite);
    let refusal = w.is_refused(Meta, &invite, 503);
    assert_eq!(refusal.headers.get("Retry-After"), Some("30"));
    for leg in [Meta, Pbx] {
        let options = outside(w, leg, "OPTIONS");
        w.sends(leg, options);
        let answer = w.gets_response(leg, 503);
        assert_eq!(answer.headers.get("Retry-After"), Some("30"));
    }
}

#[test]
fn a_bridge_that_drains_takes_no_new_calls_and_is_done_when_the_last_one_hangs_up() {
    for caller in [Meta, Pbx] {
        let mut w = World::new();
        let up = match caller {
            Meta => w.user_talks(),
            Pbx => w.business_talks(),
        };
        drain(&mut w);
        takes_no_calls(&mut w);
        w.wait(secs(200));
        w.is_quiet();
        let options = w.within(&up, caller, "OPTIONS");
        w.sends(caller, options);
        w.gets(caller, 200);
        assert!(!w.bridge.is_done());
        w.hangs_up(&up, caller);
        assert!(w.bridge.is_done());
        assert_eq!(w.leaves_nothing_behind().status, 200);
    }
}

#[test]
fn whoever_rings_when_the_bridge_begins_to_drain_can_still_be_answered() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    drain(&mut w);
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    let answer = pbx_ok(&ours);
    let up = w.answers(Meta, theirs, ours, answer);
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    w.wait(secs(20));
    w.hangs_up(&up, Pbx);
    assert_eq!(w.leaves_nothing_behind().status, 200);
    assert!(w.bridge.is_done());
}

#[test]
fn calls_that_are_up_when_the_time_to_drain_is_over_get_a_bye_on_both_legs() {
    let mut w = World::new();
    w.user_talks();
    drain(&mut w);
    w.wait(secs(300) - ms(1));
    w.is_quiet();
    w.wait(ms(1));
    for leg in [Meta, Pbx] {
        let bye = w.agrees_to(leg, "BYE");
        assert_eq!(reason(&bye), "Q.850;cause=41;text=\"the bridge stops\"");
    }
    assert!(w.bridge.is_done());
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
}

#[test]
fn a_bridge_that_drains_can_be_told_to_stop_at_once_and_not_the_other_way_round() {
    let mut w = World::new();
    w.user_talks();
    drain(&mut w);
    w.handle(Event::Stop);
    drain(&mut w);
    w.handle(Event::Stop);
    for leg in [Meta, Pbx] {
        w.agrees_to(leg, "BYE");
    }
    assert!(w.bridge.is_done());
    takes_no_calls(&mut w);
    w.leaves_nothing_behind();
}

#[test]
fn a_bridge_without_calls_is_done_as_soon_as_it_drains() {
    let mut w = World::new();
    assert!(!w.bridge.is_done());
    drain(&mut w);
    assert!(w.bridge.is_done());
    assert_eq!(w.bridge.deadline(), None);
}

#[test]
fn a_far_end_that_is_gone_holds_a_bridge_up_for_ten_seconds_and_its_call_is_summed_up_all_the_same()
{
    for gone in [Meta, Pbx] {
        let mut w = World::new();
        w.user_talks();
        w.losing = Some(gone);
        w.handle(Event::Stop);
        w.agrees_to(gone.other(), "BYE");
        w.wait(secs(10) - ms(1));
        assert!(!w.bridge.is_done());
        w.wait(ms(1));
        assert!(w.bridge.is_done());
        let summary = &w.ended[0];
        assert_eq!(summary.ended_by, EndedBy::Bridge);
        assert_eq!(summary.why, "the bridge stops");
        w.leaves_nothing_behind();
    }
}

/// Everything else than the usual set-up: no number, no PBX, nobody allowed.
fn nothing() -> Setup {
    Setup {
        numbers: Numbers::default(),
        pbxs: Vec::new(),
        meta_sources: Vec::new(),
        max_calls: 1,
        ..setup()
    }
}

#[test]
fn a_call_outlives_a_reload_that_takes_its_number_and_its_pbx_away() {
    for leg in [Meta, Pbx] {
        let mut w = World::new();
        let up = w.user_talks();
        w.handle(Event::Reload(Arc::new(nothing())));
        w.is_quiet();
        let options = w.within(&up, leg, "OPTIONS");
        w.sends(leg, options);
        w.gets(leg, 200);
        w.hangs_up(&up, leg);
        assert_eq!(w.leaves_nothing_behind().status, 200);
    }
}

#[test]
fn a_call_that_rings_through_a_reload_can_be_answered_and_cancelled() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.handle(Event::Reload(Arc::new(nothing())));
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    w.sends(Meta, wabridge::sip::build::cancel(&theirs));
    w.gets(Meta, 200);
    w.is_refused(Meta, &theirs, 487);
    w.agrees_to(Pbx, "CANCEL");
    w.refuses(Pbx, &ours, 487);
    w.leaves_nothing_behind();
}

#[test]
fn new_calls_follow_the_new_settings() {
    let mut w = World::new();
    let up = w.user_talks();
    w.handle(Event::Reload(Arc::new(nothing())));
    let invite = w.metas_invite();
    w.sends(Meta, invite);
    w.gets(Meta, 403);
    let invite = w.pbx_invite(USER);
    w.sends(Pbx, invite);
    w.gets_nothing(Pbx);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();

    let mut w = World::new();
    let mut changed = setup();
    let number = changed.numbers.get(&BUSINESS.parse().unwrap()).unwrap();
    changed.numbers = Numbers::new([wabridge::policy::Number {
        target: Some("200".into()),
        ..number.clone()
    }]);
    w.handle(Event::Reload(Arc::new(changed)));
    let (theirs, ours) = w.user_calls();
    assert_eq!(ours.uri.to_string(), "sip:200@192.0.2.7");
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    w.leaves_nothing_behind();
}

#[test]
fn whoever_a_reload_has_shut_out_stays_out_when_the_old_calls_are_over() {
    let mut w = World::new();
    let up = w.user_talks();
    w.handle(Event::Reload(Arc::new(nothing())));
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
    let options = w.within(&up, Meta, "OPTIONS");
    w.sends(Meta, options);
    w.gets(Meta, 403);
}
