//! One look at a running bridge: what it is doing now, and whether it is ready for calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::metrics::{Metrics, expect_calls, table};
use super::records::FileState;
use super::status::{self, Calls, Reason, Reloads, Status, Sums};
use super::trace::{NoMedia, Tape, Traces};
use crate::call::driver::Order;
use crate::call::{Direction, LiveCall, PbxAddress, Phase, Registered, Snapshot};
use crate::leg::Leg;
use crate::media::{self, Count, Quality, Recording, SessionStats, SideStats};
use crate::number::{E164, Masked, without_numbers};
use crate::sip::register::Standing;
use crate::sip::transport::{Opener, Transports};

/// How long signalling, or the media engine, may take to say what it is doing: neither works that long on anything.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why packets went no further, and how many did not.
const DROPPED: [(&str, Count); 8] = [
    ("stranger", Count::Strangers),
    ("refused", Count::Refused),
    ("unusable", Count::Unusable),
    ("repeated", Count::Repeated),
    ("late", Count::Discarded),
    ("held-back", Count::HeldBack),
    ("not-kept", Count::NotKept),
    ("unsent", Count::Unsent),
];

/// What a configuration says of the bridge, and where it listens.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The business numbers.
    pub numbers: Vec<E164>,
    /// Where it listens.
    pub listeners: Vec<status::Listener>,
    /// When the certificate that Meta is shown expires.
    pub certificate_expires: Option<SystemTime>,
}

/// Signalling does not say what it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It does not answer.
    #[error("signalling does not answer within {} s", PATIENCE.as_secs())]
    Stuck,
    /// It is over.
    #[error("signalling has stopped")]
    Stopped,
}

/// What is known of a running bridge, and the doors at which the rest is asked for. It keeps nothing running.
pub struct View {
    orders: mpsc::WeakSender<Order>,
    media: media::Handle,
    sockets: Transports,
    records: FileState,
    metrics: Arc<Metrics>,
    traces: Traces,
    facts: RwLock<Facts>,
    reloads: Mutex<Reloads>,
    started: (Instant, SystemTime),
    /// Held while the metrics of this moment are set and written, so that no scrape mixes two moments.
    scraped: Mutex<()>,
}

impl View {
    /// A look at what has just been started.
    pub fn new(
        orders: &mpsc::Sender<Order>,
        media: media::Handle,
        sockets: Transports,
        records: FileState,
        metrics: Arc<Metrics>,
        traces: Traces,
        facts: Facts,
    ) -> View {
        let started = (Instant::now(), SystemTime::now());
        metrics
            .gauge(&table::START_TIME, &[])
            .set(seconds(started.1));
        metrics
            .gauge(&table::BUILD_INFO, &[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        for result in ["ok", "failed"] {
            metrics.counter(&table::RELOADS, &[result]);
            metrics.gauge(&table::LAST_RELOAD, &[result]);
        }
        View {
            orders: orders.downgrade(),
            media,
            sockets,
            records,
            metrics,
            traces,
            facts: RwLock::new(facts),
            reloads: Mutex::default(),
            started,
            scraped: Mutex::new(()),
        }
    }

    /// Where everything is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What went over the wire of the last calls.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// What is recorded of the call that is meant, which may still be up.
    ///
    /// # Errors
    ///
    /// If there is nothing.
    pub async fn recording(&self, call: &str) -> Result<Arc<Recording>, NoMedia> {
        let session = match self.traces.tape(call)? {
            Tape::Over(recording) => return Ok(recording),
            Tape::Running(session) => session,
        };
        let (tell, told) = oneshot::channel();
        self.media.read(session, move |recording| {
            // Whoever asked may have gone.
            let _ = tell.send(Arc::new(recording));
        });
        match timeout(PATIENCE, told).await {
            Ok(Ok(recording)) => Ok(recording),
            _ => Err(NoMedia::Ending),
        }
    }

    /// What the configuration says has changed.
    pub fn know(&self, facts: Facts) {
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// The configuration was read anew, and taken over or not.
    pub fn reloaded(&self, taken_over: bool) {
        let now = seconds(SystemTime::now());
        let mut reloads = locked(&self.reloads);
        let result = if taken_over {
            reloads.ok += 1;
            reloads.last_ok = Some(now);
            "ok"
        } else {
            reloads.failed += 1;
            reloads.last_failed = Some(now);
            "failed"
        };
        self.metrics.counter(&table::RELOADS, &[result]).inc();
        self.metrics.gauge(&table::LAST_RELOAD, &[result]).set(now);
    }

    /// What signalling is doing.
    pub async fn snapshot(&self) -> Result<Snapshot, Unanswered> {
        let orders = self.orders.upgrade().ok_or(Unanswered::Stopped)?;
        let (tell, told) = oneshot::channel();
        let asked = async {
            orders.send(Order::Snapshot(tell)).await.ok()?;
            told.await.ok()
        };
        match timeout(PATIENCE, asked).await {
            Ok(Some(snapshot)) => Ok(snapshot),
            Ok(None) => Err(Unanswered::Stopped),
            Err(_) => Err(Unanswered::Stuck),
        }
    }

    /// Why no new call can be served; nothing if it can.
    pub fn not_ready(&self, now: &Snapshot) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut because = |reason: &str, detail: String| {
            reasons.push(Reason {
                reason: reason.to_owned(),
                detail,
            });
        };
        if now.stopping {
            because("stopping", "no new calls are taken any more".into());
        }
        if now.calls.len() >= now.max_calls {
            because(
                "calls-max",
                format!("{} calls are up, which is calls.max", now.calls.len()),
            );
        }
        if now.transactions >= now.max_transactions {
            because(
                "transactions-max",
                format!(
                    "{} SIP transactions are under way, of transactions.max_transactions = {}",
                    now.transactions, now.max_transactions
                ),
            );
        }
        if !now.pbxs.is_empty() && now.pbxs.iter().all(|pbx| !pbx.is_up) {
            because("no-pbx", "no address of any PBX answers".into());
        }
        if let Some(address) = self.media.exhausted() {
            because(
                "no-media-port",
                format!("too few ports of {address} are free for a call: widen media.ports"),
            );
        }
        let expires = self.facts().certificate_expires;
        if expires.is_some_and(|expires| expires <= SystemTime::now()) {
            because(
                "certificate-expired",
                "Meta refuses the certificate: renew it".into(),
            );
        }
        reasons
    }

    /// All of it, for `/status`.
    pub fn status(&self, now: &Snapshot) -> Status {
        let facts = self.facts();
        let not_ready = self.not_ready(now);
        let up = |phase| now.calls.iter().filter(|call| call.phase == phase).count();
        let stats = now.stats;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: seconds(self.started.1),
            uptime: self.started.0.elapsed().as_secs_f64(),
            ready: not_ready.is_empty(),
            not_ready,
            numbers: facts.numbers.iter().map(ToString::to_string).collect(),
            pbxs: now.pbxs.iter().map(pbx).collect(),
            registrations: now.registrations.iter().map(registration).collect(),
            listeners: facts.listeners,
            calls: Calls {
                ringing: up(Phase::Ringing),
                talking: up(Phase::Talking),
                ending: up(Phase::Ending),
                max: now.max_calls,
            },
            since_start: Sums {
                calls: stats.calls,
                refused: stats.refused,
                malformed: stats.malformed(),
                strangers_meta: stats.strangers_meta,
                strangers_pbx: stats.strangers_pbx,
            },
            transactions: now.transactions,
            media_ports: self.media_ports(),
            certificate: facts.certificate_expires.map(certificate),
            reloads: *locked(&self.reloads),
            records_failing: self.records.is_failing(),
        }
    }

    /// The calls that are up, for `/calls`.
    pub async fn calls(&self, now: &Snapshot) -> Vec<status::Call> {
        let media = self.media.clone();
        let carried = tokio::task::spawn_blocking(move || media.sessions(PATIENCE)).await;
        let carried = carried.unwrap_or_default();
        let told = |live: &LiveCall| call(live, carried.get(&live.who.session), now.taken);
        now.calls.iter().map(told).collect()
    }

    /// The metrics as OpenMetrics text, for `/metrics`.
    pub fn text(&self, now: &Snapshot) -> Result<String, std::fmt::Error> {
        let _whole = locked(&self.scraped);
        self.set_gauges(now);
        self.metrics.text()
    }

    fn set_gauges(&self, now: &Snapshot) {
        let metrics = &self.metrics;
        let set = |row, labels: &[&str], value| {
            metrics.gauge(row, labels).set(value);
        };
        for direction in Direction::BOTH {
            for phase in Phase::ALL {
                let is_one =
                    |call: &&LiveCall| call.who.direction == direction && call.phase == phase;
                let count = now.calls.iter().filter(is_one).count();
                let labels = [direction.word(), phase.word()];
                set(&table::CALLS_IN_PROGRESS, &labels, count as f64);
            }
        }
        set(&table::CALLS_MAX, &[], now.max_calls as f64);
        set(&table::TRANSACTIONS, &[], now.transactions as f64);
        set(&table::TRANSACTIONS_MAX, &[], now.max_transactions as f64);
        let ready = self.not_ready(now).is_empty();
        let failing = self.records.is_failing();
        set(&table::RECORDS_FAILING, &[], f64::from(u8::from(failing)));
        set(&table::READY, &[], f64::from(u8::from(ready)));
        if let Some(expires) = self.facts().certificate_expires {
            set(&table::CERTIFICATE_EXPIRY, &[], seconds(expires));
        }
        for ports in self.media_ports() {
            let address = [ports.address.as_str()];
            set(&table::MEDIA_PORTS, &address, ports.all as f64);
            set(&table::MEDIA_PORTS_IN_USE, &address, ports.in_use as f64);
            set(&table::MEDIA_PORTS_RESTING, &address, ports.resting as f64);
        }
        self.set_sums(now);
        self.set_pbxs(now);
        self.set_media();
        self.set_connections();
    }

    fn set_sums(&self, now: &Snapshot) {
        let stats = &now.stats;
        let sums = [
            (&table::STRANGERS, Leg::Meta, stats.strangers_meta),
            (&table::STRANGERS, Leg::Pbx, stats.strangers_pbx),
            (&table::MALFORMED, Leg::Meta, stats.malformed_meta),
            (&table::MALFORMED, Leg::Pbx, stats.malformed_pbx),
        ];
        for (row, leg, sum) in sums {
            self.metrics.advance(row, &[leg.word()], sum);
        }
        for leg in Leg::BOTH {
            let sum = now.turned_away[leg as usize];
            self.metrics
                .advance(&table::REQUESTS_REFUSED, &[leg.word()], sum);
        }
    }

    /// What a reload has taken away is not shown any more.
    fn set_pbxs(&self, now: &Snapshot) {
        self.metrics.forget(&table::PBX_UP);
        for pbx in &now.pbxs {
            let labels = [pbx.pbx.as_str(), &pbx.hop.to_string()];
            let up = self.metrics.gauge(&table::PBX_UP, &labels);
            up.set(f64::from(u8::from(pbx.is_up)));
            // A reload may have brought it.
            expect_calls(&self.metrics, &pbx.pbx);
        }
        self.metrics.forget(&table::PBX_REGISTERED);
        for at in &now.registrations {
            let labels = [at.pbx.as_str(), &at.registrar.to_string()];
            let registered = self.metrics.gauge(&table::PBX_REGISTERED, &labels);
            registered.set(f64::from(u8::from(at.standing.since.is_some())));
        }
    }

    fn set_media(&self) {
        for leg in Leg::BOTH {
            let advance = |row, label: &[&str], count| {
                let labels = [&[leg.word()], label].concat();
                self.metrics
                    .advance(row, &labels, self.media.carried(leg, count));
            };
            advance(&table::MEDIA_PACKETS, &["in"], Count::Received);
            advance(&table::MEDIA_PACKETS, &["out"], Count::Sent);
            advance(&table::MEDIA_PACKETS_LOST, &[], Count::Lost);
            for (reason, count) in DROPPED {
                advance(&table::MEDIA_PACKETS_DROPPED, &[reason], count);
            }
            let mended = self.media.carried(leg, Count::MendedMs) / 1000;
            let labels = [leg.word()];
            self.metrics
                .advance(&table::MEDIA_MENDED_SECONDS, &labels, mended);
        }
    }

    fn set_connections(&self) {
        let tally = self.sockets.tally();
        for (leg, protocol, opener, open) in tally.open() {
            let labels = [
                leg.word(),
                &protocol.name().to_ascii_lowercase(),
                opener.word(),
            ];
            self.metrics
                .gauge(&table::CONNECTIONS, &labels)
                .set(open as f64);
        }
        for leg in Leg::BOTH {
            let unreachable = tally.unreachable(leg);
            let leg_word = [leg.word()];
            self.metrics
                .advance(&table::CONNECTIONS_UNREACHABLE, &leg_word, unreachable);
            for opener in Opener::BOTH {
                let labels = [leg.word(), opener.word()];
                let failed = tally.handshakes_failed(leg, opener);
                self.metrics
                    .advance(&table::TLS_HANDSHAKE_FAILURES, &labels, failed);
            }
        }
    }

    fn media_ports(&self) -> Vec<status::Ports> {
        let ports = self.media.port_use();
        let told = |(address, ports): (std::net::IpAddr, media::PortUse)| status::Ports {
            address: address.to_string(),
            in_use: ports.taken,
            resting: ports.resting,
            all: ports.all,
        };
        ports.into_iter().map(told).collect()
    }

    fn facts(&self) -> Facts {
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        facts.clone()
    }
}

fn call(live: &LiveCall, media: Option<&SessionStats>, now: Instant) -> status::Call {
    let who = &live.who;
    let since = |from: Instant| now.saturating_duration_since(from).as_secs_f64();
    let codec = |codec: Option<media::Codec>| codec.map(|codec| codec.to_string());
    status::Call {
        call: who.call.0,
        direction: who.direction.to_string(),
        state: live.phase.word().to_owned(),
        number: who.number.to_string(),
        user: who.user.as_ref().map(ToString::to_string),
        pbx: who.pbx.clone(),
        seconds: since(live.began),
        talked: live.answered.map(since),
        keying: live.keying.map(|keying| keying.to_string()),
        meta_codec: codec(live.codecs.meta),
        pbx_codec: codec(live.codecs.pbx),
        meta_call_id: Masked(who.call_id_of(Leg::Meta)).to_string(),
        pbx_call_id: Masked(who.call_id_of(Leg::Pbx)).to_string(),
        wacid: who.wacid.as_deref().map(|wacid| Masked(wacid).to_string()),
        meta_media: media.map(|media| carried(&media.meta)),
        pbx_media: media.map(|media| carried(&media.pbx)),
    }
}

fn carried(side: &SideStats) -> status::Carried {
    status::Carried {
        received: side.received,
        lost: side.lost,
        sent: side.sent,
        buffered_ms: side.buffered_ms,
        mended_ms: side.mended_ms,
        sound_in: sound(&side.quality_in),
        sound_out: sound(&side.quality_out),
    }
}

fn sound(quality: &Quality) -> Option<status::Sound> {
    let last = quality.last?;
    Some(status::Sound {
        mos: last.mos,
        loss: last.loss,
        jitter_ms: last.jitter_ms,
        round_trip_ms: last.round_trip_ms,
        bad: quality.is_bad,
    })
}

fn pbx(address: &PbxAddress) -> status::Pbx {
    status::Pbx {
        name: address.pbx.clone(),
        address: address.hop.to_string(),
        up: address.is_up,
    }
}

fn registration(registered: &Registered) -> status::Registration {
    let Standing { since, error, .. } = &registered.standing;
    status::Registration {
        pbx: registered.pbx.clone(),
        registrar: registered.registrar.to_string(),
        registered: since.is_some(),
        error: error.as_deref().map(without_numbers),
    }
}

fn certificate(expires: SystemTime) -> status::Certificate {
    let expires = seconds(expires);
    status::Certificate {
        expires,
        days: (expires - seconds(SystemTime::now())) / 86_400.0,
    }
}

/// Seconds since 1970; 0 before it.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// What is behind these locks is whole after every statement.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
