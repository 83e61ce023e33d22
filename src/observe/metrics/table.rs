//! Every metric there is: its name, kind, labels and meaning. docs/operating.md has the same table for operators, which a
//! test compares.
//!
//! No label ever has text from the network: what may stand in one is a closed set, or names of the configuration.

/// One metric.
#[derive(Debug)]
pub struct Row {
    /// Its name behind [`PREFIX`]; that of a counter without its `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values, counted by size: up to each of these.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Its name in OpenMetrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// What every name begins with.
pub const PREFIX: &str = "wabridge";

impl Row {
    /// The whole name by which it is asked for.
    pub fn full_name(&self) -> String {
        let total = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram(_) => "",
        };
        format!("{PREFIX}_{}{total}", self.name)
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    Row {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    Row {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    bounds: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Row {
    Row {
        name,
        kind: Kind::Histogram(bounds),
        labels,
        help,
    }
}

/// Seconds until somebody answers: up to the longest that a phone may ring.
const SETUP: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0,
];
/// Seconds of ICE and DTLS.
const KEYING: &[f64] = &[0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0];
/// Seconds of talk.
const TALK: &[f64] = &[
    5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0,
];
/// Seconds of work of our own.
const WORK: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1,
];
/// Seconds that the bridge adds to a set-up, its queue included.
const ADDED: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];
/// Seconds of jitter.
const JITTER: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2];
/// Seconds in our jitter buffer.
const BUFFER: &[f64] = &[0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5];
/// Seconds there and back.
const ROUND_TRIP: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0];
/// Shares of all packets.
const LOSS: &[f64] = &[0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
/// Mean opinion scores; 3.1 and 3.6 are where most and many complain (G.107 Annex B).
const MOS: &[f64] = &[1.5, 2.0, 2.6, 3.1, 3.6, 4.0, 4.2, 4.3, 4.4];

/// Calls that are up.
pub const CALLS_IN_PROGRESS: Row = gauge(
    "calls_in_progress",
    &["direction", "state"],
    "Calls that are up: `ringing`, `talking` or `ending`.",
);
/// `calls.max`.
pub const CALLS_MAX: Row = gauge("calls_max", &[], "Most calls at once, `calls.max`.");
/// Calls that are over.
pub const CALLS: Row = counter(
    "calls",
    &["direction", "pbx", "result"],
    "Calls that were let in and are over. `pbx`: its name; where several were tried, the last one. `result`: `answered`; \
     `dropped` (answered, and ended by the bridge: no media, a fault, its stop); `no-answer`, `busy`, `cancelled` (by the \
     caller), `refused-by-meta`, `refused-by-pbx`, `failed` (by the bridge, before the answer). An INVITE that was refused \
     before it was a call, with or without a PBX, is not counted here.",
);
/// Answered calls.
pub const CALLS_ANSWERED: Row = counter(
    "calls_answered",
    &["direction", "keying", "codec"],
    "Answered calls that are over, by how Meta's leg was keyed and what the PBX was sent.",
);
/// Transcoded calls.
pub const CALLS_TRANSCODED: Row = counter(
    "calls_transcoded",
    &["meta_codec", "pbx_codec"],
    "Answered calls that are over and were transcoded, wholly or in part, by what Meta and the PBX were sent. Opus to Opus: \
     packets of another length, or digits as tones.",
);
/// Transfers.
pub const TRANSFERS: Row = counter(
    "transfers",
    &["result"],
    "Transfers that the PBX has asked for in calls that are over: `done`, or `failed`.",
);
/// What Meta refused calls with.
pub const META_REFUSALS: Row = counter(
    "meta_refusals",
    &["status", "reason"],
    "Calls that Meta refused, by its status and a word for its text; `other` for what Meta does not document.",
);
/// INVITEs that did not become calls.
pub const INVITES_REFUSED: Row = counter(
    "invites_refused",
    &["leg", "reason"],
    "INVITEs that did not become calls, by the side that they came from. Challenges are none of these.",
);
/// The machine had less time than the calls took.
pub const OVERLOADS: Row = counter(
    "overloads",
    &[],
    "Times that the bridge has begun to refuse new calls because it was late: more came than this machine can do. What \
     it refused is in `wabridge_invites_refused_total` (`overload`).",
);
/// Until it rings.
pub const RINGING_SECONDS: Row = histogram(
    "call_ringing_seconds",
    SETUP,
    &["direction"],
    "From the INVITE to the first ringing that the caller is told of.",
);
/// Until it is answered.
pub const ANSWER_SECONDS: Row = histogram(
    "call_answer_seconds",
    SETUP,
    &["direction"],
    "From the INVITE to the callee's answer.",
);
/// What the bridge itself costs.
pub const ADDED_SECONDS: Row = histogram(
    "call_added_seconds",
    ADDED,
    &["direction", "step"],
    "What the bridge itself adds to a set-up, its queue included and connecting to a peer not: from the arrival of the INVITE \
     to our first on the other leg (`invite`), and from that of the callee's 200 to ours (`answer`).",
);
/// Until there are keys.
pub const KEYED_SECONDS: Row = histogram(
    "call_keyed_seconds",
    KEYING,
    &["direction"],
    "With DTLS: from the answer until Meta's leg has keys, ICE included.",
);
/// Until the end.
pub const TALK_SECONDS: Row = histogram(
    "call_talk_seconds",
    TALK,
    &["direction"],
    "From the answer to the end.",
);
/// Jitter of a call.
pub const JITTER_SECONDS: Row = histogram(
    "call_jitter_seconds",
    JITTER,
    &["leg"],
    "Jitter of the media that a side sent (RFC 3550 §6.4.1), of each answered call at its end.",
);
/// Round trip of a call.
pub const ROUND_TRIP_SECONDS: Row = histogram(
    "call_round_trip_seconds",
    ROUND_TRIP,
    &["leg"],
    "Round trip to a side, of each answered call at its end, as far as its RTCP told.",
);
/// Loss of a call.
pub const LOSS_RATIO: Row = histogram(
    "call_loss_ratio",
    LOSS,
    &["leg"],
    "Share of the packets that a side sent which never came, of each answered call.",
);
/// Our own work.
pub const SIGNALLING_SECONDS: Row = histogram(
    "signalling_turn_seconds",
    WORK,
    &[],
    "How long the bridge works on one event (a message, a timer): what it adds to a call's set-up each time. Its sum \
     per second is how busy signalling is; 1 is all that there is.",
);
/// SIP messages.
pub const MESSAGES: Row = counter(
    "sip_messages",
    &["leg", "way"],
    "SIP messages, repetitions included: `in` or `out`.",
);
/// What could not be read.
pub const MALFORMED: Row = counter(
    "sip_malformed",
    &["leg"],
    "What came from `allowed_sources` of that side and is no SIP message of use.",
);
/// Requests from elsewhere.
pub const STRANGERS: Row = counter(
    "sip_strangers",
    &["leg"],
    "Requests, and what cannot be read, from addresses that are in no `allowed_sources` of that side.",
);
/// Transactions.
pub const TRANSACTIONS: Row = gauge("sip_transactions", &[], "SIP transactions under way.");
/// How many transactions there may be.
pub const TRANSACTIONS_MAX: Row = gauge(
    "sip_transactions_max",
    &[],
    "Most SIP transactions at once, `transactions.max_transactions`.",
);
/// Requests for which there was no room.
pub const REQUESTS_REFUSED: Row = counter(
    "sip_requests_refused",
    &["leg"],
    "Requests, INVITEs among them, that got 503 since `transactions.max_transactions` were under way. None of them becomes a \
     call or leaves a record.",
);
/// PBXs that answer.
pub const PBX_UP: Row = gauge(
    "pbx_up",
    &["pbx", "address"],
    "1 if an address of a PBX is taken to be alive, 0 if calls try its other addresses first. With `options_interval = 0` only \
     calls tell, and it is 1 again after a rest of 30 s.",
);
/// Registrations.
pub const PBX_REGISTERED: Row = gauge(
    "pbx_registered",
    &["pbx", "registrar"],
    "1 if we are registered at a PBX that wants it, 0 if not.",
);
/// Call records.
pub const RECORDS: Row = counter(
    "records",
    &["result"],
    "Call records: `taken`, to be written, and `lost` since too many waited for the file.",
);
/// Whether records can be written.
pub const RECORDS_FAILING: Row = gauge(
    "records_failing",
    &[],
    "1 while the file of call records cannot be written: they wait.",
);
/// Connections.
pub const CONNECTIONS: Row = gauge(
    "connections",
    &["leg", "protocol", "opened_by"],
    "Connections of SIP that are open, by who opened them: `peer` or `us`.",
);
/// Failed handshakes.
pub const TLS_HANDSHAKE_FAILURES: Row = counter(
    "tls_handshake_failures",
    &["leg", "opened_by"],
    "TLS handshakes that failed, those of passers-by included.",
);
/// Nobody there.
pub const CONNECTIONS_UNREACHABLE: Row = counter(
    "connections_unreachable",
    &["leg"],
    "Times that no connection could be opened: no address of a name took one, or its certificate would not do.",
);
/// Live packets.
pub const MEDIA_PACKETS: Row = counter(
    "media_packets",
    &["leg", "way"],
    "RTP packets accepted from a side (`in`) and sent to it (`out`), calls that are up included; a second old at most.",
);
/// Live losses.
pub const MEDIA_PACKETS_LOST: Row = counter(
    "media_packets_lost",
    &["leg"],
    "RTP packets that a side sent and that never came, by their numbers.",
);
/// Live drops.
pub const MEDIA_PACKETS_DROPPED: Row = counter(
    "media_packets_dropped",
    &["leg", "reason"],
    "Packets that went no further. From that side: `stranger` (another address), `refused` (by SRTP), `unusable` (no RTP, or \
     of no agreed kind), `repeated` (twice, or too late), `late` (for the jitter buffer, \
     where the call is transcoded; or too many at once). For that side: `held-back` (not to be sent to yet), `not-kept` \
     (said before there were keys, and too much), `unsent` (by the system).",
);
/// Live repairs.
pub const MEDIA_MENDED_SECONDS: Row = counter(
    "media_mended_seconds",
    &["leg"],
    "Seconds of sound of a side that were made up in place of what did not come in time, in calls that are transcoded.",
);
/// Quality, as it is.
pub const INTERVAL_MOS: Row = histogram(
    "media_interval_mos",
    MOS,
    &["leg", "way"],
    "Estimated quality (E-model, MOS 1 to 4.5) of every 5 s of each leg that is up: `in`, what that side sent, as it came here; \
     `out`, what it was sent, as it reports. Seconds in which nobody speaks count with the next.",
);
/// Loss, as it is.
pub const INTERVAL_LOSS_RATIO: Row = histogram(
    "media_interval_loss_ratio",
    LOSS,
    &["leg", "way"],
    "Share of the packets, of the same 5 s, that were lost or came too late to be played: by the jitter buffer here (`in`, in \
     calls that are transcoded), or as that side says (`out`).",
);
/// Jitter, as it is.
pub const INTERVAL_JITTER_SECONDS: Row = histogram(
    "media_interval_jitter_seconds",
    JITTER,
    &["leg", "way"],
    "Jitter (RFC 3550 §6.4.1) at the end of the same 5 s.",
);
/// Round trip, as it is.
pub const INTERVAL_ROUND_TRIP_SECONDS: Row = histogram(
    "media_interval_round_trip_seconds",
    ROUND_TRIP,
    &["leg", "way"],
    "Round trip to that side, last measured in the same 5 s or before.",
);
/// The jitter buffer, as it is.
pub const INTERVAL_BUFFER_SECONDS: Row = histogram(
    "media_interval_buffer_seconds",
    BUFFER,
    &["leg"],
    "How long sound of that side waits in the jitter buffer at the end of the same 5 s, in calls that are transcoded.",
);
/// Calls that turned bad.
pub const TURNED_BAD: Row = counter(
    "media_turned_bad",
    &["leg", "way", "reason"],
    "Times that one direction of a leg turned bad, below `media.bad_mos` for 10 s, and what costs most: `loss`, `jitter` or \
     `delay`.",
);
/// All media ports.
pub const MEDIA_PORTS: Row = gauge(
    "media_ports",
    &["address"],
    "Pairs of media ports that an address has, `media.ports`. A call takes two pairs, or one on each of two addresses.",
);
/// Media ports that calls have.
pub const MEDIA_PORTS_IN_USE: Row = gauge(
    "media_ports_in_use",
    &["address"],
    "Pairs of media ports that calls have.",
);
/// Media ports that may not be taken yet.
pub const MEDIA_PORTS_RESTING: Row = gauge(
    "media_ports_resting",
    &["address"],
    "Pairs of media ports that rest after a call, `media.port_rest`.",
);
/// Whether it is ready.
pub const READY: Row = gauge(
    "ready",
    &[],
    "1 if new calls are taken and can be served; 0 if not: `/readyz` says why.",
);
/// When the process began.
pub const START_TIME: Row = gauge(
    "start_time_seconds",
    &[],
    "When the bridge was started, in seconds since 1970.",
);
/// Which program this is.
pub const BUILD_INFO: Row = gauge("build_info", &["version"], "1, with the version that runs.");
/// The certificate's end.
pub const CERTIFICATE_EXPIRY: Row = gauge(
    "certificate_expiry_timestamp_seconds",
    &[],
    "When the certificate that Meta is shown expires, in seconds since 1970.",
);
/// Reloads.
pub const RELOADS: Row = counter(
    "reloads",
    &["result"],
    "Times that the configuration was read anew: `ok`, or `failed` where it changed nothing.",
);
/// When the last reload was.
pub const LAST_RELOAD: Row = gauge(
    "last_reload_timestamp_seconds",
    &["result"],
    "When the configuration was last read anew with that result, in seconds since 1970; 0: never.",
);

/// All of them.
pub const ALL: &[&Row] = &[
    &CALLS_IN_PROGRESS,
    &CALLS_MAX,
    &CALLS,
    &CALLS_ANSWERED,
    &CALLS_TRANSCODED,
    &TRANSFERS,
    &META_REFUSALS,
    &INVITES_REFUSED,
    &OVERLOADS,
    &RINGING_SECONDS,
    &ANSWER_SECONDS,
    &ADDED_SECONDS,
    &KEYED_SECONDS,
    &TALK_SECONDS,
    &JITTER_SECONDS,
    &ROUND_TRIP_SECONDS,
    &LOSS_RATIO,
    &SIGNALLING_SECONDS,
    &MESSAGES,
    &MALFORMED,
    &STRANGERS,
    &TRANSACTIONS,
    &TRANSACTIONS_MAX,
    &REQUESTS_REFUSED,
    &PBX_UP,
    &PBX_REGISTERED,
    &RECORDS,
    &RECORDS_FAILING,
    &CONNECTIONS,
    &TLS_HANDSHAKE_FAILURES,
    &CONNECTIONS_UNREACHABLE,
    &MEDIA_PACKETS,
    &MEDIA_PACKETS_LOST,
    &MEDIA_PACKETS_DROPPED,
    &MEDIA_MENDED_SECONDS,
    &INTERVAL_MOS,
    &INTERVAL_LOSS_RATIO,
    &INTERVAL_JITTER_SECONDS,
    &INTERVAL_ROUND_TRIP_SECONDS,
    &INTERVAL_BUFFER_SECONDS,
    &TURNED_BAD,
    &MEDIA_PORTS,
    &MEDIA_PORTS_IN_USE,
    &MEDIA_PORTS_RESTING,
    &READY,
    &START_TIME,
    &BUILD_INFO,
    &CERTIFICATE_EXPIRY,
    &RELOADS,
    &LAST_RELOAD,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_what_prometheus_wants_and_each_is_there_once() {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let names: BTreeSet<_> = ALL.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ALL.len());
        for row in ALL {
            assert!(
                plain(row.name) && row.labels.iter().all(|l| plain(l)),
                "{row:?}"
            );
            assert!(!row.name.ends_with("_total"), "{row:?}");
            assert!(
                row.help.ends_with('.') && !row.help.contains('\n'),
                "{row:?}"
            );
            if let Kind::Histogram(bounds) = row.kind {
                assert!(bounds.is_sorted(), "{row:?}");
            }
        }
    }
}
