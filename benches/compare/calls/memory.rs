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
        "program,step,calls,resident_kb,anonymous_kb,kb_per_call",
    );
    println!("Memory of the process in kB");
    println!(
        "{:>10} {:>34} {:>10} {:>10} {:>14}",
        "", "calls up", "resident", "anonymous", "kB for a call"
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
    let mut row = |trial: &Trial, step: &str, compared: bool| {
        let (memory, calls) = (trial.process().memory(), trial.world.kept().len());
        let each = (memory.anonymous - idle.anonymous) as f64 / calls as f64;
        let each = if compared { each } else { f64::NAN };
        print(subject, step, memory, each);
        csv.row(&[
            &subject,
            &step,
            &calls,
            &memory.resident,
            &memory.anonymous,
            &each,
        ]);
    };
    row(&trial, "0", false);
    let rounds = [(1, &[100, 1_000, 2_000][..]), (2, &[1_000]), (3, &[1_000])];
    for (round, steps) in &rounds[..scale.rounds()] {
        for calls in *steps {
            let all = trial.world.keep(*calls, RATE);
            let up = trial.world.kept().len();
            let voices = Voices::of(&trial.world);
            voices.expect("sockets").talk(PACKETS, EACH_SECOND);
            // What the first round has left behind is used again by the next.
            row(&trial, &format!("{up}, round {round}"), *round == 1);
            if !all {
                println!("{subject} does not take {calls}");
                break;
            }
        }
        trial.world.rest(UNTIL_FORGOTTEN);
        row(
            &trial,
            &format!("the same after 36 s, round {round}"),
            false,
        );
        if !trial.world.hang_up_kept(RATE) {
            println!("{subject} has lost the end of some calls");
        }
        trial.world.rest(UNTIL_FORGOTTEN);
        row(&trial, &format!("0 again, round {round}"), false);
    }
}

fn print(subject: Subject, step: &str, memory: Memory, each: f64) {
    let each = if each.is_nan() {
        String::new()
    } else {
        format!("{each:.1}")
    };
    println!(
        "{subject:>10} {step:>34} {:>10} {:>10} {each:>14}",
        memory.resident, memory.anonymous
    );
}
