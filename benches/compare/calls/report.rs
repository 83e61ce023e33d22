//! Where figures go: raw data into files, for whoever draws them.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// A table of raw data under `target/compare`.
pub struct Csv(File);

impl Csv {
    /// A new one, with these columns.
    pub fn new(name: &str, columns: &str) -> Csv {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare");
        fs::create_dir_all(&folder).expect("target/ is ours");
        let mut file = File::create(folder.join(name)).expect("target/ is ours");
        writeln!(file, "{columns}").expect("there is room");
        Csv(file)
    }

    /// One more line. What was not measured stays empty.
    pub fn row(&mut self, values: &[&dyn Display]) {
        let values: Vec<String> = values
            .iter()
            .map(|value| value.to_string())
            .map(|value| if value == "NaN" { String::new() } else { value })
            .collect();
        writeln!(self.0, "{}", values.join(",")).expect("there is room");
    }
}

/// The one in the middle; not a number if there is none.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
