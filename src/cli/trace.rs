//! `wabridge trace`

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
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
            false if heads.is_empty() && self.failed => {
                Ok("none of the calls that are kept has failed\n".to_owned())
            }
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
        let written = write(file, |out| capture(trace, media.as_ref(), out));
        written.map_err(|why| format!("{name}: {why}"))?;
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

/// Writes a file that only its owner may read, in place of what had the name: messages are nobody else's business, masked
/// or not. What is no file, such as a pipe, is written to.
fn write(file: &Path, fill: impl FnOnce(File) -> io::Result<()>) -> io::Result<()> {
    let is_special =
        fs::symlink_metadata(file).is_ok_and(|found| !found.is_file() && !found.is_symlink());
    if is_special {
        return fill(File::options().write(true).open(file)?);
    }
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    // One that was left behind may be somebody else's.
    let _ = fs::remove_file(&part);
    let open = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part);
    let written = open.and_then(fill).and_then(|()| fs::rename(&part, file));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

fn capture(trace: &Trace, media: Option<&Media>, out: File) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    trace::write_pcap(trace, media, &mut out).map_err(io::Error::other)?;
    out.flush()
}

fn as_json(what: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(what)
        .map(|text| text + "\n")
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn hello(mut out: File) -> io::Result<()> {
        out.write_all(b"hello")
    }

    #[test]
    fn a_capture_is_its_owners_alone_whatever_had_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a.pcapng"), folder.path().join("other"));
        for path in [&file, &other] {
            fs::write(path, "before").unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
        }
        let link = folder.path().join("link.pcapng");
        symlink(&other, &link).unwrap();
        for path in [&file, &link] {
            write(path, hello).unwrap();
            let found = fs::symlink_metadata(path).unwrap();
            assert!(found.is_file());
            assert_eq!(found.permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read(path).unwrap(), b"hello");
        }
        assert_eq!(fs::read(&other).unwrap(), b"before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_capture_that_cannot_be_written_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pcapng");
        fs::write(&file, "before").unwrap();
        let full = |_| Err(io::ErrorKind::StorageFull.into());
        assert!(write(&file, full).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
