//! `wabridge demo`: the bridge and both far ends in one process, over real sockets, TLS and SRTP; told as ladders.

mod stage;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::sim::{CallReport, Direction, Outgoing, Plan};
use stage::{BUSINESS, Stage, answering};
use story::{Call, Story};

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Calls at once, the two directions in turn; without it, one in each direction, one after the other.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2000))]
    calls: Option<u16>,
    /// How long each call talks.
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// Only calls of this direction.
    #[arg(long, value_enum)]
    direction: Option<Way>,
    /// How media towards Meta is keyed.
    #[arg(long, value_enum, default_value_t = Keying::Sdes)]
    keying: Keying,
    /// What the PBX speaks.
    #[arg(long, value_enum, default_value_t = PbxCodec::Opus)]
    pbx_codec: PbxCodec,
    /// Print one JSON object in place of the story.
    #[arg(long)]
    json: bool,
}

/// A direction on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// A WhatsApp user calls the business.
    UserInitiated,
    /// The PBX calls a WhatsApp user.
    BusinessInitiated,
}

/// Keying on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keying {
    /// Keys in SDP (RFC 4568).
    Sdes,
}

/// The PBX's codec on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PbxCodec {
    /// Passed through untouched.
    Opus,
}

const DIGITS: &str = "12#";

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        let story = Runtime::new()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(self.play()));
        match story {
            Ok(story) => {
                match self.json {
                    true => println!("{}", story.json()),
                    false => print!("{story}"),
                }
                if story.ok() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(error) => {
                eprintln!("wabridge demo: {error}");
                ExitCode::FAILURE
            }
        }
    }

    async fn play(&self) -> Result<Story, Box<dyn std::error::Error + Send + Sync>> {
        let directions = self.directions();
        let count = u16::try_from(directions.len()).unwrap_or(u16::MAX);
        // Whoever is called waits for the caller's digits and BYE.
        let patient = || answering(Plan::default());
        let stage = Stage::set(count, patient(), patient()).await?;
        let mut callers = Vec::new();
        if self.calls.is_some() {
            let placed: Vec<_> = directions
                .iter()
                .enumerate()
                .map(|(n, way)| self.place(&stage, *way, n))
                .collect();
            for report in placed {
                callers.push(report.await.unwrap_or_default());
            }
        } else {
            for (n, way) in directions.iter().enumerate() {
                callers.push(self.place(&stage, *way, n).await.unwrap_or_default());
            }
        }
        let mut callees = callees(&stage, &directions).await;
        let calls = directions.iter().zip(callers).map(|(way, caller)| {
            let found = callees
                .iter()
                .position(|callee| callee.user_of(*way) == caller.user_of(*way));
            let callee = found.map(|at| callees.swap_remove(at)).unwrap_or_default();
            Call::new(*way, caller, callee)
        });
        let calls = calls.collect();
        Ok(Story {
            calls,
            wrong: stage.strike().await,
        })
    }

    fn directions(&self) -> Vec<Direction> {
        let both = [Direction::UserInitiated, Direction::BusinessInitiated];
        let wanted: Vec<Direction> = match self.direction {
            None => both.to_vec(),
            Some(Way::UserInitiated) => vec![Direction::UserInitiated],
            Some(Way::BusinessInitiated) => vec![Direction::BusinessInitiated],
        };
        let count = self.calls.map_or(wanted.len(), usize::from);
        wanted.iter().copied().cycle().take(count).collect()
    }

    /// Places one call; its WhatsApp user is told from the others' by the number.
    fn place(
        &self,
        stage: &Stage,
        way: Direction,
        n: usize,
    ) -> impl Future<Output = Option<CallReport>> + use<> {
        let user = format!("+1219555{n:04}");
        let plan = Plan {
            talk: Some(Duration::from_secs(self.seconds)),
            digits: DIGITS.into(),
            ..Plan::default()
        };
        let (end, from, to) = match way {
            Direction::UserInitiated => (&stage.meta, user, BUSINESS.to_owned()),
            Direction::BusinessInitiated => (&stage.pbx, BUSINESS.to_owned(), user),
        };
        end.call(Outgoing {
            from,
            to,
            plan,
            ..Outgoing::default()
        })
    }
}

/// What the called ends report, as far as they do: after the callers' reports it cannot take long.
async fn callees(stage: &Stage, directions: &[Direction]) -> Vec<CallReport> {
    let mut reports = Vec::new();
    for way in directions {
        let end = match way {
            Direction::UserInitiated => &stage.pbx,
            Direction::BusinessInitiated => &stage.meta,
        };
        match timeout(Duration::from_secs(10), end.taken()).await {
            Ok(Some(report)) => reports.push(report),
            Ok(None) | Err(_) => break,
        }
    }
    reports
}
