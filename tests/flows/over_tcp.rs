//! A PBX that speaks TCP: its connection is the way back.

use wabridge::call::Event;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::peer::pbx;
use wabridge::policy::{Reinvite, Way};
use wabridge::sip::message::Common;
use wabridge::sip::transport::{ConnectionId, Flow, Protocol};
use wabridge::sip::{Request, build};

use crate::world::*;

fn over_tcp() -> (World, Flow) {
    let hop = pbx::hop("192.0.2.7", 5060, Protocol::Tcp);
    let mut w = World::with(with_pbx(|pbx| pbx.ways = vec![Way::only(hop.clone())]));
    w.pbx_at = hop;
    let mut flow = World::flow(Pbx);
    flow.protocol = Protocol::Tcp;
    flow.remote = "192.0.2.7:49152".parse().unwrap();
    flow.connection = Some(ConnectionId(5));
    (w, flow)
}

/// The PBX calls over its connection, and the user answers.
fn called(w: &mut World, flow: Flow, contact: &str) -> Up {
    let mut theirs = w.pbx_invite(USER);
    theirs.headers.set("Contact", contact);
    called_by(w, flow, theirs)
}

fn called_by(w: &mut World, flow: Flow, theirs: Request) -> Up {
    w.sends_over(flow, theirs.clone());
    w.gets(Pbx, 100);
    let first = w.gets_request(Meta, "INVITE");
    w.challenges(&first, 407, CHALLENGE);
    let ours = w.gets_request(Meta, "INVITE");
    let their_ok = metas_ok(&ours);
    let up = w.answers(Pbx, theirs, ours, their_ok);
    let ack = w.ack(&up);
    w.sends_over(flow, ack);
    up
}

/// The user hangs up, and Meta has our 200 to that.
fn user_hangs_up(w: &mut World, up: &Up) {
    let bye = w.within(up, Meta, "BYE");
    w.sends(Meta, bye);
    w.gets(Meta, 200);
}

#[test]
fn a_pbx_behind_a_firewall_is_hung_up_over_the_connection_that_it_called_on() {
    let (mut w, flow) = over_tcp();
    let up = called(&mut w, flow, "<sip:100@10.0.0.1:5060;transport=tcp>");
    assert_eq!(
        up.our_ok.contact().unwrap().uri.to_string(),
        format!("sip:{USER}@192.0.2.1:5070;transport=tcp")
    );
    user_hangs_up(&mut w, &up);
    // World refuses whatever goes to another place than the flow or the PBX's own address.
    let bye = w.gets_request(Pbx, "BYE");
    assert_eq!(bye.uri.to_string(), "sip:100@10.0.0.1:5060;transport=tcp");
    w.sends_over(flow, build::response(&bye, 200, None));
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_whose_connection_was_closed_in_a_long_call_is_hung_up_at_its_contact() {
    let (mut w, flow) = over_tcp();
    let up = called(&mut w, flow, "<sip:100@192.0.2.7:5060;transport=tcp>");
    w.gone = flow.connection;
    user_hangs_up(&mut w, &up);
    let bye = w.gets_request(Pbx, "BYE");
    assert_eq!(bye.uri.to_string(), "sip:100@192.0.2.7:5060;transport=tcp");
    assert!(reason(&bye).starts_with("Q.850;cause=16"));
    let mut fresh = flow;
    fresh.remote = "192.0.2.7:5060".parse().unwrap();
    fresh.connection = Some(ConnectionId(6));
    w.sends_over(fresh, build::response(&bye, 200, None));
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_that_is_gone_altogether_holds_no_call_up() {
    let (mut w, flow) = over_tcp();
    let up = called(&mut w, flow, "<sip:100@192.0.2.7:5060;transport=tcp>");
    w.unreachable = true;
    user_hangs_up(&mut w, &up);
    w.gets_nothing(Pbx);
    w.leaves_nothing_behind();
}

#[test]
fn over_tcp_nothing_is_repeated_but_our_200() {
    let (mut w, flow) = over_tcp();
    let invite = w.metas_invite();
    let theirs = w.user_authenticates(invite);
    w.gets(Meta, 100);
    let ours = w.gets_request(Pbx, "INVITE");
    assert_eq!(ours.uri.to_string(), "sip:100@192.0.2.7;transport=tcp");
    assert_eq!(ours.via().unwrap().transport, "TCP");
    w.wait(secs(20));
    w.is_quiet();
    w.sends_over(flow, respond(&ours, 486));
    w.gets(Pbx, "ACK");
    let told = w.is_refused(Meta, &theirs, 486);
    assert!(reason(&told).starts_with("Q.850;cause=17"));
    w.leaves_nothing_behind();
}

#[test]
fn a_pbx_whose_connection_was_closed_is_refreshed_at_its_contact() {
    let (mut w, flow) = over_tcp();
    let mut setup = with_pbx(|pbx| pbx.reinvite = Reinvite::Local);
    std::sync::Arc::make_mut(&mut setup.pbxs[0].0).ways = vec![Way::only(w.pbx_at.clone())];
    w.handle(Event::Reload(setup.into()));
    let mut theirs = w.pbx_invite(USER);
    let contact = "<sip:100@192.0.2.7:5060;transport=tcp>";
    theirs.headers.set("Contact", contact);
    theirs.headers.push("Supported", "timer");
    theirs.headers.push("Session-Expires", "120;refresher=uas");
    theirs.headers.push("Allow", "UPDATE");
    let up = called_by(&mut w, flow, theirs);
    w.gone = flow.connection;
    w.wait(secs(65));
    let update = w.gets_request(Pbx, "UPDATE");
    assert_eq!(update.cseq().unwrap().number, 2, "the first was in vain");
    let mut ok = respond(&update, 200);
    ok.headers.push("Session-Expires", "120;refresher=uac");
    let mut fresh = flow;
    fresh.remote = "192.0.2.7:5060".parse().unwrap();
    fresh.connection = Some(ConnectionId(6));
    w.sends_over(fresh, ok);
    user_hangs_up(&mut w, &up);
    let bye = w.gets_request(Pbx, "BYE");
    w.sends_over(fresh, build::response(&bye, 200, None));
    w.leaves_nothing_behind();
}

#[test]
fn a_call_that_was_transferred_leaves_the_connection_that_the_pbx_called_on() {
    let (mut w, flow) = over_tcp();
    let mut setup = with_pbx(|pbx| pbx.reinvite = Reinvite::Local);
    std::sync::Arc::make_mut(&mut setup.pbxs[0].0).ways = vec![Way::only(w.pbx_at.clone())];
    w.handle(Event::Reload(setup.into()));
    // Where the first leg is, nobody else can be reached.
    let up = called(&mut w, flow, "<sip:100@10.0.0.1:5060;transport=tcp>");
    let mut refer = w.within(&up, Pbx, "REFER");
    refer.headers.push("Refer-To", "<sip:200@192.0.2.7>");
    refer.headers.push("Refer-Sub", "false");
    w.sends_over(flow, refer);
    w.gets(Pbx, 202);
    let invite = w.gets_request(Pbx, "INVITE");
    let mut fresh = flow;
    fresh.remote = "192.0.2.7:5060".parse().unwrap();
    fresh.connection = Some(ConnectionId(6));
    let mut ok = pbx_ok(&invite);
    ok.headers
        .set("Contact", "<sip:200@192.0.2.7:5060;transport=tcp>");
    w.sends_over(fresh, ok);
    let ack = w.gets_request(Pbx, "ACK");
    assert_eq!(ack.uri.to_string(), "sip:200@192.0.2.7:5060;transport=tcp");
    let bye = w.within(&up, Pbx, "BYE");
    w.sends_over(flow, bye);
    w.gets(Pbx, 200);
    w.gone = flow.connection;
    user_hangs_up(&mut w, &up);
    let bye = w.gets_request(Pbx, "BYE");
    assert_eq!(bye.call_id(), invite.call_id());
    w.sends_over(fresh, build::response(&bye, 200, None));
    w.leaves_nothing_behind();
}
