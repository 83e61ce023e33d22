//! Who is shown to whom, and the ways that Meta's proxies must be spoken to.

use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::message::Common;
use wabridge::sip::{Request, Uri};

use crate::world::*;

const METAS_ROUTES: [&str; 2] = [
    "<sip:wa.meta.vc;transport=tls;lr>",
    "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>",
];

#[test]
fn our_invite_to_meta_has_the_documented_shape() {
    let mut w = World::new();
    let (_, ours) = w.business_calls();
    assert_eq!(
        ours.uri.to_string(),
        format!("sip:{USER}@wa.meta.vc;transport=tls")
    );
    let from = ours.from().unwrap();
    assert_eq!(
        from.uri.to_string(),
        format!("sip:{BUSINESS}@meta-voip.example.com")
    );
    assert!(from.display.is_none());
    assert_eq!(
        ours.headers.get("To"),
        Some(format!("<sip:{USER}@wa.meta.vc>").as_str())
    );
    assert_eq!(
        ours.headers.get("Contact"),
        Some(format!("<sip:{BUSINESS}@meta-voip.example.com:5061;transport=tls>").as_str())
    );
    assert_eq!(ours.headers.get("Max-Forwards"), Some("69"));
    assert!(!ours.call_id().contains("from-the-pbx"));
}

#[test]
fn requests_to_metas_callee_carry_its_whole_route_set_and_contact() {
    let mut w = World::new();
    let up = w.business_talks();
    let bye = w.hangs_up(&up, Pbx);
    assert!(bye.headers.all("Route").eq(METAS_ROUTES));
    assert_eq!(bye.uri, up.their_ok.contact().unwrap().uri);
    assert_eq!(bye.headers.get("To"), up.their_ok.headers.get("To"));
    assert_eq!(bye.headers.get("From"), up.ours.headers.get("From"));
    assert_eq!(
        bye.cseq().unwrap().number,
        up.ours.cseq().unwrap().number + 1
    );
    w.leaves_nothing_behind();
}

#[test]
fn our_200_to_meta_returns_vias_and_record_routes_as_they_came() {
    let mut w = World::new();
    let up = w.user_talks();
    let ok = &up.our_ok;
    assert!(ok.headers.all("Record-Route").eq(METAS_ROUTES));
    assert!(
        ok.headers
            .all("Via")
            .skip(1)
            .eq(up.theirs.headers.all("Via").skip(1))
    );
    assert_eq!(ok.headers.all("Via").count(), 3);
    assert_eq!(
        ok.headers.get("Contact"),
        Some(format!("<sip:{BUSINESS}@meta-voip.example.com:5061;transport=tls>").as_str())
    );
    assert_eq!(ok.call_id(), up.theirs.call_id());
    let bye = w.hangs_up(&up, Pbx);
    assert!(bye.headers.all("Route").eq(METAS_ROUTES));
    assert_eq!(bye.uri, up.theirs.contact().unwrap().uri);
    assert_eq!(bye.headers.get("To"), up.theirs.headers.get("From"));
    w.leaves_nothing_behind();
}

#[test]
fn a_route_in_metas_invite_is_ignored() {
    let mut w = World::new();
    let mut invite = w.metas_invite();
    invite.headers.push(
        "Route",
        "<sip:onevc-sip-proxy-dev.fbinfra.net:8191;transport=tls;lr>",
    );
    let (_, ours) = w.user_calls_with(invite);
    assert_eq!(ours.headers.get("Route"), None);
}

#[test]
fn the_pbx_sees_number_name_and_target() {
    for (from, shown) in [
        (
            "\"12195550714\" <sip:+12195550714@wa.meta.vc>;tag=a",
            "<sip:+12195550714@192.0.2.1>",
        ),
        (
            "\"Zoë \\\"Z\\\" \\\\ 😀\" <sip:+12195550714@wa.meta.vc>;tag=a",
            "\"Zoë \\\"Z\\\" \\\\ 😀\" <sip:+12195550714@192.0.2.1>",
        ),
        (
            "\"x\u{7}<sip:evil@host>;y\" <sip:+12195550714@wa.meta.vc>;tag=a",
            "\"x<sip:evil@host>;y\" <sip:+12195550714@192.0.2.1>",
        ),
        (
            "\"US.13491208655302741918\" <sip:US.13491208655302741918@wa.meta.vc>;tag=a",
            "\"US.13491208655302741918\" <sip:US.13491208655302741918@192.0.2.1>",
        ),
        ("<sip:wa.meta.vc>;tag=a", "<sip:anonymous@192.0.2.1>"),
    ] {
        let mut w = World::new();
        let mut invite = w.metas_invite();
        invite.headers.set("From", from);
        let (_, ours) = w.user_calls_with(invite);
        let given = ours.headers.get("From").unwrap();
        assert_eq!(given.rsplit_once(";tag=").unwrap().0, shown);
        assert_eq!(ours.uri.to_string(), "sip:100@192.0.2.7");
        assert_eq!(ours.headers.get("Max-Forwards"), Some("68"));
        assert!(!ours.call_id().contains("wacid"));
    }
}

#[test]
fn metas_headers_reach_the_pbx_under_one_name_each() {
    let mut w = World::new();
    let mut invite = w.metas_invite();
    for (name, value) in [
        ("X-WA-Meta-User-ID", "US.1"),
        ("x-wa_meta-parent-user-id", "US.ENT.2"),
        ("x-wa-meta-user-name", "zoe"),
        ("x-wa-meta-username", "second"),
        ("x-wa-meta-user-country-code", "US"),
        ("x-wa-meta-cta-payload", "a\u{1}b"),
        ("x-wa-meta-something-new", "1"),
        ("X-FB-External-Domain", "wa.meta.vc"),
    ] {
        invite.headers.push(name, value);
    }
    let (theirs, ours) = w.user_calls_with(invite);
    for (name, value) in [
        ("x-wa-meta-user-id", "US.1"),
        ("x-wa-meta-parent-user-id", "US.ENT.2"),
        ("x-wa-meta-username", "zoe"),
        ("x-wa-meta-country-code", "US"),
        ("x-wa-meta-cta-payload", "ab"),
        ("x-wa-meta-something-new", "1"),
    ] {
        assert!(ours.headers.all(name).eq([value]), "{name}");
    }
    let wacid = theirs.headers.get("x-wa-meta-wacid");
    assert!(wacid.is_some());
    assert_eq!(ours.headers.get("x-wa-meta-wacid"), wacid);
    assert_eq!(ours.headers.get("X-FB-External-Domain"), None);
    assert_eq!(ours.headers.get("Proxy-Authorization"), None);
}

#[test]
fn the_pbx_learns_from_metas_200_and_bye_what_they_say_of_the_user() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    let mut ok = metas_ok(&ours);
    ok.headers.push("X-Wa-Meta-User-Id", "US.1");
    let up = w.answers(Pbx, theirs, ours, ok);
    assert_eq!(up.our_ok.headers.get("x-wa-meta-user-id"), Some("US.1"));
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    let mut bye = w.within(&up, Meta, "BYE");
    bye.headers.push("x-wa-meta-call-duration", "61");
    bye.headers.push("x-wa_meta-parent-user-id", "US.ENT.2");
    bye.headers.push("Record-Route", METAS_ROUTES[0]);
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    let bye = w.agrees_to(Pbx, "BYE");
    assert_eq!(bye.headers.get("x-wa-meta-call-duration"), Some("61"));
    assert_eq!(
        bye.headers.get("x-wa-meta-parent-user-id"),
        Some("US.ENT.2")
    );
    assert_eq!(bye.headers.get("Record-Route"), None);
    w.leaves_nothing_behind();
}

#[test]
fn what_a_pbx_writes_in_metas_name_never_reaches_meta() {
    let mut w = World::new();
    let mut invite = w.pbx_invite(USER);
    for (name, value) in [
        ("x-wa-meta-user-id", "forged"),
        ("Supported", "timer, 100rel"),
        ("Session-Expires", "1800"),
        ("P-Asserted-Identity", "<sip:+4930123456@192.0.2.7>"),
        ("Diversion", "<sip:1@2>"),
    ] {
        invite.headers.push(name, value);
    }
    w.sends(Pbx, invite);
    w.gets(Pbx, 100);
    // World looks at every message to Meta.
    let ours = w.gets_request(Meta, "INVITE");
    assert!(
        !String::from_utf8(ours.to_bytes())
            .unwrap()
            .contains("forged")
    );
}

/// What an INVITE of the PBX, changed like this, becomes.
#[track_caller]
fn dialled(change: impl FnOnce(&mut Request)) -> Request {
    let mut settings = setup();
    let second = wabridge::policy::Number {
        number: "+493012345678".parse().unwrap(),
        password: wabridge::secret::Secret::new("other"),
        hostname: "second.example.com".into(),
        target: None,
        pbxs: vec!["main".into()],
        keying: Default::default(),
        additional_codecs: Vec::new(),
    };
    let foreign = wabridge::policy::Number {
        number: "+442079460958".parse().unwrap(),
        pbxs: vec!["branch".into()],
        ..second.clone()
    };
    let first = settings
        .numbers
        .get(&BUSINESS.parse().unwrap())
        .unwrap()
        .clone();
    settings.numbers = wabridge::policy::Numbers::new([first, second, foreign]);
    let mut pbx = (*settings.pbxs[0].0).clone();
    pbx.dialling.country_code = Some("49".parse().unwrap());
    settings.pbxs[0].0 = pbx.into();
    let mut w = World::with(settings);
    w.any_hostname = true;
    let mut invite = w.pbx_invite(USER);
    change(&mut invite);
    w.sends(Pbx, invite);
    w.gets(Pbx, 100);
    w.gets_request(Meta, "INVITE")
}

#[test]
fn the_business_number_is_the_one_that_the_pbx_claims_if_it_is_its_own() {
    let from = |invite: &Request| invite.from().unwrap().uri.to_string();
    let default = "sip:+12145551869@meta-voip.example.com";
    let second = "sip:+493012345678@second.example.com";
    for (name, value, expected) in [
        ("From", "<sip:100@192.0.2.7>;tag=a", default),
        ("From", "<sip:+493012345678@192.0.2.7>;tag=a", second),
        ("From", "<sip:03012345678@192.0.2.7>;tag=a", second),
        ("From", "<sip:+442079460958@192.0.2.7>;tag=a", default),
        (
            "P-Asserted-Identity",
            "<sip:+493012345678@192.0.2.7>",
            second,
        ),
        ("P-Asserted-Identity", "<tel:+49-30-12345678>", second),
        (
            "P-Asserted-Identity",
            "<sip:+442079460958@192.0.2.7>",
            default,
        ),
    ] {
        let ours = dialled(|invite| invite.headers.set(name, value));
        assert_eq!(from(&ours), expected, "{name}: {value}");
    }
}

#[test]
fn what_is_dialled_at_the_pbx_becomes_a_full_number_or_stays_a_user_id() {
    for (user, expected) in [
        ("+12195550714", "+12195550714"),
        ("%2B12195550714", "+12195550714"),
        ("0012195550714", "+12195550714"),
        ("12195550714", "+12195550714"),
        ("030901820", "+4930901820"),
        ("US.13491208655302741918", "US.13491208655302741918"),
    ] {
        let uri = format!("sip:{user}@192.0.2.1:5070");
        let ours = dialled(|invite| invite.uri = Uri::parse(&uri).unwrap());
        assert_eq!(
            ours.uri.to_string(),
            format!("sip:{expected}@wa.meta.vc;transport=tls"),
            "{user}"
        );
    }
    let ours = dialled(|invite| invite.uri = Uri::parse("tel:+12195550714").unwrap());
    assert_eq!(
        ours.uri.to_string(),
        "sip:+12195550714@wa.meta.vc;transport=tls"
    );
}

#[test]
fn what_cannot_be_dialled_is_not_found() {
    for user in ["100", "operator", "0012", "US.%00"] {
        let mut w = World::new();
        let mut invite = w.pbx_invite(USER);
        invite.uri = Uri::parse(&format!("sip:{user}@192.0.2.1")).unwrap();
        w.sends(Pbx, invite.clone());
        w.is_refused(Pbx, &invite, 404);
        w.is_left_empty();
    }
}

#[test]
fn a_pbx_without_a_number_of_its_own_cannot_call() {
    let mut w = World::with(with_pbx(|pbx| pbx.default_number = None));
    let invite = w.pbx_invite(USER);
    w.sends(Pbx, invite.clone());
    let refusal = w.is_refused(Pbx, &invite, 403);
    assert!(
        refusal
            .headers
            .get("Warning")
            .unwrap()
            .contains("default_number")
    );
    w.is_left_empty();
}
