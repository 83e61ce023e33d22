//! A WhatsApp user calls a business number.

use wabridge::call::EndedBy;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::media::Codec;
use wabridge::peer::pbx;
use wabridge::policy::Way;
use wabridge::sip::build;
use wabridge::sip::message::Common;
use wabridge::sip::transport::Protocol;

use crate::world::*;

#[test]
fn user_calls_pbx_answers_user_hangs_up() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.sends(Pbx, respond(&ours, 180));
    let ringing = w.gets_response(Meta, 180);
    assert!(
        ringing.body.is_empty(),
        "early media of the PBX is held back"
    );
    w.sends(Pbx, pbx_ok(&ours));
    w.gets(Pbx, "ACK");
    let ok = w.gets_response(Meta, 200);
    assert!(
        ok.headers
            .all("Record-Route")
            .eq(theirs.headers.all("Record-Route"))
    );
    assert_eq!(w.media.lock().unwrap().started, [Pbx, Meta]);
    let ack = w.in_dialog("ACK", theirs.cseq().unwrap().number, &theirs, &ok, true);
    w.sends(Meta, ack);
    w.wait(secs(3));
    w.gets_nothing(Meta);
    let bye = w.in_dialog("BYE", 10_000, &theirs, &ok, true);
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    let bye = w.gets_request(Pbx, "BYE");
    w.sends(Pbx, build::response(&bye, 200, None));
    let summary = w.leaves_nothing_behind();
    assert_eq!(
        (summary.status, summary.ended_by),
        (200, EndedBy::Leg(Meta))
    );
    assert_eq!(summary.talked(), secs(3));
}

#[test]
fn user_calls_and_the_pbx_hangs_up() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    let ok_of_pbx = pbx_ok(&ours);
    w.sends(Pbx, ok_of_pbx.clone());
    w.gets(Pbx, "ACK");
    let ok = w.gets_response(Meta, 200);
    let ack = w.in_dialog("ACK", theirs.cseq().unwrap().number, &theirs, &ok, true);
    w.sends(Meta, ack);
    let bye = w.in_dialog("BYE", 1, &ours, &ok_of_pbx, false);
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    let bye = w.gets_request(Meta, "BYE");
    let routes: Vec<_> = bye.headers.all("Route").collect();
    assert_eq!(
        routes,
        [
            "<sip:wa.meta.vc;transport=tls;lr>",
            "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>"
        ]
    );
    assert_eq!(bye.uri, theirs.contact().unwrap().uri);
    w.sends(Meta, build::response(&bye, 200, None));
    assert_eq!(w.leaves_nothing_behind().ended_by, EndedBy::Leg(Pbx));
}

#[test]
fn nobody_answers_in_time() {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    w.wait(secs(55));
    let refusal = w.gets_response(Meta, 480);
    w.sends(Meta, build::ack(&theirs, &refusal));
    let cancel = w.gets_request(Pbx, "CANCEL");
    w.sends(Pbx, build::response(&cancel, 200, None));
    w.sends(Pbx, respond(&ours, 487));
    w.gets(Pbx, "ACK");
    let summary = w.leaves_nothing_behind();
    assert_eq!((summary.status, summary.ended_by), (480, EndedBy::Bridge));
}

#[test]
fn a_pbx_at_an_ipv6_address_is_called_and_hung_up_there() {
    let hop = pbx::hop("2001:db8::7", 5080, Protocol::Udp);
    let mut w = World::with(with_pbx(|pbx| {
        pbx.ways = vec![Way::only(hop.clone())];
        pbx.our_host = "[2001:db8::1]".into();
    }));
    w.pbx_at = hop;
    let (theirs, ours) = w.user_calls();
    assert_eq!(ours.uri.to_string(), "sip:100@[2001:db8::7]:5080");
    let via = ours.headers.get("Via").unwrap();
    assert!(via.starts_with("SIP/2.0/UDP [2001:db8::1]:5070;"), "{via}");
    assert_eq!(
        ours.headers.get("Contact"),
        Some(format!("<sip:{BUSINESS}@[2001:db8::1]:5070>").as_str())
    );
    let from = ours.from().unwrap().uri.to_string();
    assert_eq!(from, format!("sip:{USER}@[2001:db8::1]"));
    let mut their_ok = pbx_ok(&ours);
    their_ok
        .headers
        .set("Contact", "<sip:100@[2001:db8::7]:5080>");
    // World refuses whatever goes to another place than the PBX's address.
    let up = w.answers(Meta, theirs, ours, their_ok);
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    w.hangs_up(&up, Meta);
    assert_eq!(w.leaves_nothing_behind().status, 200);
}

#[test]
fn a_pbx_gets_the_headers_and_the_codecs_that_are_set_for_it() {
    let mut w = World::with(with_pbx(|pbx| {
        pbx.headers = vec![("X-Tenant".into(), "acme".into())];
        pbx.codecs = vec![Codec::Opus];
    }));
    let (theirs, ours) = w.user_calls();
    assert_eq!(ours.headers.get("X-Tenant"), Some("acme"));
    let offer = String::from_utf8(ours.body.clone()).unwrap();
    assert!(offer.contains("opus/48000/2"), "{offer}");
    assert!(!offer.contains("telephone-event"), "{offer}");
    let up = w.answers(Meta, theirs, ours.clone(), pbx_ok(&ours));
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    w.hangs_up(&up, Meta);
    assert_eq!(w.leaves_nothing_behind().status, 200);
}
