//! `[[number]]`: a business number, its password and keying at Meta, and the PBX that it belongs to.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::document::Document;
use super::meta::is_host_name;
use super::password::{self, Words};
use super::some;
use crate::number::E164;
use crate::policy::{AdditionalCodec, KeyExchange, Keying, Number};
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
    /// The PBXs it belongs to.
    #[serde(default, deserialize_with = "some::texts")]
    pub(super) pbx: Vec<String>,
    /// The SIP server name that is set for this number at Meta, where it is not `meta.hostname`.
    pub(super) hostname: Option<String>,
    /// How its media gets its keys, as it is set at Meta.
    #[serde(default)]
    keying: Choice,
    /// For `auto`: what our offers ask for.
    offer: Option<KeyExchange>,
    /// What it may speak beside Opus, as it is set at Meta.
    #[serde(default)]
    additional_codecs: Vec<AdditionalCodec>,
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
        self.check_codecs(at, document);
        let keying = self.keying(at, document);
        let pbxs = self.pbxs(at, pbxs, document);
        let password = self.password(at, folder, document);
        let (password, source) = password?;
        let number = Number {
            number: self.number,
            password,
            target: self.target,
            pbxs: pbxs?,
            keying,
            additional_codecs: self.additional_codecs,
            hostname: self.hostname.unwrap_or_else(|| meta_hostname.to_owned()),
        };
        Some((number, source))
    }

    fn check_names(&self, at: &str, document: &Document<'_>) {
        if let Some(target) = &self.target {
            check_target(target, at, document);
        }
        if let Some(name) = self.hostname.as_ref().filter(|name| !is_host_name(name)) {
            document.problem(
                &format!("{at}.hostname"),
                &format!("{name:?} is no host name"),
                "give the name that is set as SIP server of this number at Meta",
            );
        }
    }

    fn check_codecs(&self, at: &str, document: &Document<'_>) {
        let codecs = &self.additional_codecs;
        if (1..codecs.len()).any(|place| codecs[..place].contains(&codecs[place])) {
            document.problem(
                &format!("{at}.additional_codecs"),
                "one of them is listed twice",
                "list each once",
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

    /// The PBXs that are named, or the only one there is.
    fn pbxs(
        &self,
        at: &str,
        pbxs: Option<&[&str]>,
        document: &Document<'_>,
    ) -> Option<Vec<String>> {
        let key = format!("{at}.pbx");
        match (self.pbx.as_slice(), pbxs?) {
            ([], [only]) => Some(vec![(*only).to_owned()]),
            ([], names) => {
                let what = "it is not said which PBX this number belongs to";
                document.problem(&key, what, &one_of(names));
                None
            }
            (named, _) => check_pbxs(named, &key, pbxs, document).then(|| named.to_owned()),
        }
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

/// Whether every PBX that is named exists, and is named once.
pub(super) fn check_pbxs(
    named: &[String],
    key: &str,
    pbxs: Option<&[&str]>,
    document: &Document<'_>,
) -> bool {
    let Some(pbxs) = pbxs else {
        return false;
    };
    let strange = named.iter().find(|name| !pbxs.contains(&name.as_str()));
    if let Some(name) = strange {
        document.problem(key, &format!("no PBX is called {name:?}"), &one_of(pbxs));
    }
    let twice = (1..named.len()).find(|at| named[..*at].contains(&named[*at]));
    if let Some(at) = twice {
        let what = format!("{:?} is listed twice", named[at]);
        document.problem(
            key,
            &what,
            "list each once, in the order in which they are tried",
        );
    }
    strange.is_none() && twice.is_none()
}

fn one_of(pbxs: &[&str]) -> String {
    match pbxs {
        [] => "add a [[pbx]] section".to_owned(),
        names => format!("name one of: {}", names.join(", ")),
    }
}

/// A target must be fit for the user part of a SIP URI.
pub(super) fn check_target(target: &str, at: &str, document: &Document<'_>) {
    if target.is_empty() || !target.chars().all(is_user_character) {
        document.problem(
            &format!("{at}.target"),
            &format!("{target:?} cannot be dialled"),
            "give what stands before the @ in the PBX's own addresses, such as \"100\"",
        );
    }
}

/// What may stand unescaped in the user part of a SIP URI (RFC 3261 §25.1).
fn is_user_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(c)
}
