//! Who may call: nobody is heard from an address that is not allowed.

use wabridge::call::Event;
use wabridge::leg::Leg::{self, Meta, Pbx};
use wabridge::sip::transport::{ConnectionId, Flow, Protocol};
use wabridge::sip::{Headers, Malformed, build};

use crate::log;
use crate::world::*;

fn from(leg: Leg, address: &str, protocol: Protocol) -> Flow {
    let mut flow = World::flow(leg);
    flow.remote = address.parse().unwrap();
    flow.protocol = protocol;
    flow.connection = (protocol != Protocol::Udp).then_some(ConnectionId(9));
    flow
}

#[test]
fn a_stranger_is_refused_over_a_stream_and_met_with_silence_over_udp() {
    for (leg, protocol, status) in [
        (Meta, Protocol::Tls, Some(403)),
        (Pbx, Protocol::Tcp, Some(403)),
        (Pbx, Protocol::Tls, Some(403)),
        (Pbx, Protocol::Udp, None),
    ] {
        let mut w = World::new();
        let stranger = from(leg, "203.0.113.9:5060", protocol);
        let invite = match leg {
            Meta => w.metas_invite(),
            Pbx => w.pbx_invite(USER),
        };
        w.sends_over(stranger, invite.clone());
        if let Some(status) = status {
            let refusal = w.gets_response(leg, status);
            w.sends_over(stranger, build::ack(&invite, &refusal));
        }
        w.is_left_empty();
        let acks = u64::from(status.is_some());
        let stats = w.bridge.stats();
        let counted = match leg {
            Meta => [stats.strangers_meta, stats.strangers_pbx],
            Pbx => [stats.strangers_pbx, stats.strangers_meta],
        };
        assert_eq!(counted, [1 + acks, 0]);
        assert!(w.ended.is_empty());
    }
}

#[test]
fn a_pbx_is_no_meta_and_meta_is_no_pbx() {
    let mut w = World::new();
    let invite = w.metas_invite();
    w.sends_over(from(Meta, "192.0.2.7:5060", Protocol::Tls), invite);
    w.gets(Meta, 403);
    let invite = w.pbx_invite(USER);
    w.sends_over(from(Pbx, "31.13.66.215:5060", Protocol::Tcp), invite);
    w.gets(Pbx, 403);
    w.is_left_empty();
}

#[test]
fn a_stranger_who_knows_everything_about_a_call_cannot_end_it() {
    let mut w = World::new();
    let up = w.user_talks();
    for leg in [Meta, Pbx] {
        let bye = w.within(&up, leg, "BYE");
        w.sends_over(from(leg, "203.0.113.9:5061", Protocol::Tls), bye);
        w.gets(leg, 403);
    }
    w.is_quiet();
    assert_eq!(w.bridge.calls(), 1);
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
}

#[test]
fn a_stranger_who_sends_rubbish_loses_the_connection_and_meta_does_not() {
    let rubbish = |flow| Event::Malformed {
        malformed: Box::new(Malformed {
            what: "no SIP".into(),
            status: Some(400),
            headers: Headers::default(),
            octets: Default::default(),
        }),
        flow,
    };
    let mut w = World::new();
    w.handle(rubbish(from(Meta, "203.0.113.9:5060", Protocol::Tls)));
    assert_eq!(w.closed.len(), 1);
    w.handle(rubbish(from(Pbx, "203.0.113.9:5060", Protocol::Udp)));
    w.handle(rubbish(World::flow(Meta)));
    assert_eq!(w.closed.len(), 1);
    // What a stranger sends is a stranger's, whatever it is.
    let stats = w.bridge.stats();
    assert_eq!((stats.malformed_meta, stats.malformed_pbx), (1, 0));
    assert_eq!((stats.strangers_meta, stats.strangers_pbx), (1, 1));
    w.is_left_empty();
}

#[test]
fn an_invite_that_there_is_no_transaction_for_is_counted_and_told_of_once_a_minute() {
    // A call takes one on each leg.
    let mut w = World::with_room(setup(), 2);
    let (theirs, ours) = w.user_calls();
    for _ in 0..3 {
        let another = w.metas_invite();
        w.sends(Meta, another);
        assert_eq!(w.gets(Meta, 503).headers().get("Retry-After"), Some("5"));
    }
    let now = w.bridge.snapshot(w.now);
    assert_eq!((now.transactions, now.max_transactions), (2, 2));
    assert_eq!(now.turned_away[Meta as usize], 3);
    assert_eq!(now.turned_away[Pbx as usize], 0);
    let warnings = log::warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("transactions.max_transactions") && warnings[0].contains("leg=Meta"),
        "{warnings:?}"
    );
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &theirs, 486);
    w.leaves_nothing_behind();
}
