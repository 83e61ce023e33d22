//! What transcoding costs: processor time for a call at different complexities of Opus, delay that the bridge adds, and
//! memory.
//!
//!     cargo bench --bench sound [-- cost | delay | through | memory]
//!
//! Docs: docs/performance.md. Nothing here passes or fails by time.

mod cost;
mod delay;
// Each bench uses its own part of them.
#[allow(dead_code)]
#[path = "../far_ends/mod.rs"]
mod far_ends;
mod memory;
mod speech;
mod through;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|one| one == part);
    println!("{}\n", far_ends::describe_machine());
    if wants("cost") {
        cost::run();
    }
    if wants("delay") {
        delay::run();
    }
    if wants("through") {
        through::run();
    }
    if wants("memory") {
        memory::run();
    }
}

/// The value that so many of a hundred do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}
