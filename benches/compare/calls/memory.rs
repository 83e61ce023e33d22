//! Memory for calls that are up: signalling of both legs, and media sessions that have carried SRTP; and after they end.

use std::time::Duration;

use super::Scale;
use super::report::Csv;
use super::subject::{Subject, Trial};
use super::voices::Voices;
use crate::far_ends::process::Memory;

/// A second of speech each way in every call, so that everything a session ever builds is built.
const PACKETS: u32 = 50;
/// At most so many packets of all calls in a second: what any of the programs carries.
const EACH_SECOND: f64 = 6_000.0;
/// Calls come up and end at this rate.
const RATE: f64 = 60.0;
/// After that long no transaction of the calls is remembered (64 × T1), and the ports of ended ones have rested.
const UNTIL_FORGOTTEN: Duration = Duration::from_secs(36);

/// Measures and prints.
pub fn run(scale: Scale) {
    let mut csv = Csv::new(
        "memory.csv",
        "program,round,step,calls,resident_kb,anonymous_kb,kb_per_call",
    );
    println!("Memory of the process in kB");
    println!(
        "{:>10} {:>6} {:>24} {:>10} {:>10} {:>10} {:>14}",
        "", "round", "", "calls up", "resident", "anonymous", "kB for a call"
    );
    for subject in Subject::all() {
        measure(subject, scale, &mut csv);
    }
    println!();
}

fn measure(subject: Subject, scale: Scale, csv: &mut Csv) {
    let mut trial = subject.start();
    trial.world.rest(UNTIL_FORGOTTEN);
    let idle = trial.process().memory();
    let mut book = Book { subject, idle, csv };
    book.enter(&trial, 0, "idle");
    let rounds = [(1, &[100, 1_000, 2_000][..]), (2, &[1_000]), (3, &[1_000])];
    for (round, steps) in rounds.into_iter().take(scale.rounds()) {
        for calls in steps {
            let all = trial.world.keep(*calls, RATE);
            let voices = Voices::of(&trial.world);
            voices.expect("sockets").talk(PACKETS, EACH_SECOND);
            book.enter(&trial, round, "up");
            if !all {
                println!("{subject} does not take {calls}");
                break;
            }
        }
        trial.world.rest(UNTIL_FORGOTTEN);
        book.enter(&trial, round, "the same after 36 s");
        if !trial.world.hang_up_kept(RATE) {
            println!("{subject} has lost the end of some calls");
        }
        trial.world.rest(UNTIL_FORGOTTEN);
        book.enter(&trial, round, "36 s after their end");
    }
}

/// Where the figures of one program are written down.
struct Book<'a> {
    subject: Subject,
    idle: Memory,
    csv: &'a mut Csv,
}

impl Book<'_> {
    fn enter(&mut self, trial: &Trial, round: usize, step: &str) {
        let (memory, calls) = (trial.process().memory(), trial.world.kept().len());
        let Memory {
            resident,
            anonymous,
        } = memory;
        // What the first round has left behind is used again by the next.
        let each = match (round, calls) {
            (1, 1..) => (anonymous - self.idle.anonymous) as f64 / calls as f64,
            _ => f64::NAN,
        };
        let subject = self.subject;
        println!(
            "{subject:>10} {round:>6} {step:>24} {calls:>10} {resident:>10} {anonymous:>10} {each:>14.1}"
        );
        self.csv.row(&[
            &subject, &round, &step, &calls, &resident, &anonymous, &each,
        ]);
    }
}
