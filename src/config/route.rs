//! `[[route]]`: calls of WhatsApp users that go elsewhere than their number says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::number::check_target;
use super::some;
use crate::number::E164;
use crate::policy::rules::{Country, Pattern, Rule};

/// What every header begins with that a rule can ask for: Meta's others are about SIP.
const METAS: &str = "x-wa-meta-";
const CTA_PAYLOAD: &str = "x-wa-meta-cta-payload";
const DEEPLINK_PAYLOAD: &str = "x-wa-meta-deeplink-payload";

/// `[[route]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The numbers that are called.
    #[serde(default, deserialize_with = "some::texts")]
    number: Vec<E164>,
    /// Where the user is from: calling codes and pairs of letters.
    #[serde(default, deserialize_with = "some::texts")]
    country: Vec<Country>,
    /// What the button was given that the user tapped.
    cta_payload: Option<String>,
    /// What the link was given that the user followed.
    deeplink_payload: Option<String>,
    /// What other headers of Meta's say.
    #[serde(default)]
    header: BTreeMap<String, String>,
    /// The PBXs that get the call.
    #[serde(default, deserialize_with = "some::texts")]
    pbx: Vec<String>,
    /// What is dialled there.
    target: Option<String>,
}

/// Checks the sections, each with its place in the file, and makes rules of them. `pbxs` and `numbers` name those there are,
/// if all of their sections could be read.
pub(super) fn resolve(
    sections: Vec<(usize, Settings)>,
    pbxs: Option<&[&str]>,
    numbers: Option<&[&E164]>,
    document: &Document<'_>,
) -> Vec<Rule> {
    let mut rules: Vec<(usize, Rule)> = Vec::new();
    for (place, section) in sections {
        let at = format!("route[{place}]");
        section.check(&at, pbxs, numbers, document);
        let rule = section.rule();
        let earlier = rules.iter().find(|(_, earlier)| earlier.covers(&rule));
        if !rule.is_conditional() {
            document.problem(
                &at,
                "it has no condition, so every call would go there",
                "give number, country, cta_payload, deeplink_payload or header; what holds for all calls of a number stands \
                 in its [[number]] section",
            );
        } else if let Some((earlier, _)) = earlier {
            let nth = earlier + 1;
            document.problem(
                &at,
                &format!(
                    "no call gets here: [[route]] number {nth} of the file takes all of its calls"
                ),
                "the first that fits counts: put the narrower one first",
            );
        }
        rules.push((place, rule));
    }
    rules.into_iter().map(|(_, rule)| rule).collect()
}

impl Settings {
    fn check(
        &self,
        at: &str,
        pbxs: Option<&[&str]>,
        numbers: Option<&[&E164]>,
        document: &Document<'_>,
    ) {
        if self.pbx.is_empty() && self.target.is_none() {
            document.problem(
                at,
                "it does not say where calls go",
                "give pbx, target or both",
            );
        }
        let strange = |number: &&E164| numbers.is_some_and(|ours| !ours.contains(number));
        if self.number.iter().any(|number| strange(&number)) {
            document.problem(
                &format!("{at}.number"),
                "a number here has no [[number]] section",
                "name numbers of ours: calls to others are refused anyway",
            );
        }
        super::number::check_pbxs(&self.pbx, &format!("{at}.pbx"), pbxs, document);
        if let Some(target) = &self.target {
            check_target(target, at, document);
        }
        for name in self.header.keys() {
            if !canonical(name).starts_with(METAS) {
                document.problem(
                    &format!("{at}.header"),
                    &format!("{name:?} is no header that can be asked for"),
                    "only Meta's own can: their names begin with x-wa-meta-",
                );
            }
        }
    }

    fn rule(self) -> Rule {
        let payload = |name: &str, text: Option<String>| {
            text.map(|text| (name.to_owned(), Pattern::from(text)))
        };
        let headers = self.header.into_iter();
        let headers = headers.map(|(name, text)| (canonical(&name), Pattern::from(text)));
        Rule {
            numbers: self.number,
            countries: self.country,
            headers: payload(CTA_PAYLOAD, self.cta_payload)
                .into_iter()
                .chain(payload(DEEPLINK_PAYLOAD, self.deeplink_payload))
                .chain(headers)
                .collect(),
            pbxs: self.pbx,
            target: self.target,
        }
    }
}

/// A rule as it would be written.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    number: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    country: Vec<String>,
    cta_payload: Option<String>,
    deeplink_payload: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pbx: &'a [String],
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<&'a str, String>,
}

impl<'a> Written<'a> {
    pub(super) fn new(rule: &'a Rule) -> Written<'a> {
        let headers = rule.headers.iter();
        let headers = headers.map(|(name, pattern)| (name.as_str(), pattern.to_string()));
        let mut header: BTreeMap<_, _> = headers.collect();
        Written {
            number: rule.numbers.iter().map(E164::plus).collect(),
            country: rule.countries.iter().map(Country::to_string).collect(),
            cta_payload: header.remove(CTA_PAYLOAD),
            deeplink_payload: header.remove(DEEPLINK_PAYLOAD),
            pbx: &rule.pbxs,
            target: rule.target.as_deref(),
            header,
        }
    }
}

/// As Meta's headers are handed on.
fn canonical(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}
