//! The sections of a file on their way to a [`Config`]: whatever could be read is checked, so that one run of
//! `wabridge check` names everything that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipnet::IpNet;

use super::document::Document;
use super::{Certificate, Config, Listener, Meta, Pbx, files, number, route};
use crate::observe::{admin, log, records, trace};
use crate::sip::{transaction, transport};
use crate::{call, media};

/// The sections of the file, in the order in which it is best written.
const SECTIONS: [&str; 13] = [
    "meta",
    "number",
    "route",
    "pbx",
    "pbx_listener",
    "sip",
    "transactions",
    "calls",
    "media",
    "admin",
    "trace",
    "log",
    "records",
];

/// The sections that could be read.
pub(super) struct Draft {
    pub(super) meta: Option<Meta>,
    numbers: Vec<(usize, number::Settings)>,
    /// Whether no section of a number was left out.
    all_numbers: bool,
    routes: Vec<(usize, route::Settings)>,
    pub(super) pbxs: Vec<(usize, Pbx)>,
    /// Whether no section of a PBX was left out.
    all_pbxs: bool,
    pub(super) pbx_listener: Option<Listener>,
    sip: Option<transport::Settings>,
    transactions: Option<transaction::Settings>,
    pub(super) calls: Option<call::Settings>,
    pub(super) media: Option<media::Settings>,
    admin: Option<admin::Settings>,
    trace: Option<trace::Settings>,
    log: Option<log::Settings>,
    records: Option<records::Settings>,
}

impl Draft {
    pub(super) fn read(document: &Document<'_>) -> Draft {
        document.refuse_others(&SECTIONS);
        let (numbers, all_numbers) = document.list("number");
        let (pbxs, all_pbxs) = document.list("pbx");
        Draft {
            meta: document.section("meta"),
            numbers,
            all_numbers,
            routes: document.list("route").0,
            pbxs,
            all_pbxs,
            pbx_listener: document.section("pbx_listener"),
            sip: document.section("sip"),
            transactions: document.section("transactions"),
            calls: document.section("calls"),
            media: document.section("media"),
            admin: document.section("admin"),
            trace: document.section("trace"),
            log: document.section("log"),
            records: document.section("records"),
        }
    }

    /// The checks that need more than one key; `None` if a section is missing or of no use.
    pub(super) fn check(
        mut self,
        folder: &Path,
        now: SystemTime,
        document: &Document<'_>,
    ) -> Option<Config> {
        self.settle_paths(folder);
        self.check_parts(document);
        self.check_numbers(document);
        self.check_pbxs(document);
        self.settle_registrations(folder, document);
        self.check_addresses(document);
        let certificate = self.certificate(now, document);
        let hostname = self.meta.as_ref().map_or("", |meta| meta.hostname.as_str());
        let pbxs: Vec<_> = self.pbxs.iter().map(|(_, pbx)| pbx.name.as_str()).collect();
        let pbxs = self.all_pbxs.then_some(pbxs.as_slice());
        let ours: Vec<_> = self.numbers.iter().map(|(_, n)| &n.number).collect();
        let ours = self.all_numbers.then_some(ours.as_slice());
        let routes = route::resolve(self.routes, pbxs, ours, document);
        let resolve = |(at, number): (usize, number::Settings)| {
            number.resolve(&format!("number[{at}]"), pbxs, hostname, folder, document)
        };
        let numbers = self.numbers.into_iter().filter_map(resolve);
        let (numbers, passwords) = numbers.unzip();
        Some(Config {
            numbers,
            routes,
            passwords,
            certificate: certificate?,
            meta: self.meta?,
            pbxs: self.pbxs.into_iter().map(|(_, pbx)| pbx).collect(),
            pbx_listener: self.pbx_listener?,
            sip: self.sip?,
            transactions: self.transactions?,
            calls: self.calls?,
            media: self.media?,
            admin: self.admin?,
            trace: self.trace?,
            log: self.log?,
            records: self.records?,
            warnings: Vec::new(),
        })
    }

    fn settle_paths(&mut self, folder: &Path) {
        let settle = |path: &mut PathBuf| *path = folder.join(&*path);
        if let Some(meta) = &mut self.meta {
            settle(&mut meta.certificate);
            settle(&mut meta.key);
            meta.ca_file.iter_mut().for_each(settle);
        }
        for (_, pbx) in &mut self.pbxs {
            pbx.ca_file.iter_mut().for_each(settle);
        }
        if let Some(records) = &mut self.records {
            records.file.iter_mut().for_each(settle);
        }
        self.admin = self.admin.take().map(|admin| admin.within(folder));
    }

    fn check_parts(&self, document: &Document<'_>) {
        let authorities = |file: &PathBuf, key: &str| {
            let remedy = "give a PEM file with certificates of authorities, or leave it out for the system's";
            files::certificates(file, key, remedy, document);
        };
        if let Some(meta) = &self.meta {
            meta.check(document);
            meta.ca_file
                .iter()
                .for_each(|file| authorities(file, "meta.ca_file"));
        }
        if let Some(file) = self
            .records
            .as_ref()
            .and_then(|records| records.file.as_ref())
        {
            files::appendable(file, "records.file", document);
        }
        for (at, pbx) in &self.pbxs {
            pbx.check(&format!("pbx[{at}]"), document);
            let key = format!("pbx[{at}].ca_file");
            pbx.ca_file.iter().for_each(|file| authorities(file, &key));
        }
        if let Some(admin) = self.admin.as_ref().filter(|a| a.listen.is_open_to_others()) {
            document.warning(
                "admin.listen",
                &format!("whoever reaches {} may read status and metrics", admin.listen),
                "nobody is authenticated there: use an address of loopback, \"unix:/path\", or a firewall",
            );
        }
        if self
            .trace
            .as_ref()
            .is_some_and(|trace| trace.reveal_numbers)
        {
            document.warning(
                "trace.reveal_numbers",
                "whoever reaches admin.listen may read the numbers and names of the last calls",
                "they are personal data: set it for as long as a fault demands it",
            );
        }
        if self.trace.as_ref().is_some_and(|trace| trace.media > 0) {
            document.warning(
                "trace.media",
                "whoever reaches admin.listen may listen to the last calls",
                "people may have to be told that they are recorded: set it for as long as a fault demands it",
            );
        }
        let sip = self.sip.iter().flat_map(transport::Settings::problems);
        let calls = self.calls.iter().flat_map(call::Settings::problems);
        let records = self.records.iter().flat_map(records::Settings::problems);
        let media = self.media.iter().flat_map(media::Settings::problems);
        let transactions = self
            .transactions
            .iter()
            .flat_map(|settings| settings.problems());
        let transactions = transactions.map(|problem| format!("transactions.{problem}"));
        let trace = self.trace.iter().flat_map(trace::Settings::problems);
        for problem in sip
            .chain(transactions)
            .chain(calls)
            .chain(media)
            .chain(trace)
            .chain(records)
        {
            let (key, what) = problem.split_once(": ").unwrap_or(("", &problem));
            document.problem(key, what, "");
        }
    }

    fn check_numbers(&self, document: &Document<'_>) {
        let mut seen = BTreeSet::new();
        for (at, number) in &self.numbers {
            if !seen.insert(&number.number) {
                document.problem(
                    &format!("number[{at}].number"),
                    "this number is listed already",
                    "keep one [[number]] section for each number",
                );
            }
        }
        if seen.is_empty() && self.all_numbers {
            document.problem(
                "number",
                "no number is configured",
                "add a [[number]] section",
            );
        }
    }

    fn check_pbxs(&self, document: &Document<'_>) {
        let mut seen = BTreeSet::new();
        for (at, pbx) in &self.pbxs {
            if !seen.insert(&pbx.name) {
                document.problem(
                    &format!("pbx[{at}].name"),
                    &format!("two PBXs are called {:?}", pbx.name),
                    "numbers refer to the name: give each its own",
                );
            }
            if self.all_numbers {
                self.check_default_number(&format!("pbx[{at}].default_number"), pbx, document);
            }
        }
        self.check_pbx_sources(document);
        self.check_tls_pbxs(document);
    }

    fn settle_registrations(&mut self, folder: &Path, document: &Document<'_>) {
        for (at, pbx) in &mut self.pbxs {
            let (transport, places) = (pbx.transport, &pbx.address);
            let at = format!("pbx[{at}].register");
            pbx.register
                .settle(&at, transport, places, folder, document);
        }
    }

    /// A PBX is known by the address that it calls from; of two that have the same, the first is meant.
    fn check_pbx_sources(&self, document: &Document<'_>) {
        let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        for (place, (at, pbx)) in self.pbxs.iter().enumerate() {
            let sources = pbx.allowed_sources();
            let is_also = |(_, earlier): &&(usize, Pbx)| {
                let theirs = earlier.allowed_sources();
                sources.iter().any(|a| theirs.iter().any(|b| overlap(a, b)))
            };
            if let Some((_, earlier)) = self.pbxs[..place].iter().find(is_also) {
                document.warning(
                    &format!("pbx[{at}].allowed_sources"),
                    &format!(
                        "calls from there may be taken for calls of {:?}",
                        earlier.name
                    ),
                    "a PBX is known by the address that it calls from: give each its own",
                );
            }
        }
    }

    /// A connection is judged by the rules of the host that it leads to: of one host there can be one set only.
    fn check_tls_pbxs(&self, document: &Document<'_>) {
        let mut rules = BTreeMap::new();
        for (at, pbx) in &self.pbxs {
            if pbx.transport != transport::Protocol::Tls {
                continue;
            }
            let hosts = pbx.address.iter().map(|place| &place.address.host);
            let clash = hosts
                .map(|host| *rules.entry(host.to_ascii_lowercase()).or_insert(pbx))
                .find(|first| (&first.ca_file, first.verify) != (&pbx.ca_file, pbx.verify));
            if let Some(first) = clash {
                document.problem(
                    &format!("pbx[{at}].address"),
                    &format!(
                        "{:?} is reached by TLS at the same host, with another ca_file or verify",
                        first.name
                    ),
                    "give both the same, or each a host name of its own",
                );
            }
        }
    }

    fn check_default_number(&self, key: &str, pbx: &Pbx, document: &Document<'_>) {
        let Some(default) = &pbx.default_number else {
            return;
        };
        let ours = self.numbers.iter().find(|(_, n)| n.number == *default);
        let (what, remedy) = match ours {
            None => (
                "this number has no [[number]] section",
                "name one of our numbers, or add its section",
            ),
            Some((_, n)) if !n.pbx.is_empty() && !n.pbx.contains(&pbx.name) => (
                "this number belongs to another PBX",
                "a PBX calls as its own numbers only: name one of those",
            ),
            _ => return,
        };
        document.problem(key, what, remedy);
    }

    fn certificate(&self, now: SystemTime, document: &Document<'_>) -> Option<Certificate> {
        let meta = self.meta.as_ref()?;
        let mut names = vec![("meta.hostname", meta.hostname.as_str())];
        for (_, number) in &self.numbers {
            names.extend(
                number
                    .hostname
                    .as_deref()
                    .map(|name| ("number.hostname", name)),
            );
        }
        Certificate::read(&meta.certificate, &meta.key, &names, now, document)
    }
}
