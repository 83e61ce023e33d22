//! What `wabridge status`, `wabridge calls` and `wabridge trace` have in common: where the bridge serves, and one question to it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config;
use crate::observe::admin::Listen;
use crate::observe::status::Reason;

/// How long a bridge may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most octets of an answer: thousands of calls, or five minutes of media.
const MOST: usize = 128 * 1024 * 1024;

/// Which bridge is asked, and how its answer is shown.
#[derive(Debug, clap::Args)]
pub struct Asking {
    /// The configuration file of the bridge, which says where it serves: admin.listen. Only that key is read
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Where the bridge serves, "IP:port" or "unix:/path"; without this and a file, 127.0.0.1:9091
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Listen>,
    /// Print the JSON that it answers
    #[arg(long)]
    pub json: bool,
}

/// What a bridge answered.
pub enum Answer<T> {
    /// What it was asked for, and the text of it.
    Told(T, String),
    /// It cannot say, and why.
    Not(Vec<Reason>, String),
}

/// What it says where it cannot say what it was asked for.
#[derive(Deserialize)]
struct NotReady {
    not_ready: Vec<Reason>,
}

impl Asking {
    /// Asks for a page; the error is for a person to read.
    pub fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, String> {
        let (status, text) = self.get(path)?;
        match status {
            StatusCode::OK => read(&text).map(|told| Answer::Told(told, text)),
            _ => read(&text).map(|not: NotReady| Answer::Not(not.not_ready, text)),
        }
    }

    /// The status and the text of a page; the error is for a person to read.
    pub fn get(&self, path: &str) -> Result<(StatusCode, String), String> {
        let listen = self.listen()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let answer = runtime.block_on(async { timeout(PATIENCE, get(&listen, path)).await });
        answer.unwrap_or_else(|_| {
            Err(format!(
                "the bridge at {listen} does not answer within {} s",
                PATIENCE.as_secs()
            ))
        })
    }

    fn listen(&self) -> Result<Listen, String> {
        match (&self.admin, &self.config) {
            (Some(listen), _) => Ok(listen.clone()),
            (None, Some(file)) => configured(file),
            (None, None) => Ok(Listen::default()),
        }
    }
}

/// What an answer says; the error is for a person to read.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("what serves there is no wabridge, or one of another version: {error}")
    })
}

fn configured(file: &Path) -> Result<Listen, String> {
    let admin = config::admin_of(file).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    Ok(admin.listen)
}

async fn get(listen: &Listen, path: &str) -> Result<(StatusCode, String), String> {
    let unreachable = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => format!(
            "no bridge serves at {listen} ({error}): is it running, with this admin.listen?"
        ),
        ErrorKind::PermissionDenied => format!(
            "you may not ask at {listen} ({error}): do it as root, or as the user or group of the bridge"
        ),
        _ => format!("cannot ask at {listen}: {error}"),
    };
    match listen {
        Listen::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            request(stream, path).await
        }
        Listen::Unix(file) => {
            let stream = UnixStream::connect(file).await.map_err(unreachable)?;
            request(stream, path).await
        }
        Listen::Off => Err("admin.listen is \"off\": this bridge serves no status".into()),
    }
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> Result<(StatusCode, String), String> {
    let strange = |error: &dyn std::fmt::Display| format!("the answer is no HTTP of ours: {error}");
    let (mut requests, connection) =
        hyper::client::conn::http1::handshake::<_, String>(TokioIo::new(stream))
            .await
            .map_err(|error| strange(&error))?;
    // It ends with the answer.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, "localhost")
        .body(String::new())
        .map_err(|error| strange(&error))?;
    let response = requests
        .send_request(request)
        .await
        .map_err(|error| strange(&error))?;
    let status = response.status();
    let body: Bytes = Limited::new(response.into_body(), MOST)
        .collect()
        .await
        .map_err(|error| strange(&error))?
        .to_bytes();
    let text = String::from_utf8(body.into()).map_err(|error| strange(&error))?;
    Ok((status, text))
}
