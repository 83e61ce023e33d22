//! What the demo tells of its calls: for people a ladder and who heard what, for programs one JSON object.

use std::fmt;
use std::time::Instant;

use serde_json::{Value, json};

use super::DIGITS;
use crate::sim::{CallReport, Direction, Heard, Rung};

/// All calls of a demo.
pub struct Story {
    /// In the order in which they were placed.
    pub calls: Vec<Call>,
    /// What the far ends found wrong outside of any call.
    pub wrong: Vec<String>,
}

/// One call, as both far ends saw it.
pub struct Call {
    direction: Direction,
    meta: CallReport,
    pbx: CallReport,
}

impl Story {
    /// Whether everything is as it must be: all calls answered and heard, all digits there, nobody complaining.
    pub fn ok(&self) -> bool {
        !self.calls.is_empty() && self.wrong.is_empty() && self.calls.iter().all(Call::ok)
    }

    /// One object, in the shape that the README documents.
    pub fn json(&self) -> Value {
        json!({ "ok": self.ok(), "calls": self.calls.iter().map(Call::json).collect::<Vec<_>>() })
    }
}

impl Call {
    /// Puts together what the two far ends report of one call.
    pub fn new(direction: Direction, caller: CallReport, callee: CallReport) -> Call {
        let (meta, pbx) = match direction {
            Direction::UserInitiated => (caller, callee),
            Direction::BusinessInitiated => (callee, caller),
        };
        Call {
            direction,
            meta,
            pbx,
        }
    }

    fn caller(&self) -> &CallReport {
        match self.direction {
            Direction::UserInitiated => &self.meta,
            Direction::BusinessInitiated => &self.pbx,
        }
    }

    fn callee(&self) -> &CallReport {
        match self.direction {
            Direction::UserInitiated => &self.pbx,
            Direction::BusinessInitiated => &self.meta,
        }
    }

    fn ok(&self) -> bool {
        let heard_well = [&self.meta, &self.pbx]
            .iter()
            .all(|report| report.ok() && report.heard.ssrcs == 1);
        heard_well && self.callee().digits_received == DIGITS
    }

    fn json(&self) -> Value {
        json!({
            "direction": self.direction,
            "keying": "sdes",
            "meta_codec": "opus",
            "pbx_codec": "opus",
            "status": self.caller().status,
            "setup_ms": self.caller().setup_ms,
            "heard_by_user": heard(&self.meta.heard),
            "heard_by_pbx": heard(&self.pbx.heard),
            "dtmf": { "sent": self.caller().digits_sent, "received": self.callee().digits_received },
            "ended_by": self.ended_by(),
        })
    }

    /// The end that hung up; nobody has if the call never was.
    fn ended_by(&self) -> Option<&'static str> {
        use crate::sim::EndedBy::Us;
        match (self.meta.ended_by, self.pbx.ended_by) {
            (Some(Us), _) => Some("meta"),
            (_, Some(Us)) => Some("pbx"),
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
        let good = self.calls.iter().filter(|call| call.ok()).count();
        let sum = |of: fn(&Call) -> u64| self.calls.iter().map(of).sum::<u64>();
        let packets = sum(|call| call.meta.heard.packets + call.pbx.heard.packets);
        let lost = sum(|call| call.meta.heard.lost + call.pbx.heard.lost);
        let mut setup: Vec<u64> = self
            .calls
            .iter()
            .filter_map(|call| call.caller().setup_ms)
            .collect();
        setup.sort_unstable();
        let median = setup.get(setup.len() / 2).copied().unwrap_or_default();
        writeln!(
            f,
            "{good} of {} calls heard on both sides, digits included.",
            self.calls.len()
        )?;
        writeln!(
            f,
            "{packets} packets heard, {lost} lost; set up in {median} ms (median)."
        )?;
        for call in self.calls.iter().filter(|call| !call.ok()).take(5) {
            write!(f, "{call}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (&self.caller().from, &self.caller().to);
        writeln!(
            f,
            "{}",
            match self.direction {
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
        told(f, "The user heard the PBX: ", &self.meta.heard)?;
        told(f, "The PBX heard the user: ", &self.pbx.heard)?;
        let (sent, received) = (&self.caller().digits_sent, &self.callee().digits_received);
        writeln!(
            f,
            "Digits: {sent:?} pressed by the caller, {received:?} received."
        )?;
        for complaint in self.meta.complaints.iter().chain(&self.pbx.complaints) {
            writeln!(f, "Complaint: {complaint}")?;
        }
        writeln!(f)
    }
}

impl Call {
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

fn told(f: &mut fmt::Formatter<'_>, who: &str, heard: &Heard) -> fmt::Result {
    let verdict = if heard.ok { "yes" } else { "NO" };
    let first = heard
        .first_audio_ms
        .map_or_else(|| "never".to_owned(), |ms| format!("after {ms} ms"));
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
            ..Heard::default()
        };
        CallReport {
            status: 200,
            heard,
            ended_by: Some(ended_by),
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
        Call::new(Direction::UserInitiated, caller, callee)
    }

    #[test]
    fn a_call_that_was_heard_is_told_so() {
        let story = Story {
            calls: vec![call()],
            wrong: Vec::new(),
        };
        let json = story.json();
        assert_eq!(json["ok"], true);
        assert_eq!(json["calls"][0]["direction"], "user-initiated");
        assert_eq!(json["calls"][0]["ended_by"], "meta");
        assert_eq!(
            json["calls"][0]["dtmf"],
            json!({ "sent": DIGITS, "received": DIGITS })
        );
    }

    #[test]
    fn one_thing_amiss_and_nothing_is_ok() {
        let amiss: [fn(&mut Call); 5] = [
            |call| call.meta.heard.ok = false,
            |call| call.pbx.heard.ssrcs = 2,
            |call| call.pbx.digits_received = "12".into(),
            |call| call.meta.complain("media before 200"),
            |call| call.pbx.status = 488,
        ];
        for (n, break_it) in amiss.iter().enumerate() {
            let mut call = call();
            break_it(&mut call);
            let story = Story {
                calls: vec![call],
                wrong: Vec::new(),
            };
            assert_eq!(story.json()["ok"], false, "fault {n} went unnoticed");
        }
        assert!(
            !Story {
                calls: Vec::new(),
                wrong: Vec::new()
            }
            .ok(),
            "no call is no success"
        );
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
