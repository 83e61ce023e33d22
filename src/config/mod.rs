//! The configuration: one TOML file, read and checked as a whole, then never changed.
//!
//! ```text
//!   file ─ document ─▶ sections ─▶ each part's Settings ─ checks across parts ─▶ Config
//!          where keys stand              │                        │
//!                                        └──────▶ problems ◀──────┘   file:line:column: key: what; remedy
//! ```
//!
//! Everything that a call needs from outside is in [`Config`] already: certificate, key and passwords are read with
//! the file, so that a reload replaces all of it or nothing.

mod addresses;
mod certificate;
mod document;
mod draft;
mod files;
mod headers;
mod in_force;
mod listen;
mod meta;
mod networks;
mod number;
mod password;
mod pbx;
mod pbx_address;
mod pbx_dtmf;
mod pbx_media;
mod print;
mod problem;
mod register;
mod reload;
mod route;
mod some;
mod system;
mod value;

use std::path::Path;
use std::time::SystemTime;

use document::Document;
use draft::Draft;

pub use certificate::Certificate;
pub use meta::Settings as Meta;
pub use pbx::{Format, Listener, Settings as Pbx};
pub use pbx_address::{Address, Place};
pub use problem::{Position, Problem, Severity};
pub use register::{Caller, Register};
pub use reload::{Change, Kind};

use crate::observe::{admin, log, records, trace};
use crate::policy::Number;
use crate::policy::rules::Rule;
use crate::secret::Source;
use crate::sip::{transaction, transport};
use crate::{call, media};

/// A whole configuration that was found good.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The side that faces Meta.
    pub meta: Meta,
    /// The certificate and key shown to whoever connects.
    pub certificate: Certificate,
    /// Our numbers.
    pub numbers: Vec<Number>,
    /// Where the password of each number is kept, in their order.
    pub passwords: Vec<Source>,
    /// Where calls go otherwise than their numbers say.
    pub routes: Vec<Rule>,
    /// The telephone systems.
    pub pbxs: Vec<Pbx>,
    /// Where telephone systems reach us.
    pub pbx_listener: Listener,
    /// Limits and times of messages and connections.
    pub sip: transport::Settings,
    /// Timers of transactions, and how many there may be.
    pub transactions: transaction::Settings,
    /// Limits and times of calls.
    pub calls: call::Settings,
    /// Media addresses, ports and times.
    pub media: media::Settings,
    /// Where metrics, health and status are served.
    pub admin: admin::Settings,
    /// What is kept of the last calls.
    pub trace: trace::Settings,
    /// What is logged.
    pub log: log::Settings,
    /// Where a record of each call is written.
    pub records: records::Settings,
    /// What is allowed but should be seen.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads and checks a file and the files it names. Relative names count from its folder.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, warnings among it, in the order of the file.
    pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
        let text = std::fs::read_to_string(file).map_err(|error| vec![unreadable(file, &error)])?;
        let document = Document::parse(file, &text);
        // Whole, so that they mean the same wherever they are printed.
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let folder = whole.parent().unwrap_or(Path::new(""));
        let config = Draft::read(&document).check(folder, SystemTime::now(), &document);
        let refused = document.is_refused();
        let findings = document.into_problems();
        match config {
            Some(config) if !refused => Ok(Config {
                warnings: findings,
                ..config
            }),
            _ => Err(findings),
        }
    }

    /// The PBX of that name. Every name in [`Number::pbxs`] has one.
    pub fn pbx(&self, name: &str) -> Option<&Pbx> {
        self.pbxs.iter().find(|pbx| pbx.name == name)
    }
}

/// Reads `[admin]` alone: whoever asks a running bridge may not read its secrets.
///
/// # Errors
///
/// What is wrong there, or that there is no such file.
pub fn admin_of(file: &Path) -> Result<admin::Settings, Vec<Problem>> {
    let text = std::fs::read_to_string(file).map_err(|error| vec![unreadable(file, &error)])?;
    let document = Document::parse(file, &text);
    let folder = file.parent().unwrap_or(Path::new(""));
    let admin = document.section::<admin::Settings>("admin");
    admin
        .map(|admin| admin.within(folder))
        .ok_or_else(|| document.into_problems())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Problem {
    let remedy = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "ask as root, or as the user or group that runs wabridge"
        }
        _ => "name the configuration with -c; conf/wabridge.toml shows every key",
    };
    Problem {
        severity: Severity::Error,
        file: file.to_owned(),
        position: Position::START,
        key: String::new(),
        what: format!("cannot be read: {error}"),
        remedy: remedy.into(),
    }
}
