//! Memory of the daemon for calls that are up: signalling of both legs, and media sessions that carry SRTP.
//!
//!     cargo bench --bench memory
//!
//! Docs: docs/performance.md.

// Each bench uses its own part of them.
#[allow(dead_code)]
mod far_ends;

use std::thread::sleep;
use std::time::Duration;

use far_ends::daemon::Daemon;
use far_ends::ends::{FarEnds, Up};
use far_ends::messages::METAS_KEY;
use far_ends::process::Memory;
use wabridge::media::rtp::{Header, Seq, Ssrc, Timestamp};
use wabridge::media::sdes::Crypto;
use wabridge::media::srtp::Sender;

/// A second of speech each way in every call, so that everything a session ever builds is built.
const PACKETS: u16 = 50;
/// After that long no transaction of the calls is remembered (64 × T1), and the ports of ended ones have rested.
const UNTIL_FORGOTTEN: Duration = Duration::from_secs(36);

fn main() {
    let daemon = Daemon::start();
    let mut ends = FarEnds::of(&daemon);
    // The first call of all builds what stays.
    let (first, _) = ends.call();
    ends.hang_up(&first);
    sleep(UNTIL_FORGOTTEN);
    println!("{}", far_ends::describe_machine());
    println!("Memory of the daemon process in kB");
    println!(
        "{:>44} {:>10} {:>10} {:>14}",
        "calls up", "resident", "anonymous", "kB for a call"
    );
    let idle = daemon.memory();
    row("0", idle, None);
    for (round, steps) in [(1, &[100, 500, 1_000][..]), (2, &[1_000]), (3, &[1_000])] {
        let mut up: Vec<Up> = Vec::new();
        for &calls in steps {
            while up.len() < calls {
                up.push(ends.call().0);
            }
            talk(&ends, &up);
            // What the first round has left behind is used again by the next.
            let first = (round == 1).then_some((idle, calls));
            row(&format!("{calls}, round {round}"), daemon.memory(), first);
        }
        sleep(UNTIL_FORGOTTEN);
        let settled = format!("the same, transactions forgotten, round {round}");
        row(&settled, daemon.memory(), None);
        for call in &up {
            ends.hang_up(call);
        }
        sleep(UNTIL_FORGOTTEN);
        row(&format!("0 again, round {round}"), daemon.memory(), None);
    }
}

/// Prints a line; with what there was before so many calls, also what each of them takes.
fn row(what: &str, memory: Memory, before: Option<(Memory, usize)>) {
    let each = before.map_or(String::new(), |(idle, calls)| {
        let more = memory.anonymous - idle.anonymous;
        format!("{:.1}", more as f64 / calls as f64)
    });
    println!(
        "{what:>44} {:>10} {:>10} {each:>14}",
        memory.resident, memory.anonymous
    );
}

/// Both sides of every call speak.
fn talk(ends: &FarEnds, up: &[Up]) {
    let crypto = Crypto::parse(METAS_KEY).expect("Meta's sample");
    let mut protect = Sender::new(crypto.profile, &crypto.key).expect("the key fits");
    let (mut plain, mut secured) = (Vec::new(), Vec::new());
    for seq in 0..PACKETS {
        let header = Header {
            marker: seq == 0,
            payload_type: 111,
            seq: Seq(seq),
            timestamp: Timestamp(u32::from(seq) * 960),
            ssrc: Ssrc(1_615_009_994),
        };
        header.write(&[0x48; 60], &mut plain);
        protect
            .protect_rtp(&plain, &mut secured)
            .expect("an RTP packet");
        ends.speak(up, &secured, &plain);
    }
}
