//! A PBX that transfers its end of a call by REFER: the WhatsApp user stays, and knows of nothing.

use wabridge::call::{EndedBy, Event, Transfers};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::media::digits::Form;
use wabridge::media::{Direction, MediaEvent, SessionId};
use wabridge::number::Written;
use wabridge::policy::Reinvite;
use wabridge::sip::message::Common;
use wabridge::sip::{Request, Response, build};

use crate::changes::*;
use crate::digits::{self, user_presses};
use crate::records::{metrics, records};
use crate::world::*;

const BOB: &str = "<sip:200@192.0.2.7>";
const CONSULTED: &str =
    "<sip:200@192.0.2.7:5060?Replaces=abc%40192.0.2.7%3Bto-tag%3Dbob%3Bfrom-tag%3Dalice>";

/// What a NOTIFY says: the status line, and whether the subscription is over.
fn told(notify: &Request) -> (String, bool) {
    let headers = &notify.headers;
    let of = |name| headers.get(name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(of("Content-Type"), "message/sipfrag;version=2.0");
    assert!(of("Event").starts_with("refer"));
    assert!(of("Contact").contains("192.0.2.1:5070"));
    let state = of("Subscription-State");
    let over = state == "terminated;reason=noresource";
    assert!(over || state.starts_with("active;expires="), "{state}");
    (text(&notify.body).trim_end().to_owned(), over)
}

/// Bob's 200, with a description of his own.
fn bobs_ok(invite: &Request) -> Response {
    let mut ok = respond(invite, 200);
    ok.headers.set(
        "To",
        format!("{};tag=bob", invite.headers.get("To").unwrap()),
    );
    ok.headers.push("Contact", "<sip:200@192.0.2.7:5060>");
    ok.headers.push("Content-Type", "application/sdp");
    ok.body = but("16000", "18000").replace("107", "111").into();
    ok
}

impl World {
    fn refer(&mut self, up: &Up, to: &str) -> Request {
        let mut refer = self.within(up, Pbx, "REFER");
        refer.headers.push("Contact", "<sip:100@192.0.2.7:5060>");
        refer.headers.push("Refer-To", to);
        refer.headers.push("Referred-By", "<sip:100@192.0.2.7>");
        refer
    }

    /// The PBX refers us to somebody of its own, who is invited.
    #[track_caller]
    fn refers(&mut self, up: &Up, to: &str) -> Request {
        let refer = self.refer(up, to);
        self.sends(Pbx, refer);
        let accepted = self.gets_response(Pbx, 202);
        assert!(accepted.contact().is_some());
        self.is_told("SIP/2.0 100 Trying", false);
        self.gets_request(Pbx, "INVITE")
    }

    /// The referrer hears this.
    #[track_caller]
    fn is_told(&mut self, line: &str, over: bool) {
        let notify = self.agrees_to(Pbx, "NOTIFY");
        assert_eq!(told(&notify), (line.to_owned(), over));
    }

    /// Bob answers, and the referrer hears of it; gives Bob's leg.
    #[track_caller]
    fn bob_answers(&mut self, invite: Request) -> (Request, Response) {
        let ok = bobs_ok(&invite);
        self.sends(Pbx, ok.clone());
        self.gets(Pbx, "ACK");
        self.is_told("SIP/2.0 200 OK", true);
        assert_eq!(self.with_pbx().remote_rtp.port(), 18000);
        (invite, ok)
    }

    /// The referrer hangs up.
    #[track_caller]
    fn referrer_hangs_up(&mut self, up: &Up) {
        let bye = self.within(up, Pbx, "BYE");
        self.sends(Pbx, bye);
        self.gets(Pbx, 200);
    }

    /// The user hangs up, and Bob's leg, and no other, gets a BYE.
    #[track_caller]
    fn user_leaves_bob(&mut self, up: &Up, (invite, ok): &(Request, Response)) {
        let bye = self.within(up, Meta, "BYE");
        self.sends(Meta, bye);
        self.gets(Meta, 200);
        let bye = self.agrees_to(Pbx, "BYE");
        assert_eq!(bye.call_id(), invite.call_id());
        assert_eq!(bye.headers.get("To"), ok.headers.get("To"));
    }
}

#[test]
fn a_blind_transfer_gives_the_user_to_whom_the_pbx_names() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, BOB);
        assert_eq!(invite.uri.to_string(), "sip:200@192.0.2.7");
        let from = invite.from().unwrap().uri.to_string();
        assert_eq!(from, format!("sip:{USER}@192.0.2.1"), "who is there");
        let headers = &invite.headers;
        assert_eq!(headers.get("Referred-By"), Some("<sip:100@192.0.2.7>"));
        assert_eq!(headers.get("Replaces"), None);
        let first = match up.caller {
            Meta => text(&up.ours.body),
            Pbx => text(&up.our_ok.body),
        };
        let offer = text(&invite.body);
        let port = |sdp: &str| sdp.split("m=audio ").nth(1).unwrap()[..5].to_owned();
        assert_eq!(port(&offer), port(&first), "the session's own ports");
        assert_ne!(origin(offer.as_bytes()), origin(first.as_bytes()));
        for (status, line) in [
            (180, "SIP/2.0 180 Ringing"),
            (183, "SIP/2.0 183 Session Progress"),
        ] {
            w.sends(Pbx, respond(&invite, status));
            w.sends(Pbx, respond(&invite, status));
            w.is_told(line, false);
        }
        w.gets_nothing(Pbx);
        let bob = w.bob_answers(invite);
        w.meta_knows_nothing();
        w.referrer_hangs_up(&up);
        w.sends(Pbx, bob.1.clone());
        w.gets(Pbx, "ACK");
        w.wait(secs(60));
        w.is_quiet();
        w.user_leaves_bob(&up, &bob);
        let summary = w.leaves_nothing_behind();
        assert_eq!(
            (summary.status, summary.ended_by),
            (200, EndedBy::Leg(Meta))
        );
        assert_eq!(summary.talked(), secs(60));
        let transfers = Transfers {
            done: 1,
            failed: 0,
            call_id: Some(bob.0.call_id().to_owned()),
        };
        assert_eq!(summary.transfers, transfers);
    }
}

#[test]
fn a_referrer_that_does_not_hang_up_is_hung_up() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, BOB);
        let (invite, ok) = w.bob_answers(invite);
        w.wait(ms(2_999));
        w.is_quiet();
        w.wait(ms(1));
        let bye = w.agrees_to(Pbx, "BYE");
        let old = match up.caller {
            Meta => up.ours.call_id(),
            Pbx => up.theirs.call_id(),
        };
        assert_eq!(bye.call_id(), old);
        let late = w.within(&up, Pbx, "UPDATE");
        w.sends(Pbx, late);
        w.gets(Pbx, 481);
        // Bob is a leg like any other.
        w.cseqs += 1;
        let bye = w.in_dialog("BYE", w.cseqs, &invite, &ok, false);
        w.sends(Pbx, bye);
        w.gets(Pbx, 200);
        w.agrees_to(Meta, "BYE");
        assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Pbx));
    }
}

#[test]
fn a_target_that_is_busy_leaves_the_call_as_it_was() {
    for (mut w, up) in both() {
        let before = w.with_pbx();
        let invite = w.refers(&up, BOB);
        w.refuses(Pbx, &invite, 486);
        w.is_told("SIP/2.0 486 Busy Here", true);
        assert_eq!(w.with_pbx(), before);
        w.meta_knows_nothing();
        w.changes(&up, "INVITE", &but("a=sendrecv", "a=sendonly"));
        // A second one is told from the first.
        let refer = w.refer(&up, BOB);
        let id = refer.cseq().unwrap().number;
        w.sends(Pbx, refer);
        w.gets(Pbx, 202);
        let notify = w.agrees_to(Pbx, "NOTIFY");
        let event = format!("refer;id={id}");
        assert_eq!(notify.headers.get("Event"), Some(event.as_str()));
        let invite = w.gets_request(Pbx, "INVITE");
        w.refuses(Pbx, &invite, 500);
        w.is_told("SIP/2.0 500 Server Internal Error", true);
        w.hangs_up(&up, Pbx);
        let transfers = w.leaves_nothing_behind().transfers;
        assert_eq!((transfers.done, transfers.failed), (0, 2));
    }
}

#[test]
fn a_target_that_does_not_answer_in_time_is_given_up() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, BOB);
        w.sends(Pbx, respond(&invite, 180));
        w.is_told("SIP/2.0 180 Ringing", false);
        w.wait(ms(54_999));
        w.is_quiet();
        w.wait(ms(1));
        w.agrees_to(Pbx, "CANCEL");
        w.is_told("SIP/2.0 408 Request Timeout", true);
        w.sends(Pbx, respond(&invite, 487));
        w.gets(Pbx, "ACK");
        w.meta_knows_nothing();
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_target_that_says_nothing_at_all_leaves_the_call_as_it_was() {
    for (mut w, up) in both() {
        let refer = w.refer(&up, BOB);
        w.sends(Pbx, refer);
        w.gets(Pbx, 202);
        w.is_told("SIP/2.0 100 Trying", false);
        w.wait(ms(31_999));
        while matches!(w.peek(Pbx), Some(wabridge::sip::Message::Request(r)) if r.method == wabridge::sip::Method::INVITE)
        {
            w.next(Pbx);
        }
        w.is_quiet();
        w.wait(ms(1));
        w.is_told("SIP/2.0 503 Service Unavailable", true);
        w.meta_knows_nothing();
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_referrer_may_hang_up_as_soon_as_it_is_agreed_to() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, BOB);
        w.referrer_hangs_up(&up);
        w.gets_nothing(Meta);
        w.sends(Pbx, respond(&invite, 180));
        let notify = w.gets_request(Pbx, "NOTIFY");
        w.sends(Pbx, build::response(&notify, 481, None));
        // Whoever knows nothing of it hears nothing more.
        let ok = bobs_ok(&invite);
        w.wait(secs(20));
        w.sends(Pbx, ok.clone());
        w.gets(Pbx, "ACK");
        w.wait(secs(10));
        w.is_quiet();
        w.meta_knows_nothing();
        w.user_leaves_bob(&up, &(invite, ok));
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_transfer_that_fails_when_nobody_else_is_left_ends_the_call() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, BOB);
        w.referrer_hangs_up(&up);
        w.refuses(Pbx, &invite, 486);
        w.is_told("SIP/2.0 486 Busy Here", true);
        let bye = w.agrees_to(Meta, "BYE");
        assert!(
            reason(&bye).starts_with("Q.850;cause=17"),
            "{}",
            reason(&bye)
        );
        let summary = w.leaves_nothing_behind();
        assert_eq!(summary.ended_by, EndedBy::Leg(Pbx));
        assert!(summary.why.contains("486"), "{}", summary.why);
    }
}

#[test]
fn the_user_hangs_up_in_the_middle_of_a_transfer() {
    for alone in [false, true] {
        for (mut w, up) in both() {
            let invite = w.refers(&up, BOB);
            w.sends(Pbx, respond(&invite, 180));
            w.is_told("SIP/2.0 180 Ringing", false);
            if alone {
                w.referrer_hangs_up(&up);
            }
            let bye = w.within(&up, Meta, "BYE");
            w.sends(Meta, bye);
            w.gets(Meta, 200);
            w.agrees_to(Pbx, "CANCEL");
            w.is_told("SIP/2.0 487 Request Terminated", true);
            if !alone {
                w.agrees_to(Pbx, "BYE");
            }
            w.sends(Pbx, respond(&invite, 487));
            w.gets(Pbx, "ACK");
            assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Meta));
        }
    }
}

#[test]
fn the_user_hangs_up_while_the_target_answers() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, BOB);
        let bye = w.within(&up, Meta, "BYE");
        w.sends(Meta, bye);
        w.gets(Meta, 200);
        w.is_told("SIP/2.0 487 Request Terminated", true);
        w.agrees_to(Pbx, "BYE");
        w.sends(Pbx, bobs_ok(&invite));
        w.gets(Pbx, "ACK");
        let bye = w.agrees_to(Pbx, "BYE");
        assert_eq!(bye.call_id(), invite.call_id());
        w.leaves_nothing_behind();
    }
}

#[test]
fn the_user_hangs_up_before_the_referrer_has() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, BOB);
        w.bob_answers(invite);
        let bye = w.within(&up, Meta, "BYE");
        w.sends(Meta, bye);
        w.gets(Meta, 200);
        let (first, second) = (w.agrees_to(Pbx, "BYE"), w.agrees_to(Pbx, "BYE"));
        assert_ne!(first.call_id(), second.call_id());
        w.leaves_nothing_behind();
    }
}

#[test]
fn an_attended_transfer_takes_the_place_of_the_consultation_call() {
    for (mut w, up) in both() {
        w.changes(&up, "INVITE", &but("a=sendrecv", "a=sendonly"));
        let invite = w.refers(&up, CONSULTED);
        assert_eq!(invite.uri.to_string(), "sip:200@192.0.2.7:5060");
        let replaces = invite.headers.get("Replaces");
        assert_eq!(replaces, Some("abc@192.0.2.7;to-tag=bob;from-tag=alice"));
        assert_eq!(invite.headers.get("Require"), Some("replaces"));
        let bob = w.bob_answers(invite);
        w.referrer_hangs_up(&up);
        w.meta_knows_nothing();
        w.user_leaves_bob(&up, &bob);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_call_on_hold_is_transferred_and_talks_again() {
    for (mut w, up) in both() {
        w.changes(&up, "INVITE", &but("a=sendrecv", "a=inactive"));
        let invite = w.refers(&up, BOB);
        assert!(text(&invite.body).contains("a=sendrecv"));
        // Silence of a leg that is about to go ends nothing.
        w.handle(Event::Media(MediaEvent::Silent {
            id: SessionId(1),
            leg: Pbx,
        }));
        w.is_quiet();
        let bob = w.bob_answers(invite);
        assert_eq!(w.with_pbx().direction, Direction::SendRecv);
        assert_eq!(w.media.lock().unwrap().started.last(), Some(&Pbx));
        w.referrer_hangs_up(&up);
        w.user_leaves_bob(&up, &bob);
        w.leaves_nothing_behind();
    }
}

#[test]
fn nobody_but_the_pbx_itself_is_called() {
    for (mut w, up) in both() {
        for (to, status) in [
            ("<sip:200@198.51.100.66>", 403),
            ("<sip:+1900555@premium.example.com>", 403),
            ("<sip:200@192.0.2.7;maddr=198.51.100.66>", 403),
            ("<tel:+1900555>", 400),
            ("<sip:200@192.0.2.7;method=BYE>", 400),
            ("<sip:200@192.0.2.7?Replaces=nonsense>", 400),
        ] {
            let refer = w.refer(&up, to);
            w.sends(Pbx, refer);
            let refusal = w.gets_response(Pbx, status);
            let words = refusal.headers.get("Warning").unwrap();
            assert!(words.starts_with("399 wabridge "), "{words}");
        }
        let mut none = w.refer(&up, BOB);
        none.headers.remove("Refer-To");
        w.sends(Pbx, none);
        w.gets(Pbx, 400);
        w.is_quiet();
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_may_name_us_where_it_means_itself() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, "<sip:200@192.0.2.1:5070>");
        assert_eq!(invite.uri.to_string(), "sip:200@192.0.2.7");
        let bob = w.bob_answers(invite);
        w.referrer_hangs_up(&up);
        w.user_leaves_bob(&up, &bob);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_referrer_that_wants_to_hear_nothing_hears_nothing() {
    for (mut w, up) in both() {
        let mut refer = w.refer(&up, BOB);
        refer.headers.push("Require", "norefersub");
        refer.headers.push("Refer-Sub", "false");
        w.sends(Pbx, refer);
        let accepted = w.gets_response(Pbx, 202);
        assert_eq!(accepted.headers.get("Refer-Sub"), Some("false"));
        let invite = w.gets_request(Pbx, "INVITE");
        w.sends(Pbx, respond(&invite, 180));
        w.gets_nothing(Pbx);
        let ok = bobs_ok(&invite);
        w.sends(Pbx, ok.clone());
        w.gets(Pbx, "ACK");
        w.gets_nothing(Pbx);
        w.wait(secs(3));
        w.agrees_to(Pbx, "BYE");
        w.user_leaves_bob(&up, &(invite, ok));
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_target_that_answers_with_nothing_we_can_carry_is_hung_up_and_the_call_goes_on() {
    for (mut w, up) in both() {
        let before = w.with_pbx();
        let invite = w.refers(&up, BOB);
        let mut ok = bobs_ok(&invite);
        ok.body = but("107 101", "18").into();
        w.sends(Pbx, ok);
        w.gets(Pbx, "ACK");
        let bye = w.agrees_to(Pbx, "BYE");
        assert!(reason(&bye).starts_with("SIP;cause=488"));
        w.is_told("SIP/2.0 488 Not Acceptable Here", true);
        assert_eq!(w.with_pbx(), before);
        w.meta_knows_nothing();
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn one_transfer_is_under_way_at_a_time_and_none_while_a_change_is() {
    for (mut w, up) in both() {
        let hold = w.change(&up, "INVITE", Some(&but("a=sendrecv", "a=sendonly")));
        w.sends(Pbx, hold.clone());
        w.gets(Pbx, 200);
        let early = w.refer(&up, BOB);
        w.sends(Pbx, early);
        w.gets(Pbx, 491);
        let ack = w.ack_of(&up, &hold);
        w.sends(Pbx, ack);
        let invite = w.refers(&up, BOB);
        let second = w.refer(&up, "<sip:300@192.0.2.7>");
        w.sends(Pbx, second);
        w.gets(Pbx, 491);
        w.refuses(Pbx, &invite, 603);
        w.is_told("SIP/2.0 603 Decline", true);
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_transferred_call_is_held_refreshed_and_transferred_again() {
    for (mut w, up) in both() {
        let invite = w.refers(&up, BOB);
        let mut ok = bobs_ok(&invite);
        ok.headers.push("Session-Expires", "90;refresher=uac");
        ok.headers.push("Allow", "INVITE, UPDATE");
        w.sends(Pbx, ok.clone());
        w.gets(Pbx, "ACK");
        w.is_told("SIP/2.0 200 OK", true);
        w.referrer_hangs_up(&up);
        w.wait(secs(45));
        let update = w.gets_request(Pbx, "UPDATE");
        assert_eq!(update.call_id(), invite.call_id());
        let mut alive = respond(&update, 200);
        alive.headers.set("To", update.headers.get("To").unwrap());
        w.sends(Pbx, alive);
        let bob = Up {
            caller: Meta,
            theirs: up.theirs.clone(),
            our_ok: up.our_ok.clone(),
            ours: invite,
            their_ok: ok,
        };
        let held = w.changes(&bob, "INVITE", &but("a=sendrecv", "a=inactive"));
        assert_eq!(version(&held.body), 2);
        let again = w.refers(&bob, "<sip:300@192.0.2.7>");
        let carol = w.bob_answers(again);
        w.referrer_hangs_up(&bob);
        w.meta_knows_nothing();
        w.user_leaves_bob(&up, &carol);
        w.leaves_nothing_behind();
    }
}

#[test]
fn the_bridge_stops_in_the_middle_of_a_transfer() {
    let (mut w, up) = both().into_iter().next().unwrap();
    let invite = w.refers(&up, BOB);
    w.handle(Event::Stop);
    w.is_told("SIP/2.0 487 Request Terminated", true);
    w.agrees_to(Pbx, "BYE");
    w.agrees_to(Meta, "BYE");
    w.sends(Pbx, respond(&invite, 100));
    w.agrees_to(Pbx, "CANCEL");
    w.refuses(Pbx, &invite, 487);
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
}

#[test]
fn outside_a_call_and_before_its_answer_nothing_is_transferred() {
    let mut w = locally();
    let (invite, ours) = w.business_calls();
    w.sends(Meta, respond(&ours, 180));
    let ringing = w.gets_response(Pbx, 180);
    w.cseqs += 1;
    let mut early = w.in_dialog("REFER", w.cseqs, &invite, &ringing, true);
    early.headers.push("Refer-To", BOB);
    w.sends(Pbx, early);
    assert!(
        w.gets_response(Pbx, 500)
            .headers
            .get("Retry-After")
            .is_some()
    );
    let mut outside = w.pbx_invite(USER);
    outside.method = wabridge::sip::Method::REFER;
    outside.headers.set("CSeq", "1 REFER");
    outside.headers.set("Call-ID", "another");
    w.sends(Pbx, outside);
    w.gets(Pbx, 481);
    let up = w.answers(Pbx, invite, ours.clone(), metas_ok(&ours));
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

/// A user talks to a PBX that is told of digits by INFO, and has pressed two of which it has the first.
fn told_by_info() -> (World, Up, Request) {
    let mut w = World::with(with_pbx(|pbx| {
        (pbx.reinvite, pbx.dtmf) = (Reinvite::Local, Form::Info);
    }));
    let up = w.user_talks();
    user_presses(&mut w, "12");
    let first = w.gets_request(Pbx, "INFO");
    (w, up, first)
}

#[test]
fn digits_that_wait_for_the_referrer_are_not_told_to_the_target() {
    let (mut w, up, first) = told_by_info();
    let invite = w.refers(&up, BOB);
    let bob = w.bob_answers(invite);
    assert_eq!(w.media.lock().unwrap().left, [Pbx], "nor in the stream");
    user_presses(&mut w, "34");
    let third = w.gets_request(Pbx, "INFO");
    assert_eq!(third.call_id(), bob.0.call_id());
    // What becomes of the first is no news of the third, and no reason to say it again.
    w.sends(Pbx, respond(&first, 500));
    w.gets_nothing(Pbx);
    w.sends(Pbx, respond(&third, 200));
    let fourth = w.agrees_to(Pbx, "INFO");
    assert_eq!(digits::told(&[third, fourth]), "34");
    w.referrer_hangs_up(&up);
    w.user_leaves_bob(&up, &bob);
    w.leaves_nothing_behind();
}

#[test]
fn digits_are_told_to_nobody_while_nobody_is_there() {
    let (mut w, up, first) = told_by_info();
    let invite = w.refers(&up, BOB);
    w.referrer_hangs_up(&up);
    assert_eq!(w.media.lock().unwrap().left, [Pbx]);
    w.sends(Pbx, respond(&first, 200));
    user_presses(&mut w, "3");
    w.is_quiet();
    let bob = w.bob_answers(invite);
    w.is_quiet();
    user_presses(&mut w, "4");
    let fourth = w.agrees_to(Pbx, "INFO");
    assert_eq!(fourth.call_id(), bob.0.call_id());
    assert_eq!(digits::told(&[fourth]), "4");
    w.user_leaves_bob(&up, &bob);
    w.leaves_nothing_behind();
}

#[test]
fn the_record_and_the_metrics_know_of_transfers() {
    let mut w = locally();
    let began = w.now;
    let up = w.user_talks();
    let busy = w.refers(&up, BOB);
    w.refuses(Pbx, &busy, 486);
    w.is_told("SIP/2.0 486 Busy Here", true);
    let invite = w.refers(&up, BOB);
    let bob = w.bob_answers(invite);
    w.referrer_hangs_up(&up);
    w.user_leaves_bob(&up, &bob);
    w.leaves_nothing_behind();
    let record = &records(&w, began, Written::Full)[0];
    assert_eq!((record.transfers, record.transfers_failed), (1, 1));
    assert_eq!(record.pbx_call_id.as_deref(), Some(up.ours.call_id()));
    let last = record.transferred_call_id.as_deref();
    assert_eq!(last, Some(bob.0.call_id()));
    let metrics = metrics(&w, began);
    for result in ["done", "failed"] {
        let line = format!("\nwabridge_transfers_total{{result=\"{result}\"}} 1\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}
