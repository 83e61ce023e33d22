//! PBXs in different networks: each is asked to send its media to the address that it has of us.

use std::net::IpAddr;
use std::sync::Arc;

use wabridge::call::Setup;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::media::Facing;
use wabridge::peer::pbx;
use wabridge::policy::rules::Rule;
use wabridge::policy::{Number, Numbers, Way};
use wabridge::sip::transport::Protocol;

use crate::failover::{FIRST, SECOND, THIRD, ok_of, two, world};
use crate::world::*;

/// Three PBXs, of which the number's calls go to the first that takes them; each has another address of ours for media.
fn three_pbxs() -> Setup {
    let mut setup = setup();
    let usual = setup.numbers.get(&BUSINESS.parse().unwrap()).unwrap();
    let number = Number {
        pbxs: ["main", "far", "v6"].map(str::to_owned).into(),
        ..usual.clone()
    };
    setup.numbers = Numbers::new([number]);
    let facing = |address: &str, announced: &str| Facing {
        address: address.parse().unwrap(),
        announced: announced.parse().unwrap(),
    };
    for (name, host, media) in [
        ("far", SECOND, facing("10.0.0.1", "203.0.113.9")),
        ("v6", THIRD, facing("2001:db8::1", "2001:db8::1")),
    ] {
        let mut other = setup.pbxs[0].clone();
        let pbx = Arc::make_mut(&mut other.0);
        pbx.name = name.into();
        pbx.ways = vec![Way::only(pbx::hop(host, 5060, Protocol::Udp))];
        pbx.media = media;
        setup.pbxs.push(other);
    }
    setup
}

/// Where a description asks for media.
#[track_caller]
fn asks_for_media_at(body: &[u8], address: &str) {
    let sdp = String::from_utf8(body.to_vec()).unwrap();
    let version = if address.contains(':') { "IP6" } else { "IP4" };
    let (origin, connection) = (
        format!(" IN {version} {address}"),
        format!("c=IN {version} {address}"),
    );
    for (start, line) in [("o=", origin), ("c=", connection)] {
        let found = sdp.lines().find(|l| l.starts_with(start)).unwrap();
        assert!(found.ends_with(&line), "{line} in\n{sdp}");
    }
}

/// The same description of a PBX that has IPv6.
fn over_ipv6(body: Vec<u8>) -> Vec<u8> {
    let sdp = String::from_utf8(body).unwrap();
    sdp.replace("IN IP4 192.0.2.7", "IN IP6 2001:db8::9").into()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_call_that_goes_to_another_pbx_asks_for_media_at_the_address_that_it_has_of_us() {
    let mut w = world(three_pbxs());
    w.silent = vec![FIRST];
    let theirs = w.user_dials();
    w.wait(secs(3));
    let second = w.gets_at(SECOND, "INVITE");
    asks_for_media_at(&second.body, "203.0.113.9");
    w.refuses(Pbx, &second, 503);
    let third = w.gets_at(THIRD, "INVITE");
    asks_for_media_at(&third.body, "2001:db8::1");
    let faced = ["192.0.2.1", "10.0.0.1", "2001:db8::1"].map(ip);
    assert_eq!(w.media.lock().unwrap().faced, faced);
    w.silent.clear();
    w.sends(Pbx, respond(&third, 180));
    w.gets(Meta, 180);
    let mut ok = ok_of(&third);
    ok.body = over_ipv6(ok.body);
    let up = w.answers(Meta, theirs, third, ok);
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    let media = w.media.lock().unwrap();
    let pbxs = media.agreed.iter().rfind(|(leg, _)| *leg == Pbx).unwrap();
    assert_eq!(pbxs.1.remote_rtp.ip(), ip("2001:db8::9"));
    assert_eq!(media.open.len(), 1, "one session for all attempts");
    drop(media);
    w.hangs_up(&up, Meta);
    assert_eq!(w.leaves_nothing_behind().pbx, "v6");
}

#[test]
fn a_route_leads_to_a_pbx_with_the_address_that_this_one_has_of_us() {
    let mut setup = three_pbxs();
    setup.routes = vec![Rule {
        pbxs: vec!["v6".into()],
        ..Rule::default()
    }];
    let mut w = world(setup);
    let theirs = w.user_dials();
    let ours = w.gets_at(THIRD, "INVITE");
    asks_for_media_at(&ours.body, "2001:db8::1");
    assert_eq!(w.media.lock().unwrap().faced, [ip("2001:db8::1")]);
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    w.leaves_nothing_behind();
}

#[test]
fn each_attempt_has_sockets_of_its_own_also_at_the_same_address_of_ours() {
    let mut w = world(two());
    let theirs = w.user_dials();
    let first = w.gets_at(FIRST, "INVITE");
    w.refuses(Pbx, &first, 503);
    let second = w.gets_at(SECOND, "INVITE");
    asks_for_media_at(&second.body, "192.0.2.1");
    assert_eq!(w.media.lock().unwrap().faced, [ip("192.0.2.1"); 2]);
    w.takes_it(theirs, second);
    w.leaves_nothing_behind();
}

#[test]
fn where_no_other_sockets_are_to_be_had_the_next_attempt_has_the_same() {
    let mut w = world(two());
    let theirs = w.user_dials();
    let first = w.gets_at(FIRST, "INVITE");
    w.media.lock().unwrap().full = vec![ip("192.0.2.1")];
    w.refuses(Pbx, &first, 503);
    let second = w.gets_at(SECOND, "INVITE");
    asks_for_media_at(&second.body, "192.0.2.1");
    w.takes_it(theirs, second);
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_no_media_port_is_left_for_is_passed_over() {
    let mut w = world(three_pbxs());
    w.media.lock().unwrap().full = vec![ip("10.0.0.1")];
    let theirs = w.user_dials();
    let first = w.gets_at(FIRST, "INVITE");
    w.refuses(Pbx, &first, 503);
    let third = w.gets_at(THIRD, "INVITE");
    asks_for_media_at(&third.body, "2001:db8::1");
    w.refuses(Pbx, &third, 486);
    w.is_refused(Meta, &theirs, 486);
    w.leaves_nothing_behind();
    let mut w = world(three_pbxs());
    w.media.lock().unwrap().full = vec![ip("192.0.2.1")];
    let theirs = w.user_dials();
    let second = w.gets_at(SECOND, "INVITE");
    asks_for_media_at(&second.body, "203.0.113.9");
    w.refuses(Pbx, &second, 486);
    w.is_refused(Meta, &theirs, 486);
    assert_eq!(w.leaves_nothing_behind().pbx, "far");
}

#[test]
fn when_no_media_port_is_left_for_any_other_pbx_meta_is_told_503_and_no_address_of_ours() {
    for silent in [false, true] {
        let mut w = world(three_pbxs());
        w.media.lock().unwrap().full = vec![ip("10.0.0.1"), ip("2001:db8::1")];
        let theirs = w.user_dials();
        let first = w.gets_at(FIRST, "INVITE");
        match silent {
            true => w.wait(secs(3)),
            false => w.refuses(Pbx, &first, 503),
        }
        let told = w.is_refused(Meta, &theirs, 503);
        let why = reason(&told);
        assert!(why.contains("no media port for it; no media port"), "{why}");
        assert!(!why.contains("10.0.0.1"), "{why}");
        if silent {
            while w.next(Pbx).is_some() {}
            w.sends(Pbx, respond(&first, 100));
            w.agrees_to(Pbx, "CANCEL");
            w.refuses(Pbx, &first, 487);
        }
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_call_of_a_pbx_is_answered_with_the_address_that_it_has_of_us() {
    for (address, announced) in [("10.0.0.1", "203.0.113.9"), ("2001:db8::1", "2001:db8::1")] {
        let media = Facing {
            address: ip(address),
            announced: ip(announced),
        };
        let mut w = World::with(with_pbx(|pbx| pbx.media = media));
        let mut invite = w.pbx_invite(USER);
        if announced.contains(':') {
            invite.body = over_ipv6(invite.body);
        }
        w.sends(Pbx, invite.clone());
        w.gets(Pbx, 100);
        let first = w.gets_request(Meta, "INVITE");
        w.challenges(&first, 407, CHALLENGE);
        let ours = w.gets_request(Meta, "INVITE");
        let ok = metas_ok(&ours);
        let up = w.answers(Pbx, invite, ours, ok);
        asks_for_media_at(&up.our_ok.body, announced);
        assert_eq!(w.media.lock().unwrap().faced, [ip(address)]);
        let ack = w.ack(&up);
        w.sends(Pbx, ack);
        w.hangs_up(&up, Pbx);
        w.leaves_nothing_behind();
    }
}
