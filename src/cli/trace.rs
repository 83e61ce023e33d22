//! `wabridge trace`

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::pages::{Asking, read};
use super::print;
use crate::observe::trace::{self, Head, Ladder, Media, Trace};

/// Which call, and how it is shown.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The call: its id as listed and as in the log line "call ended", or any part of a Call-ID or WACID that only it has,
    /// or `last`.
    call: Option<String>,
    /// List only what failed.
    #[arg(long, conflicts_with = "call")]
    failed: bool,
    /// Print each message in full under its line.
    #[arg(long, requires = "call")]
    messages: bool,
    /// Show numbers, names and Call-IDs in full; `trace.reveal_numbers` must allow it.
    #[arg(long)]
    reveal: bool,
    /// Write the messages as a capture for Wireshark, both legs in one pcapng file.
    #[arg(long, value_name = "FILE", requires = "call", conflicts_with = "json")]
    pcap: Option<PathBuf>,
    /// Put the media of both legs into the capture too, decrypted; `trace.media` must have been set when the call began.
    #[arg(long, requires = "pcap")]
    media: bool,
    #[command(flatten)]
    asking: Asking,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        let shown = match &self.call {
            None => self.list(),
            Some(call) => self.show(call),
        };
        match shown {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("wabridge trace: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn list(&self) -> Result<String, String> {
        let mut heads: Vec<Head> = self.ask("/traces")?;
        heads.retain(|head| !self.failed || head.failed());
        match self.asking.json {
            true => as_json(&heads),
            false if heads.is_empty() => Ok("no call is kept\n".to_owned()),
            false => Ok(trace::list(&heads)),
        }
    }

    fn show(&self, call: &str) -> Result<String, String> {
        let call = utf8_percent_encode(call, NON_ALPHANUMERIC);
        let trace: Trace = self.ask(&format!("/traces/{call}"))?;
        if let Some(file) = &self.pcap {
            return self.capture(&trace, file);
        }
        match self.asking.json {
            true => as_json(&trace),
            false => Ok(Ladder {
                trace: &trace,
                messages: self.messages,
            }
            .to_string()),
        }
    }

    fn capture(&self, trace: &Trace, file: &Path) -> Result<String, String> {
        let path = format!("/traces/{}/media", trace.head.id);
        let media: Option<Media> = self.media.then(|| self.ask(&path)).transpose()?;
        let name = file.display();
        write(trace, media.as_ref(), file).map_err(|why| format!("{name}: {why}"))?;
        let messages = trace.packets().count();
        Ok(match media.map(|media| media.packets.len()) {
            Some(packets) => {
                format!("{messages} messages and {packets} packets of media are in {name}\n")
            }
            None => format!("{messages} messages are in {name}\n"),
        })
    }

    fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let query = if self.reveal { "?reveal=1" } else { "" };
        match self.asking.get(&format!("{path}{query}"))? {
            (StatusCode::OK, text) => read(&text),
            (_, why) => Err(why.trim_end().to_owned()),
        }
    }
}

/// Writes a new file that only its owner may read: messages are nobody else's business, masked or not.
fn write(trace: &Trace, media: Option<&Media>, file: &Path) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let open = || {
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(file)
    };
    let mut out = BufWriter::new(open().map_err(|error| error.to_string())?);
    trace::write_pcap(trace, media, &mut out).map_err(|error| error.to_string())?;
    out.flush().map_err(|error: io::Error| error.to_string())
}

fn as_json(what: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(what)
        .map(|text| text + "\n")
        .map_err(|error| error.to_string())
}
