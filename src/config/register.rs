//! `[pbx.register]`: how the bridge registers at a PBX, and how it proves itself in calls to it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::document::Document;
use super::meta::is_host_name;
use super::password::{self, Words};
use super::pbx_address::{Address, Place};
use crate::secret::{Keys, Secret};
use crate::sip::grammar::is_token;
use crate::sip::transport::Protocol;

/// `[pbx.register]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Register {
    /// User part of the address of record and of our Contact; unset, nothing is registered.
    pub username: Option<String>,
    /// File that holds the password.
    password_file: Option<PathBuf>,
    /// Credential of systemd that holds the password.
    password_credential: Option<String>,
    /// Environment variable that holds the password.
    password_env: Option<String>,
    /// The password itself.
    #[serde(serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    /// The name in the digest, where it is not `username`.
    pub auth_username: Option<String>,
    /// Host of the address of record; if unset, that of the PBX's address.
    pub domain: Option<String>,
    /// Seconds that a registration is asked for.
    pub expires: u32,
    /// Where REGISTER goes; if unset, to every address of the PBX.
    pub registrars: Option<Vec<Address>>,
    /// As whom calls to the PBX are made.
    pub from: Caller,
    /// The header that has the number dialled where the PBX calls our Contact.
    pub dialled: String,
    /// What the password keys led to.
    #[serde(skip)]
    secret: Option<Secret>,
}

/// `from`: who calls the PBX, as its From has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Caller {
    /// We, by the name that we register; the WhatsApp user stands in P-Asserted-Identity.
    Username,
    /// The WhatsApp user.
    Caller,
}

impl Default for Register {
    fn default() -> Register {
        Register {
            username: None,
            password_file: None,
            password_credential: None,
            password_env: None,
            password: None,
            auth_username: None,
            domain: None,
            expires: 300,
            registrars: None,
            from: Caller::Username,
            dialled: "To".into(),
            secret: None,
        }
    }
}

impl Register {
    /// User part and password, if the bridge registers.
    pub fn login(&self) -> Option<(&str, &Secret)> {
        self.username.as_deref().zip(self.secret.as_ref())
    }

    /// `expires` as a time.
    pub fn expires(&self) -> Duration {
        Duration::from_secs(self.expires.into())
    }

    /// Checks the section and reads its password. `transport` and `places` are those of the PBX.
    pub(super) fn settle(
        &mut self,
        at: &str,
        transport: Protocol,
        places: &[Place],
        folder: &Path,
        document: &Document<'_>,
    ) {
        let Some(username) = &self.username else {
            return self.check_unused(at, document);
        };
        if username.is_empty() || !username.chars().all(is_unreserved) {
            document.problem(
                &format!("{at}.username"),
                &format!("{username:?} cannot stand before an @"),
                "give the name of the trunk or extension at the PBX, such as \"wabridge\" or \"100\"",
            );
        }
        let is_host = |domain: &String| is_host_name(domain) || domain.parse::<IpAddr>().is_ok();
        if let Some(domain) = self.domain.as_ref().filter(|domain| !is_host(domain)) {
            document.problem(
                &format!("{at}.domain"),
                &format!("{domain:?} is neither a host name nor an IP address"),
                "give what stands behind the @ in the PBX's own addresses",
            );
        }
        if !(30..=86_400).contains(&self.expires) {
            document.problem(
                &format!("{at}.expires"),
                "must be 30 to 86400 seconds",
                "leave it out: a PBX that wants more says so, and gets it",
            );
        }
        if !is_token(&self.dialled) {
            document.problem(
                &format!("{at}.dialled"),
                &format!("{:?} is no name of a header", self.dialled),
                "leave it out for \"To\", or name for instance \"P-Called-Party-ID\"",
            );
        }
        self.check_registrars(at, transport, places, document);
        let files = self.password_file.iter_mut();
        files.for_each(|file| *file = folder.join(&*file));
        self.secret = self.password(at, document);
    }

    /// Keys that wait for a username are a mistake; the defaults are not.
    fn check_unused(&self, at: &str, document: &Document<'_>) {
        if *self != Register::default() {
            document.problem(
                at,
                "it has no username, so nothing would be registered",
                "add username, or take the whole section out",
            );
        }
    }

    fn check_registrars(
        &self,
        at: &str,
        transport: Protocol,
        places: &[Place],
        document: &Document<'_>,
    ) {
        let Some(registrars) = &self.registrars else {
            return;
        };
        let key = format!("{at}.registrars");
        if registrars.is_empty() {
            let remedy = "leave it out to register at every address of the PBX";
            document.problem(&key, "there is no address in it", remedy);
        }
        // A connection is judged by the rules of the host that it leads to, and those are a PBX's.
        let is_at = |registrar: &Address, place: &Place| registrar.host == place.address.host;
        let strange = |registrar: &&Address| !places.iter().any(|place| is_at(registrar, place));
        if let (Protocol::Tls, Some(registrar)) = (transport, registrars.iter().find(strange)) {
            document.problem(
                &key,
                &format!(
                    "over TLS it must have a host of address, and {:?} is another",
                    registrar.host
                ),
                "leave it out to register at every address of the PBX",
            );
        }
    }

    fn password(&self, at: &str, document: &Document<'_>) -> Option<Secret> {
        let keys = Keys {
            file: self.password_file.clone(),
            credential: self.password_credential.clone(),
            env: self.password_env.clone(),
            inline: self.password.clone(),
        };
        let words = Words {
            first_key: "username",
            whose: "the password that the PBX has for this username",
            found_at: "it is the one that the PBX has for this username",
        };
        password::read(keys, at, &words, document).map(|(secret, _)| secret)
    }
}

/// In what is shown of a configuration there is no password.
fn hidden<S: Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("…")
}

/// What may stand in the user part of our Contact, and comes back from every PBX as it went.
fn is_unreserved(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.!~*'()&=+$".contains(c)
}
