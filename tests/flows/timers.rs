//! Session timers with a PBX (RFC 4028): who refreshes, what becomes of a refresh, and who hangs up without one.

use wabridge::call::EndedBy;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::policy::Reinvite;
use wabridge::sip::message::Common;
use wabridge::sip::{Request, Response, build};

use crate::changes::*;
use crate::world::*;

/// What a PBX that takes UPDATE says.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, UPDATE";

/// The PBX calls and asks for this timer.
fn pbx_asks(expires: &str, allow: &str) -> (World, Up) {
    let mut w = locally();
    let (theirs, ours) = w.business_calls_with(|invite| {
        invite.headers.push("Supported", "timer, replaces");
        invite.headers.push("Session-Expires", expires);
        invite.headers.push("Allow", allow);
    });
    let up = w.answers(Pbx, theirs, ours.clone(), metas_ok(&ours));
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    (w, up)
}

/// The PBX is called, and its 200 has this timer.
fn pbx_grants(expires: &str, allow: &str) -> (World, Up) {
    pbx_of(locally(), expires, allow)
}

fn pbx_of(mut w: World, expires: &str, allow: &str) -> (World, Up) {
    let (theirs, ours) = w.user_calls();
    let mut their_ok = pbx_ok(&ours);
    their_ok.headers.push("Session-Expires", expires);
    their_ok.headers.push("Require", "timer");
    their_ok.headers.push("Allow", allow);
    let up = w.answers(Meta, theirs, ours, their_ok);
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    (w, up)
}

/// A call in each direction in which we are to refresh.
fn ours_to_refresh(allow: &str) -> [(World, Up); 2] {
    [
        pbx_asks("90;refresher=uas", allow),
        pbx_grants("90;refresher=uac", allow),
    ]
}

/// A call in each direction in which the PBX is.
fn theirs_to_refresh() -> [(World, Up); 2] {
    [
        pbx_asks("90;refresher=uac", ALLOW),
        pbx_grants("90;refresher=uas", ALLOW),
    ]
}

fn granted(request: &Request, expires: &str) -> Response {
    let mut ok = respond(request, 200);
    ok.headers.push("Session-Expires", expires);
    ok.headers.push("Contact", "<sip:100@192.0.2.7:5060>");
    ok
}

/// The same to a re-INVITE of ours, with this description.
fn granted_with(reinvite: &Request, sdp: Vec<u8>) -> Response {
    let mut ok = granted(reinvite, "90;refresher=uac");
    ok.headers.push("Content-Type", "application/sdp");
    ok.body = sdp;
    ok
}

/// Both legs are hung up by the bridge.
#[track_caller]
fn is_ended(mut w: World, why: &str) {
    let first = w.peek(Pbx).is_some();
    assert!(first, "the PBX got no BYE");
    w.agrees_to(Pbx, "BYE");
    w.agrees_to(Meta, "BYE");
    let summary = w.leaves_nothing_behind();
    assert_eq!(summary.ended_by, EndedBy::Bridge);
    assert!(summary.why.contains(why), "{}", summary.why);
}

#[test]
fn a_pbx_that_calls_is_granted_its_timer_and_told_who_refreshes() {
    for (asked, granted, require) in [
        ("1800", "1800;refresher=uac", Some("timer")),
        ("90;refresher=uac", "90;refresher=uac", Some("timer")),
        ("600;refresher=uas", "600;refresher=uas", None),
    ] {
        let (mut w, up) = pbx_asks(asked, ALLOW);
        let told = &up.our_ok.headers;
        assert_eq!(told.get("Session-Expires"), Some(granted));
        assert_eq!(told.get("Require"), require);
        assert_eq!(up.ours.headers.get("Session-Expires"), None, "Meta");
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn the_repeated_200_grants_it_too() {
    let mut w = locally();
    let (theirs, ours) = w.business_calls_with(|invite| {
        invite.headers.push("k", "timer");
        invite.headers.push("x", "1800");
    });
    let up = w.answers(Pbx, theirs, ours.clone(), metas_ok(&ours));
    w.wait(ms(500));
    assert_eq!(
        w.gets_response(Pbx, 200).headers.get("Session-Expires"),
        up.our_ok.headers.get("Session-Expires")
    );
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn a_timer_below_our_minimum_is_refused_with_that_before_anybody_is_called() {
    let mut w = locally();
    let mut invite = w.pbx_invite(USER);
    invite.headers.push("Supported", "timer");
    invite.headers.push("Session-Expires", "89");
    w.sends(Pbx, invite.clone());
    let refusal = w.is_refused(Pbx, &invite, 422);
    assert_eq!(refusal.headers.get("Min-SE"), Some("90"));
    assert_eq!(refusal.reason, "Session Interval Too Small");
    w.is_left_empty();
    for (mut w, up) in both() {
        let mut request = w.change(&up, "UPDATE", None);
        request.headers.push("Supported", "timer");
        request.headers.push("Session-Expires", "60");
        w.sends(Pbx, request);
        let refusal = w.gets_response(Pbx, 422);
        assert_eq!(refusal.headers.get("Min-SE"), Some("90"));
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_requires_timers_is_served_only_where_they_are_kept() {
    for (reinvite, status) in [(Reinvite::Reject, 420), (Reinvite::Local, 100)] {
        let mut w = World::with(with_pbx(|pbx| pbx.reinvite = reinvite));
        let mut invite = w.pbx_invite(USER);
        invite.headers.push("Require", "timer");
        invite.headers.push("Session-Expires", "1800");
        w.sends(Pbx, invite.clone());
        if status == 420 {
            let refusal = w.is_refused(Pbx, &invite, 420);
            assert_eq!(refusal.headers.get("Unsupported"), Some("timer"));
            w.is_left_empty();
        } else {
            w.gets(Pbx, 100);
            w.gets(Meta, "INVITE");
        }
    }
}

#[test]
fn a_pbx_that_may_not_change_its_session_gets_no_timer() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls_with(|invite| {
        invite.headers.push("Supported", "timer");
        invite.headers.push("Session-Expires", "60");
    });
    let up = w.answers(Pbx, theirs, ours.clone(), metas_ok(&ours));
    assert_eq!(up.our_ok.headers.get("Session-Expires"), None);
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.wait(secs(3600));
    w.is_quiet();
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn a_call_without_a_timer_has_none() {
    for (mut w, up) in both() {
        w.wait(secs(7200));
        w.is_quiet();
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn we_refresh_by_update_at_half_the_interval_again_and_again() {
    for (mut w, up) in ours_to_refresh(ALLOW) {
        for _ in 0..3 {
            w.wait(secs(44));
            w.is_quiet();
            w.wait(secs(1));
            let update = w.gets_request(Pbx, "UPDATE");
            let headers = &update.headers;
            assert_eq!(headers.get("Session-Expires"), Some("90;refresher=uac"));
            assert_eq!(headers.get("Supported"), Some("norefersub, timer"));
            assert!(headers.get("Contact").unwrap().contains("192.0.2.1:5070"));
            assert!(update.body.is_empty());
            w.sends(Pbx, granted(&update, "90;refresher=uac"));
        }
        w.meta_knows_nothing();
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn we_refresh_by_a_reinvite_that_says_nothing_new_where_the_pbx_knows_no_update() {
    for (mut w, up) in ours_to_refresh("INVITE, ACK, BYE") {
        let said = match up.caller {
            Pbx => up.our_ok.body.clone(),
            Meta => up.ours.body.clone(),
        };
        let before = w.with_pbx();
        for _ in 0..2 {
            w.wait(secs(45));
            let reinvite = w.gets_request(Pbx, "INVITE");
            assert_eq!(text(&reinvite.body), text(&said));
            let mut ok = granted(&reinvite, "90;refresher=uac");
            ok.headers.push("Content-Type", "application/sdp");
            ok.body = up.their_sdp();
            w.sends(Pbx, ok.clone());
            let ack = w.gets_request(Pbx, "ACK");
            assert_eq!(ack.cseq().unwrap().number, reinvite.cseq().unwrap().number);
            assert_eq!(ack.uri.to_string(), "sip:100@192.0.2.7:5060");
            w.sends(Pbx, ok);
            assert_eq!(w.gets_request(Pbx, "ACK"), ack);
        }
        assert_eq!(w.with_pbx(), before);
        w.meta_knows_nothing();
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_held_pbx_is_refreshed_as_it_is_held() {
    for (mut w, up) in both() {
        let mut hold = w.change(&up, "INVITE", Some(&but("a=sendrecv", "a=inactive")));
        hold.headers.push("Supported", "timer");
        hold.headers.push("Session-Expires", "90;refresher=uas");
        w.sends(Pbx, hold.clone());
        let ok = w.gets_response(Pbx, 200);
        assert_eq!(ok.headers.get("Session-Expires"), Some("90;refresher=uas"));
        let ack = w.ack_of(&up, &hold);
        w.sends(Pbx, ack);
        w.wait(secs(45));
        let reinvite = w.gets_request(Pbx, "INVITE");
        assert_eq!(text(&reinvite.body), text(&ok.body));
        w.sends(
            Pbx,
            granted_with(&reinvite, but("a=sendrecv", "a=inactive").into()),
        );
        w.gets(Pbx, "ACK");
        w.meta_knows_nothing();
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_refreshes_keeps_the_call_and_one_that_stops_ends_it() {
    for method in ["UPDATE", "INVITE"] {
        for (mut w, up) in theirs_to_refresh() {
            for _ in 0..4 {
                w.wait(secs(45));
                let mut refresh = w.change(&up, method, None);
                if method == "INVITE" {
                    refresh.headers.push("Content-Type", "application/sdp");
                    refresh.body = up.their_sdp();
                }
                refresh.headers.push("Supported", "timer");
                refresh.headers.push("Session-Expires", "90;refresher=uac");
                w.sends(Pbx, refresh.clone());
                let ok = w.gets_response(Pbx, 200);
                assert_eq!(ok.headers.get("Session-Expires"), Some("90;refresher=uac"));
                if method == "INVITE" {
                    let ack = w.ack_of(&up, &refresh);
                    w.sends(Pbx, ack);
                }
            }
            w.meta_knows_nothing();
            // RFC 4028 §10: a third of the interval before its end.
            w.wait(ms(59_999));
            w.is_quiet();
            w.wait(ms(1));
            is_ended(w, "refreshed");
        }
    }
}

#[test]
fn a_change_without_a_timer_ends_the_timer() {
    for (mut w, up) in theirs_to_refresh() {
        let ok = w.changes(&up, "INVITE", PBX_SDP);
        assert_eq!(ok.headers.get("Session-Expires"), None);
        w.wait(secs(3600));
        w.is_quiet();
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_wants_a_longer_interval_gets_it() {
    for (mut w, up) in ours_to_refresh(ALLOW) {
        w.wait(secs(45));
        let update = w.gets_request(Pbx, "UPDATE");
        let mut refusal = respond(&update, 422);
        refusal.headers.push("Min-SE", "1800");
        w.sends(Pbx, refusal);
        let update = w.gets_request(Pbx, "UPDATE");
        let headers = &update.headers;
        assert_eq!(headers.get("Session-Expires"), Some("1800;refresher=uac"));
        assert_eq!(headers.get("Min-SE"), Some("1800"));
        w.sends(Pbx, granted(&update, "1800;refresher=uac"));
        w.wait(secs(899));
        w.is_quiet();
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_wants_a_longer_interval_each_time_is_not_asked_at_once_each_time() {
    for (mut w, up) in ours_to_refresh(ALLOW) {
        w.wait(secs(45));
        for (asked, after) in [(91, 0), (92, 5), (93, 5)] {
            let update = w.gets_request(Pbx, "UPDATE");
            let mut refusal = respond(&update, 422);
            refusal.headers.push("Min-SE", asked.to_string());
            w.sends(Pbx, refusal);
            if after > 0 {
                w.is_quiet();
                w.wait(secs(after));
            }
        }
        let update = w.gets_request(Pbx, "UPDATE");
        let expires = update.headers.get("Session-Expires");
        assert_eq!(expires, Some("93;refresher=uac"));
        w.sends(Pbx, granted(&update, "93;refresher=uac"));
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_knows_no_such_dialog_ends_the_call() {
    for status in [481, 408] {
        for (mut w, _) in ours_to_refresh(ALLOW) {
            w.wait(secs(45));
            let update = w.gets_request(Pbx, "UPDATE");
            w.sends(Pbx, respond(&update, status));
            is_ended(w, &status.to_string());
        }
    }
}

#[test]
fn a_pbx_that_takes_no_refresh_is_hung_up_before_the_session_would_be_over() {
    for (mut w, _) in ours_to_refresh(ALLOW) {
        w.wait(secs(45));
        for _ in 0..3 {
            let update = w.gets_request(Pbx, "UPDATE");
            w.sends(Pbx, respond(&update, 503));
            w.is_quiet();
            w.wait(secs(5));
        }
        is_ended(w, "no refresh");
    }
}

#[test]
fn a_pbx_that_does_not_answer_a_refresh_gets_one_more_and_then_a_bye() {
    let (mut w, _) = pbx_grants("1800;refresher=uac", ALLOW);
    w.wait(secs(900));
    w.losing = Some(Pbx);
    w.wait(ms(32_000 + 5_000 + 31_999));
    while w.next(Pbx).is_some() {}
    w.losing = None;
    w.is_quiet();
    w.wait(ms(1));
    is_ended(w, "no answer in time");
}

#[test]
fn a_refresh_that_collides_waits_as_long_as_its_side_must() {
    for (mut w, up) in ours_to_refresh("INVITE") {
        w.wait(secs(45));
        let reinvite = w.gets_request(Pbx, "INVITE");
        for method in ["INVITE", "UPDATE"] {
            let change = w.change(&up, method, Some(PBX_SDP));
            w.sends(Pbx, change.clone());
            let refusal = w.gets_response(Pbx, 491);
            if method == "INVITE" {
                w.sends(Pbx, build::ack(&change, &refusal));
            }
        }
        w.sends(Pbx, respond(&reinvite, 491));
        w.gets(Pbx, "ACK");
        // RFC 3261 §14.1: the Call-ID is ours where we called.
        let (least, most) = match up.caller {
            Meta => (2_099, 4_000),
            Pbx => (0, 2_000),
        };
        w.wait(ms(least));
        if least > 0 {
            w.is_quiet();
        }
        let mut waited = least;
        while w.peek(Pbx).is_none() && waited < most {
            w.wait(ms(10));
            waited += 10;
        }
        let reinvite = w.gets_request(Pbx, "INVITE");
        let ok = granted_with(&reinvite, up.their_sdp());
        w.sends(Pbx, ok);
        w.gets(Pbx, "ACK");
        w.meta_knows_nothing();
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_takes_no_update_after_all_gets_a_reinvite() {
    for (mut w, up) in ours_to_refresh(ALLOW) {
        w.wait(secs(45));
        let update = w.gets_request(Pbx, "UPDATE");
        w.sends(Pbx, respond(&update, 405));
        let reinvite = w.gets_request(Pbx, "INVITE");
        let ok = granted_with(&reinvite, up.their_sdp());
        w.sends(Pbx, ok);
        w.gets(Pbx, "ACK");
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn an_answer_of_no_use_to_our_reinvite_is_acknowledged_and_changes_nothing() {
    for (mut w, up) in ours_to_refresh("INVITE") {
        let before = w.with_pbx();
        w.wait(secs(45));
        let reinvite = w.gets_request(Pbx, "INVITE");
        w.sends(Pbx, granted(&reinvite, "90;refresher=uac"));
        w.gets(Pbx, "ACK");
        assert_eq!(w.with_pbx(), before);
        w.meta_knows_nothing();
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_call_that_ends_during_our_reinvite_cancels_it_and_acknowledges_what_comes_late() {
    for (mut w, up) in ours_to_refresh("INVITE") {
        w.wait(secs(45));
        let reinvite = w.gets_request(Pbx, "INVITE");
        w.sends(Pbx, respond(&reinvite, 100));
        let bye = w.within(&up, Meta, "BYE");
        w.sends(Meta, bye);
        w.gets(Meta, 200);
        w.agrees_to(Pbx, "BYE");
        w.agrees_to(Pbx, "CANCEL");
        w.sends(Pbx, granted(&reinvite, "90;refresher=uac"));
        w.gets(Pbx, "ACK");
        assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Meta));
    }
}

#[test]
fn a_call_that_ends_before_our_reinvite_is_heard_of_cancels_it_when_it_is() {
    for (mut w, up) in ours_to_refresh("INVITE") {
        w.wait(secs(45));
        let reinvite = w.gets_request(Pbx, "INVITE");
        w.hangs_up(&up, Pbx);
        w.sends(Pbx, respond(&reinvite, 100));
        w.agrees_to(Pbx, "CANCEL");
        w.sends(Pbx, respond(&reinvite, 487));
        w.gets(Pbx, "ACK");
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_moves_with_its_answer_to_a_refresh_is_reached_there() {
    let (mut w, up) = pbx_grants("90;refresher=uac", ALLOW);
    w.more = vec!["192.0.2.8"];
    w.wait(secs(45));
    let update = w.gets_request(Pbx, "UPDATE");
    let mut ok = granted(&update, "90;refresher=uac");
    ok.headers.set("Contact", "<sip:100@192.0.2.8:5060>");
    w.sends(Pbx, ok);
    let bye = w.within(&up, Meta, "BYE");
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    let bye = w.gets_at("192.0.2.8", "BYE");
    w.sends(Pbx, respond(&bye, 200));
    w.leaves_nothing_behind();
}
