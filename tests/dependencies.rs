//! What depends on what: modules on modules, and the program on crates. Read from the sources, so that
//! docs/architecture.md and docs/dependencies.md stay true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules each module may import. Nobody may import what stands above it (docs/architecture.md).
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("leg", &[]),
    ("number", &[]),
    ("secret", &[]),
    ("media", &["leg"]),
    ("sdp", &["leg", "media"]),
    ("sip", &["leg", "secret"]),
    ("policy", &["leg", "number", "secret", "sip"]),
    (
        "peer",
        &["leg", "media", "number", "policy", "sdp", "secret", "sip"],
    ),
    (
        "call",
        &[
            "leg", "media", "number", "peer", "policy", "sdp", "secret", "sip",
        ],
    ),
    (
        "observe",
        &[
            "call", "leg", "media", "number", "peer", "policy", "sdp", "sip",
        ],
    ),
    (
        "config",
        &[
            "call", "leg", "media", "number", "observe", "policy", "sdp", "secret", "sip",
        ],
    ),
    ("service", &["call", "media"]),
    (
        "daemon",
        &[
            "call", "config", "leg", "media", "number", "observe", "peer", "policy", "sdp",
            "secret", "service", "sip",
        ],
    ),
    // The far ends share nothing with the bridge above messages, descriptions and packets.
    ("sim", &["leg", "media", "number", "sdp", "secret", "sip"]),
    (
        "cli",
        &[
            "call", "config", "daemon", "leg", "media", "number", "observe", "peer", "policy",
            "sdp", "secret", "service", "sim", "sip",
        ],
    ),
];

/// What sip/message may name of rsip: types that hold what they are given. None of these reads text.
const RSIP_VOCABULARY: &[&str] = &[
    "rsip::Header",
    "rsip::Method",
    "rsip::headers::UntypedHeader",
    "rsip::headers::$variant::new",
];

/// How rsip's parsers are reached, whatever type they hang on.
const RSIP_PARSERS: &[&str] = &[
    "try_from",
    "try_into",
    "from_str",
    "typed",
    "into_typed",
    "tokenize",
    "Tokenizer",
    "ToTypedHeader",
    "FromStr",
    "TryFrom",
    "TryInto",
];

/// One source file, without comments and, where asked, without the tests at its foot.
struct Source {
    path: String,
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    files
        .iter()
        .map(|file| {
            let path = file
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let code = without_comments(&read(&path));
            Source { path, code }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn without_comments(code: &str) -> String {
    let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    code.lines().map(line).collect()
}

fn without_tests(source: &Source) -> &str {
    if ["tests.rs", "fixtures.rs"]
        .iter()
        .any(|name| source.path.ends_with(name))
    {
        return "";
    }
    source.code.split("#[cfg(test)]").next().unwrap_or_default()
}

/// The words of a source: identifiers, wherever they stand.
fn words(code: &str) -> BTreeSet<&str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect()
}

/// The modules that `code` names behind `crate::`, one at a time or in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let first_word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => {
                found.insert(first_word(rest));
            }
            Some(group) => {
                let mut depth = 0;
                let mut names = vec![String::new()];
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(String::new()),
                        c if depth == 0 => names.last_mut().unwrap().push(c),
                        _ => {}
                    }
                }
                found.extend(names.iter().map(|name| first_word(name)));
            }
        }
    }
    found.remove("");
    found
}

/// `src/sip/uri.rs` and `src/leg.rs` belong to `sip` and `leg`; `src/main.rs` and `src/lib.rs` to nobody.
fn module_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?;
    let name = path.split('/').next()?.trim_end_matches(".rs");
    (!matches!(name, "main" | "lib")).then_some(name)
}

/// The names under a heading of Cargo.toml.
fn crates(heading: &str) -> Vec<String> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let table = manifest[heading].as_table().unwrap();
    table.keys().cloned().collect()
}

#[test]
fn a_module_imports_only_what_lies_below_it() {
    for source in sources("src") {
        let Some(module) = module_of(&source.path) else {
            continue;
        };
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| {
                panic!("{module}: say in MAY_IMPORT and in docs/architecture.md what it may know")
            });
        for import in imports(without_tests(&source)) {
            assert!(
                import == module || allowed.contains(&import.as_str()),
                "{} imports crate::{import}, which {module} may not know (docs/architecture.md)",
                source.path
            );
        }
    }
}

#[test]
fn imports_are_found_one_by_one_and_in_braces() {
    let code = "use crate::sip::Uri; use crate::{call, media::{rtp, Codec}, leg::Leg};\nlet x = crate::number::tag(1);";
    let found: Vec<String> = imports(code).into_iter().collect();
    assert_eq!(found, ["call", "leg", "media", "number", "sip"]);
}

#[test]
fn only_the_message_layer_names_rsip() {
    for source in sources("src") {
        let may = source.path.starts_with("src/sip/message/");
        assert!(
            may || !words(&source.code).contains("rsip"),
            "{} names rsip; only src/sip/message may, and it hands out types of ours",
            source.path
        );
    }
}

#[test]
fn only_the_srtp_module_names_its_ciphers() {
    for source in sources("src") {
        let srtp = source.path.starts_with("src/media/srtp/");
        for name in [
            "aes::",
            "ctr::",
            "ring::aead",
            "sha1::compress",
            "subtle::",
            "rtc_srtp::",
            "rtc_crypto::",
        ] {
            assert!(
                srtp || !source.code.contains(name),
                "{} names {name}; only src/media/srtp may",
                source.path
            );
        }
    }
}

#[test]
fn only_the_dtls_module_names_the_dtls_library_and_two_files_are_unsafe() {
    for source in sources("src") {
        let words = words(&source.code);
        let path = source.path.as_str();
        let dtls = path.starts_with("src/media/dtls/");
        assert!(
            dtls || !source.code.contains("openssl::"),
            "{path} names openssl; only src/media/dtls may"
        );
        let library = "src/media/dtls/library.rs";
        let uring = "src/media/io/uring.rs";
        for (word, files) in [
            ("unsafe", &[library, uring][..]),
            ("unsafe_code", &[library, uring]),
            ("openssl_sys", &[library]),
            ("foreign_types", &[library]),
            ("IoUring", &[uring]),
            ("libc", &[uring]),
        ] {
            assert!(
                files.contains(&path) || !words.contains(word),
                "{path} says `{word}`; only {} may (docs/architecture.md)",
                files.join(" and ")
            );
        }
    }
}

#[test]
fn no_parser_of_rsip_meets_the_network() {
    let naming: Vec<Source> = sources("src/sip/message")
        .into_iter()
        .filter(|source| words(&source.code).contains("rsip"))
        .collect();
    assert!(
        !naming.is_empty(),
        "nobody uses rsip: remove it from Cargo.toml"
    );
    for source in naming {
        let (path, code) = (&source.path, &source.code);
        for at in code.match_indices("rsip").map(|(at, _)| at) {
            let named: String = code[at..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$'))
                .collect();
            let known = RSIP_VOCABULARY
                .iter()
                .any(|word| named == *word || named.starts_with(&format!("{word}::")));
            assert!(
                known,
                "{path} names {named}: if it is a type that reads no text, add it to RSIP_VOCABULARY; rsip's parsers \
                 lose parts of messages without an error (docs/dependencies.md)"
            );
        }
        for parser in RSIP_PARSERS {
            assert!(
                !words(code).contains(parser),
                "{path} says `{parser}`, by which rsip's parsers are reached; they lose parts of messages without an \
                 error (docs/dependencies.md). Read the text with sip::grammar instead"
            );
        }
        assert!(
            !code.contains(".parse"),
            "{path} calls `.parse`, which may be rsip's; read the text with sip::grammar instead"
        );
    }
}

#[test]
fn every_crate_asked_for_is_used_and_explained() {
    let documented = read("docs/dependencies.md");
    let program: String = sources("src").into_iter().map(|s| s.code).collect();
    let all: String = ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| sources(folder))
        .map(|source| source.code)
        .collect();
    for (heading, code) in [("dependencies", &program), ("dev-dependencies", &all)] {
        for name in crates(heading) {
            assert!(
                code.contains(&format!("{}::", name.replace('-', "_"))),
                "[{heading}] {name}: nothing uses it; remove it from Cargo.toml"
            );
            assert!(
                documented.contains(&format!("`{name}`")),
                "[{heading}] {name}: say in docs/dependencies.md what it is for"
            );
        }
    }
}
