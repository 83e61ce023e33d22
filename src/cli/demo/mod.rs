//! `wabridge demo`: the bridge and both far ends in one process, over real sockets, TLS, DTLS and SRTP; told as ladders.

mod stage;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout_at};

use super::relay::{MediaArguments, PbxCodec};
use crate::sim::body;
use crate::sim::{CallReport, Direction, Outgoing, Plan};
use stage::{Stage, answering, business};
use story::{Call, Story};

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Calls at once, each kind in turn; without it, one of each kind, one after the other. There are four kinds: two
    /// directions, each with both ways of keying.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2000))]
    calls: Option<u16>,
    /// How long each call talks.
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// Only calls of this direction.
    #[arg(long, value_enum)]
    direction: Option<Way>,
    /// Only calls whose media towards Meta is keyed so.
    #[arg(long, value_enum, default_value_t = Keying::Both)]
    keying: Keying,
    /// What the PBX speaks.
    #[arg(long, value_enum, default_value_t = PbxCodec::Opus)]
    pbx_codec: PbxCodec,
    /// Print one JSON object in place of the story.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    media: MediaArguments,
}

/// One kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    direction: Direction,
    /// How the business number is set at Meta.
    keying: body::Keying,
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
    /// By a DTLS handshake over the path that ICE finds, as Meta's numbers come (RFC 5763, RFC 8445).
    Dtls,
    /// By keys in SDP (RFC 4568).
    Sdes,
    /// Both, by two business numbers.
    Both,
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
        let kinds = self.kinds();
        let count = u16::try_from(kinds.len()).unwrap_or(u16::MAX);
        let relay = self.media.settings();
        // Whoever is called waits for the caller's digits and BYE.
        let patient = || answering(Plan::default());
        let codec = self.pbx_codec.codec();
        let stage = Stage::set(count, relay, codec, patient(), patient()).await?;
        let mut callers = Vec::new();
        if self.calls.is_some() {
            let placed: Vec<_> = kinds
                .iter()
                .enumerate()
                .map(|(n, kind)| self.place(&stage, *kind, n))
                .collect();
            for report in placed {
                callers.push(report.await.unwrap_or_default());
            }
        } else {
            for (n, kind) in kinds.iter().enumerate() {
                callers.push(self.place(&stage, *kind, n).await.unwrap_or_default());
            }
        }
        let mut callees = callees(&stage, &callers).await;
        let calls = kinds.iter().zip(callers).map(|(kind, caller)| {
            let way = kind.direction;
            let found = callees
                .iter()
                .position(|callee| callee.user_of(way) == caller.user_of(way));
            let callee = found.map(|at| callees.swap_remove(at)).unwrap_or_default();
            Call::new(*kind, caller, callee)
        });
        let calls = calls.collect();
        Ok(Story {
            calls,
            // A path that loses packets may lose the first as well, and many calls at once may keep a small machine so
            // busy that the first packets come long before the answers that they belong to.
            from_the_first: self.calls.is_none() && relay.path.loss == 0,
            wrong: stage.strike().await,
        })
    }

    fn kinds(&self) -> Vec<Kind> {
        let directions: &[Direction] = match self.direction {
            None => &[Direction::UserInitiated, Direction::BusinessInitiated],
            Some(Way::UserInitiated) => &[Direction::UserInitiated],
            Some(Way::BusinessInitiated) => &[Direction::BusinessInitiated],
        };
        let keyings: &[body::Keying] = match self.keying {
            Keying::Both => &[body::Keying::Dtls, body::Keying::Sdes],
            Keying::Dtls => &[body::Keying::Dtls],
            Keying::Sdes => &[body::Keying::Sdes],
        };
        let kind = |keying: &body::Keying| {
            let keying = *keying;
            directions.iter().map(move |direction| Kind {
                direction: *direction,
                keying,
            })
        };
        let wanted: Vec<Kind> = keyings.iter().flat_map(kind).collect();
        let count = self.calls.map_or(wanted.len(), usize::from);
        wanted.iter().copied().cycle().take(count).collect()
    }

    /// Places one call; its WhatsApp user is told from the others' by the number.
    fn place(
        &self,
        stage: &Stage,
        kind: Kind,
        n: usize,
    ) -> impl Future<Output = Option<CallReport>> + use<> {
        let user = format!("+1219555{n:04}");
        let plan = Plan {
            talk: Some(Duration::from_secs(self.seconds)),
            digits: DIGITS.into(),
            ..Plan::default()
        };
        let business = business(kind.keying).to_owned();
        let (end, from, to) = match kind.direction {
            Direction::UserInitiated => (&stage.meta, user, business),
            Direction::BusinessInitiated => (&stage.pbx, business, user),
        };
        end.call(Outgoing {
            from,
            to,
            plan,
            ..Outgoing::default()
        })
    }
}

/// What the called ends report. After the callers' reports those of answered calls cannot take long; a call that was
/// not answered may have one or not.
async fn callees(stage: &Stage, callers: &[CallReport]) -> Vec<CallReport> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut reports = Vec::new();
    for (end, direction) in [
        (&stage.pbx, Direction::UserInitiated),
        (&stage.meta, Direction::BusinessInitiated),
    ] {
        let answered = |call: &&CallReport| call.direction == direction && call.status == 200;
        let mut missing = callers.iter().filter(answered).count();
        loop {
            let until = if missing > 0 {
                deadline
            } else {
                Instant::now()
            };
            let Ok(Some(report)) = timeout_at(until, end.taken()).await else {
                break;
            };
            missing = missing.saturating_sub(usize::from(report.status == 200));
            reports.push(report);
        }
    }
    reports
}
