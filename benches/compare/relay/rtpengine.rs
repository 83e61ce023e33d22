//! Debian's rtpengine in user space, told of the calls by its ng protocol, in JSON.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wabridge::media::sdes::Crypto;

use crate::far_ends::messages::METAS_KEY;
use crate::process::Process;
use crate::sdp::{description, key_in, opus_in, port_in};
use crate::speech::OPUS;
use crate::under_test::{Call, Place, UnderTest, log};

const NG: u16 = 2_223;

/// Starts it, with Meta's end offering SRTP and the PBX answering with RTP in every call.
pub fn start(cores: &str, workers: u16, place: &Place, calls: usize) -> UnderTest {
    let mut words: Vec<String> = [
        "--foreground",
        "--log-stderr",
        "--log-level=4",
        // No kernel module, no kernel's tables.
        "--table=-1",
        "--config-file=none",
        "--port-min=20000",
        "--port-max=49999",
    ]
    .map(str::to_owned)
    .into();
    words.push(format!("--num-threads={workers}"));
    words.push(format!("--interface={}", place.relay));
    words.push(format!("--listen-ng={}:{NG}", place.relay));
    let program = Path::new("tests/peers/rtpengine");
    let mut process = Process::start(cores, program, &words, &log("rtpengine")).expect("it starts");
    let ng = Ng::connect(place, &mut process);
    let calls = (0..calls).map(|number| call(&ng, place, number));
    UnderTest {
        calls: calls.collect(),
        process,
        folder: None,
    }
}

fn call(ng: &Ng, place: &Place, number: usize) -> Call {
    let names = json!({ "call-id": format!("compare-{number}"), "from-tag": "meta" });
    let ask = |command: &str, more: Value| {
        let mut words = names.clone();
        for part in [json!({ "command": command }), more] {
            let part = part.as_object().expect("it is one").clone();
            words.as_object_mut().expect("it is one").extend(part);
        }
        let said = ng.ask(&words);
        assert_eq!(said["result"], "ok", "rtpengine refuses {command}: {said}");
        said["sdp"].as_str().expect("an SDP").to_owned()
    };
    let [meta, pbx] = place.ends;
    let offered = ask(
        "offer",
        json!({
            "sdp": description(meta, Some(METAS_KEY), OPUS), "transport-protocol": "RTP/AVP", "ICE": "remove",
            "rtcp-mux": ["demux"],
        }),
    );
    let answered = ask(
        "answer",
        json!({ "sdp": description(pbx, None, OPUS), "to-tag": "pbx" }),
    );
    let key = key_in(&answered).expect("a=crypto in rtpengine's answer to Meta");
    Call {
        ports: [port_in(&answered), port_in(&offered)],
        pbxs_opus: opus_in(&offered),
        keys: [Some(Crypto::parse(key).expect("a key").key), None],
    }
}

/// The door by which it is told of calls.
struct Ng {
    socket: UdpSocket,
    /// Commands so far.
    asked: Cell<u64>,
}

impl Ng {
    fn connect(place: &Place, process: &mut Process) -> Ng {
        let socket = UdpSocket::bind((place.ends[0].ip(), 0)).expect("a free port");
        let at = SocketAddr::new(place.relay, NG);
        socket.connect(at).expect("loopback");
        let timeout = |time| socket.set_read_timeout(Some(time)).expect("a socket");
        timeout(Duration::from_millis(100));
        let patience = Instant::now() + Duration::from_secs(15);
        let ng = Ng {
            socket: socket.try_clone().expect("a descriptor"),
            asked: Cell::new(0),
        };
        while ng.try_ask(&json!({ "command": "ping" })).is_none() {
            let gone = process.has_ended() || Instant::now() > patience;
            assert!(
                !gone,
                "rtpengine does not answer: {}",
                log("rtpengine").display()
            );
        }
        timeout(Duration::from_secs(5));
        ng
    }

    fn ask(&self, words: &Value) -> Value {
        self.try_ask(words).expect("rtpengine answers")
    }

    fn try_ask(&self, words: &Value) -> Option<Value> {
        // It answers a cookie that it knows with what it said before.
        let cookie = self.asked.get().to_string();
        self.asked.set(self.asked.get() + 1);
        self.socket
            .send(format!("{cookie} {words}").as_bytes())
            .ok()?;
        let mut buffer = [0; 8_192];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            let said = std::str::from_utf8(&buffer[..length]).ok()?;
            let (to, said) = said.split_once(' ')?;
            if to == cookie {
                return serde_json::from_str(said).ok();
            }
        }
    }
}
