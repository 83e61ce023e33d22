//! `wabridge demo`, as a newcomer runs it.

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

#[test]
fn both_directions_are_heard_on_both_sides() {
    let (success, printed) = demo(&["--json", "--seconds", "3"]);
    let told: Value = serde_json::from_str(&printed).unwrap();
    assert!(success, "{printed}");
    assert_eq!(told["ok"], true);
    let calls = told["calls"].as_array().unwrap();
    let of = |key: &str| {
        calls
            .iter()
            .map(|call| call[key].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("direction"), ["user-initiated", "business-initiated"]);
    assert_eq!(of("ended_by"), ["meta", "pbx"]);
    for call in calls {
        for side in ["heard_by_user", "heard_by_pbx"] {
            assert_eq!(call[side]["ok"], true, "{call}");
            assert_eq!(call[side]["ssrcs"], 1, "{call}");
        }
        assert_eq!(call["dtmf"]["received"], "12#", "{call}");
    }
}

#[test]
fn the_story_is_a_ladder_for_each_call() {
    let (success, printed) = demo(&["--direction", "user-initiated", "--seconds", "3"]);
    assert!(success, "{printed}");
    for expected in [
        "◀───────── 407 INVITE │",
        "BYE",
        "The user heard the PBX: yes",
        "as it should be",
    ] {
        assert!(
            printed.contains(expected),
            "{expected} is missing in\n{printed}"
        );
    }
}
