//! The loop of a far end: what is asked of it, what its sockets and lines say, and what its agent makes of it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::agent::{Action, Agent, Answering, CallId, Event, Manners, Order, Outgoing};
use super::ladder::Ladders;
use super::lines::{LineEvent, Lines};
use super::report::CallReport;
use crate::sip::transaction::ClientId;
use crate::sip::transport::{Flow, Target, TransportEvent, Transports};

/// How long the last calls may take to end.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// What the holder of a far end asks of it.
pub(super) enum Ask {
    Call(Box<Outgoing>, oneshot::Sender<CallReport>),
    Answer(Box<Answering>),
    Hearing(oneshot::Sender<usize>),
    HangUp,
    Stop(oneshot::Sender<Vec<String>>),
}

/// Events with the time they came: however far the loop is behind, media is not called early for it.
pub(super) type Arrivals = mpsc::UnboundedReceiver<(Instant, TransportEvent)>;

/// Notes when each event came.
pub(super) fn stamped(mut events: mpsc::Receiver<TransportEvent>) -> Arrivals {
    let (stamp, arrivals) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if stamp.send((Instant::now(), event)).is_err() {
                return;
            }
        }
    });
    arrivals
}

/// A far end's calls, and the sockets and lines that they use.
pub(super) struct Driver<M> {
    agent: Agent<M>,
    transports: Vec<Transports>,
    lines: Lines,
    ladders: Ladders,
    /// Flows of the second set of connections.
    beside: HashSet<Flow>,
    placed: HashMap<CallId, oneshot::Sender<CallReport>>,
    taken: mpsc::UnboundedSender<CallReport>,
    /// Reports that the lines still have.
    unfinished: usize,
    stopping: Option<(oneshot::Sender<Vec<String>>, Instant)>,
}

impl<M: Manners> Driver<M> {
    pub(super) fn new(
        agent: Agent<M>,
        transports: Vec<Transports>,
        lines: Lines,
        taken: mpsc::UnboundedSender<CallReport>,
    ) -> Driver<M> {
        Driver {
            agent,
            transports,
            lines,
            ladders: Ladders::default(),
            beside: HashSet::new(),
            placed: HashMap::new(),
            taken,
            unfinished: 0,
            stopping: None,
        }
    }

    /// Runs until it has been asked to stop and the last call is over.
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::UnboundedReceiver<Ask>,
        mut heard: mpsc::UnboundedReceiver<LineEvent>,
        mut main: Option<Arrivals>,
        mut beside: Option<Arrivals>,
    ) {
        while !self.is_over() {
            let stop = self.stopping.as_ref().map(|(_, at)| *at);
            let deadline = [self.agent.deadline(), stop].into_iter().flatten().min();
            tokio::select! {
                Some((at, event)) = next(&mut main) => self.transport(event, false, at),
                Some((at, event)) = next(&mut beside) => self.transport(event, true, at),
                Some(event) = heard.recv() => self.line(event),
                // Once it stops, there is nothing left to ask for.
                ask = asked.recv(), if self.stopping.is_none() => match ask {
                    Some(ask) => self.ask(ask),
                    // Nobody holds the far end any more: nobody is told how it ended.
                    None => self.stop(oneshot::channel().0),
                },
                () = until(deadline) => self.event(Event::Tick, Instant::now()),
            }
        }
        for transports in self.transports {
            transports.shutdown().await;
        }
        if let Some((tell, _)) = self.stopping {
            let _ = tell.send(self.agent.complaints().to_vec());
        }
    }

    fn is_over(&self) -> bool {
        match &self.stopping {
            None => false,
            Some((_, at)) => {
                let idle = self.agent.calls().next().is_none() && self.unfinished == 0;
                idle || Instant::now() >= *at
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        let now = Instant::now();
        match ask {
            Ask::Call(outgoing, tell) => match self.agent.place(*outgoing, now) {
                Some((call, actions)) => {
                    self.placed.insert(call, tell);
                    self.perform(actions, now);
                }
                None => {
                    let mut report = CallReport::default();
                    report.complain("there is no media port left for the call");
                    let _ = tell.send(report);
                }
            },
            Ask::Answer(answering) => self.agent.answer(*answering),
            Ask::Hearing(tell) => self.lines.hearing(tell),
            Ask::HangUp => self.hang_up(),
            Ask::Stop(tell) => self.stop(tell),
        }
    }

    fn stop(&mut self, tell: oneshot::Sender<Vec<String>>) {
        self.stopping = Some((tell, Instant::now() + LAST_CALLS));
        self.hang_up();
    }

    fn hang_up(&mut self) {
        let calls: Vec<CallId> = self.agent.calls().collect();
        for call in calls {
            self.event(Event::HangUp(call), Instant::now());
        }
    }

    fn transport(&mut self, event: TransportEvent, beside: bool, at: Instant) {
        match event {
            TransportEvent::Arrived(arrival) => {
                if beside {
                    self.beside.insert(arrival.flow);
                }
                self.ladders.note(&arrival.message, false, Instant::now());
                self.event(Event::Arrived(Box::new(arrival)), at);
            }
            TransportEvent::Malformed { malformed, .. } => {
                self.agent
                    .note(format!("a message cannot be read: {malformed}"));
            }
            TransportEvent::Failed { client, reason, .. } => {
                if let Some(client) = client.map(ClientId) {
                    self.event(Event::Failed { client, reason }, at);
                }
            }
            TransportEvent::Sent { .. } => {}
            TransportEvent::Closed { flow, .. } => {
                self.beside.remove(&flow);
            }
        }
    }

    fn line(&mut self, event: LineEvent) {
        match event {
            LineEvent::Silent(call, why) => self.event(Event::Silent(call, why), Instant::now()),
            LineEvent::Finished(call, mut report) => {
                self.unfinished -= 1;
                report.ladder = self.ladders.take(&report.call_id);
                // Whoever waited for it may be gone.
                match self.placed.remove(&call) {
                    Some(tell) => drop(tell.send(*report)),
                    None => drop(self.taken.send(*report)),
                }
            }
        }
    }

    fn event(&mut self, event: Event, now: Instant) {
        let actions = self.agent.handle(event, now);
        self.perform(actions, now);
    }

    fn perform(&mut self, actions: Vec<Action>, now: Instant) {
        for action in actions {
            match action {
                Action::Send {
                    message,
                    target,
                    client,
                    elsewhere,
                } => {
                    self.ladders.note(&message, true, Instant::now());
                    let beside = match &target {
                        Target::Flow(flow) => self.beside.contains(flow),
                        Target::Hop(_) => elsewhere,
                    };
                    let way = self.transports.get(usize::from(beside));
                    if let Some(way) = way.or(self.transports.first()) {
                        way.send(message.to_bytes(), target, client.map(|client| client.0));
                    }
                }
                Action::Line(_, Order::Close) => {}
                Action::Line(call, order) => self.lines.order(call, order, now),
                Action::Ended(call, report) => {
                    self.unfinished += 1;
                    self.lines.finish(call, report);
                }
            }
        }
    }
}

async fn next(events: &mut Option<Arrivals>) -> Option<(Instant, TransportEvent)> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
