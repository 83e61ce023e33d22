//! A PBX that wants its trunks registered: from the start to the stop.

use wabridge::call::Setup;
use wabridge::leg::Leg::Pbx;
use wabridge::peer::{Register, pbx};
use wabridge::secret::Secret;
use wabridge::sip::Request;
use wabridge::sip::message::Common;
use wabridge::sip::register::Standing;
use wabridge::sip::transport::Protocol;

use crate::digest::{given, proves_to_be};
use crate::world::*;

pub const TRUNK: &str = "trunk";
pub const TRUNK_PASSWORD: &str = "the-pbx-has-it-too";
pub const ASKED: &str = "Digest realm=\"pbx\", nonce=\"first\", algorithm=MD5, qop=\"auth\"";
pub const ASKED_ANEW: &str =
    "Digest realm=\"pbx\", nonce=\"second\", algorithm=SHA-256, qop=\"auth\", stale=true";

fn at(host: &str) -> wabridge::sip::transport::Hop {
    pbx::hop(host, 5060, Protocol::Udp)
}

fn account() -> Register {
    Register {
        registrars: vec![at("192.0.2.7")],
        user: TRUNK.into(),
        domain: "pbx.example.com".into(),
        username: TRUNK.into(),
        password: Secret::new(TRUNK_PASSWORD),
        expires: secs(300),
        calls_as_user: true,
        dialled_in: "To".into(),
    }
}

/// The usual set-up with a registration, of which one thing may be changed.
pub fn with_account(change: impl FnOnce(&mut Register)) -> Setup {
    let mut account = account();
    change(&mut account);
    with_pbx(|pbx| pbx.register = Some(account))
}

fn reloads(w: &mut World, setup: Setup) {
    w.handle(wabridge::call::Event::Reload(std::sync::Arc::new(setup)));
}

pub fn stops(w: &mut World) {
    w.handle(wabridge::call::Event::Stop);
}

/// The PBX gets a REGISTER within this time.
#[track_caller]
fn is_asked_within(w: &mut World, earliest: u64, latest: u64) -> Request {
    w.wait(secs(earliest));
    w.gets_nothing(Pbx);
    let end = w.now + secs(latest - earliest);
    while w.peek(Pbx).is_none() && w.now < end {
        let due = w.bridge.deadline().map_or(end, |due| due.min(end));
        w.wait(due.saturating_duration_since(w.now));
    }
    w.gets_request(Pbx, "REGISTER")
}

/// The PBX gets a REGISTER now.
#[track_caller]
fn is_asked(w: &mut World) -> Request {
    w.wait(secs(0));
    w.gets_request(Pbx, "REGISTER")
}

/// The PBX takes our Contact for so many seconds, and lists that of a phone as well.
fn grants(w: &mut World, request: &Request, seconds: u32) {
    let mut ok = respond(request, 200);
    let ours = request.headers.get("Contact").unwrap();
    let phone = "<sip:phone@192.0.2.99:5060>;expires=3600";
    ok.headers.push(
        "Contact",
        format!("{phone}, {ours};q=1.0;expires={seconds}"),
    );
    ok.headers.push("Expires", "3600");
    w.sends(Pbx, ok);
}

fn asks_for_a_password(w: &mut World, request: &Request, challenge: &str) {
    let mut response = respond(request, 401);
    response.headers.push("WWW-Authenticate", challenge);
    w.sends(Pbx, response);
}

fn refuses(w: &mut World, request: &Request, status: u16, headers: &[(&str, &str)]) {
    let mut response = respond(request, status);
    for (name, value) in headers {
        response.headers.push(name, *value);
    }
    w.sends(Pbx, response);
}

/// How the only registration stands.
#[track_caller]
fn standing(w: &World) -> Standing {
    let all: Vec<_> = w.bridge.registrations().collect();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].0.pbx, "main");
    all[0].1.clone()
}

fn is_registered(w: &World) -> bool {
    standing(w).since.is_some()
}

/// A world whose bridge is registered for 300 seconds.
pub fn registered(setup: Setup) -> World {
    let mut w = World::with(setup);
    let request = is_asked(&mut w);
    grants(&mut w, &request, 300);
    assert!(is_registered(&w));
    w
}

/// The bridge stops, and the PBX hears of it.
#[track_caller]
pub fn unregisters(w: &mut World) {
    stops(w);
    let gone = w.gets_request(Pbx, "REGISTER");
    assert_eq!(gone.headers.get("Expires"), Some("0"));
    w.sends(Pbx, respond(&gone, 200));
    assert!(w.bridge.is_done());
    w.is_left_empty();
}

#[test]
fn the_pbx_knows_the_bridge_from_the_start_until_it_stops() {
    let mut w = World::with(with_account(|_| {}));
    assert!(!is_registered(&w));
    let first = is_asked(&mut w);
    assert_eq!(first.uri.to_string(), "sip:pbx.example.com");
    assert_eq!(first.headers.get("To"), Some("<sip:trunk@pbx.example.com>"));
    assert_eq!(
        first.headers.get("Contact"),
        Some("<sip:trunk@192.0.2.1:5070>")
    );
    assert_eq!(first.headers.get("Expires"), Some("300"));
    // What counts is what was granted to our Contact, not to the phone's, and not what was asked for.
    grants(&mut w, &first, 120);
    assert!(is_registered(&w));
    let second = is_asked_within(&mut w, 53, 60);
    assert_eq!(second.call_id(), first.call_id());
    assert_eq!(second.cseq().unwrap().number, 2);
    assert_ne!(second.via(), first.via());
    grants(&mut w, &second, 120);
    w.wait(secs(20));
    unregisters(&mut w);
}

#[test]
fn the_password_is_proved_and_a_refresh_does_not_wait_to_be_asked() {
    let mut w = World::with(with_account(|account| {
        account.username = "trunk-auth".into()
    }));
    let first = is_asked(&mut w);
    asks_for_a_password(&mut w, &first, ASKED);
    let second = is_asked(&mut w);
    proves_to_be("trunk-auth", TRUNK_PASSWORD, &second);
    assert_eq!(second.cseq().unwrap().number, 2);
    grants(&mut w, &second, 300);

    let third = is_asked_within(&mut w, 215, 240);
    proves_to_be("trunk-auth", TRUNK_PASSWORD, &third);
    assert_eq!(given(&third, "nc"), "00000002");
    asks_for_a_password(&mut w, &third, ASKED_ANEW);
    let fourth = is_asked(&mut w);
    proves_to_be("trunk-auth", TRUNK_PASSWORD, &fourth);
    let of = |name| given(&fourth, name);
    assert_eq!(
        (of("nonce"), of("nc")),
        ("second".into(), "00000001".into())
    );
    assert_eq!(of("algorithm"), "SHA-256");
    grants(&mut w, &fourth, 300);
    assert!(is_registered(&w));
    unregisters(&mut w);
}

#[test]
fn a_wrong_password_is_said_and_not_tried_again_for_long() {
    let mut w = World::with(with_account(|_| {}));
    let first = is_asked(&mut w);
    asks_for_a_password(&mut w, &first, ASKED);
    let second = is_asked(&mut w);
    asks_for_a_password(&mut w, &second, ASKED);
    let error = standing(&w).error.unwrap();
    assert!(error.contains("is the password right"), "{error}");
    let third = is_asked_within(&mut w, 539, 600);
    grants(&mut w, &third, 300);
    assert_eq!(standing(&w).error, None);
    unregisters(&mut w);
}

#[test]
fn a_registrar_that_asks_for_the_password_and_then_fails_is_no_reason_to_doubt_the_password() {
    let mut w = World::with(with_account(|_| {}));
    let mut request = is_asked(&mut w);
    for attempt in 1..=4 {
        let nonce = ASKED.replace("first", &format!("nonce {attempt}"));
        asks_for_a_password(&mut w, &request, &nonce);
        let proved = is_asked(&mut w);
        proves_to_be(TRUNK, TRUNK_PASSWORD, &proved);
        refuses(&mut w, &proved, 503, &[]);
        let error = standing(&w).error.unwrap();
        assert!(error.contains("503"), "{attempt}: {error}");
        // It waits as after any failure, and not as after a wrong password.
        request = is_asked_within(&mut w, 1, 120);
    }
    grants(&mut w, &request, 300);
    unregisters(&mut w);
}

#[test]
fn a_pbx_that_wants_longer_registrations_gets_them() {
    let mut w = World::with(with_account(|_| {}));
    let first = is_asked(&mut w);
    refuses(&mut w, &first, 423, &[("Min-Expires", "900")]);
    let second = is_asked(&mut w);
    assert_eq!(second.headers.get("Expires"), Some("900"));
    grants(&mut w, &second, 900);
    let third = is_asked_within(&mut w, 729, 810);
    assert_eq!(third.headers.get("Expires"), Some("900"));
    grants(&mut w, &third, 900);
    unregisters(&mut w);
}

#[test]
fn a_pbx_that_does_not_know_us_is_asked_every_ten_minutes_and_a_busy_one_when_it_says() {
    let mut w = World::with(with_account(|_| {}));
    let request = is_asked(&mut w);
    refuses(&mut w, &request, 404, &[]);
    let error = standing(&w).error.unwrap();
    assert!(error.contains("username and domain"), "{error}");
    let request = is_asked_within(&mut w, 539, 600);
    refuses(&mut w, &request, 403, &[]);
    let request = is_asked_within(&mut w, 539, 600);
    refuses(&mut w, &request, 503, &[("Retry-After", "45")]);
    let request = is_asked_within(&mut w, 44, 45);
    grants(&mut w, &request, 300);
    unregisters(&mut w);
}

/// The PBX hears nothing of us for so long; when REGISTERs of a new transaction were sent, in seconds.
fn tries(w: &mut World, seconds: u64) -> Vec<u64> {
    w.losing = Some(Pbx);
    let (mut times, mut last) = (Vec::new(), w.registered_at.len());
    for second in 0..seconds {
        w.wait(secs(1));
        // Copies of one request come at most 4 s apart; there is a longer pause before another one.
        if w.registered_at.len() > last && times.last().is_none_or(|t| second - t > 4) {
            times.push(second);
        } else if w.registered_at.len() > last {
            *times.last_mut().unwrap() = second;
        }
        last = w.registered_at.len();
    }
    w.losing = None;
    times
}

#[test]
fn a_pbx_that_is_gone_is_tried_less_and_less_often_and_found_again() {
    let mut w = registered(with_account(|_| {}));
    let last_copies = tries(&mut w, 3600);
    let pauses: Vec<u64> = last_copies.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(last_copies[0] < 280, "{last_copies:?}");
    assert!(pauses[..3].iter().all(|pause| *pause < 120), "{pauses:?}");
    assert!(
        pauses[6..].iter().all(|pause| (300..700).contains(pause)),
        "{pauses:?}"
    );
    assert!(!is_registered(&w));
    let error = standing(&w).error.unwrap();
    assert!(error.contains("cannot be reached"), "{error}");
    let request = is_asked_within(&mut w, 0, 640);
    grants(&mut w, &request, 300);
    assert!(is_registered(&w));
    unregisters(&mut w);
}

#[test]
fn a_refresh_that_gets_lost_once_leaves_no_gap() {
    let mut w = registered(with_account(|_| {}));
    let since = standing(&w).since;
    w.wait(secs(200));
    w.losing = Some(Pbx);
    w.wait(secs(60));
    w.losing = None;
    let request = is_asked_within(&mut w, 0, 39);
    assert!(is_registered(&w));
    grants(&mut w, &request, 300);
    assert_eq!(standing(&w).since, since);
    unregisters(&mut w);
}

#[test]
fn a_stop_does_not_wait_for_a_pbx_that_is_gone() {
    let mut w = registered(with_account(|_| {}));
    w.losing = Some(Pbx);
    stops(&mut w);
    assert!(!w.bridge.is_done());
    w.wait(secs(3));
    assert!(w.bridge.is_done());
    w.is_left_empty();
}

#[test]
fn a_stop_takes_away_what_is_just_being_registered() {
    let mut w = World::with(with_account(|_| {}));
    let request = is_asked(&mut w);
    stops(&mut w);
    w.gets_nothing(Pbx);
    grants(&mut w, &request, 300);
    let gone = w.gets_request(Pbx, "REGISTER");
    assert_eq!(gone.headers.get("Expires"), Some("0"));
    asks_for_a_password(&mut w, &gone, ASKED);
    let again = w.gets_request(Pbx, "REGISTER");
    assert_eq!(again.headers.get("Expires"), Some("0"));
    proves_to_be(TRUNK, TRUNK_PASSWORD, &again);
    w.sends(Pbx, respond(&again, 200));
    w.is_left_empty();
}

#[test]
fn each_registrar_has_a_registration_of_its_own() {
    let setup = with_account(|account| account.registrars = vec![at("192.0.2.7"), at("192.0.2.8")]);
    let mut w = World::with(setup);
    w.registrars = vec![at("192.0.2.8")];
    let one = is_asked(&mut w);
    let other = w.gets_request(Pbx, "REGISTER");
    assert_eq!(w.registered_at, [at("192.0.2.7"), at("192.0.2.8")]);
    assert_ne!(one.call_id(), other.call_id());
    refuses(&mut w, &one, 403, &[]);
    grants(&mut w, &other, 300);
    let up: Vec<_> = w
        .bridge
        .registrations()
        .map(|(place, standing)| (place.hop.clone(), standing.since.is_some()))
        .collect();
    assert_eq!(up, [(at("192.0.2.7"), false), (at("192.0.2.8"), true)]);
    let refresh = is_asked_within(&mut w, 215, 240);
    assert_eq!(refresh.call_id(), other.call_id());
    grants(&mut w, &refresh, 300);
    unregisters(&mut w);
}

#[test]
fn a_reload_that_changes_nothing_about_it_is_not_noticed() {
    let mut w = registered(with_account(|_| {}));
    reloads(&mut w, with_account(|_| {}));
    w.wait(secs(200));
    w.gets_nothing(Pbx);
    assert!(is_registered(&w));
    unregisters(&mut w);
}

#[test]
fn a_registration_that_a_reload_takes_out_is_taken_away() {
    let mut w = registered(with_account(|_| {}));
    reloads(&mut w, setup());
    let gone = w.gets_request(Pbx, "REGISTER");
    assert_eq!(gone.headers.get("Expires"), Some("0"));
    w.sends(Pbx, respond(&gone, 200));
    assert_eq!(w.bridge.registrations().count(), 0);
    w.is_left_empty();
}

#[test]
fn what_a_reload_changes_is_registered_once_the_old_is_gone() {
    let mut w = registered(with_account(|_| {}));
    let mut elsewhere = with_account(|account| account.password = Secret::new("another"));
    std::sync::Arc::make_mut(&mut elsewhere.pbxs[0].0).our_host = "198.51.100.9".into();
    reloads(&mut w, elsewhere);
    let gone = w.gets_request(Pbx, "REGISTER");
    assert_eq!(gone.headers.get("Expires"), Some("0"));
    assert_eq!(
        gone.headers.get("Contact"),
        Some("<sip:trunk@192.0.2.1:5070>")
    );
    w.wait(ms(400));
    w.gets_nothing(Pbx);
    w.sends(Pbx, respond(&gone, 200));
    let new = is_asked(&mut w);
    assert_eq!(
        new.headers.get("Contact"),
        Some("<sip:trunk@198.51.100.9:5070>")
    );
    assert_eq!(new.call_id(), gone.call_id());
    assert!(new.cseq().unwrap().number > gone.cseq().unwrap().number);
    asks_for_a_password(&mut w, &new, ASKED);
    let proved = is_asked(&mut w);
    proves_to_be(TRUNK, "another", &proved);
    grants(&mut w, &proved, 300);
    unregisters(&mut w);
}

#[test]
fn a_late_answer_to_the_old_registration_is_none_to_the_new_one() {
    let mut w = registered(with_account(|_| {}));
    reloads(
        &mut w,
        with_account(|account| account.password = Secret::new("another")),
    );
    let gone = w.gets_request(Pbx, "REGISTER");
    w.losing = Some(Pbx);
    w.wait(ms(2900));
    w.losing = None;
    let new = is_asked_within(&mut w, 0, 1);
    assert_eq!(new.headers.get("Expires"), Some("300"));
    w.sends(Pbx, respond(&gone, 200));
    assert!(!is_registered(&w));
    asks_for_a_password(&mut w, &new, ASKED);
    let proved = is_asked(&mut w);
    proves_to_be(TRUNK, "another", &proved);
    grants(&mut w, &proved, 300);
    // The old one's transaction would have ended meanwhile.
    w.wait(secs(60));
    assert_eq!(standing(&w).error, None);
    assert!(is_registered(&w));
    unregisters(&mut w);
}

#[test]
fn a_reload_back_and_forth_ends_with_what_was_wanted_last() {
    let mut w = registered(with_account(|_| {}));
    reloads(&mut w, setup());
    w.gets(Pbx, "REGISTER");
    reloads(&mut w, with_account(|_| {}));
    // Its 200 never comes.
    w.wait(secs(3));
    let mut requests = Vec::new();
    while let Some(wabridge::sip::Message::Request(request)) = w.next(Pbx) {
        requests.push(request);
    }
    let new = requests.last().unwrap();
    assert_eq!(new.headers.get("Expires"), Some("300"));
    grants(&mut w, new, 300);
    assert!(is_registered(&w));
    w.wait(secs(40));
    while w.next(Pbx).is_some() {}
    unregisters(&mut w);
}

#[test]
fn a_bridge_that_drains_is_not_registered_any_more_while_its_calls_go_on() {
    let mut w = registered(with_account(|_| {}));
    let up = w.user_talks();
    let until = w.now + secs(600);
    w.handle(wabridge::call::Event::Drain { until });
    let gone = w.gets_request(Pbx, "REGISTER");
    assert_eq!(gone.headers.get("Expires"), Some("0"));
    w.sends(Pbx, respond(&gone, 200));
    reloads(&mut w, with_account(|_| {}));
    w.wait(secs(60));
    w.is_quiet();
    assert!(!w.bridge.is_done());
    w.hangs_up(&up, Pbx);
    w.leaves_nothing_behind();
}
