//! Meta says no to a PBX's call: every answer that its pages print, and what the PBX is told.

use wabridge::call::EndedBy;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::{Limits, Message, Request, Response};

use crate::world::*;

/// File of Meta's answer; status and Q.850 cause for the PBX.
const ROWS: [(&str, u16, u8); 16] = [
    ("dialogs/bic-errors/400-asset-not-found.sip", 503, 38),
    ("sip/bic-05-403-server-mismatch.sip", 503, 38),
    ("dialogs/bic-errors/403a-no-permission.sip", 403, 21),
    ("dialogs/bic-errors/403b-app-not-authorized.sip", 503, 38),
    ("dialogs/bic-errors/403c-daily-limit.sip", 403, 21),
    ("dialogs/bic-errors/403d-duplicate-call.sip", 486, 17),
    ("dialogs/bic-errors/403e-invalid-digest.sip", 503, 38),
    ("dialogs/bic-errors/403f-payment.sip", 503, 38),
    ("dialogs/bic-errors/403g-sdp-validation.sip", 488, 88),
    ("dialogs/bic-errors/403h-digest-uri-mismatch.sip", 503, 38),
    ("dialogs/bic-errors/404-not-found.sip", 500, 41),
    ("dialogs/bic-errors/408-rtp-timeout.sip", 408, 102),
    ("dialogs/bic-errors/480-unavailable.sip", 480, 19),
    ("dialogs/bic-errors/486-declined.sip", 486, 21),
    ("dialogs/bic-errors/500-internal.sip", 500, 41),
    ("dialogs/bic-errors/503-unavailable.sip", 503, 41),
];

fn printed(file: &str) -> Response {
    match Message::parse(&fixture(file), &Limits::default()).unwrap() {
        Message::Response(response) => response,
        Message::Request(_) => panic!("{file} is a response"),
    }
}

#[test]
fn the_pbx_is_told_every_documented_refusal_in_metas_own_words() {
    for (file, status, cause) in ROWS {
        let mut w = World::new();
        let (theirs, mut ours) = w.business_calls();
        let printed = printed(file);
        let refusal = |invite: &Request| {
            let mut refusal = respond(invite, printed.status);
            refusal.reason = printed.reason.clone();
            if let Some(warning) = printed.headers.get("Warning") {
                refusal.headers.push("Warning", warning);
            }
            refusal
        };
        w.sends(Meta, refusal(&ours));
        w.gets(Meta, "ACK");
        if file.contains("uri-mismatch") {
            ours = w.gets_request(Meta, "INVITE");
            let credentials = ours.headers.get("Proxy-Authorization").unwrap();
            assert!(
                credentials.contains(&format!("uri=\"sip:{USER}@wa.meta.vc\"")),
                "{credentials}"
            );
            assert!(credentials.contains("nc=00000002"), "{credentials}");
            w.sends(Meta, refusal(&ours));
            w.gets(Meta, "ACK");
        }
        let told = w.is_refused(Pbx, &theirs, status);
        let words = printed.reason.replace('"', "\\\"");
        assert_eq!(
            reason(&told),
            format!("Q.850;cause={cause};text=\"{words}\""),
            "{file}"
        );
        let summary = w.leaves_nothing_behind();
        assert_eq!(
            (summary.status, summary.ended_by),
            (status, EndedBy::Leg(Meta)),
            "{file}"
        );
        assert!(w.media.lock().unwrap().started.is_empty(), "{file}");
    }
}

#[test]
fn the_call_goes_on_when_meta_likes_the_other_form_of_the_digest_uri() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    let printed = printed("dialogs/bic-errors/403h-digest-uri-mismatch.sip");
    let mut refusal = respond(&ours, 403);
    refusal.reason = printed.reason;
    w.sends(Meta, refusal);
    w.gets(Meta, "ACK");
    let ours = w.gets_request(Meta, "INVITE");
    w.sends(Meta, metas_ok(&ours));
    w.gets(Meta, "ACK");
    let ok = w.gets_response(Pbx, 200);
    let ack = w.in_dialog("ACK", 1, &theirs, &ok, true);
    w.sends(Pbx, ack);
    let bye = w.in_dialog("BYE", 2, &theirs, &ok, true);
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    w.agrees_to(Meta, "BYE");
    assert_eq!(w.leaves_nothing_behind().status, 200);
}

#[test]
fn a_487_that_nobody_asked_for_ends_the_call() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    w.sends(Meta, respond(&ours, 180));
    w.gets(Pbx, 180);
    w.refuses(Meta, &ours, 487);
    let told = w.is_refused(Pbx, &theirs, 487);
    assert_eq!(reason(&told), "Q.850;cause=16;text=\"Request Terminated\"");
    w.leaves_nothing_behind();
}

#[test]
fn meta_cannot_be_reached() {
    let mut w = World::new();
    w.cut = true;
    let invite = w.pbx_invite(USER);
    w.sends(Pbx, invite.clone());
    w.gets(Pbx, 100);
    let told = w.is_refused(Pbx, &invite, 503);
    assert_eq!(
        reason(&told),
        "Q.850;cause=38;text=\"Meta cannot be reached: connection reset\""
    );
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Bridge);
}

#[test]
fn meta_says_nothing_at_all() {
    let mut w = World::new();
    let (theirs, _) = w.business_starts();
    w.wait(secs(32));
    let told = w.is_refused(Pbx, &theirs, 503);
    assert!(reason(&told).starts_with("Q.850;cause=38;text=\"Meta cannot be reached"));
    w.leaves_nothing_behind();
}

#[test]
fn the_user_lets_it_ring_and_meta_never_ends_it() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    w.sends(Meta, respond(&ours, 180));
    w.gets(Pbx, 180);
    w.wait(secs(180));
    let told = w.is_refused(Pbx, &theirs, 480);
    assert_eq!(
        reason(&told),
        "Q.850;cause=19;text=\"Meta did not answer in time\""
    );
    let cancel = w.agrees_to(Meta, "CANCEL");
    assert!(reason(&cancel).starts_with("Q.850;cause=19"));
    w.refuses(Meta, &ours, 487);
    assert_eq!(w.leaves_nothing_behind().status, 480);
}

#[test]
fn metas_answer_without_a_usable_sdp_ends_both_legs() {
    for body in ["", "v=0\r\n"] {
        let mut w = World::new();
        let (theirs, ours) = w.business_calls();
        let mut ok = metas_ok(&ours);
        ok.body = body.into();
        w.sends(Meta, ok);
        w.gets(Meta, "ACK");
        let bye = w.agrees_to(Meta, "BYE");
        assert!(reason(&bye).starts_with("SIP;cause=488;text=\"Meta: "));
        let told = w.is_refused(Pbx, &theirs, 488);
        assert!(reason(&told).starts_with("Q.850;cause=88;text=\"Meta: "));
        w.leaves_nothing_behind();
    }
}
