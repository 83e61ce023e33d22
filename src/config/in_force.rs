//! The whole configuration as it is in force, defaults and what was derived included: to be printed, and to be compared.

use std::path::Path;

use serde::Serialize;
use toml::Table;

use super::{Config, Listener, Meta, Pbx, route, some};
use crate::observe::{admin, log, records, trace};
use crate::policy::{AdditionalCodec, KeyExchange, Keying, Number};
use crate::secret::Source;
use crate::sip::{transaction, transport};
use crate::{call, media};

/// What stands in place of a secret.
pub(super) const MASK: &str = "…";

/// Section by section, in the order in which a file is best written.
#[derive(Serialize)]
pub(super) struct InForce<'a> {
    meta: &'a Meta,
    number: Vec<Business<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    route: Vec<route::Written<'a>>,
    pbx: &'a [Pbx],
    pbx_listener: &'a Listener,
    sip: &'a transport::Settings,
    transactions: &'a transaction::Settings,
    calls: &'a call::Settings,
    media: &'a media::Settings,
    admin: &'a admin::Settings,
    trace: &'a trace::Settings,
    log: &'a log::Settings,
    records: &'a records::Settings,
}

/// `[[number]]`
#[derive(Serialize)]
struct Business<'a> {
    number: String,
    password_file: Option<&'a Path>,
    password_credential: Option<&'a str>,
    password_env: Option<&'a str>,
    password: Option<&'static str>,
    target: Option<&'a str>,
    #[serde(serialize_with = "some::written")]
    pbx: &'a [String],
    hostname: &'a str,
    keying: &'static str,
    offer: Option<KeyExchange>,
    additional_codecs: &'a [AdditionalCodec],
}

impl Config {
    pub(super) fn in_force(&self) -> InForce<'_> {
        // Every part by its name: what is added to a configuration must be shown.
        let Config {
            meta,
            certificate: _,
            numbers,
            passwords,
            routes,
            pbxs,
            pbx_listener,
            sip,
            transactions,
            calls,
            media,
            admin,
            trace,
            log,
            records,
            warnings: _,
        } = self;
        InForce {
            meta,
            number: numbers
                .iter()
                .zip(passwords)
                .map(|(number, password)| Business::new(number, password))
                .collect(),
            route: routes.iter().map(route::Written::new).collect(),
            pbx: pbxs,
            pbx_listener,
            sip,
            transactions,
            calls,
            media,
            admin,
            trace,
            log,
            records,
        }
    }
}

impl InForce<'_> {
    /// Its keys and values. Fails on nothing that settings consist of.
    pub(super) fn table(&self) -> Result<Table, toml::ser::Error> {
        Table::try_from(self)
    }
}

impl<'a> Business<'a> {
    fn new(number: &'a Number, password: &'a Source) -> Business<'a> {
        let (keying, offer) = match number.keying {
            Keying::Set(KeyExchange::Dtls) => ("dtls", None),
            Keying::Set(KeyExchange::Sdes) => ("sdes", None),
            Keying::Auto { offer } => ("auto", Some(offer)),
        };
        let mut business = Business {
            number: number.number.plus(),
            password_file: None,
            password_credential: None,
            password_env: None,
            password: None,
            target: number.target.as_deref(),
            pbx: &number.pbxs,
            hostname: &number.hostname,
            keying,
            offer,
            additional_codecs: &number.additional_codecs,
        };
        match password {
            Source::File(file) => business.password_file = Some(file),
            Source::Credential(name) => business.password_credential = Some(name),
            Source::Env(name) => business.password_env = Some(name),
            Source::Inline(_) => business.password = Some(MASK),
        }
        business
    }
}
