//! What was measured, as rows for programs and as tables for people.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::measure::Measured;
use crate::sweep::{Plan, Step};
use crate::under_test::{ALL, OUT, Relay};

/// Quantiles of delay, and their names.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

/// Every measurement, as it was made.
pub struct Raw(File);

impl Raw {
    /// `relay.csv` among the results.
    pub fn create() -> Raw {
        std::fs::create_dir_all(OUT).expect("the repository can be written to");
        let mut file = File::create(Path::new(OUT).join("relay.csv")).expect("as above");
        let delays = ["to_meta", "to_pbx", "all"].map(|which| {
            let names = QUANTILES.map(|(_, name)| format!("{which}_{name}_ms"));
            names.join(",")
        });
        writeln!(
            file,
            "part,relay,workers,calls,round,sent,carried,loss,fits,cpu_s_per_million,others,late_slots,{},void",
            delays.join(",")
        )
        .expect("as above");
        Raw(file)
    }

    /// One line, for the file and for whoever waits.
    pub fn write(&mut self, part: &str, round: usize, measured: &Measured) {
        let case = &measured.case;
        let delays = [0, 1, 2].map(|which| {
            let ms = QUANTILES.map(|(quantile, _)| {
                format!("{:.4}", measured.delay(which, quantile).as_secs_f64() * 1e3)
            });
            ms.join(",")
        });
        let (name, calls) = (case.relay.name(), case.calls);
        let (loss, cpu) = (measured.loss(), measured.cpu_for_million());
        writeln!(
            self.0,
            "{part},{name},{},{calls},{round},{},{},{loss:.6},{},{cpu:.3},{:.3},{:.4},{},{}",
            case.workers,
            measured.sent,
            measured.carried,
            u8::from(measured.fits()),
            measured.others,
            measured.late,
            delays.join(","),
            measured.void.as_deref().unwrap_or_default(),
        )
        .expect("the repository can be written to");
        let p90 = measured.delay(2, 0.9).as_secs_f64() * 1e3;
        let verdict = match &measured.void {
            Some(why) => format!("VOID: {why}"),
            None if measured.fits() => "fits".into(),
            None => "does not fit".into(),
        };
        eprintln!(
            "{name:<22} {calls:>5} calls, {} worker(s), round {round}: {cpu:6.2} CPU-s per million, loss {:.3} %, p90 {p90:.3} ms, \
             others {:.0} % of its core; {verdict}",
            case.workers,
            loss * 100.0,
            measured.others * 100.0,
        );
    }
}

/// The tables of a whole run.
pub fn tables(
    plan: &Plan,
    steps: &[Step],
    idle: &[(String, f64)],
    cores: &[(Relay, [Option<f64>; 2])],
) -> String {
    let per_million = per_million(steps);
    let ratios = ratios(steps);
    let limits = limits(steps);
    let idle: Vec<String> = idle
        .iter()
        .map(|(name, share)| format!("| {name} | {:.3} |", share * 100.0))
        .collect();
    let cores: Vec<String> = cores.iter().map(|row| of_cores(plan, row)).collect();
    let all = steps.iter().flat_map(|step| &step.rounds);
    let others = all
        .map(|measured| measured.others * 100.0)
        .fold(0.0, f64::max);
    format!(
        "CPU-seconds per million packets, medians of {} rounds in turns; — : does not fit (loss over 0.01 %, or p90 over 20 ms)\n\n\
         {per_million}\n\nOthers used at most {others:.1} % of the relay's core during one of these.\n\nRatios of these\n\n{ratios}\n\nHighest number of calls that fits, and delay at about half of it\n\n{limits}\n\n\
         Without calls, {} s\n\n| | % of a core |\n|---|--:|\n{}\n\n\
         One core and two\n\n| | 1 worker | 2 workers | ratio |\n|---|--:|--:|--:|\n{}\n",
        plan.rounds,
        plan.idle,
        idle.join("\n"),
        cores.join("\n"),
    )
}

fn of_cores(plan: &Plan, (relay, each): &(Relay, [Option<f64>; 2])) -> String {
    let [one, two] = each.map(figure);
    let ratio = figure(each[0].zip(each[1]).map(|(one, two)| two / one));
    let calls = plan.for_each_core;
    format!(
        "| {}, {calls} calls a worker | {one} | {two} | {ratio} |",
        relay.name()
    )
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "void".into(), |value| format!("{value:.2}"))
}

fn find(steps: &[Step], relay: Relay, calls: usize) -> Option<&Step> {
    steps
        .iter()
        .find(|step| (step.relay, step.calls) == (relay, calls))
}

/// Every number of calls that occurs.
fn numbers(steps: &[Step]) -> Vec<usize> {
    let mut all: Vec<usize> = steps.iter().map(|step| step.calls).collect();
    all.dedup();
    all
}

fn cpu(steps: &[Step], relay: Relay, calls: usize) -> Option<f64> {
    let step = find(steps, relay, calls).filter(|step| step.fits())?;
    step.median(Measured::cpu_for_million)
}

fn per_million(steps: &[Step]) -> String {
    let cell = |relay: Relay, calls| match find(steps, relay, calls) {
        None => String::new(),
        Some(step) if step.rounds.is_empty() => "void".into(),
        Some(_) => cpu(steps, relay, calls).map_or_else(|| "—".into(), |cpu| format!("{cpu:.2}")),
    };
    let names = ALL.map(Relay::name).join(" | ");
    let mut lines = vec![format!("| calls | {names} |"), rule(ALL.len())];
    for calls in numbers(steps) {
        let cells = ALL.map(|relay| cell(relay, calls)).join(" | ");
        lines.push(format!("| {calls} | {cells} |"));
    }
    lines.join("\n")
}

fn rule(columns: usize) -> String {
    format!("|--:|{}", "--:|".repeat(columns))
}

/// Ours by each way of input and output, divided by its floor and by the others.
fn ratios(steps: &[Step]) -> String {
    let mut pairs = Vec::new();
    for relay in ALL {
        if let Relay::Ours(io) = relay {
            let others = [Relay::Floor(io), Relay::Rtpengine, Relay::Asterisk];
            pairs.extend(others.map(|other| (relay, other)));
        }
    }
    let names = pairs
        .iter()
        .map(|(ours, other)| format!(" {} ÷ {} |", ours.name(), other.name()));
    let mut lines = vec![
        format!("| calls |{}", names.collect::<String>()),
        rule(pairs.len()),
    ];
    for calls in numbers(steps) {
        let cells = pairs.iter().map(|(ours, other)| {
            let both = cpu(steps, *ours, calls).zip(cpu(steps, *other, calls));
            let ratio =
                both.map_or_else(String::new, |(ours, other)| format!("{:.2}", ours / other));
            format!(" {ratio} |")
        });
        lines.push(format!("| {calls} |{}", cells.collect::<String>()));
    }
    lines.join("\n")
}

fn limits(steps: &[Step]) -> String {
    let names = QUANTILES.map(|(_, name)| format!("{name}, ms")).join(" | ");
    let mut lines = vec![
        format!("| | fits | at | {names} | floor's p99 there | p99 above it |"),
        format!("|---|{}", "--:|".repeat(8)),
    ];
    for relay in ALL {
        let own = steps
            .iter()
            .filter(|step| step.relay == relay && step.fits());
        let Some(most) = own.clone().map(|step| step.calls).max() else {
            lines.push(format!("| {} | none | | | | | | | |", relay.name()));
            continue;
        };
        // The greatest that was measured, or the least there is.
        let half = own.clone().rfind(|step| 2 * step.calls <= most);
        let Some(half) = half.or(own.min_by_key(|step| step.calls)) else {
            continue;
        };
        lines.push(limit(steps, relay, most, half));
    }
    lines.join("\n")
}

fn limit(steps: &[Step], relay: Relay, most: usize, half: &Step) -> String {
    let ms = |step: &Step, quantile| step.median(|m| m.delay(2, quantile).as_secs_f64() * 1e3);
    let all = steps
        .iter()
        .filter(|step| step.relay == relay)
        .map(|step| step.calls);
    // The last number tried was not too many: it may carry more.
    let at_least = if all.max() == Some(most) { "≥ " } else { "" };
    let delays = QUANTILES
        .map(|(quantile, _)| three(ms(half, quantile)))
        .join(" | ");
    let floor = find(steps, Relay::Floor(relay.io()), half.calls).and_then(|step| ms(step, 0.99));
    let above = ms(half, 0.99).zip(floor).map(|(own, floor)| own - floor);
    format!(
        "| {} | {at_least}{most} | {} | {delays} | {} | {} |",
        relay.name(),
        half.calls,
        three(floor),
        three(above),
    )
}

fn three(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.3}"))
}
