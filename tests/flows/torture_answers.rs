//! Every message of `tests/data/torture`, through the whole bridge: the answer is one that `index.json` names.

use std::fs;
use std::path::Path;

use serde_json::Value;
use wabridge::call::Event;
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::digest::server::Demand;
use wabridge::sip::framing::{Frame, Framer};
use wabridge::sip::{Limits, Malformed, Message};

use crate::world::*;

fn data(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torture");
    fs::read(folder.join(file)).unwrap()
}

fn index() -> Vec<Value> {
    let index: Value = serde_json::from_slice(&data("index.json")).unwrap();
    index["messages"].as_array().unwrap().clone()
}

/// One whole message, as the transport hands it on.
fn arrives(w: &mut World, bytes: &[u8]) {
    match Message::parse(bytes, &Limits::default()) {
        Ok(message) => w.sends(Meta, message),
        Err(malformed) => is_malformed(w, *malformed),
    }
}

fn is_malformed(w: &mut World, malformed: Malformed) {
    let malformed = Box::new(malformed);
    let flow = World::flow(Meta);
    w.echoing = true;
    w.handle(Event::Malformed { malformed, flow });
}

/// Bytes of a stream, in pieces as a network delivers them.
fn streams(w: &mut World, bytes: &[u8]) {
    let limits = Limits::default();
    let mut framer = Framer::new(limits);
    for piece in bytes.chunks(1400) {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => arrives(w, &bytes),
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => break,
                Err(lost) => {
                    let headers = match Message::parse(&lost.head, &limits) {
                        Ok(message) => message.headers().clone(),
                        Err(malformed) => malformed.headers,
                    };
                    return is_malformed(
                        w,
                        Malformed {
                            what: lost.what,
                            status: (!lost.head.starts_with(b"SIP/2.0 ")).then_some(lost.status),
                            headers,
                            octets: lost.head.into(),
                        },
                    );
                }
            }
        }
    }
}

/// The statuses of all that came back to Meta; for each an ACK where it takes one.
fn answers(w: &mut World) -> Vec<u64> {
    let mut statuses = Vec::new();
    while let Some(message) = w.next(Meta) {
        match message {
            Message::Response(response) => statuses.push(response.status.into()),
            Message::Request(request) => panic!("we sent {}", request.method),
        }
    }
    statuses
}

#[test]
fn every_torture_message_has_an_answer_that_the_index_names() {
    for case in index() {
        let file = case["file"].as_str().unwrap();
        let mut w = World::new();
        streams(&mut w, &data(file));
        let answered = answers(&mut w);
        let allowed: Vec<u64> = case["expect"]["status"]
            .as_array()
            .map_or(Vec::new(), |all| {
                all.iter().filter_map(Value::as_u64).collect()
            });
        let first = answered.first();
        match case["expect"]["action"].as_str().unwrap() {
            "answer" if file.starts_with("i33") => assert_eq!(first, None, "no way back"),
            "answer" | "400-and-close" | "any-but-crash" => {
                let first = first.unwrap_or_else(|| panic!("{file} has no answer"));
                assert!(allowed.contains(first), "{file}: {first}");
                assert_eq!(answered.len(), 1, "{file}: {answered:?}");
            }
            "accept-response" | "drop" => assert_eq!(first, None, "{file}"),
            "process-both" => assert_eq!(answered, [407, 200], "{file}"),
            // More octets are awaited; the connection's idle timer ends that.
            "close-or-400" | "any-but-hang" => {
                assert!(first.is_none_or(|s| allowed.contains(s)), "{file}")
            }
            "close" => assert!(first.is_none_or(|s| (400..600).contains(s)), "{file}"),
            other => panic!("{file}: unknown action {other}"),
        }
        w.gets_nothing(Pbx);
        w.wait(secs(120));
        w.gets_nothing(Pbx);
        assert!(w.bridge.is_empty(), "{file} left something behind");
    }
}

#[test]
fn as_a_datagram_a_message_without_its_end_is_refused() {
    for case in index() {
        if case["transport"] == "stream" || case["valid"] == true {
            continue;
        }
        let file = case["file"].as_str().unwrap();
        let mut w = World::new();
        arrives(&mut w, &data(file));
        let answered = answers(&mut w);
        if file.starts_with("i02") {
            // On a stream it waits for octets that never come.
            assert_eq!(answered, [400], "{file}");
        }
        assert!(answered.len() <= 1, "{file}: {answered:?}");
        w.gets_nothing(Pbx);
    }
}

#[test]
fn every_valid_invite_rings_the_pbx_where_no_digest_is_asked_for() {
    let mut rung = 0;
    for case in index().iter().filter(|case| case["valid"] == true) {
        let file = case["file"].as_str().unwrap();
        let mut w = World::with(with_meta(|meta| meta.digest.challenge = Demand::Off));
        streams(&mut w, &data(file));
        let answered = answers(&mut w);
        let rings = answered.first() == Some(&100);
        if rings {
            // What goes out has been printed and read again by the time it is here.
            let ours = w.gets_request(Pbx, "INVITE");
            assert!(ours.headers.get("Record-Route").is_none(), "{file}");
            w.refuses(Pbx, &ours, 486);
            assert_eq!(answers(&mut w), [486], "{file}");
            rung += 1;
        }
        w.gets_nothing(Pbx);
        w.wait(secs(120));
        answers(&mut w);
        assert!(w.bridge.is_empty(), "{file} left something behind");
        assert_eq!(w.ended.len(), usize::from(rings), "{file}");
    }
    assert!(rung >= 14, "only {rung}");
}
