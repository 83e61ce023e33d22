//! OpenMetrics text (version 1.0), read strictly: what is wrong in it panics.

use std::collections::BTreeMap;

use wabridge::observe::metrics::table::{ALL, Kind, PREFIX, Row};

/// One line with a value.
#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Everything that was scraped.
pub struct Scrape(Vec<Sample>);

impl Scrape {
    /// The value of the one sample with this name and these labels.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            let has =
                |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|v| v == value);
            sample.name == name && sample.labels.len() == labels.len() && labels.iter().all(has)
        };
        let mut found = self.0.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(sample), None) => sample.value,
            (first, second) => panic!("{name} {labels:?}: {first:?}, {second:?}"),
        }
    }

    /// The sum of all samples of this name.
    pub fn sum(&self, name: &str) -> f64 {
        let fits = |sample: &&Sample| sample.name == name;
        self.0.iter().filter(fits).map(|sample| sample.value).sum()
    }
}

/// Reads a scrape, and holds it against the table of metrics.
#[track_caller]
pub fn read(text: &str) -> Scrape {
    let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
    let (mut samples, mut family, mut seen) = (Vec::new(), None, Vec::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let name = rest.split(' ').next().unwrap();
            let name = name
                .strip_prefix(PREFIX)
                .unwrap()
                .strip_prefix('_')
                .unwrap();
            let row = *ALL.iter().find(|row| row.name == name).expect(name);
            assert!(!seen.contains(&name), "{name} is there twice");
            assert!(rest.ends_with(row.help), "{rest}");
            seen.push(name);
            family = Some(row);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let row = family.expect("HELP comes first");
            assert_eq!(rest, format!("{PREFIX}_{} {}", row.name, row.kind.name()));
        } else {
            let sample = sample(line);
            check(&sample, family.expect("a sample belongs to a family"));
            samples.push(sample);
        }
    }
    // There is one for each registration alone.
    let missing: Vec<_> = ALL
        .iter()
        .map(|row| row.name)
        .filter(|name| !seen.contains(name))
        .collect();
    assert_eq!(missing, ["pbx_registered"]);
    Scrape(samples)
}

fn check(sample: &Sample, row: &Row) {
    let suffix = sample.name.strip_prefix(&format!("{PREFIX}_{}", row.name));
    let suffix = suffix.unwrap_or_else(|| panic!("{sample:?} is not of {}", row.name));
    let suffixes: &[&str] = match row.kind {
        Kind::Counter => &["_total"],
        Kind::Gauge => &[""],
        Kind::Histogram(_) => &["_bucket", "_sum", "_count"],
    };
    assert!(suffixes.contains(&suffix), "{sample:?}");
    let labels = sample.labels.keys().map(String::as_str);
    let labels: Vec<_> = labels.filter(|label| *label != "le").collect();
    let mut wanted = row.labels.to_vec();
    wanted.sort_unstable();
    assert_eq!(labels, wanted, "{sample:?}");
    assert!(
        !matches!(row.kind, Kind::Counter) || sample.value >= 0.0,
        "{sample:?}"
    );
}

/// `name{label="value",…} number`
fn sample(line: &str) -> Sample {
    let (what, value) = line.rsplit_once(' ').expect(line);
    let (name, labels) = what.split_once('{').unwrap_or((what, "}"));
    let labels = labels.strip_suffix('}').expect(line);
    let pair = |pair: &str| {
        let (key, value) = pair.split_once("=\"").expect(line);
        (
            key.to_owned(),
            value.strip_suffix('"').expect(line).to_owned(),
        )
    };
    Sample {
        name: name.to_owned(),
        labels: labels
            .split(',')
            .filter(|pair| !pair.is_empty())
            .map(pair)
            .collect(),
        value: value.parse().expect(line),
    }
}
