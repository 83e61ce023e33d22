//! Which addresses of the PBX are alive: what OPTIONS and calls find out, and what new calls make of it.

use std::sync::Arc;
use std::time::Duration;

use wabridge::call::{Event, Setup};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::Message;
use wabridge::sip::message::Common;

use crate::log;
use crate::world::*;

const FIRST: &str = "192.0.2.7";
const SECOND: &str = "192.0.2.8";

/// A PBX of two hosts that are asked every 30 seconds.
fn two_hosts() -> Setup {
    asked(with_hosts(&[(FIRST, 1), (SECOND, 2)]))
}

fn asked(mut setup: Setup) -> Setup {
    let pbx = Arc::make_mut(&mut setup.pbxs[0].0);
    pbx.health.interval = Duration::from_secs(30);
    setup
}

fn world(setup: Setup) -> World {
    let mut w = World::with(setup);
    w.more = vec![SECOND];
    w
}

impl World {
    /// Time goes by, and every OPTIONS that comes to the PBX is answered with this; gives their hosts.
    fn is_asked(&mut self, seconds: u64, status: u16) -> Vec<String> {
        let mut hosts = Vec::new();
        for _ in 0..10 * seconds {
            self.wait(ms(100));
            while let Some(Message::Request(_)) = self.peek(Pbx) {
                let options = self.gets_request(Pbx, "OPTIONS");
                hosts.push(self.got_at.clone());
                self.sends(Pbx, respond(&options, status));
            }
        }
        hosts
    }

    /// A user calls and the PBX says no: where the call came.
    fn call_goes_to(&mut self, call_id: &str) -> String {
        let mut invite = self.metas_invite();
        invite.headers.set("Call-ID", call_id);
        let (theirs, ours) = self.user_calls_with(invite);
        let host = self.got_at.clone();
        self.refuses(Pbx, &ours, 486);
        self.is_refused(Meta, &theirs, 486);
        host
    }

    /// Whatever was asked before, nobody is asked any more, and nothing is left.
    fn stops(&mut self) {
        self.handle(Event::Stop);
        self.is_left_empty();
    }
}

#[test]
fn each_address_is_asked_in_its_own_name_at_its_own_time() {
    let mut w = world(two_hosts());
    let mut seen = Vec::new();
    while seen.len() < 4 {
        w.wait(ms(100));
        while let Some(Message::Request(_)) = w.peek(Pbx) {
            let options = w.gets_request(Pbx, "OPTIONS");
            assert_eq!(options.uri.to_string(), format!("sip:{}", w.got_at));
            seen.push((w.now, w.got_at.clone(), options.call_id().to_owned()));
            w.sends(Pbx, respond(&options, 200));
        }
    }
    assert_ne!(seen[0].0, seen[1].0, "all at once: {seen:?}");
    for host in [FIRST, SECOND] {
        let of: Vec<_> = seen.iter().filter(|(_, at, _)| at == host).collect();
        let [(first, _, one), (second, _, other)] = of.as_slice() else {
            panic!("two questions each: {seen:?}")
        };
        assert!((secs(27)..=secs(34)).contains(&(*second - *first)));
        assert_ne!(one, other, "each has a Call-ID of its own");
    }
    w.stops();
}

#[test]
fn an_address_that_leaves_three_questions_unanswered_is_passed_over_until_it_answers_two() {
    let mut w = world(two_hosts());
    w.is_asked(40, 200);
    assert_eq!(w.call_goes_to("outgoing:wacid.a=="), FIRST);
    w.silent = vec![FIRST];
    // Two failures are bad luck.
    w.is_asked(42, 200);
    assert_eq!(log::warnings(), [""; 0]);
    w.is_asked(15, 200);
    let warnings = log::warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for word in [
        "main",
        "UDP 192.0.2.7:5060",
        "no answer to OPTIONS",
        "firewall",
    ] {
        assert!(warnings[0].contains(word), "{warnings:?}");
    }
    assert_eq!(w.call_goes_to("outgoing:wacid.b=="), SECOND);
    w.is_asked(60, 200);
    assert_eq!(log::warnings().len(), 1, "only what changes is logged");
    w.silent.clear();
    while !w.is_asked(1, 200).contains(&FIRST.to_owned()) {}
    assert_eq!(
        w.call_goes_to("outgoing:wacid.c=="),
        SECOND,
        "one answer is luck"
    );
    w.is_asked(10, 200);
    assert_eq!(w.call_goes_to("outgoing:wacid.d=="), FIRST);
    w.stops();
}

#[test]
fn whoever_refuses_options_is_alive_and_whoever_says_503_is_not() {
    for (status, goes_to) in [
        (404, FIRST),
        (405, FIRST),
        (401, FIRST),
        (483, FIRST),
        (500, FIRST),
        (503, SECOND),
    ] {
        let mut w = world(two_hosts());
        for _ in 0..1000 {
            w.wait(ms(100));
            while let Some(Message::Request(_)) = w.peek(Pbx) {
                let options = w.gets_request(Pbx, "OPTIONS");
                let said = if w.got_at == FIRST { status } else { 200 };
                w.sends(Pbx, respond(&options, said));
            }
        }
        assert_eq!(w.call_goes_to("outgoing:wacid.a=="), goes_to, "{status}");
        w.stops();
    }
}

#[test]
fn an_address_that_cannot_be_connected_to_is_down() {
    let mut w = world(two_hosts());
    w.closed_hosts = vec![FIRST];
    w.is_asked(60, 200);
    let warnings = log::warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("connection refused"), "{warnings:?}");
    assert_eq!(w.call_goes_to("outgoing:wacid.a=="), SECOND);
    w.stops();
}

#[test]
fn a_pbx_whose_only_address_answers_no_options_is_called_all_the_same() {
    let mut w = world(asked(setup()));
    w.silent = vec![FIRST];
    w.is_asked(60, 200);
    assert_eq!(log::warnings().len(), 1);
    w.silent.clear();
    assert_eq!(w.call_goes_to("outgoing:wacid.a=="), FIRST);
    w.stops();
}

#[test]
fn nobody_waits_long_for_a_pbx_that_is_known_not_to_answer() {
    let mut w = world(asked(setup()));
    w.silent = vec![FIRST];
    w.is_asked(60, 200);
    let invite = w.metas_invite();
    let theirs = w.user_authenticates(invite);
    w.gets(Meta, 100);
    w.wait(ms(2_999));
    w.is_quiet();
    w.wait(ms(1));
    let told = w.is_refused(Meta, &theirs, 503);
    assert!(
        reason(&told).contains("no answer in 3 s"),
        "{}",
        reason(&told)
    );
    w.stops();
}

#[test]
fn answers_that_come_late_or_twice_mean_nothing() {
    let mut w = world(asked(setup()));
    w.wait(secs(5));
    let options = w.gets_at(FIRST, "OPTIONS");
    while w.next(Pbx).is_some() {}
    w.wait(secs(3));
    while w.next(Pbx).is_some() {}
    w.sends(Pbx, respond(&options, 100));
    w.sends(Pbx, respond(&options, 200));
    w.sends(Pbx, respond(&options, 200));
    w.stops();
}

#[test]
fn a_reload_asks_new_addresses_and_no_longer_those_that_are_gone() {
    let mut w = world(asked(setup()));
    w.silent = vec![FIRST];
    w.is_asked(60, 200);
    w.handle(Event::Reload(Arc::new(two_hosts())));
    assert_eq!(w.is_asked(5, 200), [SECOND]);
    assert_eq!(
        w.call_goes_to("outgoing:wacid.a=="),
        SECOND,
        "what is known stays"
    );
    let only = asked(with_hosts(&[(SECOND, 1)]));
    w.handle(Event::Reload(Arc::new(only)));
    w.silent.clear();
    let hosts = w.is_asked(70, 200);
    assert!(
        hosts.len() > 1 && hosts.iter().all(|host| host == SECOND),
        "{hosts:?}"
    );
    w.handle(Event::Reload(Arc::new(setup())));
    assert!(w.is_asked(100, 200).is_empty(), "options_interval is 0");
    w.is_left_empty();
}

#[test]
fn calls_that_fail_find_an_address_down_where_nobody_asks() {
    let mut w = world(with_hosts(&[(FIRST, 1), (SECOND, 2)]));
    for call_id in [
        "outgoing:wacid.a==",
        "outgoing:wacid.b==",
        "outgoing:wacid.c==",
    ] {
        let mut invite = w.metas_invite();
        invite.headers.set("Call-ID", call_id);
        let (theirs, ours) = w.user_calls_with(invite);
        assert_eq!(w.got_at, FIRST);
        w.refuses(Pbx, &ours, 503);
        let ours = w.gets_at(SECOND, "INVITE");
        w.refuses(Pbx, &ours, 486);
        w.is_refused(Meta, &theirs, 486);
    }
    let warnings = log::warnings();
    let down: Vec<_> = warnings
        .iter()
        .filter(|w| w.contains("takes no calls here"))
        .collect();
    assert_eq!(down.len(), 1, "{warnings:?}");
    assert!(
        down[0].contains("503 Service Unavailable to INVITE"),
        "{down:?}"
    );
    assert_eq!(w.call_goes_to("outgoing:wacid.d=="), SECOND);
    w.wait(secs(31));
    assert_eq!(w.call_goes_to("outgoing:wacid.e=="), FIRST);
    w.is_left_empty();
}

#[test]
fn a_pbx_that_says_100_and_then_503_is_as_dead_as_one_that_says_503_alone() {
    let mut w = world(with_hosts(&[(FIRST, 1), (SECOND, 2)]));
    for call_id in [
        "outgoing:wacid.a==",
        "outgoing:wacid.b==",
        "outgoing:wacid.c==",
    ] {
        let mut invite = w.metas_invite();
        invite.headers.set("Call-ID", call_id);
        let (theirs, ours) = w.user_calls_with(invite);
        assert_eq!(w.got_at, FIRST);
        w.sends(Pbx, respond(&ours, 100));
        let mut refusal = respond(&ours, 503);
        refusal.reason = "No route to +12195550714".into();
        w.sends(Pbx, refusal);
        w.gets(Pbx, "ACK");
        let ours = w.gets_at(SECOND, "INVITE");
        w.refuses(Pbx, &ours, 486);
        w.is_refused(Meta, &theirs, 486);
    }
    let warnings = log::warnings();
    let told = warnings.join("\n");
    assert!(told.contains("takes no calls here"), "{told}");
    assert!(told.contains("No route to +1219*****14"), "{told}");
    assert!(!told.contains("2195550714"), "{told}");
    assert_eq!(w.call_goes_to("outgoing:wacid.d=="), SECOND);
    w.is_left_empty();
}

#[test]
fn a_question_that_a_reload_overtakes_counts_for_nothing() {
    let every = |seconds| {
        let mut setup = two_hosts();
        let pbx = Arc::make_mut(&mut setup.pbxs[0].0);
        pbx.health.interval = secs(seconds);
        pbx.health.down_after = 1;
        setup
    };
    let mut w = world(every(30));
    let mut unanswered = Vec::new();
    while unanswered.len() < 2 {
        w.wait(ms(10));
        while let Some(Message::Request(_)) = w.peek(Pbx) {
            unanswered.push(w.gets_request(Pbx, "OPTIONS"));
        }
        // The reload comes before anybody has answered, or could have failed to.
        if unanswered.len() == 1 && w.got_at == FIRST {
            break;
        }
        for options in unanswered.drain(..) {
            w.sends(Pbx, respond(&options, 200));
        }
    }
    w.handle(Event::Reload(Arc::new(every(40))));
    w.is_asked(60, 200);
    assert_eq!(log::warnings(), [""; 0]);
    assert_eq!(w.call_goes_to("outgoing:wacid.a=="), FIRST);
    w.stops();
}
