//! Digits by INFO: from any PBX, and to one that wants them so.

use std::time::Duration;

use wabridge::call::Event;
use wabridge::leg::Leg::{self, Meta, Pbx};
use wabridge::media::digits::{Form, Key};
use wabridge::media::{Codec, MediaEvent, Press, SessionId};
use wabridge::sip::message::Common;
use wabridge::sip::{Headers, Request, Response};

use crate::digest::proves_to_be;
use crate::log;
use crate::register::*;
use crate::world::*;

/// An INFO of a leg in its dialog.
fn info(w: &mut World, up: &Up, leg: Leg, content_type: &str, body: &str) -> Request {
    let mut info = w.within(up, leg, "INFO");
    info.headers.push("Content-Type", content_type);
    info.body = body.into();
    info
}

/// The PBX presses a key, and is told that we know.
#[track_caller]
fn pbx_presses(w: &mut World, up: &Up, body: &str) {
    let info = info(w, up, Pbx, "application/dtmf-relay", body);
    w.sends(Pbx, info);
    w.gets(Pbx, 200);
}

/// The media session hears the user press these.
pub fn user_presses(w: &mut World, digits: &str) {
    for written in digits.chars() {
        let key = Key::from_char(written).unwrap();
        let duration = Duration::from_millis(120);
        w.handle(Event::Media(MediaEvent::Pressed {
            id: SessionId(1),
            leg: Meta,
            press: Press { key, duration },
        }));
    }
}

/// What the media session was told to press.
fn pressed(w: &World) -> Vec<String> {
    let media = w.media.lock().unwrap();
    let told = |(leg, press): &(Leg, Press)| {
        assert_eq!(*leg, Meta);
        format!("{} {}", press.key, press.duration.as_millis())
    };
    media.pressed.iter().map(told).collect()
}

/// The digits of these INFOs.
pub fn told(infos: &[Request]) -> String {
    let signal = |info: &Request| {
        let body = String::from_utf8(info.body.clone()).unwrap();
        let line = body.lines().next().unwrap();
        line.strip_prefix("Signal=").unwrap().to_owned()
    };
    infos.iter().map(signal).collect()
}

/// A PBX that has its digits in this form.
fn with_form(form: Form) -> World {
    World::with(with_pbx(|pbx| {
        pbx.dtmf = form;
        pbx.codecs.push(Codec::Pcma);
    }))
}

/// A user calls a PBX that has its digits so, and is answered.
fn user_talks(w: &mut World, form: Form) -> Up {
    let (theirs, ours) = w.user_calls();
    let mut ok = pbx_ok(&ours);
    if form == Form::Inband {
        let (head, _) = PBX_SDP.split_once("m=audio").unwrap();
        ok.body = format!("{head}m=audio 16000 RTP/AVP 8\r\n").into();
    }
    let up = w.answers(Meta, theirs, ours, ok);
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    up
}

fn with_info() -> World {
    with_form(Form::Info)
}

#[test]
fn what_the_pbx_tells_by_info_is_pressed_towards_the_user_in_order() {
    for form in [Form::Rfc4733, Form::Info, Form::Inband] {
        let mut w = with_form(form);
        let up = user_talks(&mut w, form);
        pbx_presses(&mut w, &up, "Signal=1\r\nDuration=250\r\n");
        pbx_presses(&mut w, &up, "Signal=1\r\nDuration=250\r\n");
        pbx_presses(&mut w, &up, "signal= *\n");
        let plain = info(&mut w, &up, Pbx, "application/dtmf", "#");
        w.sends(Pbx, plain);
        w.gets(Pbx, 200);
        assert_eq!(pressed(&w), ["1 250", "1 250", "* 160", "# 160"]);
        w.is_quiet();
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_called_us_may_tell_by_info_as_well() {
    let mut w = World::new();
    let up = w.business_talks();
    pbx_presses(&mut w, &up, "Signal=1");
    assert_eq!(pressed(&w), ["1 160"]);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn the_pbx_alone_is_told_that_info_is_taken() {
    let takes_info = |headers: &Headers| headers.get("Allow").unwrap().contains("INFO");
    let mut w = World::new();
    let user = w.user_talks();
    assert!(takes_info(&user.ours.headers) && !takes_info(&user.our_ok.headers));
    let mut w = World::new();
    let business = w.business_talks();
    assert!(!takes_info(&business.ours.headers) && takes_info(&business.our_ok.headers));
}

#[test]
fn a_repeated_info_is_answered_again_and_pressed_once() {
    let mut w = World::new();
    let up = w.user_talks();
    let info = info(&mut w, &up, Pbx, "application/dtmf-relay", "Signal=5");
    w.sends(Pbx, info.clone());
    w.sends(Pbx, info);
    w.gets(Pbx, 200);
    w.gets(Pbx, 200);
    assert_eq!(pressed(&w), ["5 160"]);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn an_info_that_is_overtaken_by_a_later_one_is_refused() {
    let mut w = World::new();
    let up = w.user_talks();
    let first = info(&mut w, &up, Pbx, "application/dtmf-relay", "Signal=1");
    pbx_presses(&mut w, &up, "Signal=2");
    w.sends(Pbx, first);
    w.gets(Pbx, 500);
    assert_eq!(pressed(&w), ["2 160"]);
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn an_info_of_another_type_is_refused_with_what_can_be_read() {
    let mut w = World::new();
    let up = w.user_talks();
    let strange = info(&mut w, &up, Pbx, "application/media_control+xml", "<x/>");
    w.sends(Pbx, strange);
    let refusal = w.gets_response(Pbx, 415);
    let accept = "application/dtmf-relay, application/dtmf";
    assert_eq!(refusal.headers.get("Accept"), Some(accept));
    let bad = info(&mut w, &up, Pbx, "application/dtmf-relay", "Signal=eleven");
    w.sends(Pbx, bad);
    let refusal = w.gets_response(Pbx, 400);
    let why = refusal.headers.get("Warning").unwrap();
    assert!(why.contains("Signal is none of"), "{why}");
    assert!(pressed(&w).is_empty());
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn an_info_without_a_body_is_agreed_to_and_a_flash_too() {
    let mut w = World::new();
    let up = w.user_talks();
    let empty = w.within(&up, Pbx, "INFO");
    w.sends(Pbx, empty);
    w.gets(Pbx, 200);
    pbx_presses(&mut w, &up, "Signal=!");
    assert!(pressed(&w).is_empty());
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn meta_is_refused_an_info_as_ever() {
    let mut w = World::new();
    let up = w.user_talks();
    let info = info(&mut w, &up, Meta, "application/dtmf-relay", "Signal=5");
    w.sends(Meta, info);
    w.gets(Meta, 405);
    assert!(pressed(&w).is_empty());
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn digits_before_the_answer_and_after_the_end_are_for_nobody() {
    let mut w = World::new();
    let (invite, ours) = w.business_calls();
    w.sends(Meta, respond(&ours, 180));
    let ringing = w.gets_response(Pbx, 180);
    let mut early = w.in_dialog("INFO", 2, &invite, &ringing, true);
    early.headers.push("Content-Type", "application/dtmf-relay");
    early.body = "Signal=1".into();
    w.sends(Pbx, early);
    w.gets(Pbx, 200);
    let up = w.answers(Pbx, invite, ours.clone(), metas_ok(&ours));
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    let bye = w.within(&up, Meta, "BYE");
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    let bye = w.gets_request(Pbx, "BYE");
    let late = info(&mut w, &up, Pbx, "application/dtmf-relay", "Signal=2");
    w.sends(Pbx, late);
    w.gets(Pbx, 481);
    w.sends(Pbx, respond(&bye, 200));
    assert!(pressed(&w).is_empty());
    w.leaves_nothing_behind();
}

#[test]
fn what_the_user_presses_is_told_by_info_in_order_and_one_by_one() {
    let mut w = with_info();
    let up = w.user_talks();
    user_presses(&mut w, "12#");
    let mut infos = Vec::new();
    for _ in 0..3 {
        let info = w.gets_request(Pbx, "INFO");
        w.gets_nothing(Pbx);
        w.sends(Pbx, respond(&info, 100));
        w.gets_nothing(Pbx);
        w.sends(Pbx, respond(&info, 200));
        infos.push(info);
    }
    w.is_quiet();
    assert_eq!(told(&infos), "12#");
    assert_eq!(
        infos[0].content_type().as_deref(),
        Some("application/dtmf-relay")
    );
    assert_eq!(infos[0].body, b"Signal=1\r\nDuration=120\r\n");
    assert_eq!(infos[0].call_id(), up.ours.call_id());
    assert_eq!(infos[0].uri, up.their_ok.contact().unwrap().uri);
    let cseqs: Vec<u32> = infos.iter().map(|i| i.cseq().unwrap().number).collect();
    let invite = up.ours.cseq().unwrap().number;
    assert_eq!(cseqs, [invite + 1, invite + 2, invite + 3]);
    let bye = w.hangs_up(&up, Meta);
    assert_eq!(bye.cseq().unwrap().number, invite + 4);
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_called_us_is_told_in_its_dialog() {
    let mut w = with_info();
    let up = w.business_talks();
    user_presses(&mut w, "5");
    let info = w.agrees_to(Pbx, "INFO");
    assert_eq!(info.call_id(), up.theirs.call_id());
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_has_events_or_tones_is_sent_no_info() {
    for form in [Form::Rfc4733, Form::Inband] {
        let mut w = with_form(form);
        let up = user_talks(&mut w, form);
        user_presses(&mut w, "55");
        w.is_quiet();
        let complaints = usize::from(form == Form::Rfc4733);
        assert_eq!(
            log::warnings().len(),
            complaints,
            "events were to be agreed"
        );
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn events_are_offered_only_to_a_pbx_that_has_its_digits_so() {
    for form in [Form::Rfc4733, Form::Info, Form::Inband] {
        let mut w = with_form(form);
        let (theirs, ours) = w.user_calls();
        let offer = String::from_utf8_lossy(&ours.body).into_owned();
        let offered = offer.contains("telephone-event");
        assert_eq!(offered, form == Form::Rfc4733, "{offer}");
        assert!(offer.contains("PCMA"), "{offer}");
        assert_eq!(offer.contains("opus"), form != Form::Inband, "{offer}");
        w.refuses(Pbx, &ours, 486);
        w.is_refused(Meta, &theirs, 486);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_pbx_that_refuses_an_info_is_told_of_the_next_all_the_same_and_the_call_goes_on() {
    for status in [481, 500, 405, 501, 603, 302] {
        let mut w = with_info();
        let up = w.user_talks();
        user_presses(&mut w, "12");
        for digit in ["1", "2"] {
            let info = w.gets_request(Pbx, "INFO");
            assert_eq!(told(std::slice::from_ref(&info)), digit);
            w.sends(Pbx, respond(&info, status));
        }
        w.is_quiet();
        assert_eq!(w.bridge.calls(), 1);
        let warnings = log::warnings();
        assert_eq!(warnings.len(), 1, "once for a call: {warnings:?}");
        let why = format!("it answers INFO with {status}");
        assert!(warnings[0].contains(&why), "{warnings:?}");
        w.hangs_up(&up, Meta);
        w.leaves_nothing_behind();
    }
}

#[test]
fn an_info_that_is_never_answered_gives_way_to_the_next() {
    let mut w = with_info();
    let up = w.user_talks();
    w.losing = Some(Pbx);
    user_presses(&mut w, "12");
    w.wait(ms(31_600));
    w.is_quiet();
    w.losing = None;
    w.wait(ms(450));
    let info = w.agrees_to(Pbx, "INFO");
    assert_eq!(told(&[info]), "2");
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn a_call_that_ends_tells_of_no_more_digits() {
    let mut w = with_info();
    let up = w.user_talks();
    user_presses(&mut w, "123");
    let info = w.gets_request(Pbx, "INFO");
    w.hangs_up(&up, Meta);
    w.sends(Pbx, respond(&info, 481));
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_is_too_slow_loses_the_last_digits() {
    let mut w = with_info();
    let up = w.user_talks();
    user_presses(&mut w, &"123456789*".repeat(10));
    let mut infos = Vec::new();
    while w.peek(Pbx).is_some() {
        infos.push(w.agrees_to(Pbx, "INFO"));
    }
    assert_eq!(infos.len(), 33, "one is told, and so many wait");
    assert_eq!(told(&infos), "123456789*".repeat(10)[..33]);
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn any_number_of_digits_leaves_nothing_behind() {
    let mut w = with_info();
    let up = w.user_talks();
    for _ in 0..200 {
        user_presses(&mut w, "7");
        w.agrees_to(Pbx, "INFO");
        w.wait(ms(200));
    }
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_challenges_an_info_is_answered() {
    let mut setup = with_account(|_| {});
    let pbx = std::sync::Arc::make_mut(&mut setup.pbxs[0].0);
    pbx.dtmf = Form::Info;
    let mut w = registered(setup);
    let up = w.user_talks();
    user_presses(&mut w, "12");
    let first = w.gets_request(Pbx, "INFO");
    let challenge = |info: &Request| -> Response {
        let mut response = respond(info, 401);
        response.headers.push("WWW-Authenticate", ASKED);
        response
    };
    w.sends(Pbx, challenge(&first));
    let again = w.gets_request(Pbx, "INFO");
    proves_to_be(TRUNK, TRUNK_PASSWORD, &again);
    assert_eq!(again.body, first.body);
    assert_eq!(
        again.cseq().unwrap().number,
        first.cseq().unwrap().number + 1
    );
    w.sends(Pbx, respond(&again, 200));
    let second = w.gets_request(Pbx, "INFO");
    assert_eq!(
        second.cseq().unwrap().number,
        again.cseq().unwrap().number + 1
    );
    w.sends(Pbx, challenge(&second));
    let again = w.gets_request(Pbx, "INFO");
    w.sends(Pbx, challenge(&again));
    w.is_quiet();
    w.hangs_up(&up, Meta);
    unregisters(&mut w);
    assert_eq!(w.ended.len(), 1);
}
