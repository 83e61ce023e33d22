//! What both far ends can be told about a call.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use super::Wanted;
use crate::sim::ear::ListensFor;
use crate::sim::phone::Mode;
use crate::sim::speech::{Speaks, Voice as Words};
use crate::sim::tone::{PBX_HZ, USER_HZ};
use crate::sim::wav::Wav;
use crate::sim::{Answering, Outcome, Outgoing, Plan};

/// What is done in a call, whoever placed it.
#[derive(Debug, clap::Args)]
pub struct Talk {
    /// Hang up so many seconds after the answer; otherwise the other side must.
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Press these digits, beginning one second after the answer.
    #[arg(long, value_name = "DIGITS", default_value = "")]
    digits: String,
    /// What to say: "tone", "echo" (what is heard), "nothing", or a WAV file, over and over: mono, 16 bits, at 8000 or 16000
    /// Hz.
    #[arg(long, value_name = "WHAT", default_value = "tone")]
    says: Says,
    /// What must be heard for the call to be in order.
    #[arg(long, value_enum, default_value_t = Hears::Tone)]
    hears: Hears,
    /// Write what is heard into this WAV file, on a real time line: silence where nothing came. A second call writes it
    /// anew.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// The digits that must be received.
    #[arg(long, value_name = "DIGITS")]
    expect_digits: Option<String>,
    /// Send a re-INVITE so many seconds after the answer: it must be answered 500, and the call go on.
    #[arg(long, value_name = "N", value_parser = seconds)]
    reinvite_after: Option<Duration>,
    /// The status that the INVITE must end with for the exit code to be 0.
    #[arg(long, value_name = "STATUS")]
    expect: Option<u16>,
    /// Print one JSON object at the end, and nothing else.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Tone,
    Echo,
    Nothing,
    File(PathBuf),
}

impl From<&str> for Says {
    fn from(what: &str) -> Says {
        match what {
            "tone" => Says::Tone,
            "echo" => Says::Echo,
            "nothing" => Says::Nothing,
            file => Says::File(file.into()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hears {
    /// The tone of the other far end.
    Tone,
    /// Our own tone, come back.
    Echo,
    /// Anything but silence.
    Sound,
}

/// Which far end it is: its tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// A WhatsApp user.
    User,
    /// A telephone of the PBX.
    Pbx,
}

impl Talk {
    /// What is done in the call, by an end that speaks so. The error says why the file cannot be played.
    pub fn plan(&self, voice: Voice, speaks: &Speaks) -> Result<Plan, String> {
        let (own, other) = match voice {
            Voice::User => (USER_HZ, PBX_HZ),
            Voice::Pbx => (PBX_HZ, USER_HZ),
        };
        let says = match &self.says {
            Says::File(file) => Some(words(file, speaks)?),
            _ => None,
        };
        Ok(Plan {
            talk: self.seconds,
            digits: self.digits.clone(),
            mode: match self.says {
                Says::Tone | Says::File(_) => Mode::Talk,
                Says::Echo => Mode::Echo,
                Says::Nothing => Mode::Mute,
            },
            says,
            listens_for: Some(match self.hears {
                Hears::Tone => ListensFor::Tone(other),
                Hears::Echo => ListensFor::Tone(own),
                Hears::Sound => ListensFor::Sound,
            }),
            records: self.records.is_some(),
            reinvite: self.reinvite_after,
            ..Plan::default()
        })
    }

    /// What counts as success, where `status` does unless another is asked for.
    pub fn wanted(&self, status: u16) -> Wanted {
        Wanted {
            status: self.expect.unwrap_or(status),
            digits: self.expect_digits.clone(),
            json: self.json,
            records: self.records.clone(),
        }
    }
}

/// A file in all codecs of an end.
fn words(file: &Path, speaks: &Speaks) -> Result<Words, String> {
    let failed = |why: &dyn Display| format!("--says: cannot play {}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|error| failed(&error))?;
    let wav = Wav::read(&bytes).map_err(|error| failed(&error))?;
    Words::wav(&wav, speaks).map_err(|error| failed(&error))
}

/// Calls to place.
#[derive(Debug, clap::Args)]
pub struct Call {
    /// Whom to call: a number with its +, or what the PBX dials.
    #[arg(long, value_name = "USER")]
    pub to: String,
    /// Who calls: a number with its +, or a user id such as US.13491208655302741918.
    #[arg(long, value_name = "USER", default_value = "+12195550714")]
    pub from: String,
    /// The caller's display name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Place so many calls at once, each from or to the WhatsApp user with the next number: Meta lets nobody have two with
    /// one business.
    #[arg(long, value_name = "N", default_value_t = 1)]
    calls: u64,
    /// Give up (CANCEL) after so many seconds without an answer.
    #[arg(long, value_name = "N", default_value = "60", value_parser = seconds)]
    cancel_after: Duration,
    /// One more header for the INVITE. May be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    pub talk: Talk,
}

impl Call {
    /// The calls, with these headers besides.
    pub fn outgoing(
        &self,
        voice: Voice,
        speaks: &Speaks,
        more: &[(&str, &Option<String>)],
        other_connection: bool,
    ) -> Result<Vec<Outgoing>, String> {
        let mut headers = self.headers.clone();
        for (name, value) in more {
            headers.extend(value.iter().map(|v| ((*name).to_owned(), v.clone())));
        }
        let plan = Plan {
            patience: self.cancel_after,
            other_connection,
            ..self.talk.plan(voice, speaks)?
        };
        let of_user = |end, number: &str, nth| match voice == end {
            true => following(number, nth),
            false => number.to_owned(),
        };
        let call = |nth| Outgoing {
            to: of_user(Voice::Pbx, &self.to, nth),
            from: of_user(Voice::User, &self.from, nth),
            name: self.name.clone(),
            headers: headers.clone(),
            plan: plan.clone(),
        };
        Ok((0..self.calls).map(call).collect())
    }
}

/// Calls to take.
#[derive(Debug, clap::Args)]
pub struct Answer {
    /// End after so many calls; otherwise on SIGINT or SIGTERM.
    #[arg(long, value_name = "N")]
    pub calls: Option<usize>,
    /// Milliseconds that it rings before the answer or refusal.
    #[arg(long, value_name = "MS", default_value_t = 200)]
    after: u64,
    /// Send no 180.
    #[arg(long)]
    no_ring: bool,
    /// Ring for ever.
    #[arg(long, conflicts_with = "status")]
    never: bool,
    /// Refuse with this status.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..700))]
    status: Option<u16>,
    /// The reason phrase of the refusal.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    pub talk: Talk,
}

impl Answer {
    /// What is done with calls.
    pub fn answering(
        &self,
        voice: Voice,
        speaks: &Speaks,
        early_media: bool,
    ) -> Result<Answering, String> {
        let refuse = self.status.map(|status| Outcome::Refuse {
            status,
            reason: self.reason.clone(),
        });
        Ok(Answering {
            ring: !self.no_ring,
            early_media,
            after: Duration::from_millis(self.after),
            outcome: match refuse {
                Some(refuse) => refuse,
                None if self.never => Outcome::Ring,
                None => Outcome::Answer,
            },
            plan: self.talk.plan(voice, speaks)?,
        })
    }

    /// What counts as success.
    pub fn wanted(&self) -> Wanted {
        let ends = if self.never { 487 } else { 200 };
        self.talk.wanted(self.status.unwrap_or(ends))
    }
}

/// The `nth` user after this one: numbers count up, ids stay.
fn following(user: &str, nth: u64) -> String {
    let number = user.strip_prefix('+').and_then(|n| n.parse::<u64>().ok());
    match number {
        Some(number) => format!("+{}", number + nth),
        None => user.to_owned(),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
