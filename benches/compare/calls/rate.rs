//! What a call costs, how many a second fit, and how long a caller waits, with both programs in turns.

use std::collections::BTreeMap;

use super::Scale;
use super::limit;
use super::load::{HOLD, carry};
use super::report::{Csv, median};
use super::subject::Subject;

/// The parts of the limit at which the callers' wait is measured.
const SHARES: [f64; 3] = [0.1, 0.5, 0.8];

/// Medians of what the rounds gave.
#[derive(Default)]
struct Figures {
    limit: Vec<f64>,
    /// At each share: calls for a second on a processor, and the times of set-up.
    at: [At; SHARES.len()],
}

#[derive(Default)]
struct At {
    per_cpu_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Measures and prints; gives the limit of each program.
pub fn run(scale: Scale) -> BTreeMap<Subject, f64> {
    let mut csv = Csv::new(
        "calls.csv",
        "round,program,limit_per_s,share,offered_per_s,offered,completed,cpu_s,calls_per_cpu_s,setup_p50_ms,setup_p99_ms,\
         setup_p999_ms,generator_busy,latest_start_ms",
    );
    println!(
        "Whole calls, each up for {} ms: the limit, and what is true at parts of it",
        HOLD.as_millis()
    );
    let mut all: BTreeMap<Subject, Figures> = BTreeMap::new();
    for round in 1..=scale.rounds() {
        for subject in Subject::all() {
            let figures = all.entry(subject).or_default();
            let limit = limit::find(subject, figures.limit.last().copied(), scale.load());
            figures.limit.push(limit);
            for (share, at) in SHARES.iter().zip(&mut figures.at) {
                at.measure(subject, limit, *share, scale, &mut csv, round);
            }
        }
    }
    print(&all, scale);
    all.into_iter()
        .map(|(subject, figures)| (subject, median(figures.limit)))
        .collect()
}

impl At {
    fn measure(
        &mut self,
        subject: Subject,
        limit: f64,
        share: f64,
        scale: Scale,
        csv: &mut Csv,
        round: usize,
    ) {
        let mut trial = subject.start();
        let carried = carry(&mut trial, share * limit, scale.load());
        carried.complain_unless_all_went_well();
        let tally = carried.tally;
        self.per_cpu_second.push(carried.per_cpu_second());
        self.p50.push(tally.setup.p50());
        self.p99.push(tally.setup.p99());
        csv.row(&[
            &round,
            &subject,
            &limit,
            &share,
            &(share * limit),
            &tally.offered,
            &tally.completed,
            &carried.cpu.as_secs_f64(),
            &carried.per_cpu_second(),
            &tally.setup.p50(),
            &tally.setup.p99(),
            &tally.setup.permille(999),
            &carried.generator,
            &super::tally::milliseconds(tally.late),
        ]);
    }
}

fn print(all: &BTreeMap<Subject, Figures>, scale: Scale) {
    println!(
        "\nMedians of {} rounds in turns; set-up is from the INVITE with credentials to its 200, both far ends included, in ms",
        scale.rounds()
    );
    println!(
        "{:>10} {:>10} {:>22} {:>24} {:>24} {:>24}",
        "",
        "limit, /s",
        "calls/CPU-s, 10 50 80 %",
        "10 %: p50, p99",
        "50 %: p50, p99",
        "80 %: p50, p99"
    );
    for (subject, figures) in all {
        let costs = figures
            .at
            .each_ref()
            .map(|at| median(at.per_cpu_second.clone()));
        print!(
            "{subject:>10} {:>10.0} {:>22}",
            median(figures.limit.clone()),
            costs.map(|cost| format!("{cost:.0}")).join(" ")
        );
        for at in &figures.at {
            let times = format!(
                "{:.2}, {:.2}",
                median(at.p50.clone()),
                median(at.p99.clone())
            );
            print!(" {times:>24}");
        }
        println!();
    }
    println!();
}
