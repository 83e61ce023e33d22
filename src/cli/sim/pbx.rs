//! `wabridge sim pbx`

use std::net::{IpAddr, SocketAddr};

use super::talk::{Answer, Call, Voice};
use super::{Job, play};
use crate::cli::relay::{PathArguments, PbxCodec};
use crate::sim::Answering;
use crate::sim::run::{FarEnd, PbxEnd};
use crate::sim::speech::Speaks;
use crate::sip::transport::Protocol;

/// How the PBX is set up.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to listen; the bridge's `pbx.address`, and among its `pbx.allowed_sources`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5060")]
    listen: SocketAddr,
    /// Where the bridge listens for the PBX.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5070")]
    bridge: SocketAddr,
    /// Use TCP in place of UDP.
    #[arg(long)]
    tcp: bool,
    /// Where media comes in; otherwise the address we listen on.
    #[arg(long, value_name = "IP")]
    media_address: Option<IpAddr>,
    /// What the telephones speak, separated by commas: they offer it in this order, and of an offer take the first that is
    /// among it.
    #[arg(
        long,
        value_name = "CODECS",
        value_enum,
        value_delimiter = ',',
        default_value = "opus"
    )]
    codecs: Vec<PbxCodec>,
    /// Milliseconds of sound in each packet that they send: 10, 20, 40 or 60, and 30 but for Opus.
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = ptime)]
    ptime: u16,
    #[command(flatten)]
    path: PathArguments,
    #[command(subcommand)]
    action: What,
}

fn ptime(text: &str) -> Result<u16, String> {
    let ptime = text.parse().ok();
    let ptime = ptime.filter(|ptime| [10, 20, 30, 40, 60].contains(ptime));
    ptime.ok_or_else(|| "it must be 10, 20, 30, 40 or 60".to_owned())
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A telephone calls a WhatsApp user; --from is the business number.
    Call(Call),
    /// Telephones are called, and answer or refuse.
    Answer(PbxAnswer),
}

#[derive(Debug, clap::Args)]
struct PbxAnswer {
    #[command(flatten)]
    answer: Answer,
    /// Ring by a 183 with SDP, and sound with it.
    #[arg(long)]
    early_media: bool,
}

impl Arguments {
    pub(super) async fn play(self) -> Result<bool, String> {
        let speaks = Speaks {
            codecs: self.codecs.iter().map(|codec| codec.codec()).collect(),
            ptime: self.ptime,
            expected_loss: self.path.expected_loss(),
        };
        let (job, wanted) = match &self.action {
            What::Call(call) => {
                let calls = call.outgoing(Voice::Pbx, &speaks, &[], false)?;
                (Job::Call(calls), call.talk.wanted(200))
            }
            What::Answer(what) => {
                let answer = &what.answer;
                let answering = answer.answering(Voice::Pbx, &speaks, what.early_media)?;
                let job = Job::Answer(Box::new(answering), what.answer.calls);
                (job, what.answer.wanted())
            }
        };
        let answering = match &job {
            Job::Answer(answering, _) => (**answering).clone(),
            Job::Call(_) => Answering::default(),
        };
        let end = PbxEnd {
            listen: self.listen,
            protocol: if self.tcp {
                Protocol::Tcp
            } else {
                Protocol::Udp
            },
            media: self.media_address.unwrap_or(self.listen.ip()),
            path: self.path.settings(),
            speaks,
            bridge: self.bridge,
            answering,
        };
        let end = FarEnd::pbx(end).await.map_err(|e| e.to_string())?;
        play(end, job, wanted).await
    }
}
