//! What Prometheus and Grafana are given, `conf/grafana/` and the table in docs/operating.md, names only metrics and labels
//! that there are.

use std::collections::BTreeSet;
use std::fs;

use promql_parser::label::Matchers;
use promql_parser::parser::{self, AggregateExpr, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;
use wabridge::observe::metrics::table::{ALL, Kind, Row};

fn read(path: &str) -> String {
    let file = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The expressions and legends of a dashboard.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let text = |target: &Value, key: &str| target[key].as_str().unwrap().to_owned();
    targets
        .map(|target| (text(target, "expr"), text(target, "legendFormat")))
        .collect()
}

/// The expressions of alert rules, each on a line of its own.
fn rules() -> Vec<String> {
    let text = read("conf/grafana/alerts.yml");
    let exprs = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("expr: "));
    exprs.map(str::to_owned).collect()
}

/// What Grafana puts in before it asks.
fn filled_in(expr: &str) -> String {
    expr.replace("$__rate_interval", "5m")
        .replace("$instance", ".*")
}

/// What an expression asks for.
#[derive(Default)]
struct Asked {
    /// A name of a metric and a label that is looked at or kept; empty for the metric alone.
    labels: BTreeSet<(String, String)>,
    /// Labels that are aggregated by, whatever the metric.
    kept: BTreeSet<String>,
}

impl Asked {
    fn of(expr: &str) -> Asked {
        let parsed = parser::parse(&filled_in(expr)).unwrap_or_else(|e| panic!("{expr}: {e}"));
        let mut asked = Asked::default();
        walk_expr(&mut asked, &parsed).unwrap();
        asked
    }

    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector
            .name
            .clone()
            .expect("every selector names its metric");
        let Matchers { matchers, .. } = &selector.matchers;
        let looked_at = matchers.iter().map(|matcher| matcher.name.clone());
        for label in looked_at.chain([String::new()]) {
            self.labels.insert((name.clone(), label));
        }
    }
}

impl ExprVisitor for Asked {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Aggregate(AggregateExpr {
                modifier: Some(LabelModifier::Include(labels)),
                ..
            }) => self.kept.extend(labels.labels.iter().cloned()),
            _ => {}
        }
        Ok(true)
    }
}

/// The metric of the table that a name in an expression is of.
fn row_of(name: &str) -> Option<&'static Row> {
    let is_it = |row: &&&Row| match row.kind {
        Kind::Histogram(_) => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name == format!("{}{end}", row.full_name())),
        Kind::Counter | Kind::Gauge => name == row.full_name(),
    };
    ALL.iter().find(is_it).copied()
}

/// Labels that Prometheus adds, and that every histogram has.
fn is_known(row: &Row, name: &str, label: &str) -> bool {
    matches!(label, "" | "instance" | "job")
        || row.labels.contains(&label)
        || (label == "le" && name.ends_with("_bucket"))
}

/// Panics unless the expression asks only for what there is; gives the names of the metrics.
fn check(expr: &str) -> BTreeSet<String> {
    let asked = Asked::of(expr);
    let mut rows = Vec::new();
    for (name, label) in &asked.labels {
        // Prometheus' own, for each target that it scrapes.
        if name == "up" {
            continue;
        }
        let row = row_of(name).unwrap_or_else(|| panic!("{expr}: there is no metric {name}"));
        assert!(
            is_known(row, name, label),
            "{expr}: {name} has no label {label}"
        );
        rows.push((row, name));
    }
    for label in &asked.kept {
        let all_have = rows.iter().all(|(row, name)| is_known(row, name, label));
        assert!(
            all_have,
            "{expr}: not everything in it has the label {label}"
        );
    }
    rows.iter().map(|(row, _)| row.full_name()).collect()
}

#[test]
fn the_dashboard_asks_only_for_what_there_is_and_leaves_nothing_out() {
    let dashboard: Value = serde_json::from_str(&read("conf/grafana/wabridge.json")).unwrap();
    let mut shown = BTreeSet::new();
    for (expr, legend) in queries(&dashboard) {
        let asked = Asked::of(&expr);
        shown.extend(check(&expr));
        for label in legend.split("{{").skip(1) {
            let label = label.split("}}").next().unwrap();
            let row = asked
                .labels
                .iter()
                .find_map(|(name, _)| row_of(name))
                .unwrap();
            assert!(
                asked.kept.contains(label)
                    || (asked.kept.is_empty() && row.labels.contains(&label)),
                "{expr}: {legend:?} shows {label}, which is not kept"
            );
        }
    }
    for row in ALL {
        // When the last reload was is for an alert.
        let elsewhere = row.name == "last_reload_timestamp_seconds";
        assert!(
            elsewhere || shown.contains(&row.full_name()),
            "no panel shows {}",
            row.full_name()
        );
    }
}

#[test]
fn every_panel_has_its_own_place_and_number() {
    let dashboard: Value = serde_json::from_str(&read("conf/grafana/wabridge.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "two panels are at {x}, {y}: {panel}");
            }
        }
    }
}

#[test]
fn alert_rules_ask_only_for_what_there_is() {
    let rules = rules();
    let alerts = read("conf/grafana/alerts.yml").matches("- alert: ").count();
    assert_eq!(
        rules.len(),
        alerts,
        "each rule has its expression on one line"
    );
    assert!(alerts >= 10, "{alerts}");
    for rule in rules {
        check(&rule);
    }
}

#[test]
fn an_expression_that_asks_for_something_else_is_found_out() {
    for wrong in [
        "rate(wabridge_calls[5m])",
        "sum by (codec) (wabridge_calls_total)",
        "wabridge_ready{leg=\"meta\"}",
        "sum(wabridge_ready",
    ] {
        assert!(
            std::panic::catch_unwind(|| check(wrong)).is_err(),
            "{wrong}"
        );
    }
}

/// The row of docs/operating.md for a metric.
fn documented(row: &Row) -> String {
    let labels: Vec<_> = row
        .labels
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    format!(
        "| `{}` | {} | {} | {} |",
        row.full_name(),
        row.kind.name(),
        labels.join(", "),
        row.help
    )
}

#[test]
fn the_guide_has_every_metric_in_the_words_of_the_program() {
    let guide = read("docs/operating.md");
    let rows: Vec<_> = guide
        .lines()
        .filter(|line| line.starts_with("| `wabridge_"))
        .collect();
    let wanted: Vec<_> = ALL.iter().map(|row| documented(row)).collect();
    assert_eq!(
        rows,
        wanted,
        "docs/operating.md, Monitoring:\n{}",
        wanted.join("\n")
    );
}
