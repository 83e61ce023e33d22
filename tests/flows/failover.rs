//! A user's call whose PBX does not take it at one address goes to the next, within the one call that Meta sees.

use std::sync::Arc;

use wabridge::call::watch::{Mark, Note};
use wabridge::call::{EndedBy, Event, Setup};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::peer::pbx;
use wabridge::policy::Way;
use wabridge::sip::message::Common;
use wabridge::sip::transport::Protocol;
use wabridge::sip::{Request, Response, build};

use crate::log;
use crate::world::*;

pub const FIRST: &str = "192.0.2.7";
pub const SECOND: &str = "192.0.2.8";
pub const THIRD: &str = "192.0.2.9";

pub fn two() -> Setup {
    with_hosts(&[(FIRST, 1), (SECOND, 2)])
}

pub fn world(setup: Setup) -> World {
    let mut w = World::with(setup);
    w.more = vec![SECOND, THIRD];
    w
}

/// The 200 of the host that an INVITE was for.
pub fn ok_of(invite: &Request) -> Response {
    let host = &invite.uri.sip().unwrap().host;
    let mut ok = pbx_ok(invite);
    ok.headers.set("Contact", format!("<sip:100@{host}:5060>"));
    ok
}

impl World {
    /// A user calls; Meta has our 100, and nothing has been looked at on the PBX's side.
    pub fn user_dials(&mut self) -> Request {
        let invite = self.metas_invite();
        let theirs = self.user_authenticates(invite);
        self.gets(Meta, 100);
        theirs
    }

    /// The PBX takes the call that `ours` is, and it ends as every call does.
    pub fn takes_it(&mut self, theirs: Request, ours: Request) {
        self.sends(Pbx, respond(&ours, 180));
        self.gets(Meta, 180);
        let up = self.answers(Meta, theirs, ours.clone(), ok_of(&ours));
        let ack = self.ack(&up);
        self.sends(Meta, ack);
        self.is_quiet();
        self.hangs_up(&up, Meta);
    }

    fn redirections(&self) -> Vec<(String, String)> {
        let redirection = |note: &Note| match note {
            Note::Mark {
                mark: Mark::Redirected { why, address, .. },
                ..
            } => Some((why.clone(), address.clone())),
            _ => None,
        };
        self.notes.iter().filter_map(redirection).collect()
    }
}

#[test]
fn the_first_address_is_silent_and_the_second_takes_the_call() {
    let mut w = world(two());
    w.silent = vec![FIRST];
    let theirs = w.user_dials();
    w.wait(ms(2_999));
    w.is_quiet();
    w.wait(ms(1));
    let ours = w.gets_at(SECOND, "INVITE");
    assert_eq!(ours.uri.to_string(), "sip:100@192.0.2.8");
    assert_eq!(ours.headers.get("To"), Some("<sip:100@192.0.2.8>"));
    w.takes_it(theirs, ours.clone());
    let summary = w.leaves_nothing_behind();
    assert_eq!(
        (summary.status, summary.callee_call_id),
        (200, ours.call_id().to_owned())
    );
    assert_eq!(
        w.redirections(),
        [(
            "no answer in 3 s".to_owned(),
            "UDP 192.0.2.8:5060".to_owned()
        )]
    );
    let warnings = log::warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for word in [
        "UDP 192.0.2.7:5060",
        "UDP 192.0.2.8:5060",
        "no answer in 3 s",
    ] {
        assert!(warnings[0].contains(word), "{warnings:?}");
    }
}

#[test]
fn each_attempt_is_a_call_of_its_own_to_the_pbx() {
    let mut w = world(with_pbx(|pbx| {
        pbx.keying = wabridge::sdp::Keying::Sdes;
        pbx.ways = [FIRST, SECOND]
            .map(|host| Way::only(pbx::hop(host, 5060, Protocol::Udp)))
            .into();
    }));
    let theirs = w.user_dials();
    let first = w.gets_request(Pbx, "INVITE");
    w.refuses(Pbx, &first, 503);
    let second = w.gets_request(Pbx, "INVITE");
    assert_ne!(first.call_id(), second.call_id());
    assert_ne!(
        first.via().unwrap().branch(),
        second.via().unwrap().branch()
    );
    let tag = |invite: &Request| invite.from().unwrap().tag().map(str::to_owned);
    assert_ne!(tag(&first), tag(&second));
    let line = |invite: &Request, start: &str| {
        let sdp = String::from_utf8(invite.body.clone()).unwrap();
        sdp.lines()
            .find(|l| l.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert_ne!(line(&first, "a=crypto"), line(&second, "a=crypto"));
    assert_ne!(line(&first, "o="), line(&second, "o="));
    assert_ne!(
        line(&first, "m="),
        line(&second, "m="),
        "what the first sends late is not heard"
    );
    assert_eq!(w.media.lock().unwrap().open.len(), 1);
    w.refuses(Pbx, &second, 486);
    w.is_refused(Meta, &theirs, 486);
    w.leaves_nothing_behind();
}

#[test]
fn a_server_that_fails_is_passed_over_and_a_callee_that_refuses_is_not() {
    for status in [500, 502, 503, 504] {
        let mut w = world(two());
        let theirs = w.user_dials();
        let first = w.gets_at(FIRST, "INVITE");
        w.sends(Pbx, respond(&first, 100));
        w.refuses(Pbx, &first, status);
        let second = w.gets_at(SECOND, "INVITE");
        w.takes_it(theirs, second);
        assert_eq!(w.leaves_nothing_behind().status, 200, "{status}");
    }
    for (status, told) in [
        (486, 486),
        (404, 404),
        (408, 480),
        (488, 488),
        (407, 503),
        (603, 603),
    ] {
        let mut w = world(two());
        let theirs = w.user_dials();
        let first = w.gets_at(FIRST, "INVITE");
        w.refuses(Pbx, &first, status);
        w.is_refused(Meta, &theirs, told);
        w.leaves_nothing_behind();
    }
}

#[test]
fn once_it_has_rung_at_one_address_no_other_is_tried() {
    for progress in [180, 181, 183] {
        let mut w = world(two());
        let theirs = w.user_dials();
        let first = w.gets_at(FIRST, "INVITE");
        w.sends(Pbx, respond(&first, progress));
        w.gets(Meta, progress);
        w.wait(secs(10));
        w.is_quiet();
        w.refuses(Pbx, &first, 503);
        w.is_refused(Meta, &theirs, 503);
        w.is_quiet();
        assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Pbx));
    }
}

#[test]
fn an_address_that_said_100_has_the_call() {
    let mut w = world(two());
    let theirs = w.user_dials();
    let first = w.gets_at(FIRST, "INVITE");
    w.sends(Pbx, respond(&first, 100));
    w.wait(secs(20));
    w.is_quiet();
    w.takes_it(theirs, first);
    w.leaves_nothing_behind();
}

#[test]
fn an_answer_after_the_user_was_refused_is_acknowledged_and_hung_up() {
    let mut w = world(two());
    let theirs = w.user_dials();
    w.gets_at(FIRST, "INVITE");
    w.silent = vec![FIRST, SECOND];
    w.wait(secs(3));
    w.silent.clear();
    w.wait(secs(3));
    let second = w.gets_at(SECOND, "INVITE");
    assert_eq!(w.gets_at(SECOND, "INVITE"), second);
    let told = w.is_refused(Meta, &theirs, 503);
    assert!(
        reason(&told).contains("none of the 2 addresses"),
        "{}",
        reason(&told)
    );
    // Nothing of it is repeated any more.
    w.wait(secs(15));
    w.is_quiet();
    w.sends(Pbx, respond(&second, 180));
    w.agrees_to(Pbx, "CANCEL");
    w.sends(Pbx, ok_of(&second));
    assert_eq!(w.gets_at(SECOND, "ACK").call_id(), second.call_id());
    let bye = w.agrees_to(Pbx, "BYE");
    assert_eq!(bye.call_id(), second.call_id());
    assert_eq!(w.leaves_nothing_behind().status, 503);
}

#[test]
fn late_words_of_the_first_address_do_not_disturb_the_call_at_the_second() {
    let mut w = world(two());
    let theirs = w.user_dials();
    let first = w.gets_at(FIRST, "INVITE");
    w.losing = Some(Pbx);
    w.wait(ms(2_999));
    w.losing = None;
    w.wait(ms(1));
    let second = w.gets_at(SECOND, "INVITE");
    // It is not repeated any more.
    w.sends(Pbx, respond(&second, 100));
    w.wait(secs(10));
    w.is_quiet();
    w.sends(Pbx, respond(&first, 180));
    let cancel = w.gets_at(FIRST, "CANCEL");
    assert_eq!(cancel.call_id(), first.call_id());
    w.sends(Pbx, build::response(&cancel, 200, None));
    w.sends(Pbx, respond(&first, 183));
    w.gets_nothing(Meta);
    // Its 200 crosses our CANCEL.
    w.sends(Pbx, ok_of(&first));
    assert_eq!(w.gets_at(FIRST, "ACK").call_id(), first.call_id());
    let bye = w.gets_at(FIRST, "BYE");
    assert_eq!(bye.call_id(), first.call_id());
    w.sends(Pbx, build::response(&bye, 200, None));
    w.is_quiet();
    w.takes_it(theirs, second);
    assert_eq!(w.leaves_nothing_behind().status, 200);
}

#[test]
fn a_call_is_over_when_its_legs_are_whatever_a_silent_address_may_yet_say() {
    let mut w = world(two());
    let theirs = w.user_dials();
    let first = w.gets_at(FIRST, "INVITE");
    w.losing = Some(Pbx);
    w.wait(ms(2_999));
    w.losing = None;
    w.wait(ms(1));
    let second = w.gets_at(SECOND, "INVITE");
    w.takes_it(theirs, second);
    assert_eq!((w.ended.len(), w.bridge.calls()), (1, 0));
    w.sends(Pbx, ok_of(&first));
    assert_eq!(w.gets_at(FIRST, "ACK").call_id(), first.call_id());
    w.agrees_to(Pbx, "BYE");
    assert_eq!(w.leaves_nothing_behind().status, 200);
}

#[test]
fn a_call_that_nobody_answers_is_over_when_the_user_has_been_told() {
    let mut w = world(two());
    w.silent = vec![FIRST, SECOND];
    let theirs = w.user_dials();
    w.wait(secs(6));
    w.is_refused(Meta, &theirs, 503);
    assert_eq!((w.ended.len(), w.bridge.calls()), (1, 0));
    w.leaves_nothing_behind();
}

#[test]
fn when_none_is_left_meta_is_told_503_and_what_became_of_each() {
    let mut w = world(with_hosts(&[(FIRST, 1), (SECOND, 2), (THIRD, 3)]));
    w.silent = vec![FIRST];
    w.closed_hosts = vec![SECOND];
    let theirs = w.user_dials();
    w.wait(secs(3));
    let third = w.gets_at(THIRD, "INVITE");
    w.refuses(Pbx, &third, 503);
    let told = w.is_refused(Meta, &theirs, 503);
    assert_eq!(told.headers.get("Retry-After"), Some("5"));
    assert_eq!(
        reason(&told),
        "Q.850;cause=38;text=\"none of the 3 addresses of the PBX takes the call: no answer in 3 s; connection refused; \
         503 Service Unavailable\""
    );
    let summary = w.leaves_nothing_behind();
    assert_eq!(
        (summary.ended_by, summary.callee_status),
        (EndedBy::Bridge, Some(503))
    );
}

#[test]
fn when_all_are_silent_meta_is_told_after_try_timeout_for_each() {
    let mut w = world(two());
    w.silent = vec![FIRST, SECOND];
    let theirs = w.user_dials();
    w.wait(ms(5_999));
    w.is_quiet();
    w.wait(ms(1));
    w.is_refused(Meta, &theirs, 503);
    w.leaves_nothing_behind();
}

#[test]
fn addresses_over_tcp_that_refuse_the_connection_are_passed_over_at_once() {
    let tcp = |host| Way::only(pbx::hop(host, 5060, Protocol::Tcp));
    let mut w = world(with_pbx(|pbx| {
        pbx.ways = vec![tcp(FIRST)];
        pbx.ways.push(Way {
            priority: 2,
            ..tcp(SECOND)
        });
    }));
    w.pbx_at = pbx::hop(FIRST, 5060, Protocol::Tcp);
    w.closed_hosts = vec![FIRST];
    let theirs = w.user_dials();
    let second = w.gets_at(SECOND, "INVITE");
    assert_eq!(second.uri.to_string(), "sip:100@192.0.2.8;transport=tcp");
    w.refuses(Pbx, &second, 486);
    w.is_refused(Meta, &theirs, 486);
    w.leaves_nothing_behind();
    let mut w = world(with_pbx(|pbx| pbx.ways = vec![tcp(FIRST), tcp(SECOND)]));
    w.pbx_at = pbx::hop(FIRST, 5060, Protocol::Tcp);
    w.closed_hosts = vec![FIRST, SECOND];
    let theirs = w.user_dials();
    w.is_refused(Meta, &theirs, 503);
    w.leaves_nothing_behind();
}

#[test]
fn a_user_who_gives_up_in_the_middle_has_given_up_everywhere() {
    let mut w = world(two());
    let theirs = w.user_dials();
    let first = w.gets_at(FIRST, "INVITE");
    w.silent = vec![FIRST];
    w.wait(secs(3));
    w.silent.clear();
    let second = w.gets_at(SECOND, "INVITE");
    w.sends(Meta, build::cancel(&theirs));
    w.gets(Meta, 200);
    w.is_refused(Meta, &theirs, 487);
    w.is_quiet();
    w.sends(Pbx, respond(&second, 100));
    w.agrees_to(Pbx, "CANCEL");
    w.sends(Pbx, respond(&first, 100));
    w.agrees_to(Pbx, "CANCEL");
    assert_eq!(w.got_at, FIRST);
    for invite in [&first, &second] {
        w.refuses(Pbx, invite, 487);
    }
    let summary = w.leaves_nothing_behind();
    assert_eq!(
        (summary.status, summary.ended_by),
        (487, EndedBy::Leg(Meta))
    );
}

#[test]
fn ring_timeout_covers_all_attempts_together() {
    let mut setup = two();
    setup.ring_timeout = secs(5);
    let mut w = world(setup);
    w.silent = vec![FIRST];
    let theirs = w.user_dials();
    w.wait(secs(3));
    let second = w.gets_at(SECOND, "INVITE");
    w.sends(Pbx, respond(&second, 180));
    w.gets(Meta, 180);
    w.wait(ms(1_999));
    w.is_quiet();
    w.wait(ms(1));
    w.is_refused(Meta, &theirs, 480);
    let cancel = w.agrees_to(Pbx, "CANCEL");
    assert_eq!(cancel.call_id(), second.call_id());
    w.refuses(Pbx, &second, 487);
    w.leaves_nothing_behind();
}

#[test]
fn a_reload_in_the_middle_changes_nothing_for_the_call() {
    let mut w = world(two());
    w.silent = vec![FIRST];
    let theirs = w.user_dials();
    w.wait(secs(1));
    let mut other = with_hosts(&[(THIRD, 1)]);
    Arc::make_mut(&mut other.pbxs[0].0).try_timeout = secs(60);
    w.handle(Event::Reload(Arc::new(other)));
    w.wait(secs(2));
    let second = w.gets_at(SECOND, "INVITE");
    w.takes_it(theirs, second);
    w.leaves_nothing_behind();
}

#[test]
fn a_bridge_that_stops_in_the_middle_tries_nothing_more() {
    let mut w = world(two());
    w.silent = vec![FIRST];
    let theirs = w.user_dials();
    w.handle(Event::Stop);
    w.is_refused(Meta, &theirs, 503);
    w.leaves_nothing_behind();
}

#[test]
fn the_dialog_is_with_whoever_answered() {
    let mut w = world(two());
    let theirs = w.user_dials();
    let first = w.gets_at(FIRST, "INVITE");
    w.refuses(Pbx, &first, 503);
    let second = w.gets_at(SECOND, "INVITE");
    let ok = ok_of(&second);
    let up = w.answers(Meta, theirs, second, ok);
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    let bye = w.hangs_up(&up, Meta);
    assert_eq!(w.got_at, SECOND, "{}", bye.uri);
    w.leaves_nothing_behind();
}
