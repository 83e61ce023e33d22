//! `wabridge sim`: the far ends as programs of their own.

mod meta;
mod pbx;
mod talk;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::media::Codec;
use crate::sim::report::{CallReport, Direction, EndedBy, Keying};
use crate::sim::run::FarEnd;
use crate::sim::{Answering, Outgoing};

/// Which far end to play.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    end: End,
}

#[derive(Debug, clap::Subcommand)]
enum End {
    /// Play Meta: wa.meta.vc, strict as documented, and a WhatsApp user with a voice.
    ///
    /// Point the bridge here by `meta.address` and `meta.ca_file`, and allow this address in `meta.allowed_sources`.
    /// `certs/make` makes all certificates. Example, beside a bridge that listens at 127.0.0.1:5061:
    ///
    ///   wabridge sim meta --bridge 127.0.0.1:5061 --hostname bridge.example.com --ca certs/ca.pem \
    ///     --cert certs/meta.pem --key certs/meta.key --password-file password \
    ///     call --to +12145551869 --seconds 5
    #[command(verbatim_doc_comment)]
    Meta(Box<meta::Arguments>),
    /// Play a plain PBX by UDP or TCP, with one telephone.
    ///
    ///   wabridge sim pbx --bridge 127.0.0.1:5070 call --from +12145551869 --to +12195550714 --seconds 5
    ///   wabridge sim pbx --codecs pcma answer --says speech.wav --hears sound --records heard.wav
    #[command(verbatim_doc_comment)]
    Pbx(Box<pbx::Arguments>),
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        let done = Runtime::new().map_err(|error| error.to_string());
        let done = done.and_then(|runtime| {
            runtime.block_on(async {
                match self.end {
                    End::Meta(arguments) => arguments.play().await,
                    End::Pbx(arguments) => arguments.play().await,
                }
            })
        });
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("wabridge: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// What a far end is to do.
enum Job {
    /// Place these calls, all at once.
    Call(Vec<Outgoing>),
    /// Take so many calls, or any number until a signal.
    Answer(Box<Answering>, Option<usize>),
}

/// What counts as success, and how it is told.
struct Wanted {
    status: u16,
    digits: Option<String>,
    json: bool,
    /// Where what is heard is written.
    records: Option<PathBuf>,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Told<'a> {
    ok: bool,
    calls: &'a [CallReport],
    /// What the bridge did wrong outside of any call.
    strays: &'a [String],
}

/// Does the job; whether all went as wanted.
async fn play(end: FarEnd, job: Job, wanted: Wanted) -> Result<bool, String> {
    let mut stop = Stop::new()?;
    let reports = match job {
        Job::Call(calls) => {
            // All are placed at once; each future only waits for its report.
            let placed: Vec<_> = calls.into_iter().map(|call| end.call(call)).collect();
            let mut reports = Vec::new();
            for call in placed {
                tokio::select! {
                    report = call => reports.extend(told(report, &wanted)?),
                    () = stop.signal() => break,
                }
            }
            reports
        }
        Job::Answer(answering, calls) => {
            end.answer(*answering);
            if !wanted.json {
                eprintln!("ready for calls");
            }
            let mut reports = Vec::new();
            while calls.is_none_or(|calls| reports.len() < calls) {
                tokio::select! {
                    report = end.taken() => reports.extend(told(report, &wanted)?),
                    () = stop.signal() => break,
                }
            }
            reports
        }
    };
    let strays = end.shutdown().await;
    let ok = !reports.is_empty() && strays.is_empty() && reports.iter().all(|r| wanted.is(r));
    let mut out = std::io::stdout().lock();
    if wanted.json {
        let calls = &reports;
        let told = Told {
            ok,
            calls,
            strays: &strays,
        };
        let text = serde_json::to_string(&told).map_err(|error| error.to_string())?;
        let _ = writeln!(out, "{text}");
    } else {
        for stray in &strays {
            let _ = writeln!(out, "outside of any call: {stray}");
        }
    }
    Ok(ok)
}

/// Tells a person about a call as soon as it is over, and writes what it heard.
fn told(report: Option<CallReport>, wanted: &Wanted) -> Result<Option<CallReport>, String> {
    let Some(report) = report else {
        return Ok(None);
    };
    if let (Some(file), Some(recorded)) = (&wanted.records, &report.recorded) {
        std::fs::write(file, recorded.wav.write()).map_err(|error| {
            let file = file.display();
            format!("--records: cannot write {file}: {error}")
        })?;
    }
    if !wanted.json {
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "{}", story(&report));
    }
    Ok(Some(report))
}

/// A call in words.
fn story(report: &CallReport) -> String {
    let who = match report.direction {
        Direction::UserInitiated => "user calls business",
        Direction::BusinessInitiated => "business calls user",
    };
    let mut text = format!("{who}: {} → {}: ", report.from, report.to);
    text += &match report.status {
        0 => "no answer to the INVITE".to_owned(),
        status => format!("{status} {}", report.reason),
    };
    if let Some(ms) = report.setup_ms {
        text += &format!(" after {ms} ms");
    }
    text += "\n";
    let heard = &report.heard;
    if report.status == 200 {
        let codec = report.codec.map_or("nothing", Codec::name);
        text += &format!(
            "  {}: {} packets of {codec}, {} lost, {} sources",
            if heard.ok { "heard" } else { "NOT heard" },
            heard.packets,
            heard.lost,
            heard.ssrcs
        );
        if let Some(ms) = heard.first_audio_ms {
            text += &format!(", first sound after {ms} ms");
        }
        if let Some(nth) = heard.first_packet {
            text += &format!(", from the {} ms on", nth * 20);
        }
        text += "\n";
    }
    if let (Some(keying), Some(profile), Some(ms)) = (report.keying, report.srtp, report.keyed_ms) {
        text += &match keying {
            Keying::Sdes => format!("  keys in SDP, for {profile}\n"),
            Keying::Dtls => format!("  keys by DTLS after {ms} ms, for {profile}\n"),
        };
    }
    for (what, digits) in [
        ("pressed", &report.digits_sent),
        ("received the digits", &report.digits_received),
    ] {
        if !digits.is_empty() {
            text += &format!("  {what} {digits}\n");
        }
    }
    match report.ended_by {
        Some(EndedBy::Us) => text += "  ended by us\n",
        Some(EndedBy::Bridge) => {
            let reason = report.bye_reason.as_deref().map(|why| format!(": {why}"));
            text += &format!("  ended by the bridge{}\n", reason.unwrap_or_default());
        }
        None => {}
    }
    for complaint in &report.complaints {
        text += &format!("  COMPLAINT {complaint}\n");
    }
    text
}

impl Wanted {
    fn is(&self, report: &CallReport) -> bool {
        let digits = self.digits.as_ref();
        report.status == self.status
            && report.complaints.is_empty()
            && (report.status != 200 || report.heard.ok)
            && digits.is_none_or(|digits| *digits == report.digits_received)
    }
}

/// SIGINT and SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Stop, String> {
        let handler = |kind| signal(kind).map_err(|error| error.to_string());
        Ok(Stop {
            interrupt: handler(SignalKind::interrupt())?,
            terminate: handler(SignalKind::terminate())?,
        })
    }

    async fn signal(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn the_arguments_are_consistent_and_options_may_follow_the_action() {
        use clap::{CommandFactory, Parser};
        Program::command().debug_assert();
        let words =
            "sim pbx --listen 127.0.0.3:5060 call --json --to 100 --seconds 1.5 --hears echo";
        assert!(Program::try_parse_from(words.split(' ')).is_ok());
        let words = "sim pbx --codecs pcma,opus --ptime 30 --path-jitter 80 --path-reorder --clock-drift -200 \
                     answer --says speech.wav --hears sound --records heard.wav";
        assert!(Program::try_parse_from(words.split_whitespace()).is_ok());
        for wrong in ["--codecs g729", "--ptime 25", "--path-burst 0"] {
            let words = format!("sim pbx {wrong} answer");
            assert!(
                Program::try_parse_from(words.split(' ')).is_err(),
                "{wrong}"
            );
        }
        let words = "sim pbx answer --status 486 --never";
        assert!(Program::try_parse_from(words.split(' ')).is_err());
        let meta = |options: &str| {
            let files = "--ca a --cert b --key c --password-file d";
            let words = format!("sim meta {files} {options} answer");
            Program::try_parse_from(words.split(' ')).is_ok()
        };
        assert!(meta(
            "--keying dtls --dtls-certificate rsa --dtls-setup passive --path-loss 5"
        ));
        assert!(meta("--additional-codecs pcma,pcmu"));
        assert!(!meta("--additional-codecs g722"));
        assert!(!meta("--keying auto"));
        assert!(!meta("--path-loss 101"));
        assert!(!meta("--no-ice --role-conflict 1"));
    }

    #[test]
    fn only_a_call_without_complaint_and_heard_is_as_wanted() {
        let wanted = Wanted {
            status: 200,
            digits: Some("12".into()),
            json: false,
            records: None,
        };
        let mut report = CallReport {
            status: 200,
            digits_received: "12".into(),
            ..CallReport::default()
        };
        assert!(!wanted.is(&report));
        assert!(story(&report).contains("NOT heard"));
        report.heard.ok = true;
        assert!(wanted.is(&report));
        report.digits_received = "1".into();
        assert!(!wanted.is(&report));
        report.digits_received = "12".into();
        report.complain("a second SSRC");
        assert!(!wanted.is(&report));
        assert!(story(&report).contains("COMPLAINT a second SSRC"));
    }
}
