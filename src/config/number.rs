//! `[[number]]`: a business number, its password and keying at Meta, and the PBX that it belongs to.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::document::Document;
use super::meta::is_host_name;
use super::password::{self, Words};
use crate::number::E164;
use crate::policy::{KeyExchange, Keying, Number};
use crate::secret::{Keys, Secret, Source};

/// `[[number]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The number, in international form.
    pub(super) number: E164,
    /// File that holds the password which Meta generated for it.
    password_file: Option<PathBuf>,
    /// Credential of systemd that holds the password.
    password_credential: Option<String>,
    /// Environment variable that holds the password.
    password_env: Option<String>,
    /// The password itself.
    password: Option<Secret>,
    /// User part of the Request-URI at the PBX.
    target: Option<String>,
    /// The PBX it belongs to.
    pub(super) pbx: Option<String>,
    /// The SIP server name that is set for this number at Meta, where it is not `meta.hostname`.
    pub(super) hostname: Option<String>,
    /// How its media gets its keys, as it is set at Meta.
    #[serde(default)]
    keying: Choice,
    /// For `auto`: what our offers ask for.
    offer: Option<KeyExchange>,
}

/// `keying`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Dtls,
    Sdes,
    #[default]
    Auto,
}

impl Settings {
    /// Checks the section and reads its password; `None` if it is of no use. `pbxs` names the PBXs there are, if all of
    /// their sections could be read.
    pub(super) fn resolve(
        self,
        at: &str,
        pbxs: Option<&[&str]>,
        meta_hostname: &str,
        folder: &Path,
        document: &Document<'_>,
    ) -> Option<(Number, Source)> {
        self.check_names(at, document);
        let keying = self.keying(at, document);
        let pbx = self.pbx(at, pbxs, document);
        let password = self.password(at, folder, document);
        let (password, source) = password?;
        let number = Number {
            number: self.number,
            password,
            target: self.target,
            pbx: pbx?,
            keying,
            hostname: self.hostname.unwrap_or_else(|| meta_hostname.to_owned()),
        };
        Some((number, source))
    }

    fn check_names(&self, at: &str, document: &Document<'_>) {
        let is_odd = |target: &&String| !target.chars().all(is_user_character) || target.is_empty();
        if let Some(target) = self.target.as_ref().filter(is_odd) {
            document.problem(
                &format!("{at}.target"),
                &format!("{target:?} cannot be dialled"),
                "give what stands before the @ in the PBX's own addresses, such as \"100\"",
            );
        }
        if let Some(name) = self.hostname.as_ref().filter(|name| !is_host_name(name)) {
            document.problem(
                &format!("{at}.hostname"),
                &format!("{name:?} is no host name"),
                "give the name that is set as SIP server of this number at Meta",
            );
        }
    }

    fn keying(&self, at: &str, document: &Document<'_>) -> Keying {
        let set = match self.keying {
            Choice::Dtls => KeyExchange::Dtls,
            Choice::Sdes => KeyExchange::Sdes,
            Choice::Auto => {
                return Keying::Auto {
                    offer: self.offer.unwrap_or_default(),
                };
            }
        };
        if self.offer.is_some() {
            document.problem(
                &format!("{at}.offer"),
                &format!("our offers ask for what keying says: \"{set}\""),
                "leave it out, or set keying to \"auto\"",
            );
        }
        Keying::Set(set)
    }

    /// The PBX that is named, or the only one there is.
    fn pbx(&self, at: &str, pbxs: Option<&[&str]>, document: &Document<'_>) -> Option<String> {
        let pbxs = pbxs?;
        let what = match (self.pbx.as_deref(), pbxs) {
            (Some(name), pbxs) if pbxs.contains(&name) => return Some(name.to_owned()),
            (None, [only]) => return Some((*only).to_owned()),
            (Some(name), _) => format!("no PBX is called {name:?}"),
            (None, _) => "it is not said which PBX this number belongs to".to_owned(),
        };
        let remedy = match pbxs {
            [] => "add a [[pbx]] section".to_owned(),
            names => format!("name one of: {}", names.join(", ")),
        };
        document.problem(&format!("{at}.pbx"), &what, &remedy);
        None
    }

    /// The password, and where it is kept.
    fn password(
        &self,
        at: &str,
        folder: &Path,
        document: &Document<'_>,
    ) -> Option<(Secret, Source)> {
        let keys = Keys {
            file: self.password_file.as_ref().map(|file| folder.join(file)),
            credential: self.password_credential.clone(),
            env: self.password_env.clone(),
            inline: self.password.clone(),
        };
        let words = Words {
            first_key: "number",
            whose: "the password that Meta generated",
            found_at: "Meta shows it once SIP is enabled for the number (sip_user_password)",
        };
        password::read(keys, at, &words, document)
    }
}

/// What may stand unescaped in the user part of a SIP URI (RFC 3261 §25.1).
fn is_user_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(c)
}
