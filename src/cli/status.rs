//! `wabridge status`

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use super::pages::{Answer, Asking};
use super::print;
use crate::observe::status::{Reason, Status};

/// Which bridge.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    asking: Asking,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let (text, ready) = match self.asking.ask::<Status>("/status") {
            Ok(Answer::Told(status, json)) if self.asking.json => (json, status.ready),
            Ok(Answer::Told(status, _)) => (table(&status, now), status.ready),
            Ok(Answer::Not(_, json)) if self.asking.json => (json, false),
            Ok(Answer::Not(reasons, _)) => (format!("wabridge, {}", readiness(&reasons)), false),
            Err(error) => {
                eprintln!("wabridge: {error}");
                return ExitCode::FAILURE;
            }
        };
        print(&text);
        match ready {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

fn readiness(not_ready: &[Reason]) -> String {
    let mut text = String::new();
    match not_ready.is_empty() {
        true => text.push_str("ready\n"),
        false => text.push_str("NOT READY for new calls:\n"),
    }
    for Reason { reason, detail } in not_ready {
        // Nothing can fail that writes to a String.
        let _ = writeln!(text, "  {reason}: {detail}");
    }
    text
}

fn table(status: &Status, now: f64) -> String {
    let mut text = format!(
        "wabridge {}, up {}, {}",
        status.version,
        duration(status.uptime),
        readiness(&status.not_ready)
    );
    let mut line = |name: &str, what: String| {
        let _ = writeln!(text, "{name:<12}  {what}");
    };
    line("numbers", status.numbers.join(", "));
    for pbx in &status.pbxs {
        let up = if pbx.up { "up" } else { "DOWN" };
        line("PBX", format!("{} {} {up}", pbx.name, pbx.address));
    }
    for at in &status.registrations {
        let how = match (at.registered, &at.error) {
            (true, _) => "registered".to_owned(),
            (false, None) => "not registered yet".to_owned(),
            (false, Some(error)) => format!("NOT REGISTERED: {error}"),
        };
        line("registrar", format!("{} {} {how}", at.pbx, at.registrar));
    }
    for (at, listener) in status.listeners.iter().enumerate() {
        let name = if at == 0 { "listening" } else { "" };
        let (side, protocol) = (&listener.side, &listener.protocol);
        line(
            name,
            format!("{side:<5} {protocol:<4} {}", listener.address),
        );
    }
    let calls = status.calls;
    line(
        "calls",
        format!(
            "{} talking, {} ringing, {} ending; {} at most",
            calls.talking, calls.ringing, calls.ending, calls.max
        ),
    );
    let sums = status.since_start;
    line(
        "since start",
        format!(
            "{} calls, {} refused, {} malformed, strangers {} at Meta's side and {} at the PBX's",
            sums.calls, sums.refused, sums.malformed, sums.strangers_meta, sums.strangers_pbx
        ),
    );
    for ports in &status.media_ports {
        let (used, resting, all) = (ports.in_use, ports.resting, ports.all);
        line(
            "media ports",
            format!(
                "{}: {used} in use, {resting} resting, of {all} pairs",
                ports.address
            ),
        );
    }
    line(
        "certificate",
        status.certificate.map_or("unknown".into(), |certificate| {
            match certificate.days >= 0.0 {
                true => format!("{:.0} days left", certificate.days.floor()),
                false => format!("EXPIRED {:.0} days ago", -certificate.days.floor()),
            }
        }),
    );
    let reloads = status.reloads;
    let ago = |at: Option<f64>| {
        at.map_or(String::new(), |at| {
            format!(", last {} ago", duration(now - at))
        })
    };
    line(
        "reloads",
        format!(
            "{} taken over{}; {} failed{}",
            reloads.ok,
            ago(reloads.last_ok),
            reloads.failed,
            ago(reloads.last_failed)
        ),
    );
    if status.records_failing {
        let why = "CANNOT BE WRITTEN, and wait: the log says why; calls go on";
        line("records", why.to_owned());
    }
    text
}

/// The two largest units of a time: "3 d 4 h".
pub(super) fn duration(seconds: f64) -> String {
    // What is negative, since clocks can be wrong, shows as nothing.
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (1.., _, _) => format!("{days} d {} h", hours % 24),
        (0, 1.., _) => format!("{hours} h {} min", minutes % 60),
        (0, 0, 1..) => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        let told = [0.4, 59.0, 61.0, 3_600.0, 273_600.0, -5.0].map(duration);
        assert_eq!(
            told,
            ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "3 d 4 h", "0 s"]
        );
    }

    #[test]
    fn records_that_cannot_be_written_are_told() {
        let mut status: Status = serde_json::from_value(serde_json::json!({
            "version": "1.0", "started": 0.0, "uptime": 1.0, "ready": true, "not_ready": [], "numbers": [], "pbxs": [],
            "registrations": [], "listeners": [], "media_ports": [], "transactions": 0, "certificate": null,
            "calls": { "ringing": 0, "talking": 0, "ending": 0, "max": 10 },
            "since_start": { "calls": 0, "refused": 0, "malformed": 0, "strangers_meta": 0, "strangers_pbx": 0 },
            "reloads": { "ok": 0, "last_ok": null, "failed": 0, "last_failed": null },
        }))
        .unwrap();
        assert!(!table(&status, 1.0).contains("records"));
        status.records_failing = true;
        let told = table(&status, 1.0);
        assert!(told.contains("\nrecords       CANNOT BE WRITTEN"), "{told}");
    }

    #[test]
    fn each_reason_why_it_is_not_ready_has_its_line() {
        let reason = |reason: &str| Reason {
            reason: reason.into(),
            detail: "why".into(),
        };
        let told = readiness(&[reason("stopping"), reason("no-media-port")]);
        assert_eq!(
            told,
            "NOT READY for new calls:\n  stopping: why\n  no-media-port: why\n"
        );
        assert_eq!(readiness(&[]), "ready\n");
    }
}
