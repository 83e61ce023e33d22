//! HTTP, as little as Prometheus and a person need: one request a connection, answered within a time, of a bounded size.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::door::{Door, Stream};
use super::{Listen, pages};
use crate::observe::View;

/// Connections at once. One more ends the oldest, so that whoever holds many of them keeps nobody out.
const MOST: usize = 32;
/// Octets of a request line with its headers; hyper allows no less.
const MOST_OCTETS: usize = 8192;
/// Headers of a request.
const MOST_HEADERS: usize = 64;
/// How long the headers may take.
const HEADERS: Duration = Duration::from_secs(5);
/// How long all of it may take, to a reader that reads slowly.
const WHOLE: Duration = Duration::from_secs(10);
/// Rest after a failed accept: out of file descriptors, only time helps.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves pages until it is dropped.
#[derive(Debug)]
pub struct Server {
    task: JoinHandle<()>,
    listen: Listen,
}

impl Server {
    /// Serves there.
    pub fn start(door: Door, view: Arc<View>) -> Server {
        Server {
            listen: door.listen().clone(),
            task: tokio::spawn(serve(door, view)),
        }
    }

    /// Serves no more: when this returns, the address is free and the file of a Unix socket gone.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Where.
    pub fn listen(&self) -> &Listen {
        &self.listen
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(door: Door, view: Arc<View>) {
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            accepted = door.accept() => match accepted {
                Ok(stream) => connections.take(answer(stream, view.clone())),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection for status or metrics");
                    sleep(ACCEPT_REST).await;
                }
            },
            Some(_) = connections.tasks.join_next() => {}
        }
    }
}

/// Those that are being answered, the oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    oldest: VecDeque<AbortHandle>,
}

impl Connections {
    fn take(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.oldest.retain(|task| !task.is_finished());
        if self.oldest.len() >= MOST
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        self.oldest.push_back(self.tasks.spawn(connection));
    }
}

async fn answer(stream: Box<dyn Stream>, view: Arc<View>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let view = view.clone();
        async move { Ok::<_, Infallible>(pages::answer(&request, &view).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(MOST_OCTETS)
        .max_headers(MOST_HEADERS)
        .keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    match timeout(WHOLE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request for status or metrics failed"),
        Err(_) => tracing::debug!("a request for status or metrics took too long"),
    }
}
