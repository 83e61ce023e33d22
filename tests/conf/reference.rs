use std::collections::{BTreeMap, BTreeSet};

use wabridge::config::{Config, Problem};

use super::workshop::{Workshop, reference, shipped};

/// `# key = value` becomes `key = value`; with `examples`, `## key = value` does too.
fn uncomment(text: &str, examples: bool) -> String {
    let mut inside_a_list = false;
    let uncommented = text.lines().map(|line| {
        let setting = line.strip_prefix(if examples { "## " } else { "# " });
        let setting = setting
            .or(line.strip_prefix("# "))
            .filter(|rest| inside_a_list || is_setting(rest) || rest.starts_with("[["));
        if let Some(setting) = setting {
            inside_a_list = match setting.trim_end() {
                "]" => false,
                start if start.ends_with('[') => true,
                _ => inside_a_list,
            };
        }
        setting.unwrap_or(line)
    });
    uncommented.collect::<Vec<_>>().join("\n")
}

fn is_setting(text: &str) -> bool {
    text.split_once(" = ").is_some_and(|(key, _)| {
        key.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

/// The keys of every section; of a list, those of its first.
fn keys(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    fn section(name: &str, table: &toml::Table, keys: &mut BTreeMap<String, BTreeSet<String>>) {
        keys.insert(name.to_owned(), table.keys().cloned().collect());
        for (key, value) in table {
            if let Some(table) = value.as_table() {
                section(&format!("{name}.{key}"), table, keys);
            }
        }
    }
    let mut keys = BTreeMap::new();
    for (name, value) in &toml::from_str::<toml::Table>(text).unwrap() {
        let first = value.as_array().map_or(value, |sections| &sections[0]);
        section(name, first.as_table().unwrap(), &mut keys);
    }
    keys
}

/// The keys that the program knows, in its own words: its answer to one that it does not know.
fn known_keys(found: &[Problem], section: &str) -> BTreeSet<String> {
    let unknown = |p: &&Problem| p.key == format!("{section}.no_such_key");
    let problem = found
        .iter()
        .find(unknown)
        .unwrap_or_else(|| panic!("{section} took an unknown key: {found:?}"));
    let all = problem.remedy.strip_prefix("the keys here are ");
    let all = all.expect("it lists what there is");
    all.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_reference_file_loads_without_a_warning() {
    let config = Workshop::new().load(&reference()).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.numbers[0].pbxs, ["main"]);
    assert_eq!(config.numbers[0].password.expose(), "meta-generated-secret");
    assert_eq!(config.meta.allowed_sources.len(), 23);
}

#[test]
fn each_file_we_ship_loads_without_a_warning() {
    let shipped = shipped();
    assert_eq!(shipped.len(), 6, "{shipped:#?}");
    for (name, text) in shipped {
        let workshop = Workshop::new();
        workshop.provide(&text);
        assert_eq!(workshop.findings(&text), [], "{name}");
    }
}

#[test]
fn every_default_it_states_is_the_default() {
    let workshop = Workshop::new();
    let stated = uncomment(&reference(), false);
    assert!(
        stated.contains("\nlevel = \"info\""),
        "nothing was uncommented"
    );
    assert_eq!(
        workshop.load(&stated).unwrap(),
        workshop.load(&reference()).unwrap()
    );
}

#[test]
fn it_names_every_key_there_is_and_no_other() {
    let workshop = Workshop::new();
    let whole = uncomment(&reference(), true);
    for (section, keys) in keys(&whole) {
        // Names of headers are keys there.
        if ["route.header", "pbx.headers"].contains(&section.as_str()) {
            continue;
        }
        let header = match section.as_str() {
            "number" | "pbx" | "route" => format!("[[{section}]]\n"),
            _ => format!("[{section}]\n"),
        };
        let strange = whole.replacen(&header, &format!("{header}no_such_key = 1\n"), 1);
        let known = known_keys(&workshop.findings(&strange), &section);
        assert_eq!(keys, known, "[{section}]");
    }
}

/// What cannot be right where something like `value` can: of another kind each.
fn wrong_values(value: &toml::Value) -> &'static [&'static str] {
    match value {
        toml::Value::String(_) => &["17", "true", "1.5", "{}", "1979-05-27", "[[]]"],
        toml::Value::Integer(_) => &[
            "\"x\"",
            "true",
            "1.5",
            "[]",
            "{}",
            "-1",
            "99999999999999999999",
        ],
        toml::Value::Float(_) => &["\"x\"", "true", "[]", "{}", "-1.5", "nan"],
        toml::Value::Boolean(_) => &["\"true\"", "1", "[]", "{}"],
        toml::Value::Array(_) => &["17", "true", "{}", "[17]", "[true]", "\"x\""],
        toml::Value::Table(_) => &["17", "\"x\"", "true"],
        other => panic!("{other:?} is in the reference file"),
    }
}

/// Words that mean something to whoever wrote the program alone.
const OURS: [&str; 16] = [
    "u8",
    "u16",
    "u32",
    "u64",
    "usize",
    "i64",
    "invalid type",
    "invalid value",
    "serde",
    "struct",
    "variant",
    "expected",
    "boolean",
    "sequence",
    "field",
    "deseriali",
];

/// The lines of the reference file that set a key, each with its section.
fn settings(text: &str) -> Vec<(String, usize)> {
    let mut section = String::new();
    let mut settings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if is_setting(line) {
            let (key, _) = line.split_once(" = ").unwrap();
            settings.push((format!("{section}.{key}"), at));
        }
    }
    settings
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_at_its_key_and_in_the_words_of_the_file() {
    let workshop = Workshop::new();
    let whole = uncomment(&reference(), true);
    let table: toml::Table = toml::from_str(&whole).unwrap();
    let settings = settings(&whole);
    assert!(settings.len() > 50, "{settings:?}");
    for (path, at) in settings {
        let value = path
            .split('.')
            .fold(None, |found: Option<&toml::Value>, name| {
                let table = found.map_or(&table, |found| found.as_table().unwrap());
                let value = &table[name];
                Some(
                    value
                        .as_array()
                        .filter(|list| list.first().is_some_and(toml::Value::is_table))
                        .map_or(value, |list| &list[0]),
                )
            });
        for wrong in wrong_values(value.unwrap()) {
            let text = with_value(&whole, at, wrong);
            let found = workshop.findings(&text);
            let told = |p: &&Problem| p.key == path && p.position.line == at + 1;
            assert!(
                found.iter().any(|p| told(&p)),
                "{path} = {wrong}: {found:#?}"
            );
            for problem in &found {
                let said = format!("{}; {}", problem.what, problem.remedy);
                let word = OURS.iter().find(|word| said.contains(**word));
                assert_eq!(word, None, "{path} = {wrong}: {problem}");
            }
        }
    }
}

/// The text with another value for the key of this line; a list may go on below it.
fn with_value(text: &str, at: usize, value: &str) -> String {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let goes_on = lines[at].ends_with('[');
    let end = match goes_on {
        true => lines[at..].iter().position(|line| line == "]").unwrap(),
        false => 0,
    };
    let (key, _) = lines[at].split_once(" = ").unwrap();
    lines[at] = format!("{key} = {value}");
    for line in &mut lines[at + 1..at + 1 + end] {
        line.clear();
    }
    lines.join("\n")
}

#[test]
fn every_example_it_gives_is_of_the_right_kind() {
    let workshop = Workshop::new();
    std::fs::copy(workshop.path("ca.pem"), workshop.path("pbx-ca.pem")).unwrap();
    let found = workshop.findings(&uncomment(&reference(), true));
    // What cannot be so in one file: passwords in four places, a second host name, a
    // simulator that may not call, TLS settings without TLS, a folder that is not there.
    let expected = [
        "meta.allowed_sources",
        "meta.certificate",
        "number.password",
        "number.password_file",
        "pbx.ca_file",
        "pbx.register.password",
        "pbx.register.password_file",
        "records.file",
    ];
    let mut keys: Vec<_> = found.iter().map(|p| p.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, expected, "{found:#?}");
}

#[test]
fn a_configuration_can_be_printed_without_giving_anything_away() {
    let config: Config = Workshop::new().load(&reference()).unwrap();
    let printed = format!("{config:?}");
    assert!(!printed.contains("meta-generated-secret"), "{printed}");
    assert!(!printed.contains("2145551869"), "{printed}");
    assert!(printed.contains("key secret"), "{printed}");
}
