//! The media relay beside others: our engine, rtpengine and Asterisk carry the same calls, SRTP with keys from SDP on one
//! side and RTP on the other, and so does a floor that only receives and sends.
//!
//!     cargo bench --bench compare_relay [-- quick] [sweep | idle | cores] [calls=N,N…] [rounds=N] [relays=NAME,NAME…]
//!
//! ```text
//!             core 0                                  core 1
//!   generator: Meta's media ──SRTP──▶ ┐      ┌──────────────────────┐
//!              of every call ◀─SRTP── ┤      │ the relay under test │
//!              the PBX's media ─RTP─▶ ┤◀────▶│ a process of its own │
//!              of every call ◀──RTP── ┘      └──────────────────────┘
//! ```
//!
//! `benches/compare/run` installs what it needs and draws the results. Docs: docs/performance.md.

mod asterisk;
mod batch;
// Each bench uses its own part of them.
#[allow(dead_code)]
#[path = "../../far_ends/mod.rs"]
mod far_ends;
mod floor_epoll;
mod floor_uring;
mod generator;
mod judge;
mod measure;
mod ours;
mod process;
mod report;
mod rtpengine;
mod sdp;
mod served;
mod speech;
mod sweep;
mod under_test;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::thread::{CpuSet, sched_setaffinity};

use sweep::Plan;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let limit = rlimit::increase_nofile_limit(u64::MAX);
    limit.expect("a process may use what it is allowed");
    match words.split_first() {
        Some((first, rest)) if first == "serve" => served::run(rest),
        _ => compare(&words),
    }
}

fn compare(words: &[String]) {
    println!("{}\n", far_ends::describe_machine());
    stay_on_one_core();
    let quick = words.iter().any(|word| word == "quick");
    let mut plan = if quick { Plan::quick() } else { Plan::full() };
    let mut parts: Vec<&String> = words.iter().filter(|word| *word != "quick").collect();
    parts.retain(|word| !plan.take(word));
    let (plan, wants) = (&plan, |part: &str| {
        parts.is_empty() || parts.iter().any(|one| *one == part)
    });
    let mut raw = report::Raw::create();
    let idle = if wants("idle") {
        sweep::idle(plan)
    } else {
        Vec::new()
    };
    let steps = if wants("sweep") {
        sweep::run(plan, &mut raw)
    } else {
        Vec::new()
    };
    let cores = if wants("cores") {
        sweep::cores(plan, &mut raw)
    } else {
        Vec::new()
    };
    let tables = report::tables(plan, &steps, &idle, &cores);
    println!("{tables}");
    fs::write(Path::new(under_test::OUT).join("relay.md"), tables).expect("it has been written to");
}

/// The generator has a core of its own, and is woken up when it asked to be.
fn stay_on_one_core() {
    let mut own = CpuSet::new();
    own.set(process::CORES[0].parse().expect("a number"));
    sched_setaffinity(None, &own).expect("the machine has two cores");
    // Late, it would measure itself, which a measurement notices; so neither need be allowed. What it starts is not so urgent.
    let own = std::process::id().to_string();
    let urgent = ["--reset-on-fork", "--fifo", "--pid", "1", &own];
    let _ = Command::new("chrt")
        .args(urgent)
        .stderr(Stdio::null())
        .status();
    let _ = fs::write("/proc/self/timerslack_ns", "1000");
}
