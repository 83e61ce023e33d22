//! A WhatsApp user calls and the PBX does not take the call.

use wabridge::call::EndedBy;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::message::Common;

use crate::world::*;

#[test]
fn the_user_is_told_what_the_pbx_says() {
    for (theirs_says, status, cause) in [
        (486, 486, 17),
        (600, 486, 17),
        (480, 480, 18),
        (404, 404, 1),
        (484, 404, 1),
        (488, 488, 88),
        (415, 488, 88),
        (603, 603, 21),
        (302, 480, 20),
        (407, 503, 41),
        (500, 503, 41),
    ] {
        let mut w = World::new();
        let (theirs, ours) = w.user_calls();
        w.sends(Pbx, respond(&ours, 180));
        w.gets(Meta, 180);
        w.refuses(Pbx, &ours, theirs_says);
        let told = w.is_refused(Meta, &theirs, status);
        let words = reason(&told);
        assert!(
            words.starts_with(&format!("Q.850;cause={cause};text=\"{theirs_says} ")),
            "{words}"
        );
        let summary = w.leaves_nothing_behind();
        assert_eq!(
            (summary.status, summary.ended_by),
            (status, EndedBy::Leg(Pbx)),
            "{theirs_says}"
        );
        assert!(w.media.lock().unwrap().started.is_empty());
    }
}

#[test]
fn the_pbx_does_not_answer_the_network_at_all() {
    let mut w = World::new();
    w.losing = Some(Pbx);
    let invite = w.metas_invite();
    let theirs = w.user_authenticates(invite);
    w.gets(Meta, 100);
    w.wait(secs(32));
    let told = w.is_refused(Meta, &theirs, 503);
    assert_eq!(
        reason(&told),
        "Q.850;cause=38;text=\"the PBX cannot be reached: no answer in time\""
    );
    assert_eq!(told.headers.get("Retry-After"), Some("5"));
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
}

#[test]
fn the_pbx_refuses_the_connection() {
    let mut w = World::new();
    w.unreachable = true;
    let invite = w.metas_invite();
    let theirs = w.user_authenticates(invite);
    w.gets(Meta, 100);
    let told = w.is_refused(Meta, &theirs, 503);
    assert!(reason(&told).contains("connection refused"));
    w.leaves_nothing_behind();
}

#[test]
fn the_pbx_answers_without_opus_and_both_sides_are_told_why() {
    let g711 = PBX_SDP
        .replace("RTP/AVP 107 101", "RTP/AVP 8 101")
        .replace("a=rtpmap:107 opus/48000/2", "a=rtpmap:8 PCMA/8000");
    for (body, why) in [
        (g711.as_str(), "no codec in common"),
        ("", "the PBX: "),
        ("nonsense", "the PBX: "),
    ] {
        let mut w = World::new();
        let (theirs, ours) = w.user_calls();
        let mut ok = pbx_ok(&ours);
        ok.body = body.into();
        w.sends(Pbx, ok);
        w.gets(Pbx, "ACK");
        let bye = w.agrees_to(Pbx, "BYE");
        assert!(reason(&bye).starts_with("SIP;cause=488;text=\"the PBX: "));
        assert!(reason(&bye).contains(why), "{}", reason(&bye));
        let told = w.is_refused(Meta, &theirs, 488);
        assert!(reason(&told).starts_with("Q.850;cause=88"));
        assert!(reason(&told).contains(why), "{}", reason(&told));
        let summary = w.leaves_nothing_behind();
        assert_eq!((summary.status, summary.ended_by), (488, EndedBy::Bridge));
        assert!(summary.why.contains(why), "{}", summary.why);
        assert!(w.media.lock().unwrap().started.is_empty());
    }
}

#[test]
fn the_first_of_two_phones_that_answer_gets_the_call() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    let fork = |status, tag: &str| {
        let mut response = match status {
            200 => pbx_ok(&ours),
            _ => respond(&ours, status),
        };
        let to = ours.headers.get("To").unwrap();
        response.headers.set("To", format!("{to};tag={tag}"));
        response
    };
    w.sends(Pbx, fork(180, "a"));
    w.gets(Meta, 180);
    w.sends(Pbx, fork(180, "b"));
    w.gets(Meta, 180);
    w.sends(Pbx, fork(200, "b"));
    let ack = w.gets_request(Pbx, "ACK");
    assert_eq!(ack.to().unwrap().tag(), Some("b"));
    let our_ok = w.gets_response(Meta, 200);
    w.sends(Pbx, fork(200, "a"));
    let ack = w.gets_request(Pbx, "ACK");
    assert_eq!(ack.to().unwrap().tag(), Some("a"));
    let bye = w.agrees_to(Pbx, "BYE");
    assert_eq!(bye.to().unwrap().tag(), Some("a"));
    w.gets_nothing(Meta);
    let up = Up {
        caller: Meta,
        our_ok,
        their_ok: fork(200, "b"),
        theirs,
        ours: ours.clone(),
    };
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    let bye = w.hangs_up(&up, Meta);
    assert_eq!(bye.to().unwrap().tag(), Some("b"));
    w.leaves_nothing_behind();
}
