use std::path::Path;
use std::process::{Command, Output};

use super::workshop::{Workshop, reference, shipped};

fn print(file: &Path, more: &[&str]) -> Output {
    let mut wabridge = Command::new(env!("CARGO_BIN_EXE_wabridge"));
    let arguments = wabridge
        .args(["config", "print", "-c"])
        .arg(file)
        .args(more);
    arguments.output().unwrap()
}

fn printed(file: &Path, more: &[&str]) -> String {
    let output = print(file, more);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_printed_of_each_file_we_ship_loads_as_the_same_anywhere_else() {
    for (name, text) in shipped() {
        let workshop = Workshop::new();
        workshop.provide(&text);
        let loaded = workshop
            .load(&text)
            .unwrap_or_else(|p| panic!("{name}: {p:#?}"));
        let printed = printed(&workshop.path("wabridge.toml"), &[]);
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("copy.toml");
        std::fs::write(&copy, &printed).unwrap();
        let again = wabridge::config::Config::load(&copy);
        let again = again.unwrap_or_else(|p| panic!("{name}: {p:#?}\n{printed}"));
        assert_eq!(again, loaded, "{name}:\n{printed}");
    }
}

#[test]
fn routes_are_printed_as_they_are_written() {
    let workshop = Workshop::new();
    let route = r#"
[[route]]
number = "+12145551869"
country = ["55", "BR"]
cta_payload = "sales*"
pbx = ["main"]

[[route]]
target = "200"
header = { x-wa-meta-campaign = "spring", x-wa-meta-a = "b*" }
"#;
    let loaded = workshop.load(&format!("{}{route}", reference())).unwrap();
    assert_eq!(loaded.routes.len(), 2);
    let printed = printed(&workshop.path("wabridge.toml"), &[]);
    assert_eq!(workshop.load(&printed).unwrap(), loaded, "{printed}");
}

#[test]
fn every_key_that_has_a_value_is_printed() {
    let workshop = Workshop::new();
    let text = reference();
    let printed = printed(&workshop.write("wabridge.toml", &text), &[]);
    // Those that the reference file states as defaults, and those that are set there.
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        if key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        {
            let set = format!("\n{key} = ");
            assert!(printed.contains(&set), "{key} is missing in\n{printed}");
        }
    }
    for note in [
        "\n# our_host = \"127.0.0.1\"\n",
        "\n# media_address = \"127.0.0.1\"\n",
        "\n# media_public_address = \"127.0.0.1\"\n",
        "\n# allowed_sources = [\"127.0.0.1/32\"]\n",
        "\n# target = \"+12145551869\"\n",
        "\n# ca_file: the authorities of this system\n",
    ] {
        assert!(printed.contains(note), "{note:?} is missing in\n{printed}");
    }
}

#[test]
fn a_password_is_masked_and_the_rest_still_loads_as_the_same() {
    let workshop = Workshop::new();
    let inline = "password = \"meta-generated-secret\"";
    let text = reference().replace("password_file = \"password\"", inline);
    let mut loaded = workshop.load(&text).unwrap();
    for more in [&[][..], &["--json"]] {
        let printed = printed(&workshop.path("wabridge.toml"), more);
        assert!(!printed.contains("meta-generated-secret"), "{printed}");
    }
    let printed = printed(&workshop.path("wabridge.toml"), &[]);
    let again = workshop.load(&printed).unwrap();
    assert_eq!(again.numbers[0].password.expose(), "…");
    loaded.numbers[0].password = again.numbers[0].password.clone();
    loaded.passwords = again.passwords.clone();
    loaded.warnings = again.warnings.clone();
    assert_eq!(again, loaded);
}

#[test]
fn as_json_it_holds_what_follows_from_the_rest_too() {
    let workshop = Workshop::new();
    let file = workshop.write("wabridge.toml", &reference());
    let all: serde_json::Value = serde_json::from_str(&printed(&file, &["--json"])).unwrap();
    assert_eq!(all["pbx"][0]["our_host"], "127.0.0.1");
    assert_eq!(all["pbx"][0]["media_address"], "127.0.0.1");
    assert_eq!(all["pbx"][0]["media_public_address"], "127.0.0.1");
    assert_eq!(all["pbx"][0]["allowed_sources"][0], "127.0.0.1/32");
    assert_eq!(all["number"][0]["target"], "+12145551869");
    assert_eq!(all["media"]["ports"], "20000-29999");
    assert!(all["meta"]["realm"].is_null());
}

#[test]
fn of_a_file_that_is_of_no_use_the_mistakes_are_told_and_nothing_is_printed() {
    let workshop = Workshop::new();
    let file = workshop.write(
        "wabridge.toml",
        &reference().replace("hostname = ", "hostnam = "),
    );
    let output = print(&file, &[]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("did you mean hostname?"), "{said}");
}
