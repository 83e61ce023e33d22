//! A bridge that has less time than the calls take: new ones are refused at once, and those that are up hear nothing of it.

use std::time::Duration;

use wabridge::call::intake::Intake;
use wabridge::call::overload::Turn;
use wabridge::call::watch::Note;
use wabridge::call::{Because, Event};
use wabridge::leg::Leg::{self, Meta, Pbx};
use wabridge::sip::message::Common;
use wabridge::sip::{Request, build};

use crate::world::*;

const LIMIT: Duration = Duration::from_millis(20);

/// What waits for a bridge that has been late for half a second, and the call in it.
fn late(w: &mut World) -> (Intake, Request) {
    let mut intake = Intake::new(LIMIT);
    let first = w.metas_invite();
    comes(w, &mut intake, Meta, &first);
    for _ in 0..2 {
        w.now += 21 * LIMIT;
        intake.look(w.now);
    }
    assert_eq!(intake.take_turn(), Some(Turn::Late));
    (intake, first)
}

fn comes(w: &mut World, intake: &mut Intake, leg: Leg, request: &Request) {
    let arrival = w.arrival(World::flow(leg), request.clone());
    intake.push(Event::Arrived(arrival), |arrival| {
        w.bridge.is_stranger(arrival.flow)
    });
}

/// The bridge takes all that has waited for it.
fn serves(w: &mut World, intake: &mut Intake) {
    while let Some(event) = intake.pop(w.now) {
        w.handle(event);
    }
}

#[test]
fn a_new_call_is_told_503_at_once_and_a_call_that_is_up_is_ended_as_ever() {
    let mut w = World::new();
    let up = w.user_talks();
    let (mut intake, waiting) = late(&mut w);
    let invite = w.metas_invite();
    comes(&mut w, &mut intake, Meta, &invite);
    let bye = w.within(&up, Meta, "BYE");
    comes(&mut w, &mut intake, Meta, &bye);
    serves(&mut w, &mut intake);
    let refusal = w.gets_response(Meta, 503);
    assert_eq!(refusal.headers.get("Retry-After"), Some("1"));
    assert!(refusal.to_tag().is_some());
    w.gets(Meta, 200);
    w.agrees_to(Pbx, "BYE");
    w.is_refused(Meta, &waiting, 407);
    // Its ACK belongs to nothing, and is absorbed.
    w.sends(Meta, build::ack(&invite, &refusal));
    w.is_quiet();
    let refused = w.notes.iter().filter_map(|note| match note {
        Note::Refused(rejected) => Some((rejected.status, rejected.because)),
        _ => None,
    });
    assert_eq!(refused.collect::<Vec<_>>(), [(503, Because::Overload)]);
    assert_eq!(w.bridge.stats().refused, 1);
    w.leaves_nothing_behind();
}

#[test]
fn a_call_that_was_challenged_before_the_bridge_was_late_is_served() {
    let mut w = World::new();
    let invite = w.metas_invite();
    w.sends(Meta, invite.clone());
    let challenge = w.is_refused(Meta, &invite, 407);
    let (mut intake, waiting) = late(&mut w);
    let again = w.answers_challenge(&invite, &challenge, PASSWORD);
    let other = w.metas_invite();
    comes(&mut w, &mut intake, Meta, &other);
    comes(&mut w, &mut intake, Meta, &again);
    serves(&mut w, &mut intake);
    w.is_refused(Meta, &other, 503);
    w.gets(Meta, 100);
    w.is_refused(Meta, &waiting, 407);
    let ours = w.gets_request(Pbx, "INVITE");
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &again, 486);
    w.leaves_nothing_behind();
}

#[test]
fn the_bridge_recovers_and_takes_new_calls_as_ever() {
    let mut w = World::new();
    let (mut intake, waiting) = late(&mut w);
    serves(&mut w, &mut intake);
    w.is_refused(Meta, &waiting, 407);
    w.now = intake.deadline().unwrap();
    intake.look(w.now);
    assert!(matches!(intake.take_turn(), Some(Turn::KeepsUp(_))));
    let invite = w.metas_invite();
    comes(&mut w, &mut intake, Meta, &invite);
    serves(&mut w, &mut intake);
    w.is_refused(Meta, &invite, 407);
    w.is_left_empty();
}

#[test]
fn an_invite_by_udp_that_was_refused_stays_refused_when_it_comes_again() {
    let mut w = World::new();
    let (mut intake, waiting) = late(&mut w);
    let invite = w.pbx_invite(USER);
    comes(&mut w, &mut intake, Pbx, &invite);
    serves(&mut w, &mut intake);
    let first = w.gets_response(Pbx, 503);
    w.is_refused(Meta, &waiting, 407);
    // Our answer was lost, and the bridge has time again.
    w.sends(Pbx, invite.clone());
    let second = w.is_refused(Pbx, &invite, 503);
    assert_eq!(first.to_tag(), second.to_tag());
    assert_eq!(w.bridge.stats().calls, 0);
    // The same PBX's next call is another one.
    let next = w.pbx_invite(USER);
    w.sends(Pbx, next.clone());
    w.gets(Pbx, 100);
    let ours = w.gets_request(Meta, "INVITE");
    w.sends(Meta, respond(&ours, 480));
    w.gets(Meta, "ACK");
    w.is_refused(Pbx, &next, 480);
    w.leaves_nothing_behind();
}

#[test]
fn a_copy_of_an_invite_that_is_a_call_is_no_new_call_however_late_the_bridge_is() {
    let mut w = World::new();
    let (mut intake, waiting) = late(&mut w);
    let (invite, ours) = w.business_calls();
    comes(&mut w, &mut intake, Pbx, &invite);
    serves(&mut w, &mut intake);
    w.gets(Pbx, 100);
    w.is_refused(Meta, &waiting, 407);
    w.sends(Meta, respond(&ours, 480));
    w.gets(Meta, "ACK");
    w.is_refused(Pbx, &invite, 480);
    w.leaves_nothing_behind();
}
