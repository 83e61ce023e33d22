//! `wabridge calls`

use std::process::ExitCode;

use super::pages::{Answer, Asking};
use super::print;
use super::status::duration;
use crate::observe::status::{Call, Carried, Sound};

/// Which bridge.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    asking: Asking,
}

impl Arguments {
    pub(super) fn run(self) -> ExitCode {
        let text = match self.asking.ask::<Vec<Call>>("/calls") {
            Ok(Answer::Told(_, json)) if self.asking.json => json,
            Ok(Answer::Told(calls, _)) => table(&calls),
            Ok(Answer::Not(reasons, _)) => {
                let why: Vec<_> = reasons
                    .iter()
                    .map(|reason| reason.detail.as_str())
                    .collect();
                eprintln!("wabridge: {}", why.join("; "));
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("wabridge: {error}");
                return ExitCode::FAILURE;
            }
        };
        print(&text);
        ExitCode::SUCCESS
    }
}

const HEAD: [&str; 14] = [
    "call",
    "state",
    "for",
    "direction",
    "number",
    "user",
    "pbx",
    "keying",
    "Meta in/lost/out",
    "PBX in/lost/out",
    "Meta MOS in/out",
    "PBX MOS in/out",
    "buffer ms Meta/PBX",
    "Meta's leg",
];

fn table(calls: &[Call]) -> String {
    if calls.is_empty() {
        return "no call is up\n".into();
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(calls.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; HEAD.len()] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; HEAD.len()]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(call: &Call) -> [String; HEAD.len()] {
    [
        call.call.to_string(),
        call.state.clone(),
        duration(call.talked.unwrap_or(call.seconds)),
        call.direction.clone(),
        call.number.clone(),
        call.user.clone().unwrap_or_else(|| "withheld".into()),
        call.pbx.clone(),
        call.keying.clone().unwrap_or_else(|| "-".into()),
        packets(call.meta_media),
        packets(call.pbx_media),
        scores(call.meta_media),
        scores(call.pbx_media),
        format!("{}/{}", waits(call.meta_media), waits(call.pbx_media)),
        call.meta_call_id.clone(),
    ]
}

fn packets(media: Option<Carried>) -> String {
    media.map_or_else(
        || "-".into(),
        |Carried {
             received,
             lost,
             sent,
             ..
         }| format!("{received}/{lost}/{sent}"),
    )
}

/// How both directions sound of late; what is bad is marked.
fn scores(media: Option<Carried>) -> String {
    let score = |sound: Option<Sound>| {
        sound.map_or_else(
            || "-".into(),
            |sound| format!("{:.1}{}", sound.mos, if sound.bad { "!" } else { "" }),
        )
    };
    media.map_or_else(
        || "-".into(),
        |media| format!("{}/{}", score(media.sound_in), score(media.sound_out)),
    )
}

/// How long sound of a side waits in the jitter buffer, where there is one.
fn waits(media: Option<Carried>) -> String {
    let waits = media.and_then(|media| media.buffered_ms);
    waits.map_or_else(|| "-".into(), |ms| format!("{ms:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_one_another() {
        let call = |call: u64, user: Option<&str>| Call {
            call,
            direction: "user-initiated".into(),
            state: "talking".into(),
            number: "+1214…69".into(),
            user: user.map(str::to_owned),
            pbx: "main".into(),
            seconds: 70.0,
            talked: Some(61.0),
            keying: None,
            meta_codec: None,
            pbx_codec: None,
            meta_call_id: "~cb0072dd".into(),
            pbx_call_id: "~12345678".into(),
            wacid: None,
            meta_media: None,
            pbx_media: Some(Carried {
                received: 3001,
                lost: 4,
                sent: 2999,
                buffered_ms: Some(23.4),
                mended_ms: 60,
                sound_in: Some(Sound {
                    mos: 2.87,
                    loss: 0.13,
                    jitter_ms: 4.0,
                    round_trip_ms: None,
                    bad: true,
                }),
                sound_out: None,
            }),
        };
        let told = table(&[call(9, Some("+1219…14")), call(10, None)]);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 3, "{told}");
        let column = |line: &str| line.chars().position(|c| c == 'm').unwrap();
        assert!(lines[1].contains("1 min 1 s"), "{told}");
        assert!(lines[1].contains("  -  "), "{told}");
        let at = |line: &str, what: &str| line[..line.find(what).unwrap()].chars().count();
        let (head, packets) = ("PBX in/lost/out", "3001/4/2999");
        assert_eq!(at(lines[0], head), at(lines[1], packets), "{told}");
        let (head, scores) = ("PBX MOS in/out", "2.9!/-");
        assert_eq!(at(lines[0], head), at(lines[1], scores), "{told}");
        let (head, waits) = ("buffer ms Meta/PBX", "-/23 ");
        assert_eq!(at(lines[0], head), at(lines[1], waits), "{told}");
        let pbx = |line: &str| line[..line.find(" main ").unwrap()].chars().count();
        assert_eq!(pbx(lines[1]), pbx(lines[2]), "{told}");
        assert_eq!(column(lines[1]), column(lines[2]), "{told}");
        assert_eq!(table(&[]), "no call is up\n");
    }
}
