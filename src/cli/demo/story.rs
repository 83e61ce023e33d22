//! What the demo tells of its calls: for people a ladder and who heard what, for programs one JSON object.

use std::fmt;
use std::time::Instant;

use serde_json::{Value, json};

use super::{DIGITS, Kind};
use crate::media::Codec;
use crate::sim::body::Keying;
use crate::sim::{CallReport, Direction, Heard, Rung};

/// 20 ms of a voice by which what was transcoded may seem to begin later: it fades in.
const FADES_IN: u64 = 2;

/// All calls of a demo.
pub struct Story {
    /// In the order in which they were placed.
    pub calls: Vec<Call>,
    /// Whether what a user hears must begin with the first packet that the PBX sent.
    pub from_the_first: bool,
    /// What the far ends found wrong outside of any call.
    pub wrong: Vec<String>,
}

/// One call, as both far ends saw it.
pub struct Call {
    kind: Kind,
    meta: CallReport,
    pbx: CallReport,
}

impl Story {
    /// Whether everything is as it must be: all calls answered and heard, all digits there, nobody complaining.
    pub fn ok(&self) -> bool {
        !self.calls.is_empty()
            && self.wrong.is_empty()
            && self.calls.iter().all(|c| self.call_ok(c))
    }

    fn call_ok(&self, call: &Call) -> bool {
        call.ok() && (!self.from_the_first || call.heard_from_the_first())
    }

    /// One object, in the shape that the README documents.
    pub fn json(&self) -> Value {
        json!({ "ok": self.ok(), "calls": self.calls.iter().map(Call::json).collect::<Vec<_>>() })
    }
}

impl Call {
    /// Puts together what the two far ends report of one call.
    pub fn new(kind: Kind, caller: CallReport, callee: CallReport) -> Call {
        let (meta, pbx) = match kind.direction {
            Direction::UserInitiated => (caller, callee),
            Direction::BusinessInitiated => (callee, caller),
        };
        Call { kind, meta, pbx }
    }

    fn caller(&self) -> &CallReport {
        match self.kind.direction {
            Direction::UserInitiated => &self.meta,
            Direction::BusinessInitiated => &self.pbx,
        }
    }

    fn callee(&self) -> &CallReport {
        match self.kind.direction {
            Direction::UserInitiated => &self.pbx,
            Direction::BusinessInitiated => &self.meta,
        }
    }

    fn ok(&self) -> bool {
        let heard_well = [&self.meta, &self.pbx]
            .iter()
            .all(|report| report.ok() && report.heard.ssrcs == 1);
        let keyed = self.meta.keying == Some(self.kind.keying);
        heard_well && keyed && self.callee().digits_received == DIGITS
    }

    /// Whether nothing was lost that the PBX said before the user could be sent to.
    fn heard_from_the_first(&self) -> bool {
        match self.meta.heard.first_packet {
            // A busy machine's bridge stretches and mends what it transcodes, and the count is not always to be told by.
            first if self.is_transcoded() => first.is_none_or(|nth| nth <= FADES_IN),
            first => first == Some(0),
        }
    }

    fn is_transcoded(&self) -> bool {
        self.meta.codec != self.pbx.codec
    }

    fn json(&self) -> Value {
        json!({
            "direction": self.kind.direction,
            "keying": self.meta.keying,
            "srtp": self.meta.srtp,
            "keyed_ms": self.meta.keyed_ms,
            "meta_codec": spoken(&self.meta),
            "pbx_codec": spoken(&self.pbx),
            "status": self.caller().status,
            "setup_ms": self.caller().setup_ms,
            "heard_by_user": heard(&self.meta.heard),
            "heard_by_pbx": heard(&self.pbx.heard),
            "dtmf": { "sent": self.caller().digits_sent, "received": self.callee().digits_received },
            "ended_by": self.ended_by(),
            "reason": self.reason(),
            "complaints": self.complaints().collect::<Vec<_>>(),
        })
    }

    fn complaints(&self) -> impl Iterator<Item = &String> {
        self.meta.complaints.iter().chain(&self.pbx.complaints)
    }

    /// Why the bridge ended the call, if neither far end did.
    fn reason(&self) -> Option<&str> {
        let reason = self.meta.bye_reason.as_deref();
        reason.filter(|_| self.ended_by() == Some("bridge"))
    }

    /// The end that hung up; nobody has if the call never was.
    fn ended_by(&self) -> Option<&'static str> {
        use crate::sim::EndedBy::{Bridge, Us};
        match (self.meta.ended_by, self.pbx.ended_by) {
            (Some(Us), _) => Some("meta"),
            (_, Some(Us)) => Some("pbx"),
            (Some(Bridge), Some(Bridge)) => Some("bridge"),
            _ => None,
        }
    }
}

fn heard(heard: &Heard) -> Value {
    json!({
        "ok": heard.ok,
        "packets": heard.packets,
        "lost": heard.lost,
        "first_audio_ms": heard.first_audio_ms,
        "first_packet": heard.first_packet,
        "ssrcs": heard.ssrcs,
    })
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ladders of hundreds of calls tell nobody anything.
        match self.calls.len() {
            0..=4 => self.calls.iter().try_for_each(|call| write!(f, "{call}"))?,
            _ => self.summary(f)?,
        }
        for wrong in &self.wrong {
            writeln!(f, "Wrong: {wrong}")?;
        }
        writeln!(
            f,
            "{}",
            if self.ok() {
                "All of it is as it should be."
            } else {
                "Something is wrong: see above."
            }
        )
    }
}

impl Story {
    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good = self.calls.iter().filter(|call| self.call_ok(call)).count();
        let sum = |of: fn(&Call) -> u64| self.calls.iter().map(of).sum::<u64>();
        let packets = sum(|call| call.meta.heard.packets + call.pbx.heard.packets);
        let lost = sum(|call| call.meta.heard.lost + call.pbx.heard.lost);
        let setup = median(self.calls.iter().filter_map(|call| call.caller().setup_ms));
        writeln!(
            f,
            "{good} of {} calls heard on both sides, digits included.",
            self.calls.len()
        )?;
        writeln!(
            f,
            "{packets} packets heard, {lost} lost; set up in {setup} ms (median)."
        )?;
        for keying in [Keying::Dtls, Keying::Sdes] {
            self.keyed(f, keying)?;
        }
        for call in self.calls.iter().filter(|call| !self.call_ok(call)).take(5) {
            write!(f, "{call}")?;
        }
        Ok(())
    }
}

impl Story {
    fn keyed(&self, f: &mut fmt::Formatter<'_>, keying: Keying) -> fmt::Result {
        let of = |call: &&Call| call.meta.keying == Some(keying);
        let calls: Vec<&Call> = self.calls.iter().filter(of).collect();
        if calls.is_empty() {
            return Ok(());
        }
        let first = median(
            calls
                .iter()
                .filter_map(|call| call.meta.heard.first_audio_ms),
        );
        let complete = calls
            .iter()
            .filter(|call| call.heard_from_the_first())
            .count();
        writeln!(
            f,
            "{}: {} calls; the user hears the PBX {first} ms (median) after the 200, in {complete} of them from its first \
             packet on.",
            name(keying),
            calls.len()
        )
    }
}

fn name(keying: Keying) -> &'static str {
    match keying {
        Keying::Sdes => "SDES",
        Keying::Dtls => "DTLS",
    }
}

fn median(of: impl Iterator<Item = u64>) -> u64 {
    let mut all: Vec<u64> = of.collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (&self.caller().from, &self.caller().to);
        writeln!(
            f,
            "{}",
            match self.kind.direction {
                Direction::UserInitiated =>
                    format!("WhatsApp user {from} calls the business number {to}."),
                Direction::BusinessInitiated =>
                    format!("The business number {from} calls the WhatsApp user {to}."),
            }
        )?;
        writeln!(
            f,
            "\n             Meta                   wabridge                   PBX"
        )?;
        self.ladder(f)?;
        writeln!(f)?;
        self.keys(f)?;
        self.codecs(f)?;
        told(f, "The user heard the PBX: ", &self.meta.heard, "the 200")?;
        told(f, "The PBX heard the user: ", &self.pbx.heard, "the answer")?;
        let told = !self.is_transcoded() || self.meta.heard.first_packet.is_some();
        if self.meta.heard.ok && told {
            writeln!(f, "{}", beginning(self.meta.heard.first_packet))?;
        }
        let (sent, received) = (&self.caller().digits_sent, &self.callee().digits_received);
        writeln!(
            f,
            "Digits: {sent:?} pressed by the caller, {received:?} received."
        )?;
        if let Some(reason) = self.reason() {
            writeln!(f, "The bridge ended the call: {reason}")?;
        }
        for complaint in self.complaints() {
            writeln!(f, "Complaint: {complaint}")?;
        }
        writeln!(f)
    }
}

/// What an end spoke, as the option has it.
fn spoken(report: &CallReport) -> Option<String> {
    report.codec.map(|codec| codec.name().to_ascii_lowercase())
}

/// Where in what the PBX said the user came in.
fn beginning(first_packet: Option<u64>) -> String {
    match first_packet {
        Some(0) => "What the user heard began with the first packet that the PBX sent.".to_owned(),
        Some(lost) => format!(
            "What the user heard BEGAN {lost} PACKETS LATE, {} ms.",
            lost * 20
        ),
        None => "What the user heard began LATE, nobody can say how much.".to_owned(),
    }
}

impl Call {
    /// Nothing where all is as it is without asking: Opus from end to end.
    fn codecs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.meta.codec, self.pbx.codec) {
            (None, _) | (_, None) | (Some(Codec::Opus), Some(Codec::Opus)) => Ok(()),
            (Some(meta), Some(pbx)) if meta == pbx => {
                writeln!(f, "Sound: {} from end to end, untouched.", meta.name())
            }
            (Some(meta), Some(pbx)) => {
                let (meta, pbx) = (meta.name(), pbx.name());
                writeln!(
                    f,
                    "Sound: {meta} at Meta, {pbx} at the PBX; the bridge transcodes."
                )
            }
        }
    }

    fn keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = self.meta.srtp.unwrap_or("nothing");
        let when = match self.meta.keyed_ms.unwrap_or_default() {
            0 => "within a millisecond of".to_owned(),
            ms => format!("{ms} ms after"),
        };
        match self.meta.keying {
            None => writeln!(f, "Keys: none."),
            Some(Keying::Sdes) => writeln!(f, "Keys: in SDP, for {profile}."),
            Some(Keying::Dtls) => {
                writeln!(f, "Keys: by ICE and DTLS {when} the 200, for {profile}.")
            }
        }
    }

    fn ladder(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |rungs: &'_ [Rung], meta: bool| {
            rungs
                .iter()
                .map(move |r| (r.clone(), meta))
                .collect::<Vec<_>>()
        };
        let mut rungs = side(&self.meta.ladder, true);
        rungs.extend(side(&self.pbx.ladder, false));
        rungs.sort_by_key(|(rung, _)| rung.at);
        let Some(start) = rungs.first().map(|(rung, _)| rung.at) else {
            return Ok(());
        };
        rungs
            .iter()
            .try_for_each(|(rung, meta)| writeln!(f, "{}", line(rung, *meta, start)))
    }
}

/// One message: on the left between Meta and the bridge, on the right between the bridge and the PBX.
fn line(rung: &Rung, meta: bool, start: Instant) -> String {
    const WIDTH: usize = 22;
    let what: String = rung.what.chars().take(WIDTH - 4).collect();
    let shaft = "─".repeat(WIDTH - 3 - what.chars().count());
    // A far end on the left points right when it sends.
    let arrow = match meta == rung.sent {
        true => format!(" {what} {shaft}▶"),
        false => format!("◀{shaft} {what} "),
    };
    let empty = " ".repeat(WIDTH);
    let at = (rung.at - start).as_secs_f64();
    match meta {
        true => format!("{at:>10.3} s  │{arrow}│{empty}│"),
        false => format!("{at:>10.3} s  │{empty}│{arrow}│"),
    }
}

fn told(f: &mut fmt::Formatter<'_>, who: &str, heard: &Heard, since: &str) -> fmt::Result {
    let verdict = if heard.ok { "yes" } else { "NO" };
    let first = heard
        .first_audio_ms
        .map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms after {since}"));
    let sources = if heard.ssrcs == 1 {
        "source"
    } else {
        "sources"
    };
    writeln!(
        f,
        "{who}{verdict}; {} packets, {} lost, first sound {first}, {} {sources}.",
        heard.packets, heard.lost, heard.ssrcs
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::EndedBy;

    fn report(ended_by: EndedBy) -> CallReport {
        let heard = Heard {
            ok: true,
            packets: 100,
            ssrcs: 1,
            first_packet: Some(0),
            ..Heard::default()
        };
        CallReport {
            status: 200,
            heard,
            ended_by: Some(ended_by),
            keying: Some(Keying::Dtls),
            ..CallReport::default()
        }
    }

    fn call() -> Call {
        let caller = CallReport {
            digits_sent: DIGITS.into(),
            ..report(EndedBy::Us)
        };
        let callee = CallReport {
            digits_received: DIGITS.into(),
            ..report(EndedBy::Bridge)
        };
        let kind = Kind {
            direction: Direction::UserInitiated,
            keying: Keying::Dtls,
        };
        Call::new(kind, caller, callee)
    }

    fn story(calls: Vec<Call>) -> Story {
        Story {
            calls,
            from_the_first: true,
            wrong: Vec::new(),
        }
    }

    #[test]
    fn a_call_that_was_heard_is_told_so() {
        let json = story(vec![call()]).json();
        assert_eq!(json["ok"], true);
        assert_eq!(json["calls"][0]["direction"], "user-initiated");
        assert_eq!(json["calls"][0]["keying"], "dtls");
        assert_eq!(json["calls"][0]["ended_by"], "meta");
        assert_eq!(
            json["calls"][0]["dtmf"],
            json!({ "sent": DIGITS, "received": DIGITS })
        );
    }

    #[test]
    fn the_story_names_the_codecs_where_the_bridge_transcodes() {
        let mut call = call();
        for (pbx, told) in [
            (Codec::Opus, None),
            (Codec::Pcmu, Some("Sound: opus at Meta, PCMU at the PBX")),
        ] {
            (call.meta.codec, call.pbx.codec) = (Some(Codec::Opus), Some(pbx));
            let text = call.to_string();
            assert_eq!(text.contains("Sound:"), told.is_some(), "{text}");
            assert!(text.contains(told.unwrap_or_default()), "{text}");
        }
        let json = call.json();
        assert_eq!(
            (&json["meta_codec"], &json["pbx_codec"]),
            (&json!("opus"), &json!("pcmu"))
        );
    }

    #[test]
    fn a_call_that_neither_end_hung_up_was_ended_by_the_bridge_for_a_reason() {
        let mut call = call();
        call.meta.bye_reason = Some("Q.850;cause=16".to_owned());
        assert_eq!(call.json()["reason"], Value::Null);
        call.meta.ended_by = Some(EndedBy::Bridge);
        let json = call.json();
        assert_eq!(
            (&json["ended_by"], &json["reason"]),
            (&json!("bridge"), &json!("Q.850;cause=16"))
        );
    }

    #[test]
    fn one_thing_amiss_and_nothing_is_ok() {
        let amiss: [fn(&mut Call); 7] = [
            |call| call.meta.heard.ok = false,
            |call| call.pbx.heard.ssrcs = 2,
            |call| call.pbx.digits_received = "12".into(),
            |call| call.meta.complain("media before 200"),
            |call| call.pbx.status = 488,
            |call| call.meta.keying = Some(Keying::Sdes),
            |call| call.meta.heard.first_packet = Some(1),
        ];
        for (n, break_it) in amiss.iter().enumerate() {
            let mut call = call();
            break_it(&mut call);
            let told = story(vec![call]).json();
            assert_eq!(told["ok"], false, "fault {n} went unnoticed");
        }
        assert!(!story(Vec::new()).ok(), "no call is no success");
        for (first_packet, ok) in [(None, true), (Some(2), true), (Some(3), false)] {
            let mut call = call();
            call.pbx.codec = Some(Codec::Pcmu);
            call.meta.heard.first_packet = first_packet;
            assert_eq!(story(vec![call]).ok(), ok, "{first_packet:?}, transcoded");
        }
    }

    #[test]
    fn an_arrow_points_to_who_receives() {
        let start = Instant::now();
        let rung = |sent| Rung {
            at: start,
            sent,
            what: "INVITE".into(),
        };
        assert!(line(&rung(true), true, start).contains("│ INVITE ─────────────▶│"));
        assert!(line(&rung(true), false, start).contains("◀───────────── INVITE │"));
    }
}
