//! Where a user's call goes: by its number, by where the user is from, by what Meta says of it.

use std::sync::Arc;

use wabridge::call::Setup;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::peer::pbx;
use wabridge::policy::rules::Rule;
use wabridge::policy::{Number, Numbers, Way};
use wabridge::sip::Request;
use wabridge::sip::message::Common;
use wabridge::sip::transport::Protocol;

use crate::world::*;

const MAIN: &str = "192.0.2.7";
const BRANCH: &str = "192.0.2.8";

/// Two PBXs, the number belongs to the first, and these rules.
fn two_pbxs(routes: Vec<Rule>) -> Setup {
    let mut setup = setup();
    let mut branch = setup.pbxs[0].clone();
    let changed = Arc::make_mut(&mut branch.0);
    changed.name = "branch".into();
    changed.ways = vec![Way::only(pbx::hop(BRANCH, 5060, Protocol::Udp))];
    setup.pbxs.push(branch);
    setup.routes = routes;
    setup
}

fn to_branch(rule: Rule) -> Rule {
    Rule {
        pbxs: vec!["branch".into()],
        ..rule
    }
}

fn from(country: &str) -> Rule {
    Rule {
        countries: vec![country.to_owned().try_into().unwrap()],
        ..Rule::default()
    }
}

fn saying(header: &str, pattern: &str) -> Rule {
    Rule {
        headers: vec![(header.into(), pattern.to_owned().into())],
        ..Rule::default()
    }
}

/// Where Meta's INVITE ends up: host and user part.
#[track_caller]
fn goes_to(setup: Setup, change: impl FnOnce(&mut Request)) -> (String, String) {
    let mut w = World::with(setup);
    w.more = vec![BRANCH];
    let mut invite = w.metas_invite();
    change(&mut invite);
    let (theirs, ours) = w.user_calls_with(invite);
    let host = w.got_at.clone();
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    let summary = w.leaves_nothing_behind();
    let name = if host == MAIN { "main" } else { "branch" };
    assert_eq!(summary.pbx, name);
    (host, ours.uri.user().unwrap().to_owned())
}

fn main_100() -> (String, String) {
    (MAIN.into(), "100".into())
}

fn calls_as(user: &str) -> impl FnOnce(&mut Request) {
    let from = format!("<sip:{user}@wa.meta.vc>;tag=from-meta");
    move |invite| invite.headers.set("From", from)
}

#[test]
fn without_a_rule_that_fits_a_call_goes_where_its_number_says() {
    assert_eq!(goes_to(two_pbxs(Vec::new()), |_| {}), main_100());
    let rules = vec![to_branch(from("55"))];
    assert_eq!(goes_to(two_pbxs(rules), |_| {}), main_100());
}

#[test]
fn a_user_is_sent_on_by_country_whether_known_by_number_or_by_id() {
    let rules = || vec![to_branch(from("55")), to_branch(from("BR"))];
    let branch = (BRANCH.to_owned(), "100".to_owned());
    let told = goes_to(two_pbxs(rules()), calls_as("+5511987654321"));
    assert_eq!(told, branch);
    let told = goes_to(two_pbxs(rules()), calls_as("BR.13491208655302741918"));
    assert_eq!(told, branch);
    let told = goes_to(two_pbxs(rules()), |invite| {
        invite
            .headers
            .set("From", "<sip:anonymous@wa.meta.vc>;tag=m");
        invite.headers.push("X-WA-Meta-User-Country-Code", "br");
    });
    assert_eq!(told, branch, "by its older name too");
    let told = goes_to(two_pbxs(rules()), calls_as("US.13491208655302741918"));
    assert_eq!(told, main_100());
}

#[test]
fn a_button_and_a_link_lead_to_their_extensions() {
    let rules = || {
        vec![
            Rule {
                target: Some("200".into()),
                ..saying("x-wa-meta-cta-payload", "sales*")
            },
            to_branch(Rule {
                target: Some("300".into()),
                ..saying("x-wa-meta-deeplink-payload", "campaign-7")
            }),
        ]
    };
    let payload = |name: &'static str, value: &'static str| {
        move |invite: &mut Request| invite.headers.push(name, value)
    };
    let told = goes_to(
        two_pbxs(rules()),
        payload("x-wa-meta-cta-payload", "sales-1"),
    );
    assert_eq!(told, (MAIN.into(), "200".into()));
    let told = goes_to(two_pbxs(rules()), payload("x-wa-meta-cta-payload", "help"));
    assert_eq!(told, main_100());
    let link = payload("x_wa_meta_deeplink_payload", "campaign-7");
    assert_eq!(
        goes_to(two_pbxs(rules()), link),
        (BRANCH.into(), "300".into())
    );
    let link = payload("x-wa-meta-deeplink-payload", "campaign-77");
    assert_eq!(goes_to(two_pbxs(rules()), link), main_100());
}

#[test]
fn the_next_pbx_of_a_number_gets_the_call_that_the_first_does_not_take() {
    let mut setup = two_pbxs(Vec::new());
    let usual = setup.numbers.get(&BUSINESS.parse().unwrap()).unwrap();
    setup.numbers = Numbers::new([Number {
        pbxs: vec!["main".into(), "branch".into()],
        ..usual.clone()
    }]);
    Arc::make_mut(&mut setup.pbxs[1].0).keying = wabridge::sdp::Keying::Sdes;
    let mut w = World::with(setup);
    w.more = vec![BRANCH];
    let (theirs, first) = w.user_calls();
    assert_eq!(w.got_at, MAIN);
    w.refuses(Pbx, &first, 503);
    let second = w.gets_at(BRANCH, "INVITE");
    let sdp = String::from_utf8(second.body.clone()).unwrap();
    assert!(sdp.contains("RTP/SAVP"), "as this PBX is spoken to: {sdp}");
    w.refuses(Pbx, &second, 486);
    w.is_refused(Meta, &theirs, 486);
    let summary = w.leaves_nothing_behind();
    assert_eq!(summary.pbx, "branch");
    assert_eq!(summary.callee_call_id, second.call_id());
}
