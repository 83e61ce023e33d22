//! Calls that come and go by a registration at the PBX.

use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::policy::Reinvite;
use wabridge::sip::Request;
use wabridge::sip::message::Common;

use crate::digest::proves_to_be;
use crate::register::*;
use crate::world::*;

/// The PBX asks for a password before it takes an INVITE or BYE.
#[track_caller]
fn challenges(w: &mut World, request: &Request, status: u16, challenge: &str) {
    let mut response = respond(request, status);
    let header = match status {
        401 => "WWW-Authenticate",
        _ => "Proxy-Authenticate",
    };
    response.headers.push(header, challenge);
    w.sends(Pbx, response);
    if request.method == wabridge::sip::Method::INVITE {
        w.gets(Pbx, "ACK");
    }
}

#[test]
fn a_pbx_that_challenges_our_calls_is_answered_and_the_user_hears_nothing_of_it() {
    for status in [401, 407] {
        let mut w = registered(with_account(|_| {}));
        let (theirs, first) = w.user_calls();
        challenges(&mut w, &first, status, ASKED);
        w.gets_nothing(Meta);
        let second = w.gets_request(Pbx, "INVITE");
        proves_to_be(TRUNK, TRUNK_PASSWORD, &second);
        let header = match status {
            401 => "Authorization",
            _ => "Proxy-Authorization",
        };
        assert!(second.headers.get(header).is_some());
        assert_eq!(second.call_id(), first.call_id());
        assert_eq!(second.body, first.body);
        w.sends(Pbx, pbx_ok(&second));
        // RFC 3261 §13.2.2.4
        let ack = w.gets_request(Pbx, "ACK");
        assert_eq!(ack.headers.get(header), second.headers.get(header));
        let ok = w.gets_response(Meta, 200);
        let bye = w.in_dialog("BYE", 20_001, &theirs, &ok, true);
        w.sends(Meta, bye);
        w.gets(Meta, 200);
        let bye = w.gets_request(Pbx, "BYE");
        challenges(&mut w, &bye, status, ASKED_ANEW);
        let again = w.gets_request(Pbx, "BYE");
        proves_to_be(TRUNK, TRUNK_PASSWORD, &again);
        assert_eq!(again.cseq().unwrap().number, bye.cseq().unwrap().number + 1);
        w.sends(Pbx, respond(&again, 200));
        unregisters(&mut w);
        assert_eq!(w.ended.len(), 1);
        assert_eq!(w.ended[0].status, 200);
    }
}

#[test]
fn a_password_that_the_pbx_does_not_take_ends_the_call_and_is_said() {
    let mut w = registered(with_account(|_| {}));
    let (theirs, first) = w.user_calls();
    challenges(&mut w, &first, 401, ASKED);
    let second = w.gets_request(Pbx, "INVITE");
    challenges(&mut w, &second, 401, ASKED);
    let told = w.is_refused(Meta, &theirs, 503);
    assert!(
        reason(&told).contains("is the password right"),
        "{}",
        reason(&told)
    );
    unregisters(&mut w);
}

#[test]
fn an_address_that_asks_for_a_password_and_then_falls_silent_is_given_up_as_soon_as_any() {
    let mut setup = with_account(|_| {});
    let pbx = std::sync::Arc::make_mut(&mut setup.pbxs[0].0);
    let ways = with_hosts(&[("192.0.2.7", 1), ("192.0.2.8", 2)]);
    pbx.ways.clone_from(&ways.pbxs[0].0.ways);
    let mut w = registered(setup);
    w.more = vec!["192.0.2.8"];
    let (theirs, first) = w.user_calls();
    w.wait(secs(2));
    while w.next(Pbx).is_some() {}
    challenges(&mut w, &first, 401, ASKED);
    w.gets_request(Pbx, "INVITE");
    w.silent = vec!["192.0.2.7"];
    w.wait(ms(2_999));
    w.is_quiet();
    w.wait(ms(1));
    let ours = w.gets_at("192.0.2.8", "INVITE");
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    // The INVITE that was given up may be answered for so long.
    w.wait(secs(40));
    w.silent.clear();
    unregisters(&mut w);
}

#[test]
fn both_legs_of_a_call_that_the_bridge_ends_may_ask_for_a_password() {
    let mut w = registered(with_account(|_| {}));
    w.user_talks();
    stops(&mut w);
    let mut byes = Vec::new();
    for leg in [Meta, Pbx] {
        byes.push((leg, w.gets_request(leg, "BYE")));
    }
    let gone = w.gets_request(Pbx, "REGISTER");
    w.sends(Pbx, respond(&gone, 200));
    for (leg, bye) in byes {
        let mut response = respond(&bye, 407);
        let challenge = if leg == Meta { CHALLENGE } else { ASKED };
        response.headers.push("Proxy-Authenticate", challenge);
        w.sends(leg, response);
        let again = w.gets_request(leg, "BYE");
        assert!(again.headers.get("Proxy-Authorization").is_some());
        w.sends(leg, respond(&again, 200));
    }
    w.leaves_nothing_behind();
}

#[test]
fn calls_to_the_pbx_are_from_the_trunk_and_say_who_calls() {
    let mut w = registered(with_account(|_| {}));
    let (theirs, ours) = w.user_calls();
    let from = ours.from().unwrap();
    assert_eq!(from.uri.to_string(), "sip:trunk@pbx.example.com");
    assert_eq!(from.display.as_deref(), Some(USER));
    assert_eq!(
        ours.headers.get("P-Asserted-Identity"),
        Some(format!("<sip:{USER}@192.0.2.1>").as_str())
    );
    assert_eq!(
        ours.headers.get("Contact"),
        Some("<sip:trunk@192.0.2.1:5070>")
    );
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    unregisters(&mut w);
}

#[test]
fn calls_to_the_pbx_are_from_the_user_where_it_is_set_so() {
    let mut w = registered(with_account(|account| account.calls_as_user = false));
    let (theirs, ours) = w.user_calls();
    assert_eq!(ours.from().unwrap().uri.user(), Some(USER));
    assert_eq!(ours.headers.get("P-Asserted-Identity"), None);
    assert_eq!(
        ours.headers.get("Contact"),
        Some("<sip:trunk@192.0.2.1:5070>")
    );
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    unregisters(&mut w);
}

/// The PBX's INVITE to what we have registered.
fn to_our_contact(w: &mut World) -> Request {
    let mut invite = w.pbx_invite(TRUNK);
    invite
        .headers
        .set("To", format!("<sip:{USER}@pbx.example.com>"));
    invite
}

/// Meta is called for this INVITE of the PBX's; gives the user who is.
#[track_caller]
fn rings(w: &mut World, invite: Request) -> String {
    w.sends(Pbx, invite.clone());
    w.gets(Pbx, 100);
    let ours = w.gets_request(Meta, "INVITE");
    w.refuses(Meta, &ours, 486);
    w.is_refused(Pbx, &invite, 486);
    ours.uri.user().unwrap().to_owned()
}

#[test]
fn a_pbx_that_calls_our_contact_says_in_to_who_was_dialled() {
    let mut w = registered(with_account(|_| {}));
    let invite = to_our_contact(&mut w);
    assert_eq!(rings(&mut w, invite), USER);
    unregisters(&mut w);
}

#[test]
fn a_pbx_that_puts_the_number_in_place_of_our_contacts_user_is_understood_as_well() {
    let mut w = registered(with_account(|_| {}));
    let invite = w.pbx_invite(USER);
    assert_eq!(rings(&mut w, invite), USER);
    unregisters(&mut w);
}

#[test]
fn another_header_may_say_who_was_dialled() {
    for value in [
        format!("\"User\" <sip:{USER}@pbx>;x=1"),
        format!("<tel:{USER}>"),
        USER.to_owned(),
    ] {
        let mut w = registered(with_account(|account| {
            account.dialled_in = "X-Dialled".into()
        }));
        let mut invite = to_our_contact(&mut w);
        invite.headers.set("To", "<sip:trunk@pbx.example.com>");
        invite.headers.push("X-Dialled", value);
        assert_eq!(rings(&mut w, invite), USER);
        unregisters(&mut w);
    }
}

#[test]
fn a_call_to_our_contact_that_names_nobody_is_refused_with_the_header_to_look_at() {
    let mut w = registered(with_account(|_| {}));
    let mut invite = to_our_contact(&mut w);
    invite.headers.set("To", "<sip:trunk@pbx.example.com>");
    w.sends(Pbx, invite.clone());
    let told = w.is_refused(Pbx, &invite, 404);
    let why = told.headers.get("Warning").unwrap();
    assert!(why.contains("dialled, in To"), "{why}");
    unregisters(&mut w);
}

#[test]
fn a_pbx_that_challenges_a_refresh_of_its_session_is_answered() {
    for method in ["UPDATE", "INVITE"] {
        let mut setup = with_account(|_| {});
        std::sync::Arc::make_mut(&mut setup.pbxs[0].0).reinvite = Reinvite::Local;
        let mut w = registered(setup);
        let (theirs, first) = w.user_calls();
        let mut their_ok = pbx_ok(&first);
        their_ok.headers.push("Session-Expires", "90;refresher=uac");
        their_ok.headers.push("Allow", method);
        let up = w.answers(Meta, theirs, first, their_ok);
        let ack = w.ack(&up);
        w.sends(Meta, ack);
        w.wait(secs(45));
        let refresh = w.gets_request(Pbx, method);
        challenges(&mut w, &refresh, 401, ASKED);
        let again = w.gets_request(Pbx, method);
        proves_to_be(TRUNK, TRUNK_PASSWORD, &again);
        let next = refresh.cseq().unwrap().number + 1;
        assert_eq!(again.cseq().unwrap().number, next);
        // What is wrong with that is not asked a third time at once.
        challenges(&mut w, &again, 401, ASKED);
        w.gets_nothing(Pbx);
        w.gets_nothing(Meta);
        w.hangs_up(&up, Meta);
        unregisters(&mut w);
    }
}

#[test]
fn a_pbx_that_challenges_the_call_that_it_wanted_is_answered() {
    let mut setup = with_account(|_| {});
    std::sync::Arc::make_mut(&mut setup.pbxs[0].0).reinvite = Reinvite::Local;
    let mut w = registered(setup);
    let up = w.user_talks();
    let mut refer = w.within(&up, Pbx, "REFER");
    refer.headers.push("Refer-To", "<sip:200@192.0.2.7>");
    refer.headers.push("Refer-Sub", "false");
    w.sends(Pbx, refer);
    w.gets(Pbx, 202);
    let first = w.gets_request(Pbx, "INVITE");
    assert_eq!(first.from().unwrap().uri.user(), Some(TRUNK));
    challenges(&mut w, &first, 401, ASKED);
    let second = w.gets_request(Pbx, "INVITE");
    proves_to_be(TRUNK, TRUNK_PASSWORD, &second);
    assert_eq!(second.body, first.body);
    w.sends(Pbx, pbx_ok(&second));
    w.gets(Pbx, "ACK");
    let bye = w.within(&up, Pbx, "BYE");
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    let bye = w.within(&up, Meta, "BYE");
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    let bye = w.agrees_to(Pbx, "BYE");
    assert_eq!(bye.call_id(), second.call_id());
    unregisters(&mut w);
}
