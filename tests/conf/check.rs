use std::path::Path;
use std::process::{Command, Output};

use super::workshop::{Workshop, reference};

fn check(file: &Path) -> Output {
    let mut wabridge = Command::new(env!("CARGO_BIN_EXE_wabridge"));
    wabridge.arg("check").arg("-c").arg(file).output().unwrap()
}

#[test]
fn a_good_file_is_passed_in_silence() {
    let workshop = Workshop::new();
    let output = check(&workshop.write("wabridge.toml", &reference()));
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
}

#[test]
fn a_warning_is_shown_and_passed() {
    let workshop = Workshop::new();
    let text = reference().replace("# challenge = \"407\"", "challenge = \"off\"");
    let output = check(&workshop.write("wabridge.toml", &text));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), said.lines().count()),
        (Some(0), 1),
        "{said}"
    );
    assert!(
        said.contains(": warning: meta.digest.challenge: "),
        "{said}"
    );
}

#[test]
fn each_problem_is_one_line_with_file_line_and_key() {
    let workshop = Workshop::new();
    let text = reference()
        .replace("\"password\"", "\"none\"")
        .replace("name = \"main\"", "name = 7");
    let file = workshop.write("wabridge.toml", &text);
    let output = check(&file);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), said.lines().count()),
        (Some(1), 2),
        "{said}"
    );
    let line = text
        .lines()
        .position(|line| line.starts_with("password_file"))
        .unwrap()
        + 1;
    let start = format!(
        "{}:{line}:1: number.password_file: cannot read",
        file.display()
    );
    assert!(said.starts_with(&start), "{said}");
}

#[test]
fn a_password_is_read_from_where_systemd_puts_credentials() {
    let workshop = Workshop::new();
    workshop.write("meta-password", "meta-generated-secret\n");
    let key = "password_credential = \"meta-password\"";
    let text = reference().replace("password_file = \"password\"", key);
    let file = workshop.write("wabridge.toml", &text);
    let output = Command::new(env!("CARGO_BIN_EXE_wabridge"))
        .arg("check")
        .arg("-c")
        .arg(&file)
        .env("CREDENTIALS_DIRECTORY", file.parent().unwrap())
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
    let without = String::from_utf8(check(&file).stdout).unwrap();
    assert!(without.contains("CREDENTIALS_DIRECTORY"), "{without}");
}

#[test]
fn wrong_arguments_are_another_exit_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_wabridge"))
        .arg("check")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
