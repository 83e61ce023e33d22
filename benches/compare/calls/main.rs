//! Signalling, overload and memory side by side: wabridge and Asterisk 22 as B2BUA on the same calls.
//!
//!     cargo bench --bench compare_calls [-- rate | overload | memory | scale] [--quick]
//!
//! The far ends are one thread on one processor, the program under test has the other. Raw data goes to target/compare.
//! Docs: docs/performance.md. Nothing here passes or fails by time.

mod asterisk;
mod caller;
// Each bench uses its own part of them.
#[allow(dead_code)]
#[path = "../../far_ends/mod.rs"]
mod far_ends;
mod form;
mod limit;
mod load;
mod meta;
mod pbx;
mod report;
mod subject;
mod tally;
mod wire;
mod world;

fn main() {
    println!("{}", far_ends::describe_machine());
    for subject in subject::Subject::all() {
        let limit = limit::find(subject, std::time::Duration::from_secs(4));
        println!("{subject} {limit}");
    }
}
