//! `wabridge demo`, as a newcomer runs it: a bridge, a strict Meta and a PBX over real sockets. Meta's media keyed both
//! ways, over paths good and bad.

use std::process::Command;

use serde_json::Value;

fn demo(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wabridge"))
        .arg("demo")
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

/// What is told for programs, which must agree with the exit code; and the calls in it.
fn told(arguments: &[&str]) -> (bool, Vec<Value>) {
    let (success, printed) = demo(&[&["--json"], arguments].concat());
    let told: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(told["ok"], success, "{printed}");
    (success, told["calls"].as_array().unwrap().clone())
}

/// Calls of which everything must be as it should be: heard on both sides, digits received, no complaint of Meta's.
fn good(arguments: &[&str]) -> Vec<Value> {
    let (success, calls) = told(arguments);
    assert!(success, "{arguments:?}: {calls:#?}");
    calls
}

/// Checks several demos at once, for most of their time is talk.
fn each<T: Copy + Send>(cases: &[T], check: impl Fn(T) + Sync) {
    let check = &check;
    std::thread::scope(|scope| {
        for case in cases.iter().copied() {
            scope.spawn(move || check(case));
        }
    });
}

fn of(calls: &[Value], key: &str) -> Vec<String> {
    let text = |call: &Value| call[key].as_str().unwrap_or("nothing").to_owned();
    calls.iter().map(text).collect()
}

#[test]
fn both_directions_are_heard_on_both_sides_with_both_keyings_and_from_the_first_packet_on() {
    let calls = good(&["--seconds", "3"]);
    assert_eq!(of(&calls, "keying"), ["dtls", "dtls", "sdes", "sdes"]);
    let [user, business] = ["user-initiated", "business-initiated"];
    assert_eq!(of(&calls, "direction"), [user, business, user, business]);
    assert_eq!(of(&calls, "ended_by"), ["meta", "pbx", "meta", "pbx"]);
    for call in &calls {
        for side in ["heard_by_user", "heard_by_pbx"] {
            assert_eq!(call[side]["ok"], true, "{call}");
            assert_eq!(call[side]["ssrcs"], 1, "{call}");
            assert!(call[side]["first_audio_ms"].is_u64(), "{call}");
        }
        assert_eq!(call["heard_by_user"]["first_packet"], 0, "{call}");
        assert_eq!(call["dtmf"]["received"], "12#", "{call}");
    }
}

#[test]
fn the_story_is_a_ladder_for_each_call() {
    let cases = [("sdes", "Keys: in SDP"), ("dtls", "Keys: by ICE and DTLS")];
    each(&cases, |(keying, keys)| {
        let only = ["--direction", "user-initiated", "--keying", keying];
        let (success, printed) = demo(&[&only[..], &["--seconds", "3"]].concat());
        assert!(success, "{printed}");
        for expected in [
            "◀───────── 407 INVITE │",
            "BYE",
            keys,
            "The user heard the PBX: yes",
            "began with the first packet that the PBX sent",
            "as it should be",
        ] {
            assert!(
                printed.contains(expected),
                "{expected} is missing in\n{printed}"
            );
        }
    });
}

#[test]
fn every_codec_of_a_pbx_is_heard_on_both_sides_digits_included() {
    each(&["opus", "g722", "pcma", "pcmu"], |codec| {
        for call in good(&["--pbx-codec", codec, "--seconds", "4"]) {
            assert_eq!(call["meta_codec"], "opus", "{call}");
            assert_eq!(call["pbx_codec"], codec, "{call}");
            assert_eq!(call["dtmf"]["received"], "12#", "{call}");
            for side in ["heard_by_user", "heard_by_pbx"] {
                assert_eq!(call[side]["lost"], 0, "{call}");
            }
        }
    });
}

#[test]
fn forty_calls_at_once_of_all_kinds_are_heard() {
    let calls = good(&["--calls", "40", "--seconds", "4"]);
    assert_eq!(calls.len(), 40);
    let keyed = |keying: &str| of(&calls, "keying").iter().filter(|k| *k == keying).count();
    assert_eq!((keyed("dtls"), keyed("sdes")), (20, 20));
}

#[test]
fn meta_may_have_an_rsa_certificate_and_take_either_end_of_the_handshake() {
    each(&["active", "passive"], |setup| {
        let calls = good(
            &[
                &["--keying", "dtls", "--seconds", "3"][..],
                &["--dtls-certificate", "rsa", "--dtls-setup", setup],
            ]
            .concat(),
        );
        // In the user's call the bridge is the client: it answers Meta's actpass with active.
        let [by_user, by_business] = calls.as_slice() else {
            panic!("{calls:?}");
        };
        assert_eq!(by_user["srtp"], "AES_CM_128_HMAC_SHA1_80");
        // As server the bridge chooses GCM, and Meta, as server, does not.
        let chosen = match setup {
            "active" => "AEAD_AES_128_GCM",
            _ => "AES_CM_128_HMAC_SHA1_80",
        };
        assert_eq!(by_business["srtp"], chosen);
    });
}

/// The milliseconds from the 200 to the keys, of each call.
fn keyed(calls: &[Value]) -> Vec<u64> {
    calls
        .iter()
        .map(|call| call["keyed_ms"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_role_conflict_costs_time_and_no_word() {
    let calls = good(&["--keying", "dtls", "--seconds", "3", "--role-conflict", "2"]);
    assert!(keyed(&calls).iter().all(|ms| *ms >= 50), "{calls:?}");
}

#[test]
fn a_slow_path_and_a_relay_that_is_late_cost_time_and_no_word() {
    each(
        &[("--path-delay", 500), ("--late", 100)],
        |(what, least)| {
            let calls = good(&["--keying", "dtls", "--seconds", "3", what, "100"]);
            assert!(keyed(&calls).iter().all(|ms| *ms >= least), "{calls:?}");
            for call in &calls {
                assert_eq!(call["heard_by_user"]["first_packet"], 0, "{call}");
            }
        },
    );
}

#[test]
fn a_path_that_is_slow_and_loses_packets_carries_the_call_all_the_same() {
    let path = ["--path-delay", "40", "--path-loss", "10"];
    // As client Meta would repeat a flight after one second, and a call so short might be over.
    let passive = [
        "--dtls-setup",
        "passive",
        "--keying",
        "dtls",
        "--seconds",
        "5",
    ];
    for call in good(&[&path[..], &passive].concat()) {
        assert!(call["heard_by_user"]["lost"].as_u64() > Some(0), "{call}");
    }
}

/// Calls that the bridge must end, and the reason that it gives in its BYE.
fn ended(arguments: &[&str], reason: &str) {
    let (success, calls) = told(&[&["--keying", "dtls", "--seconds", "10"], arguments].concat());
    assert!(!success, "{calls:?}");
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!(call["status"], 200, "{call}");
        assert_eq!(call["ended_by"], "bridge", "{call}");
        assert!(call["reason"].as_str().unwrap().contains(reason), "{call}");
        assert_eq!(call["heard_by_user"]["packets"], 0, "{call}");
    }
}

#[test]
fn a_certificate_that_is_not_the_one_of_the_sdp_ends_the_call_with_the_reason() {
    ended(&["--wrong-fingerprint"], "the peer's certificate is");
}

#[test]
fn a_meta_that_answers_no_check_ends_the_call_with_the_reason() {
    ended(&["--no-ice"], "ICE: no candidate of the peer answered");
}
