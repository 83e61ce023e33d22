//! RFC 4475's ideas, Meta's own messages, and everything else that once broke a SIP parser: what `index.json` says
//! of the message layer is what happens. What a whole bridge answers is in `tests/flows.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wabridge::sip::framing::{Frame, Framer};
use wabridge::sip::message::Common;
use wabridge::sip::{Limits, Message, build};

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(path)
}

fn index() -> Vec<Value> {
    let text = fs::read_to_string(data("torture/index.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["messages"]
        .as_array()
        .unwrap()
        .clone()
}

/// What the message layer makes of bytes on a stream: messages, or the status it refuses them with.
fn on_a_stream(bytes: &[u8]) -> Vec<Result<Message, Option<u16>>> {
    let limits = Limits::default();
    let mut framer = Framer::new(limits);
    let mut read = Vec::new();
    for piece in bytes.chunks(1400) {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    read.push(Message::parse(&bytes, &limits).map_err(|bad| bad.status));
                }
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => break,
                Err(lost) => {
                    read.push(Err(Some(lost.status)));
                    return read;
                }
            }
        }
    }
    read
}

#[test]
fn every_valid_message_is_understood_and_prints_what_it_said() {
    for case in index().iter().filter(|c| c["valid"] == true) {
        let file = case["file"].as_str().unwrap();
        let bytes = fs::read(data("torture").join(file)).unwrap();
        let read = on_a_stream(&bytes);
        assert_eq!(
            read.len(),
            if file.starts_with("v08") { 2 } else { 1 },
            "{file}"
        );
        for message in read {
            let message =
                message.unwrap_or_else(|status| panic!("{file} was refused with {status:?}"));
            let again = Message::parse(&message.to_bytes(), &Limits::default()).unwrap();
            assert_eq!(again, message, "{file} changed on its way through");
        }
    }
}

#[test]
fn every_invalid_message_is_refused_as_the_index_says_or_left_to_the_layers_above() {
    for case in index().iter().filter(|c| c["valid"] == false) {
        let file = case["file"].as_str().unwrap();
        let bytes = fs::read(data("torture").join(file)).unwrap();
        let allowed: Vec<u64> = case["expect"]["status"]
            .as_array()
            .map_or(Vec::new(), |statuses| {
                statuses.iter().filter_map(Value::as_u64).collect()
            });
        let action = case["expect"]["action"].as_str().unwrap();
        let read = on_a_stream(&bytes);
        match read.first() {
            // More octets are awaited; the idle timer of the connection ends that.
            None => assert!(
                ["close-or-400", "close"].contains(&action),
                "{file} still waits"
            ),
            Some(Ok(Message::Request(_))) => {
                let later = file.contains("sdp") || allowed.iter().any(|s| *s != 400);
                assert!(later, "{file} was accepted");
            }
            Some(Ok(Message::Response(_))) => panic!("{file} was accepted"),
            Some(Err(Some(status))) if action == "drop" => assert_eq!(*status, 400, "{file}"),
            Some(Err(Some(status))) if action == "close" => assert!(*status >= 400, "{file}"),
            Some(Err(Some(status))) => {
                assert!(allowed.contains(&u64::from(*status)), "{file}: {status}")
            }
            Some(Err(None)) => assert_eq!(action, "drop", "{file} was dropped"),
        }
    }
}

#[test]
fn every_documented_message_of_meta_is_understood() {
    let mut count = 0;
    for folder in ["meta/sip", "meta/dialogs"] {
        let mut folders = vec![data(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let read = on_a_stream(&fs::read(&path).unwrap());
                assert_eq!(read.len(), 1, "{}", path.display());
                let message = read[0]
                    .as_ref()
                    .unwrap_or_else(|s| panic!("{} refused: {s:?}", path.display()));
                if let Message::Request(request) = message {
                    let response = build::response(request, 200, Some("t"));
                    assert!(
                        response.headers.all("Via").eq(request.headers.all("Via")),
                        "{}",
                        path.display()
                    );
                    assert_eq!(response.call_id(), request.call_id());
                }
                count += 1;
            }
        }
    }
    assert!(count > 90, "only {count} messages were found");
}

mod noise {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_octets_make_the_message_layer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = on_a_stream(&bytes);
            let _ = Message::parse(&bytes, &Limits::default());
        }

        #[test]
        fn no_damage_to_a_real_message_makes_it_panic(
            at in 0usize..1500, with in any::<u8>(), cut in 0usize..1500, file in 0usize..40,
        ) {
            let cases = index();
            let name = cases[file % cases.len()]["file"].as_str().unwrap().to_owned();
            let mut bytes = fs::read(data("torture").join(name)).unwrap();
            let len = bytes.len();
            bytes[at % len] = with;
            bytes.remove(cut % len);
            if let Ok(message) = Message::parse(&bytes, &Limits::default()) {
                let printed = message.to_bytes();
                let again = Message::parse(&printed, &Limits::default());
                prop_assert!(again.is_ok(), "printed what it cannot read: {}", String::from_utf8_lossy(&printed));
            }
        }
    }
}
