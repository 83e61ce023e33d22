//! One record: a flat JSON object with one object for each leg. docs/records.md has the same fields as a table, and a test
//! holds the two together.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;

use crate::call::watch::{At, Rejected};
use crate::call::{Direction, Summary};
use crate::leg::Leg;
use crate::media::{Codec, Quality, SideStats};
use crate::number::Written;

/// Raised when a field changes its meaning or goes. New fields may come at any time.
pub const SCHEMA: u8 = 1;

/// Octets of a text of somebody else's that are kept: nobody makes a record long.
const LONGEST: usize = 1024;

/// A finished or refused call. Every field is always written; what does not apply or is not known is `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u8,
    /// No other record of this host has it.
    pub id: String,
    /// Whether it was a call.
    pub kind: Kind,
    /// `user-initiated` or `business-initiated`.
    pub direction: String,
    /// The business number.
    pub number: Option<String>,
    /// The WhatsApp user; `null` where it was withheld.
    pub user: Option<String>,
    /// Name of the PBX.
    pub pbx: Option<String>,
    /// Where a refused INVITE came from.
    pub source: Option<SocketAddr>,
    /// Call-ID of Meta's leg.
    pub meta_call_id: Option<String>,
    /// Call-ID of the PBX's leg.
    pub pbx_call_id: Option<String>,
    /// How often the PBX has transferred it.
    pub transfers: u32,
    /// How often it has asked for that in vain.
    pub transfers_failed: u32,
    /// Call-ID of the leg that the PBX had last, where it has transferred the call.
    pub transferred_call_id: Option<String>,
    /// Meta's name for the call.
    pub wacid: Option<String>,
    /// When the INVITE was let in, or refused.
    pub began: String,
    /// When the caller was first told that it rings.
    pub rang: Option<String>,
    /// When the callee answered.
    pub answered: Option<String>,
    /// When the end began.
    pub ended: String,
    /// From INVITE to answer, or to the end if nobody answered.
    pub setup_ms: u64,
    /// From answer to end; 0 if nobody answered.
    pub duration_ms: u64,
    /// How long Meta says that it lasted (`x-wa-meta-call-duration`).
    pub meta_duration_s: Option<u64>,
    /// `meta`, `pbx` or `bridge`.
    pub ended_by: String,
    /// What the caller was told: 200, or why not.
    pub caller_status: u16,
    /// What the callee said.
    pub callee_status: Option<u16>,
    /// For a refused INVITE, the kind of reason in a word.
    pub because: Option<&'static str>,
    /// Why it ended or was refused, in words.
    pub why: String,
    /// Why Meta refused or ended it, in Meta's words.
    pub meta_words: Option<String>,
    /// How Meta's leg was keyed: `sdes` or `dtls`.
    pub keying: Option<String>,
    /// With `dtls`, time from the answer to the keys.
    pub keyed_ms: Option<u64>,
    /// The media of Meta's leg.
    pub meta_media: Option<LegMedia>,
    /// The media of the PBX's leg.
    pub pbx_media: Option<LegMedia>,
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A call that is over.
    Call,
    /// An INVITE that did not become one.
    Refused,
}

/// What one leg's media was like. Counts are RTP packets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LegMedia {
    /// What sound it was sent.
    pub codec: Option<String>,
    /// Came from this side.
    pub received: u64,
    /// This side sent, and they never came.
    pub lost: u64,
    /// Jitter of what came.
    pub jitter_ms: f64,
    /// Came and were thrown away: from strangers, not authentic, twice, too late or of no agreed kind.
    pub dropped: u64,
    /// How long its sound waited in the jitter buffer, on average.
    pub buffered_ms: Option<f64>,
    /// How much of its sound was made up.
    pub mended_ms: u64,
    /// Went to this side.
    pub sent: u64,
    /// This side says that they never came.
    pub reported_lost: Option<u64>,
    /// This side's jitter of what we sent, as it says.
    pub reported_jitter_ms: Option<f64>,
    /// The last round trip measured by RTCP.
    pub round_trip_ms: Option<f64>,
    /// Estimated quality of what came, 1 to 4.5.
    pub mos_in: Option<f64>,
    /// Estimated quality of what went out, by what this side reports.
    pub mos_out: Option<f64>,
    /// The same of what came, of the worst 5 s.
    pub mos_in_worst: Option<f64>,
    /// The same of what went out, of the worst 5 s.
    pub mos_out_worst: Option<f64>,
}

impl Record {
    /// Of a call that is over.
    pub fn of_call(id: String, call: &Summary, written: Written, at: At) -> Record {
        let when = |instant| timestamp(at.wall_of(instant));
        let (meta, pbx) = (&call.media.meta, &call.media.pbx);
        let disguised = |text: &str| Some(written.disguised(cut(text)));
        Record {
            schema: SCHEMA,
            id,
            kind: Kind::Call,
            direction: call.direction.to_string(),
            number: Some(written.number(&call.number)),
            user: call.user.as_ref().map(|user| written.user(user)),
            pbx: Some(call.pbx.clone()),
            source: None,
            meta_call_id: disguised(call.call_id_of(Leg::Meta)),
            pbx_call_id: disguised(call.call_id_of(Leg::Pbx)),
            transfers: call.transfers.done,
            transfers_failed: call.transfers.failed,
            transferred_call_id: call.transfers.call_id.as_deref().and_then(disguised),
            wacid: call.told.wacid.as_deref().and_then(disguised),
            began: when(call.began),
            rang: call.rang.map(when),
            answered: call.answered.map(when),
            ended: when(call.ended),
            setup_ms: milliseconds(
                call.answered
                    .unwrap_or(call.ended)
                    .saturating_duration_since(call.began),
            ),
            duration_ms: milliseconds(call.talked()),
            meta_duration_s: call.told.duration.map(|told| told.as_secs()),
            ended_by: call.ended_by.to_string(),
            caller_status: call.status,
            callee_status: call.callee_status,
            because: None,
            why: written.words(cut(&call.why)),
            meta_words: call.told.words.as_deref().map(|w| written.words(cut(w))),
            keying: call.keying.map(|keying| keying.to_string()),
            keyed_ms: meta.keyed_after.map(milliseconds),
            meta_media: Some(LegMedia::of(meta, call.codecs.meta)),
            pbx_media: Some(LegMedia::of(pbx, call.codecs.pbx)),
        }
    }

    /// Of an INVITE that did not become a call. Its numbers are what the INVITE has: nobody has checked them.
    pub fn of_refused(id: String, refused: &Rejected, written: Written, at: At) -> Record {
        let direction = match refused.leg {
            Leg::Meta => Direction::UserInitiated,
            Leg::Pbx => Direction::BusinessInitiated,
        };
        let (number, user) = match refused.leg {
            Leg::Meta => (&refused.called, &refused.calling),
            Leg::Pbx => (&refused.calling, &refused.called),
        };
        let named = |text: &String| (!text.is_empty()).then(|| written.user_part(cut(text)));
        let call_id = Some(written.disguised(cut(&refused.call_id)));
        let (meta_call_id, pbx_call_id) = match refused.leg {
            Leg::Meta => (call_id, None),
            Leg::Pbx => (None, call_id),
        };
        let now = timestamp(at.wall);
        Record {
            schema: SCHEMA,
            id,
            kind: Kind::Refused,
            direction: direction.to_string(),
            number: named(number),
            user: named(user),
            pbx: refused.pbx.clone(),
            source: Some(refused.source),
            meta_call_id,
            pbx_call_id,
            transfers: 0,
            transfers_failed: 0,
            transferred_call_id: None,
            wacid: refused
                .wacid
                .as_deref()
                .map(|id| written.disguised(cut(id))),
            began: now.clone(),
            rang: None,
            answered: None,
            ended: now,
            setup_ms: 0,
            duration_ms: 0,
            meta_duration_s: None,
            ended_by: "bridge".into(),
            caller_status: refused.status,
            callee_status: None,
            because: Some(refused.because.word()),
            why: written.words(cut(&refused.why)),
            meta_words: None,
            keying: None,
            keyed_ms: None,
            meta_media: None,
            pbx_media: None,
        }
    }

    /// The record as a line, with its end.
    pub fn line(&self) -> String {
        // It fails for maps whose keys are no text, and there is none.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl LegMedia {
    fn of(side: &SideStats, codec: Option<Codec>) -> LegMedia {
        LegMedia {
            codec: codec.map(|codec| codec.to_string()),
            received: side.received,
            lost: side.lost,
            jitter_ms: rounded(side.jitter_ms, 1),
            dropped: side.strangers + side.refused + side.unusable + side.repeated + side.discarded,
            buffered_ms: side.buffered_mean_ms.map(|ms| rounded(ms, 1)),
            mended_ms: side.mended_ms,
            sent: side.sent,
            reported_lost: side.reported.map(|said| said.lost),
            reported_jitter_ms: side.reported.map(|said| rounded(said.jitter_ms, 1)),
            round_trip_ms: side.round_trip_ms.map(|trip| rounded(trip, 1)),
            mos_in: side.mos_in().map(|mos| rounded(mos, 2)),
            mos_out: side.mos_out().map(|mos| rounded(mos, 2)),
            mos_in_worst: worst(&side.quality_in),
            mos_out_worst: worst(&side.quality_out),
        }
    }
}

fn worst(quality: &Quality) -> Option<f64> {
    quality.worst.map(|interval| rounded(interval.mos, 2))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// The first [`LONGEST`] octets.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// RFC 3339, in UTC, to the millisecond: as text such times sort in their order.
pub fn timestamp(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_millisecond() {
        let after = |ms| timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(after(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(after(1_709_251_199_007), "2024-02-29T23:59:59.007Z");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_two_characters() {
        let text = "ü".repeat(LONGEST);
        assert_eq!(cut(&text).len(), LONGEST);
        assert_eq!(cut(&format!("x{text}")).len(), LONGEST - 1);
        assert_eq!(cut("short"), "short");
    }
}
