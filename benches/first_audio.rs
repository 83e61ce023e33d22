//! Time from the 200 to the first sound of the PBX that the WhatsApp user hears: both ways of keying, both directions,
//! over paths of different length, taken in turns.
//!
//!     cargo bench --bench first_audio
//!
//! Each round is a run of `wabridge demo --json`: daemon, PBX and Meta in one process, over sockets, TLS, DTLS and SRTP.
//! Docs: docs/performance.md.

// Each bench uses its own part of them.
#[allow(dead_code)]
mod far_ends;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Runs over each path.
const ROUNDS: usize = 7;
/// Milliseconds that a datagram of media, STUN or DTLS is on its way between Meta and the bridge.
const DELAYS: [u64; 4] = [0, 10, 40, 100];

/// Direction and keying of a call, and the delay of its path.
type Kind = (u64, String, String);

fn main() {
    println!("{}", far_ends::describe_machine());
    println!("Milliseconds from Meta's side of the 200 to the first sound, medians of {ROUNDS}");
    let mut times: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for delay in DELAYS {
            for call in demo(delay) {
                let word = |key: &str| call[key].as_str().expect("a word").to_owned();
                let heard = &call["heard_by_user"];
                assert_eq!(heard["first_packet"], 0, "the first word is lost: {call}");
                let first = heard["first_audio_ms"].as_f64().expect("it is heard");
                let kind = (delay, word("direction"), word("keying"));
                times.entry(kind).or_default().push(first);
            }
        }
    }
    println!(
        "{:>10} {:>20} {:>8} {:>8} {:>8} {:>8}",
        "delay, ms", "direction", "keying", "median", "least", "most"
    );
    for ((delay, direction, keying), mut times) in times {
        times.sort_by(f64::total_cmp);
        let (least, most) = (times[0], times[times.len() - 1]);
        let median = times[times.len() / 2];
        println!("{delay:>10} {direction:>20} {keying:>8} {median:>8.1} {least:>8.1} {most:>8.1}");
    }
}

/// One call of each kind, one after the other.
fn demo(delay: u64) -> Vec<Value> {
    let run = Command::new(env!("CARGO_BIN_EXE_wabridge"))
        .args(["demo", "--json", "--seconds", "2", "--path-delay"])
        .arg(delay.to_string())
        .output()
        .expect("the demo runs");
    let story: Value = serde_json::from_slice(&run.stdout).expect("the demo prints JSON");
    assert_eq!(story["ok"], true, "{story}");
    story["calls"].as_array().expect("calls").clone()
}
