//! What is kept of calls, for whoever asks what went over the wire.

use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::number::Masked;
use wabridge::observe::trace::{Kind, Ladder, Side, Trace, What, write_pcap};
use wabridge::sip::message::Common;

use crate::world::*;

/// A call from a user, challenged, answered and ended by the user.
fn a_call() -> World {
    let mut w = World::new();
    let (theirs, ours) = w.user_calls();
    w.sends(Pbx, respond(&ours, 180));
    w.gets(Meta, 180);
    let up = w.answers(Meta, theirs, ours.clone(), pbx_ok(&ours));
    let ack = w.ack(&up);
    w.sends(Meta, ack);
    w.wait(secs(3));
    w.hangs_up(&up, Meta);
    w.leaves_nothing_behind();
    w
}

fn ladder(trace: &Trace, messages: bool) -> String {
    Ladder { trace, messages }.to_string()
}

/// What went over a leg: methods, and statuses of responses.
fn over(trace: &Trace, leg: Side) -> Vec<String> {
    let of_leg = trace.packets().filter(|(_, packet)| packet.leg == leg);
    of_leg
        .map(|(_, packet)| {
            let text = packet.octets.text();
            let mut words = text.split(' ');
            let first = words.next().unwrap().to_owned();
            match first.as_str() {
                "SIP/2.0" => words.next().unwrap().to_owned(),
                _ => first,
            }
        })
        .collect()
}

#[test]
fn a_call_is_kept_from_the_invite_that_was_challenged_to_its_last_answer() {
    let w = a_call();
    let trace = w.traces.find("last", false).unwrap();
    assert_eq!(
        over(&trace, Side::Meta),
        [
            "INVITE", "407", "ACK", "INVITE", "100", "180", "200", "ACK", "BYE", "200"
        ]
    );
    assert_eq!(
        over(&trace, Side::Pbx),
        ["INVITE", "180", "200", "ACK", "BYE", "200"]
    );
    assert_eq!(trace.head.kind, Kind::Call);
    assert_eq!(trace.head.end.as_ref().unwrap().status, 200);
    let marks: Vec<_> = trace
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Mark { words, .. } => Some(words.as_str()),
            What::Message(_) => None,
        })
        .collect();
    for mark in ["the caller is told 180", "answered", "media may be sent"] {
        assert!(marks.contains(&mark), "{mark}: {marks:?}");
    }
    assert!(
        marks.iter().any(|mark| mark.starts_with("agreed opus")),
        "{marks:?}"
    );
}

#[test]
fn a_ladder_has_both_legs_their_times_and_why_it_ended() {
    let w = a_call();
    let printed = ladder(&w.traces.find("last", false).unwrap(), false);
    for line in [
        "     0.000 s  │ INVITE ───────────────────────────▶│                                    │",
        "     0.000 s  │◀─ 407 Proxy Authentication Require │                                    │",
        "     0.000 s  │                                    │ INVITE ───────────────────────────▶│",
        "     3.000 s  │ BYE ──────────────────────────────▶│                                    │",
        "     3.000 s  │                                    │◀───────────────────── 200 OK (BYE) │",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
    assert!(
        printed.contains("Ended by meta after 3.000 s: 200, talked 3.0 s"),
        "{printed}"
    );
    assert!(!printed.contains("Content-Type"), "{printed}");
    let full = ladder(&w.traces.find("last", false).unwrap(), true);
    assert!(
        full.contains("        Content-Type: application/sdp"),
        "{full}"
    );
}

#[test]
fn what_meta_sent_is_kept_as_it_was_on_the_wire() {
    let mut w = World::new();
    let invite = w.metas_invite();
    w.sends(Meta, invite.clone());
    w.gets(Meta, 407);
    let trace = w.traces.find("s1", false).unwrap();
    let (_, packet) = trace.packets().next().unwrap();
    // The bridge itself adds to the top Via where the message came from.
    let via = invite.headers.get("Via").unwrap();
    assert!(packet.octets.text().contains(&format!("Via: {via}\r\n")));
}

/// Keys, proofs of passwords, numbers and what holds numbers.
fn tells_nothing(text: &str) {
    for told in [
        &BUSINESS[1..],
        &USER[1..],
        PASSWORD,
        "HBgLMTIxOTU1NTA3MTQ",
        "MVh+0N8l",
        "response=\"1",
        "alice",
    ] {
        assert!(!text.contains(told), "{told}\n{text}");
    }
    for (word, mask) in [("inline:", "xxxx"), ("response=\"", "****")] {
        for (at, _) in text.match_indices(word) {
            let rest = &text[at + word.len()..];
            assert!(rest.starts_with(mask), "{}", &text[at..at + 40]);
        }
    }
}

#[test]
fn nobody_reads_a_number_a_name_or_a_key_in_what_is_shown() {
    let w = a_call();
    let trace = w.traces.find("last", false).unwrap();
    let json = serde_json::to_string(&trace).unwrap();
    let mut capture = Vec::new();
    write_pcap(&trace, None, &mut capture).unwrap();
    for text in [
        ladder(&trace, true),
        json.replace("\\\"", "\""),
        String::from_utf8_lossy(&capture).into_owned(),
        serde_json::to_string(&w.traces.list(false)).unwrap(),
    ] {
        tells_nothing(&text);
    }
    assert!(
        ladder(&trace, true).contains("inline:xxxx"),
        "there was a key"
    );
    assert!(
        ladder(&trace, true).contains("<sip:+1219*****14@"),
        "and a number"
    );
}

#[test]
fn masked_messages_are_still_messages_and_have_the_same_mask_for_the_same_text() {
    use wabridge::sip::message::Common;
    use wabridge::sip::{Limits, Message};
    let w = a_call();
    let trace = w.traces.find("last", false).unwrap();
    for (_, packet) in trace.packets() {
        let text = packet.octets.text();
        let message = Message::parse(&packet.octets, &Limits::default())
            .unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        let call_id = match &message {
            Message::Request(request) => request.call_id(),
            Message::Response(response) => response.call_id(),
        };
        let expected = match packet.leg {
            Side::Meta => &trace.head.meta_call_id,
            Side::Pbx => &trace.head.pbx_call_id,
        };
        assert_eq!(Some(call_id), expected.as_deref());
    }
}

#[test]
fn json_has_all_that_a_trace_has() {
    let w = a_call();
    let trace = w.traces.find("last", false).unwrap();
    let json = serde_json::to_string(&trace).unwrap();
    assert_eq!(serde_json::from_str::<Trace>(&json).unwrap(), trace);
}

#[test]
fn a_refused_invite_and_a_strangers_are_kept_with_what_they_were_told() {
    let mut w = World::new();
    let mut unknown = w.metas_invite();
    unknown.body.clear();
    w.sends(Meta, unknown.clone());
    w.is_refused(Meta, &unknown, 488);
    let stranger = w.pbx_invite("+12195550714");
    let mut flow = World::flow(Pbx);
    flow.remote = "203.0.113.9:5060".parse().unwrap();
    w.sends_over(flow, stranger);
    let heads = w.traces.list(false);
    let told: Vec<_> = heads
        .iter()
        .map(|head| (head.kind, head.end.as_ref().map(|end| end.status)))
        .collect();
    assert_eq!(told, [(Kind::Refused, Some(488)), (Kind::Stray, None)]);
    assert!(heads.iter().all(|head| head.failed()));
    let refused = w.traces.find(&heads[0].id, false).unwrap();
    assert!(ladder(&refused, false).contains("no SDP offer"));
}

#[test]
fn a_message_said_again_is_called_so() {
    let mut w = World::new();
    let (_, _) = w.user_calls();
    w.wait(ms(600));
    let trace = w.traces.find("last", false).unwrap();
    let printed = ladder(&trace, false);
    assert!(printed.contains("│ INVITE again ─"), "{printed}");
    assert!(printed.contains("It is not over yet."), "{printed}");
}

#[test]
fn a_transfer_is_kept_with_the_call_that_it_is_of() {
    let mut w = crate::changes::locally();
    let up = w.user_talks();
    let mut refer = w.within(&up, Pbx, "REFER");
    refer.headers.push("Refer-To", "<sip:200@192.0.2.7>");
    refer.headers.push("Refer-Sub", "false");
    w.sends(Pbx, refer);
    w.gets(Pbx, 202);
    let invite = w.gets_request(Pbx, "INVITE");
    w.sends(Pbx, pbx_ok(&invite));
    w.gets(Pbx, "ACK");
    let bye = w.within(&up, Pbx, "BYE");
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    let bye = w.within(&up, Meta, "BYE");
    w.sends(Meta, bye);
    w.gets(Meta, 200);
    w.agrees_to(Pbx, "BYE");
    w.leaves_nothing_behind();
    let trace = w.traces.find("last", false).unwrap();
    assert_eq!(
        over(&trace, Side::Pbx),
        [
            "INVITE", "200", "ACK", "REFER", "202", "INVITE", "200", "ACK", "BYE", "200", "BYE",
            "200"
        ]
    );
    let name = Masked(up.ours.call_id()).to_string();
    assert_eq!(trace.head.pbx_call_id, Some(name), "as it began");
    let printed = ladder(&trace, false);
    for line in ["the PBX transfers the call", "transferred"] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
}
