//! What is refused as Meta documents it, in a call and outside any, and that the call goes on.

use wabridge::call::Setup;
use wabridge::leg::Leg::{self, Meta, Pbx};
use wabridge::sip::message::Common;
use wabridge::sip::{Method, NameAddr, Request, SipUri, Via};

use crate::world::*;

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS";

/// A request outside any dialog.
pub fn outside(w: &mut World, leg: Leg, method: &str) -> Request {
    let (host, ours, via) = match leg {
        Meta => ("31.13.66.215", "meta-voip.example.com", "TLS"),
        Pbx => ("192.0.2.7", "192.0.2.1", "UDP"),
    };
    let uri = SipUri::new(Some(BUSINESS), ours);
    let mut request = Request::new(Method::parse(method).unwrap(), uri.clone());
    let port = if leg == Meta { 5061 } else { 5060 };
    for (name, value) in [
        ("Via", Via::new(via, host, port, &w.branch()).to_string()),
        ("Max-Forwards", "70".into()),
        ("From", format!("<sip:x@{host}>;tag=outside")),
        ("To", NameAddr::new(uri).to_string()),
        ("Call-ID", "outside".into()),
        ("CSeq", format!("1 {method}")),
        ("Contact", format!("<sip:x@{host}>")),
    ] {
        request.headers.push(name, value);
    }
    request
}

#[test]
fn a_re_invite_is_refused_on_each_leg_the_call_goes_on_and_the_other_leg_hears_nothing() {
    for leg in [Meta, Pbx] {
        for caller in [Meta, Pbx] {
            let mut w = World::new();
            let up = match caller {
                Meta => w.user_talks(),
                Pbx => w.business_talks(),
            };
            let before = w.media.lock().unwrap().agreed.len();
            let mut again = w.within(&up, leg, "INVITE");
            again.headers.push("Content-Type", "application/sdp");
            again.body = PBX_SDP.replace("sendrecv", "sendonly").into();
            w.sends(leg, again.clone());
            w.is_refused(leg, &again, 500);
            w.is_quiet();
            assert_eq!(w.media.lock().unwrap().agreed.len(), before);
            w.wait(secs(60));
            w.is_quiet();
            assert_eq!(w.bridge.calls(), 1);
            w.hangs_up(&up, leg);
            assert_eq!(w.leaves_nothing_behind().status, 200);
        }
    }
}

#[test]
fn other_methods_are_not_allowed_in_a_call_and_the_call_goes_on() {
    for leg in [Meta, Pbx] {
        let mut w = World::new();
        let up = w.user_talks();
        // INFO: flows/digits.rs
        let allow = match leg {
            Meta => ALLOW.to_owned(),
            Pbx => format!("{ALLOW}, INFO"),
        };
        for method in [
            "UPDATE",
            "REFER",
            "NOTIFY",
            "MESSAGE",
            "PRACK",
            "SUBSCRIBE",
            "DANCE",
        ] {
            let request = w.within(&up, leg, method);
            w.sends(leg, request);
            let refusal = w.gets_response(leg, 405);
            assert_eq!(
                refusal.headers.get("Allow"),
                Some(allow.as_str()),
                "{method}"
            );
        }
        let options = w.within(&up, leg, "OPTIONS");
        w.sends(leg, options);
        let answer = w.gets_response(leg, 200);
        assert_eq!(answer.headers.get("Allow"), Some(allow.as_str()));
        w.is_quiet();
        w.hangs_up(&up, leg);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_request_that_comes_late_in_a_call_is_refused_and_the_call_goes_on() {
    let mut w = World::new();
    let up = w.user_talks();
    let options = w.within(&up, Meta, "OPTIONS");
    w.sends(Meta, options.clone());
    w.gets(Meta, 200);
    let mut bye = w.within(&up, Meta, "BYE");
    bye.headers.set("CSeq", "1 BYE");
    w.sends(Meta, bye);
    w.gets(Meta, 500);
    w.is_quiet();
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn outside_a_call_each_method_has_its_answer() {
    for leg in [Meta, Pbx] {
        for (method, status, allow) in [
            ("OPTIONS", 200, Some(ALLOW)),
            ("REGISTER", 403, None),
            ("UPDATE", 405, Some(ALLOW)),
            ("REFER", 405, Some(ALLOW)),
            ("SUBSCRIBE", 405, Some(ALLOW)),
            ("MESSAGE", 405, Some(ALLOW)),
            ("DANCE", 405, Some(ALLOW)),
            ("BYE", 481, None),
        ] {
            let mut w = World::new();
            let request = outside(&mut w, leg, method);
            w.sends(leg, request);
            let answer = w.gets_response(leg, status);
            let allow = allow.map(|allow| match leg {
                Meta => allow.to_owned(),
                Pbx => format!("{allow}, INFO"),
            });
            let told = answer.headers.get("Allow").map(str::to_owned);
            assert_eq!(told, allow, "{method}");
            assert!(answer.to().unwrap().tag().is_some(), "{method}");
            w.is_left_empty();
        }
    }
    // A PBX may tell of digits so, but only in a call.
    for (leg, status) in [(Meta, 405), (Pbx, 481)] {
        let mut w = World::new();
        let request = outside(&mut w, leg, "INFO");
        w.sends(leg, request);
        w.gets_response(leg, status);
        w.is_left_empty();
    }
}

#[test]
fn a_request_for_a_call_that_we_do_not_know_is_told_so() {
    for leg in [Meta, Pbx] {
        for method in ["BYE", "INFO", "UPDATE", "OPTIONS", "INVITE"] {
            let mut w = World::new();
            let mut request = outside(&mut w, leg, method);
            let to = format!("{};tag=long-gone", request.headers.get("To").unwrap());
            request.headers.set("To", to);
            w.sends(leg, request.clone());
            let stray = w.gets_response(leg, 481);
            if method == "INVITE" {
                w.sends(leg, wabridge::sip::build::ack(&request, &stray));
            }
            w.is_left_empty();
        }
        let mut w = World::new();
        let mut ack = outside(&mut w, leg, "ACK");
        let to = format!("{};tag=long-gone", ack.headers.get("To").unwrap());
        ack.headers.set("To", to);
        w.sends(leg, ack);
        w.is_left_empty();
    }
}

/// An INVITE with one thing wrong gets this status and never leaves us.
#[track_caller]
fn refused(leg: Leg, status: u16, change: impl Fn(&mut Request)) -> wabridge::sip::Response {
    let mut w = World::new();
    let mut invite = match leg {
        Meta => w.metas_invite(),
        Pbx => w.pbx_invite(USER),
    };
    change(&mut invite);
    w.sends(leg, invite.clone());
    let refusal = w.is_refused(leg, &invite, status);
    assert_eq!(w.bridge.stats().refused, 1);
    w.is_left_empty();
    refusal
}

#[test]
fn an_invite_that_asks_for_what_we_do_not_do_is_told_what() {
    for leg in [Meta, Pbx] {
        let refusal = refused(leg, 420, |invite| {
            invite.headers.push("Require", "100rel, timer")
        });
        assert_eq!(refusal.headers.get("Unsupported"), Some("100rel, timer"));
        let refusal = refused(leg, 415, |invite| {
            invite.headers.set("Content-Type", "text/plain")
        });
        assert_eq!(refusal.headers.get("Accept"), Some("application/sdp"));
        refused(leg, 415, |invite| {
            invite.headers.push("Content-Encoding", "gzip")
        });
        refused(leg, 483, |invite| invite.headers.set("Max-Forwards", "0"));
        refused(leg, 488, |invite| invite.body.clear());
        refused(leg, 400, |invite| invite.body = b"nonsense".to_vec());
        refused(leg, 488, |invite| {
            let body = String::from_utf8(invite.body.clone()).unwrap();
            invite.body = body.replace("opus", "speex").into();
        });
    }
    refused(Meta, 416, |invite| {
        invite.uri = wabridge::sip::Uri::parse("tel:+12145551869").unwrap()
    });
    refused(Pbx, 416, |invite| {
        invite.uri = wabridge::sip::Uri::parse("urn:service:sos").unwrap()
    });
}

#[test]
fn meta_without_keys_is_refused() {
    let refusal = refused(Meta, 488, |invite| {
        let body = String::from_utf8(invite.body.clone()).unwrap();
        invite.body = body.replace("RTP/SAVP", "RTP/AVP").into();
    });
    assert!(refusal.headers.get("Warning").unwrap().contains("RTP/AVP"));
}

#[test]
fn a_call_too_many_is_refused_in_both_directions_until_one_ends() {
    let mut w = World::with(Setup {
        max_calls: 1,
        ..setup()
    });
    let up = w.user_talks();
    let mut second = w.pbx_invite(USER);
    w.sends(Pbx, second.clone());
    let refusal = w.is_refused(Pbx, &second, 503);
    assert_eq!(refusal.headers.get("Retry-After"), Some("5"));
    let mut users = w.metas_invite();
    users.headers.set("Call-ID", "outgoing:wacid.second==");
    let users = w.user_authenticates(users);
    w.is_refused(Meta, &users, 503);
    w.is_quiet();
    w.hangs_up(&up, Meta);
    w.new_branch(&mut second);
    w.sends(Pbx, second.clone());
    w.gets(Pbx, 100);
    let ours = w.gets_request(Meta, "INVITE");
    w.refuses(Meta, &ours, 480);
    w.is_refused(Pbx, &second, 480);
    w.is_left_empty();
    assert_eq!(w.ended.len(), 2);
}

#[test]
fn without_a_free_port_there_is_no_call() {
    let mut w = World::new();
    w.media.lock().unwrap().exhausted = true;
    let invite = w.pbx_invite(USER);
    w.sends(Pbx, invite.clone());
    let refusal = w.is_refused(Pbx, &invite, 503);
    assert!(refusal.headers.get("Retry-After").is_some());
    assert!(refusal.headers.get("Warning").unwrap().contains("20000"));
    let invite = w.metas_invite();
    let invite = w.user_authenticates(invite);
    w.is_refused(Meta, &invite, 503);
    w.is_left_empty();
    assert!(w.ended.is_empty());
}
