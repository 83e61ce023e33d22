//! The bridge stops, or is told of other settings.

use std::sync::Arc;

use wabridge::call::{EndedBy, Event, Setup};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::policy::Numbers;

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
