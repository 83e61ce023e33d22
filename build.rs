//! Says in the program which commit it was built from, for which target and with which libraries.
//!
//! A release build asks git, and asks again when a commit is made or a source changes; a debug build, which is made many
//! times a day, says only that it is one. Where there is no git, as in a tarball, `WABRIDGE_COMMIT` may say it.

use std::path::Path;
use std::process::Command;

/// What the program is made of: only changes to these make it another one than the commit's.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

/// The libraries of TLS, DTLS and SRTP: what a report of a call that has no keys is asked for first.
const LIBRARIES: [&str; 4] = ["rustls", "ring", "aws-lc-sys", "aes"];

fn main() {
    println!("cargo:rerun-if-env-changed=WABRIDGE_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("WABRIDGE_COMMIT").ok();
    let commit = match given.filter(|commit| is_a_name(commit)) {
        Some(commit) => format!("commit {commit}"),
        None if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") => {
            "debug build".into()
        }
        None => of_git().unwrap_or_else(|| "commit unknown".into()),
    };
    println!("cargo:rustc-env=WABRIDGE_BUILD={commit}");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=WABRIDGE_TARGET={target}");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rustc-env=WABRIDGE_LIBRARIES={}", libraries());
}

/// Their names and versions, as Cargo.lock has them.
fn libraries() -> String {
    let locked = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let field = |line: Option<&str>, key: &str| {
        let value = line?.strip_prefix(key)?.strip_prefix(" = \"")?;
        value.strip_suffix('"').map(str::to_owned)
    };
    let packages = locked.split("[[package]]\n").filter_map(|package| {
        let mut lines = package.lines();
        let name = field(lines.next(), "name")?;
        let version = field(lines.next(), "version")?;
        LIBRARIES
            .contains(&name.as_str())
            .then(|| format!("{name} {version}"))
    });
    packages.collect::<Vec<_>>().join(", ")
}

fn is_a_name(commit: &str) -> bool {
    !commit.is_empty()
        && commit
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+~".contains(c))
}

fn of_git() -> Option<String> {
    // A tarball that was unpacked inside another project's clone is not of that project's commit.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let heads = ["HEAD", "logs/HEAD", "packed-refs"].into_iter();
    for name in heads.chain(branch.as_deref()) {
        let file = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&file).exists() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(match changed.is_empty() {
        true => format!("commit {commit}"),
        false => format!("commit {commit} with changes"),
    })
}

fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| said.trim_end().to_owned())
}
