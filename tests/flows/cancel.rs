//! The caller gives up, at every point of the call.

use wabridge::call::EndedBy;
use wabridge::leg::Leg::{self, Meta, Pbx};
use wabridge::sip::message::Common;
use wabridge::sip::{Request, build};

use crate::world::*;

/// A CANCEL as the far end makes it, with why.
fn cancel(invite: &Request) -> Request {
    let mut cancel = build::cancel(invite);
    cancel
        .headers
        .push("Reason", "SIP;cause=600;text=\"gave up\"");
    cancel
}

/// The caller cancels and hears 200 and 487.
#[track_caller]
fn gives_up(w: &mut World, caller: Leg, theirs: &Request) {
    w.sends(caller, cancel(theirs));
    let mut statuses = Vec::new();
    while let Some(message) = w.next(caller) {
        let wabridge::sip::Message::Response(response) = message else {
            panic!("a response")
        };
        assert_eq!(
            response.cseq().unwrap().number,
            theirs.cseq().unwrap().number
        );
        if response.status == 487 {
            w.sends(caller, build::ack(theirs, &response));
        }
        statuses.push((response.cseq().unwrap().method.to_string(), response.status));
    }
    assert_eq!(
        statuses,
        [("CANCEL".to_owned(), 200), ("INVITE".to_owned(), 487)]
    );
}

/// Both directions up to our INVITE to the callee, which is the callee's to answer.
fn both() -> [(World, Leg, Request, Request); 2] {
    let mut users = World::new();
    let (theirs, ours) = users.user_calls();
    let mut business = World::new();
    let (business_theirs, business_ours) = business.business_calls();
    [
        (users, Meta, theirs, ours),
        (business, Pbx, business_theirs, business_ours),
    ]
}

#[track_caller]
fn is_over(mut w: World, caller: Leg) {
    let summary = w.leaves_nothing_behind();
    assert_eq!(
        (summary.status, summary.ended_by),
        (487, EndedBy::Leg(caller))
    );
    assert!(!w.media.lock().unwrap().started.contains(&Meta));
}

#[test]
fn before_the_callee_has_said_anything_the_cancel_waits_for_its_first_word() {
    for (mut w, caller, theirs, ours) in both() {
        let callee = caller.other();
        gives_up(&mut w, caller, &theirs);
        w.is_quiet();
        w.sends(callee, respond(&ours, 100));
        let cancel = w.agrees_to(callee, "CANCEL");
        assert_eq!(reason(&cancel), "SIP;cause=600;text=\"gave up\"");
        assert_eq!(
            cancel.via().unwrap().branch(),
            ours.via().unwrap().branch(),
            "it names the INVITE"
        );
        w.refuses(callee, &ours, 487);
        is_over(w, caller);
    }
}

#[test]
fn after_100_and_after_180_the_cancel_goes_out_at_once() {
    for status in [100, 180, 183] {
        for (mut w, caller, theirs, ours) in both() {
            let callee = caller.other();
            w.sends(callee, respond(&ours, status));
            if status > 100 {
                w.gets(caller, status);
            }
            gives_up(&mut w, caller, &theirs);
            w.agrees_to(callee, "CANCEL");
            w.refuses(callee, &ours, 487);
            is_over(w, caller);
        }
    }
}

#[test]
fn a_200_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    for (mut w, caller, theirs, ours) in both() {
        let callee = caller.other();
        w.sends(callee, respond(&ours, 180));
        w.gets(caller, 180);
        gives_up(&mut w, caller, &theirs);
        let cancel = w.gets_request(callee, "CANCEL");
        w.sends(
            callee,
            match callee {
                Meta => metas_ok(&ours),
                Pbx => pbx_ok(&ours),
            },
        );
        w.gets(callee, "ACK");
        w.agrees_to(callee, "BYE");
        w.sends(callee, respond(&cancel, 481));
        is_over(w, caller);
    }
}

#[test]
fn an_answer_before_the_cancel_could_go_out_is_hung_up_too() {
    for (mut w, caller, theirs, ours) in both() {
        let callee = caller.other();
        gives_up(&mut w, caller, &theirs);
        w.sends(
            callee,
            match callee {
                Meta => metas_ok(&ours),
                Pbx => pbx_ok(&ours),
            },
        );
        w.gets(callee, "ACK");
        w.agrees_to(callee, "BYE");
        is_over(w, caller);
    }
}

#[test]
fn a_cancel_that_crosses_our_200_changes_nothing_and_the_caller_hangs_up() {
    for (mut w, caller, theirs, ours) in both() {
        let callee = caller.other();
        let their_ok = match callee {
            Meta => metas_ok(&ours),
            Pbx => pbx_ok(&ours),
        };
        w.sends(callee, their_ok.clone());
        w.gets(callee, "ACK");
        let our_ok = w.gets_response(caller, 200);
        w.sends(caller, cancel(&theirs));
        let answer = w.gets_response(caller, 200);
        assert_eq!(answer.cseq().unwrap().method.to_string(), "CANCEL");
        w.is_quiet();
        let up = Up {
            caller,
            theirs,
            our_ok,
            ours,
            their_ok,
        };
        let ack = w.ack(&up);
        w.sends(caller, ack);
        w.hangs_up(&up, caller);
        assert_eq!(w.leaves_nothing_behind().status, 200);
    }
}

#[test]
fn the_pbx_gives_up_while_meta_challenges_and_meta_is_not_called_again() {
    let mut w = World::new();
    let (theirs, first) = w.business_starts();
    gives_up(&mut w, Pbx, &theirs);
    w.challenges(&first, 407, CHALLENGE);
    is_over(w, Pbx);
}

#[test]
fn the_pbx_gives_up_before_the_second_invite_has_an_answer() {
    let mut w = World::new();
    let (theirs, first) = w.business_starts();
    w.sends(Meta, respond(&first, 100));
    w.challenges(&first, 407, CHALLENGE);
    let second = w.gets_request(Meta, "INVITE");
    gives_up(&mut w, Pbx, &theirs);
    w.gets_nothing(Meta);
    w.sends(Meta, respond(&second, 100));
    let cancel = w.agrees_to(Meta, "CANCEL");
    assert_eq!(cancel.cseq().unwrap().number, 2);
    assert_eq!(cancel.headers.get("Proxy-Authorization"), None);
    w.refuses(Meta, &second, 487);
    is_over(w, Pbx);
}

#[test]
fn a_user_who_gives_up_between_challenge_and_answer_rings_nobody() {
    let mut w = World::new();
    let invite = w.metas_invite();
    w.sends(Meta, invite.clone());
    let challenge = w.gets_response(Meta, 407);
    w.sends(Meta, cancel(&invite));
    w.gets(Meta, 200);
    w.sends(Meta, build::ack(&invite, &challenge));
    w.is_left_empty();
}

#[test]
fn the_callee_refuses_while_our_cancel_is_on_its_way() {
    for (mut w, caller, theirs, ours) in both() {
        let callee = caller.other();
        w.sends(callee, respond(&ours, 180));
        w.gets(caller, 180);
        gives_up(&mut w, caller, &theirs);
        let cancel = w.gets_request(callee, "CANCEL");
        w.refuses(callee, &ours, 486);
        w.sends(callee, respond(&cancel, 481));
        is_over(w, caller);
    }
}

#[test]
fn a_callee_that_answers_the_cancel_and_never_the_invite_is_forgotten() {
    for (mut w, caller, theirs, ours) in both() {
        let callee = caller.other();
        w.sends(callee, respond(&ours, 180));
        w.gets(caller, 180);
        gives_up(&mut w, caller, &theirs);
        w.agrees_to(callee, "CANCEL");
        is_over(w, caller);
    }
}

#[test]
fn a_cancel_for_nothing_we_know_is_told_so() {
    for leg in [Meta, Pbx] {
        let mut w = World::new();
        let invite = match leg {
            Meta => w.metas_invite(),
            Pbx => w.pbx_invite(USER),
        };
        w.sends(leg, cancel(&invite));
        w.gets(leg, 481);
        w.is_left_empty();
    }
}

#[test]
fn a_bye_before_the_answer_gives_up_as_well() {
    for (mut w, caller, theirs, ours) in both() {
        let callee = caller.other();
        w.sends(callee, respond(&ours, 180));
        let ringing = w.gets_response(caller, 180);
        let bye = w.in_dialog("BYE", 20_000, &theirs, &ringing, true);
        w.sends(caller, bye);
        w.gets(caller, 200);
        w.is_refused(caller, &theirs, 487);
        w.agrees_to(callee, "CANCEL");
        w.refuses(callee, &ours, 487);
        is_over(w, caller);
    }
}
