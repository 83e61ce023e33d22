//! `wabridge sim pbx`

use std::net::{IpAddr, SocketAddr};

use super::talk::{Answer, Call, Voice};
use super::{Job, play};
use crate::sim::Answering;
use crate::sim::run::{FarEnd, PbxEnd};
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
    #[command(subcommand)]
    action: What,
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
        let (job, wanted) = match &self.action {
            What::Call(call) => {
                let calls = call.outgoing(Voice::Pbx, &[], false);
                (Job::Call(calls), call.talk.wanted(200))
            }
            What::Answer(what) => {
                let answering = what.answer.answering(Voice::Pbx, what.early_media);
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
            bridge: self.bridge,
            answering,
        };
        let end = FarEnd::pbx(end).await.map_err(|e| e.to_string())?;
        play(end, job, wanted).await
    }
}
