//! One stream, from its first octet to its end: a task that alone reads and writes it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::sip::framing::{Frame, Framer, Lost};

use super::gate::Place;
use super::liveness::{Due, Liveness};
use super::pool::{Order, Orders, Outgoing};
use super::shared::{Shared, stopped};
use super::tally::{Counted, Opener};
use super::{Flow, Hop, TransportEvent, arrive};

/// How long a peer may take to read one message of ours.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// About how many octets are written at once: what a record of TLS holds.
const BATCH: usize = 12 * 1024;
/// How long a connection is kept, to be answered on, after its stream could not be read further.
const LINGER: Duration = Duration::from_secs(1);

/// A TCP stream, bare or under TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection and its task's state.
pub(super) struct Connection {
    shared: Arc<Shared>,
    stream: Box<dyn Stream>,
    flow: Flow,
    origin: Origin,
    orders: Orders,
    framer: Framer,
    liveness: Liveness,
    /// What was being written when the connection died.
    unsent: Vec<Outgoing>,
    stop: watch::Receiver<bool>,
    _counted: Counted,
}

/// Who opened a connection.
pub(super) enum Origin {
    /// The peer; it holds a place until the end.
    Accepted { _place: Place },
    /// We did, to send messages to this hop.
    Opened(Hop),
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: Box<dyn Stream>,
        flow: Flow,
        origin: Origin,
        orders: Orders,
    ) -> Connection {
        let now = Instant::now();
        let liveness = match &origin {
            Origin::Accepted { .. } => Liveness::accepted(&shared.settings, now),
            Origin::Opened(_) => Liveness::opened(&shared.settings, now),
        };
        let opener = match &origin {
            Origin::Accepted { .. } => Opener::Peer,
            Origin::Opened(_) => Opener::Us,
        };
        Connection {
            _counted: shared.tally.count(flow.leg, flow.protocol, opener),
            framer: Framer::new(shared.settings.limits()),
            stop: shared.stop.subscribe(),
            shared,
            stream,
            flow,
            origin,
            orders,
            liveness,
            unsent: Vec::new(),
        }
    }

    /// Carries messages until one side ends it; what was not sent by then finds another way or is reported.
    pub(super) async fn run(mut self) {
        let Err(reason) = self.carry().await;
        let hop = match &self.origin {
            Origin::Opened(hop) => Some(hop),
            Origin::Accepted { .. } => None,
        };
        self.orders.queue.close();
        if let Some(id) = self.flow.connection {
            self.shared.pool.closed(id, hop);
        }
        for message in std::mem::take(&mut self.unsent) {
            self.shared.send_elsewhere(message, &reason);
        }
        while let Ok(order) = self.orders.queue.try_recv() {
            if let Order::Send(message) = order {
                self.shared.send_elsewhere(message, &reason);
            }
        }
        let _ = timeout(LINGER, self.say_goodbye()).await;
        tracing::debug!(leg = ?self.flow.leg, remote = %self.flow.remote, reason, "connection closed");
        let flow = self.flow;
        let _ = self.deliver(TransportEvent::Closed { flow, reason }).await;
    }

    /// Never returns but with the reason why it ended.
    async fn carry(&mut self) -> Result<std::convert::Infallible, String> {
        let mut buffer = vec![0; 8192];
        loop {
            let deadline = self.liveness.deadline().into();
            tokio::select! {
                read = self.stream.read(&mut buffer) => {
                    let count = heard(read)?;
                    self.take(&buffer[..count]).await?;
                }
                order = self.orders.queue.recv() => self.obey(order).await?,
                () = self.orders.abort.notified() => {
                    return Err("it was closed here; the peer did not read".into());
                }
                () = sleep_until(deadline) => self.wait_no_longer().await?,
                () = stopped(&mut self.stop) => {
                    while let Ok(order) = self.orders.queue.try_recv() {
                        self.obey(Some(order)).await?;
                    }
                    return Err("wabridge is stopping".into());
                }
            }
        }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.framer.push(bytes);
        let mut whole = false;
        loop {
            match self.framer.next_frame() {
                Ok(Some(Frame::Message(message))) => {
                    whole = true;
                    let event = arrive::event(&message, self.flow, &self.shared.settings.limits());
                    self.deliver(event).await?;
                }
                // Who opened the connection pings (RFC 5626 §3.5.1); what comes back are two answers to our own.
                Ok(Some(Frame::Ping)) if matches!(self.origin, Origin::Opened(_)) => {}
                Ok(Some(Frame::Ping)) => self.write(b"\r\n").await?,
                Ok(None) => break,
                Err(lost) => return Err(self.lose(lost).await),
            }
        }
        let partial = self.framer.is_partial();
        self.liveness.heard(whole, partial, Instant::now());
        Ok(())
    }

    /// Reports what cannot be read, and stays for a moment, so that the core's answer goes out.
    async fn lose(&mut self, lost: Lost) -> String {
        let reason = format!("the stream cannot be read further: {}", lost.what);
        let event = arrive::lost(lost, self.flow, &self.shared.settings.limits());
        if self.deliver(event).await.is_ok() {
            let _ = timeout(LINGER, self.only_answer()).await;
        }
        reason
    }

    async fn only_answer(&mut self) -> Result<(), String> {
        let mut buffer = vec![0; 8192];
        loop {
            tokio::select! {
                // Closing with octets unread would reset the connection, and with it an answer on its way.
                read = self.stream.read(&mut buffer) => { heard(read)?; }
                order = self.orders.queue.recv() => self.obey(order).await?,
            }
        }
    }

    async fn obey(&mut self, order: Option<Order>) -> Result<(), String> {
        let mut next = order;
        let mut batch = Vec::new();
        let mut octets = 0;
        // What has queued up goes out as one: a record of TLS and a visit to the kernel for all of it.
        let closes = loop {
            match next {
                Some(Order::Send(message)) if message.is_stale(Instant::now()) => {
                    let why = "it waited too long for its connection";
                    self.shared.fail(message, why.into());
                }
                Some(Order::Send(message)) => {
                    octets += message.bytes.len();
                    batch.push(message);
                }
                Some(Order::Close) | None => break true,
            }
            if octets >= BATCH {
                break false;
            }
            match self.orders.queue.try_recv() {
                Ok(order) => next = Some(order),
                Err(_) => break false,
            }
        };
        self.send(batch).await?;
        match closes {
            true => Err("it was closed here".into()),
            false => Ok(()),
        }
    }

    async fn send(&mut self, batch: Vec<Outgoing>) -> Result<(), String> {
        let written = match batch.as_slice() {
            [] => return Ok(()),
            [message] => self.write(&message.bytes).await,
            several => {
                let together: Vec<_> = several.iter().map(|m| m.bytes.as_slice()).collect();
                self.write(&together.concat()).await
            }
        };
        if let Err(reason) = written {
            self.unsent = batch;
            return Err(reason);
        }
        for message in &batch {
            self.shared.sent(message);
        }
        self.liveness.said(Instant::now());
        Ok(())
    }

    async fn wait_no_longer(&mut self) -> Result<(), String> {
        match self.liveness.due(Instant::now()) {
            Some(Due::Ping) => self.write(b"\r\n\r\n").await,
            Some(Due::Close(reason)) => Err(reason.to_owned()),
            None => Ok(()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = timeout(WRITE_TIMEOUT, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the connection broke: {error}")),
            Err(_) => Err(format!(
                "the peer read nothing for {} s",
                WRITE_TIMEOUT.as_secs()
            )),
        }
    }

    /// The core may be behind: then the peer is read no further until it has caught up.
    async fn deliver(&mut self, event: TransportEvent) -> Result<(), String> {
        let stopping = || "wabridge is stopping".to_owned();
        tokio::select! {
            sent = self.shared.events.send(event) => sent.map_err(|_| stopping()),
            () = stopped(&mut self.stop) => Err(stopping()),
        }
    }

    /// Ends the stream properly, and lets the peer end its side before octets unread could reset it.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut buffer = vec![0; 8192];
        while self.stream.read(&mut buffer).await? > 0 {}
        Ok(())
    }
}

fn heard(read: io::Result<usize>) -> Result<usize, String> {
    match read {
        Ok(0) => Err("the peer closed it".into()),
        Ok(count) => Ok(count),
        // TLS without close_notify; many stacks end that way.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err("the peer closed it".into())
        }
        Err(error) => Err(format!("the connection broke: {error}")),
    }
}
