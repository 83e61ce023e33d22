//! Digest access authentication (RFC 7616, RFC 8760, and RFC 2617 for those who stayed there).
//!
//! ```text
//!   client: answers 401 and 407         server: challenges a request
//!     Challenge ─ answer ─▶ Credentials     challenge ─▶ Challenge
//!                                           Credentials ─ check ─▶ Verdict
//! ```
//!
//! Here are the two header values, as read and as printed, and the one computation that both ends make. No header
//! that a peer sends makes this panic; what cannot be read says why ([`Unreadable`]).

pub mod client;
mod nonce;
mod scheme;
pub mod server;

use std::fmt;

use sha2::{Digest, Sha256};

use crate::secret::Secret;
use crate::sip::grammar::quote;
use scheme::{Scheme, schemes};

/// The hash, and whether the session form is used (RFC 7616 §3.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// What an absent `algorithm` means.
    Md5,
    /// MD5 over a secret that takes both nonces in.
    Md5Sess,
    /// SHA-256 (RFC 8760).
    Sha256,
    /// SHA-256 over a secret that takes both nonces in.
    Sha256Sess,
}

impl Algorithm {
    const ALL: [Algorithm; 4] = [
        Algorithm::Md5,
        Algorithm::Md5Sess,
        Algorithm::Sha256,
        Algorithm::Sha256Sess,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Md5Sess => "MD5-sess",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha256Sess => "SHA-256-sess",
        }
    }

    fn is_session(self) -> bool {
        matches!(self, Algorithm::Md5Sess | Algorithm::Sha256Sess)
    }

    fn parse(text: &str) -> Result<Algorithm, Unreadable> {
        Algorithm::ALL
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| Unreadable::Algorithm(text.to_owned()))
    }

    fn hash(self, text: &str) -> String {
        match self {
            Algorithm::Md5 | Algorithm::Md5Sess => format!("{:x}", md5::compute(text)),
            Algorithm::Sha256 | Algorithm::Sha256Sess => hex(&Sha256::digest(text)),
        }
    }
}

/// Why a challenge or credentials are of no use to us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another scheme than Digest.
    #[error("the authentication scheme is {0:?}, not Digest")]
    Scheme(String),
    /// A hash that we do not compute.
    #[error("the digest algorithm {0:?} is none of ours")]
    Algorithm(String),
    /// Protection that we do not offer, such as `auth-int` alone.
    #[error("the digest asks for qop {0:?}; we do auth")]
    Qop(String),
    /// A parameter that must be there is not.
    #[error("the digest has no {0}")]
    Missing(&'static str),
    /// A parameter stands twice, so it is anybody's guess which one counts.
    #[error("the digest has more than one {0}")]
    Twice(&'static str),
    /// A parameter's value is not of its form.
    #[error("the digest has a bad {0}")]
    Bad(&'static str),
    /// Not the grammar of RFC 7235 §2.1.
    #[error("the authentication header is malformed")]
    Syntax,
}

/// What a server asks for: the value of `WWW-Authenticate` or `Proxy-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is asked for.
    pub realm: String,
    /// To be hashed into the answer.
    pub nonce: String,
    /// To be sent back as it is.
    pub opaque: Option<String>,
    /// Absent means MD5; printed only if it is there.
    pub algorithm: Option<Algorithm>,
    /// `qop` lists `auth`. `false` where there is no `qop` at all, as before RFC 2617.
    pub auth: bool,
    /// The credentials were right and only their nonce too old.
    pub stale: bool,
}

impl Challenge {
    /// Reads all challenges of one header value, in order. Those that we cannot answer stay in their place, as errors.
    pub fn parse_all(value: &str) -> Vec<Result<Challenge, Unreadable>> {
        match schemes(value) {
            Ok(schemes) => schemes.iter().map(Challenge::read).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn read(scheme: &Scheme) -> Result<Challenge, Unreadable> {
        scheme.must_be_digest()?;
        let qop = scheme.optional("qop")?;
        if let Some(qop) = &qop
            && !qop
                .split(',')
                .any(|one| one.trim().eq_ignore_ascii_case("auth"))
        {
            return Err(Unreadable::Qop(qop.clone()));
        }
        let algorithm = scheme.algorithm()?;
        if algorithm.is_some_and(Algorithm::is_session) && qop.is_none() {
            return Err(Unreadable::Missing("qop")); // the session key needs a cnonce, which only qop brings
        }
        Ok(Challenge {
            realm: scheme.required("realm")?,
            nonce: scheme.required("nonce")?,
            opaque: scheme.optional("opaque")?,
            algorithm,
            auth: qop.is_some(),
            stale: scheme
                .optional("stale")?
                .is_some_and(|s| s.eq_ignore_ascii_case("true")),
        })
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest realm={}, nonce={}",
            quote(&self.realm),
            quote(&self.nonce)
        )?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        if let Some(algorithm) = self.algorithm {
            write!(f, ", algorithm={}", algorithm.name())?;
        }
        f.write_str(if self.auth { ", qop=\"auth\"" } else { "" })
    }
}

/// What `qop=auth` adds to credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The client's own nonce.
    pub cnonce: String,
    /// How often the nonce has been used: eight hex digits, kept as written since they are hashed as written.
    pub nc: String,
}

impl Counted {
    /// The count as a number.
    pub fn count(&self) -> u32 {
        u32::from_str_radix(&self.nc, 16).unwrap_or(0)
    }
}

/// A client's answer: the value of `Authorization` or `Proxy-Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whose password was used; at Meta a business number without `+`.
    pub username: String,
    /// As challenged.
    pub realm: String,
    /// As challenged.
    pub nonce: String,
    /// What was hashed as the request's URI; need not be spelled like the Request-URI.
    pub uri: String,
    /// The proof, in hex.
    pub response: String,
    /// Absent means MD5.
    pub algorithm: Option<Algorithm>,
    /// As challenged.
    pub opaque: Option<String>,
    /// With `qop=auth`.
    pub counted: Option<Counted>,
}

impl Credentials {
    /// Reads one header value. Credentials of several realms stand in header fields of their own (RFC 3261 §20.7).
    pub fn parse(value: &str) -> Result<Credentials, Unreadable> {
        let schemes = schemes(value)?;
        let [scheme] = schemes.as_slice() else {
            return Err(Unreadable::Syntax);
        };
        scheme.must_be_digest()?;
        let counted = match scheme.optional("qop")? {
            Some(qop) if qop.eq_ignore_ascii_case("auth") => Some(Counted {
                cnonce: scheme.required("cnonce")?,
                nc: scheme.required("nc")?,
            }),
            Some(qop) => return Err(Unreadable::Qop(qop)),
            None => None,
        };
        if counted.as_ref().is_some_and(|c| !is_nonce_count(&c.nc)) {
            return Err(Unreadable::Bad("nc"));
        }
        let algorithm = scheme.algorithm()?;
        if algorithm.is_some_and(Algorithm::is_session) && counted.is_none() {
            return Err(Unreadable::Missing("qop"));
        }
        Ok(Credentials {
            username: scheme.required("username")?,
            realm: scheme.required("realm")?,
            nonce: scheme.required("nonce")?,
            uri: scheme.required("uri")?,
            response: scheme.required("response")?,
            algorithm,
            opaque: scheme.optional("opaque")?,
            counted,
        })
    }

    /// The `response` that these credentials must carry (RFC 7616 §3.4.1), whatever they do carry.
    pub fn expected(&self, method: &str, password: &Secret) -> String {
        let algorithm = self.algorithm.unwrap_or(Algorithm::Md5);
        let h = |text: String| algorithm.hash(&text);
        let mut ha1 = h(format!(
            "{}:{}:{}",
            self.username,
            self.realm,
            password.expose()
        ));
        let ha2 = h(format!("{method}:{}", self.uri));
        match &self.counted {
            Some(Counted { cnonce, nc }) => {
                if algorithm.is_session() {
                    ha1 = h(format!("{ha1}:{}:{cnonce}", self.nonce));
                }
                h(format!("{ha1}:{}:{nc}:{cnonce}:auth:{ha2}", self.nonce))
            }
            None => h(format!("{ha1}:{}:{ha2}", self.nonce)),
        }
    }
}

/// Leaves out the username and the URI, which are telephone numbers.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("realm", &self.realm)
            .field("nonce", &self.nonce)
            .field("algorithm", &self.algorithm)
            .field("counted", &self.counted)
            .finish_non_exhaustive()
    }
}

/// In the order of Meta's samples, with their spacing.
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest username={}", quote(&self.username))?;
        write!(
            f,
            ", realm={}, nonce={}",
            quote(&self.realm),
            quote(&self.nonce)
        )?;
        write!(
            f,
            ", uri={}, response={}",
            quote(&self.uri),
            quote(&self.response)
        )?;
        if let Some(algorithm) = self.algorithm {
            write!(f, ", algorithm={}", algorithm.name())?;
        }
        if let Some(Counted { cnonce, .. }) = &self.counted {
            write!(f, ", cnonce={}", quote(cnonce))?;
        }
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        if let Some(Counted { nc, .. }) = &self.counted {
            write!(f, ", qop=auth, nc={nc}")?;
        }
        Ok(())
    }
}

fn is_nonce_count(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// A message among Meta's samples: its method and the value of one of its headers.
    pub(super) fn sample(path: &str, header: &str) -> (String, String) {
        let path = Path::new("tests/data/meta").join(path);
        let text = fs::read_to_string(&path).unwrap();
        let method = text.split(' ').next().unwrap().to_owned();
        let value = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(header)
                .then(|| value.trim().to_owned())
        });
        (
            method,
            value.unwrap_or_else(|| panic!("{} has no {header}", path.display())),
        )
    }

    fn one(value: &str) -> Result<Challenge, Unreadable> {
        let mut all = Challenge::parse_all(value);
        assert_eq!(all.len(), 1, "{value}");
        all.remove(0)
    }

    #[test]
    fn every_sample_computes_with_its_password_and_prints_as_it_was() {
        let manifest = fs::read_to_string("tests/data/meta/manifest.json").unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let mut checked = 0;
        for (path, entry) in manifest["files"].as_object().unwrap() {
            let Some(digest) = entry.get("digest") else {
                continue;
            };
            let (method, value) = sample(path, digest["header"].as_str().unwrap());
            let credentials = Credentials::parse(&value).unwrap();
            assert_eq!(credentials.to_string(), value, "{path}");
            let computes = |password: &str| {
                credentials.expected(&method, &Secret::new(password)) == credentials.response
            };
            if let Some(password) = digest["password"].as_str() {
                assert!(computes(password), "{path}");
            }
            if let Some(password) = digest["must_not_verify_with"].as_str() {
                assert!(!computes(password), "{path}");
            }
            checked += 1;
        }
        assert_eq!(checked, 12);
    }

    #[test]
    fn the_rfc_7616_example_computes_with_both_algorithms() {
        let template = |algorithm| Credentials {
            username: "Mufasa".to_owned(),
            realm: "http-auth@example.org".to_owned(),
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".to_owned(),
            uri: "/dir/index.html".to_owned(),
            response: String::new(),
            algorithm: Some(algorithm),
            opaque: None,
            counted: Some(Counted {
                cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ".to_owned(),
                nc: "00000001".to_owned(),
            }),
        };
        let password = Secret::new("Circle of Life");
        let expected = |algorithm| template(algorithm).expected("GET", &password);
        assert_eq!(expected(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            expected(Algorithm::Sha256),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn the_session_form_hashes_the_first_hash_with_both_nonces() {
        let mut credentials = Credentials::parse(
            r#"Digest username="u", realm="r", nonce="n", uri="sip:h", response="", algorithm=MD5-sess, cnonce="c", qop=auth, nc=0000000a"#,
        )
        .unwrap();
        let h = |text: &str| format!("{:x}", md5::compute(text));
        let ha1 = h(&format!("{}:n:c", h("u:r:p")));
        let want = h(&format!("{ha1}:n:0000000a:c:auth:{}", h("INVITE:sip:h")));
        assert_eq!(credentials.expected("INVITE", &Secret::new("p")), want);
        credentials.algorithm = Some(Algorithm::Sha256Sess);
        assert_eq!(credentials.expected("INVITE", &Secret::new("p")).len(), 64);
    }

    #[test]
    fn credentials_without_qop_compute_as_before_rfc_2617() {
        let credentials = Credentials::parse(
            r#"Digest username="u",realm="r",nonce="n",uri="sip:h",response="x""#,
        )
        .unwrap();
        let h = |text: &str| format!("{:x}", md5::compute(text));
        let want = h(&format!("{}:n:{}", h("u:r:p"), h("BYE:sip:h")));
        assert_eq!(credentials.expected("BYE", &Secret::new("p")), want);
    }

    #[test]
    fn metas_challenges_are_read() {
        let (_, value) = sample("sip/bic-02-407.sip", "Proxy-Authenticate");
        let challenge = one(&value).unwrap();
        assert_eq!(challenge.realm, "wa.meta.vc");
        assert_eq!(challenge.nonce, "419ac2415577f8e1");
        assert_eq!(challenge.opaque.as_deref(), Some("440badfc05072367"));
        assert_eq!(challenge.algorithm, Some(Algorithm::Md5));
        assert!(challenge.auth && !challenge.stale);
    }

    #[test]
    fn a_challenge_survives_the_round_trip() {
        let challenge = Challenge {
            realm: r#"a "quoted", back\slashed realm"#.to_owned(),
            nonce: "n,=".to_owned(),
            opaque: Some(String::new()),
            algorithm: Some(Algorithm::Sha256Sess),
            auth: true,
            stale: true,
        };
        assert_eq!(one(&challenge.to_string()), Ok(challenge));
    }

    #[test]
    fn order_case_spacing_and_quotes_do_not_matter() {
        let challenge = one(
            "dIGEST  qop = \"auth-int, AUTH\" ,,STALE=\"TRUE\",\tNonce=abc, algorithm=\"sha-256\",x=y,REALM = \"r\"",
        )
        .unwrap();
        assert_eq!(
            (challenge.realm.as_str(), challenge.nonce.as_str()),
            ("r", "abc")
        );
        assert_eq!(challenge.algorithm, Some(Algorithm::Sha256));
        assert!(challenge.auth && challenge.stale);
    }

    #[test]
    fn several_challenges_in_one_value_keep_their_order_and_their_errors() {
        let all = Challenge::parse_all(
            r#"Negotiate YII+/bm9==, Digest realm="a, Digest b", nonce="1", algorithm=SHA-512-256, Basic realm="x",Digest realm="c",nonce="2""#,
        );
        assert_eq!(all[0], Err(Unreadable::Scheme("Negotiate".to_owned())));
        assert_eq!(all[1], Err(Unreadable::Algorithm("SHA-512-256".to_owned())));
        assert_eq!(all[2], Err(Unreadable::Scheme("Basic".to_owned())));
        assert_eq!(all[3].as_ref().unwrap().nonce, "2");
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (value, why) in [
            ("", Unreadable::Syntax),
            (",,", Unreadable::Syntax),
            ("realm=\"x\"", Unreadable::Syntax),
            ("Digest realm=\"open", Unreadable::Syntax),
            ("Digest realm=\"r\", nonce=\"n\", (x)", Unreadable::Syntax),
            ("Digest", Unreadable::Missing("realm")),
            ("Digest realm=\"r\"", Unreadable::Missing("nonce")),
            (
                "Digest realm=r, realm=s, nonce=n",
                Unreadable::Twice("realm"),
            ),
            (
                "Digest realm=r, nonce=n, qop=\"auth-int\"",
                Unreadable::Qop("auth-int".to_owned()),
            ),
            (
                "Digest realm=r, nonce=n, algorithm=MD5-sess",
                Unreadable::Missing("qop"),
            ),
        ] {
            assert_eq!(one(value), Err(why), "{value}");
        }
    }

    #[test]
    fn credentials_with_a_bad_count_or_without_a_parameter_are_refused() {
        let good = r#"Digest username="u", realm="r", nonce="n", uri="sip:h", response="x", cnonce="c", qop=auth, nc=00000001"#;
        assert_eq!(
            Credentials::parse(good).unwrap().counted.unwrap().count(),
            1
        );
        for (from, to, why) in [
            ("nc=00000001", "nc=1", Unreadable::Bad("nc")),
            ("nc=00000001", "nc=+0000001", Unreadable::Bad("nc")),
            (", nc=00000001", "", Unreadable::Missing("nc")),
            ("cnonce=\"c\", ", "", Unreadable::Missing("cnonce")),
            ("username=\"u\", ", "", Unreadable::Missing("username")),
            (
                "qop=auth",
                "qop=auth-int",
                Unreadable::Qop("auth-int".to_owned()),
            ),
            ("Digest", "Digest realm=a, Digest", Unreadable::Syntax),
            ("Digest", "Bearer", Unreadable::Scheme("Bearer".to_owned())),
        ] {
            assert_eq!(
                Credentials::parse(&good.replace(from, to)),
                Err(why),
                "{to}"
            );
        }
    }

    #[test]
    fn credentials_show_no_number_when_they_are_logged() {
        let (_, value) = sample("sip/bic-04-invite-auth.sip", "Proxy-Authorization");
        let shown = format!("{:?}", Credentials::parse(&value).unwrap());
        assert!(shown.contains("wa.meta.vc"), "{shown}");
        assert!(
            !shown.contains("17125550259") && !shown.contains("12195550714"),
            "{shown}"
        );
    }

    #[test]
    fn the_torture_message_with_an_unknown_scheme_is_told_apart() {
        let text = fs::read_to_string("tests/data/torture/v27-unknown-auth-scheme.sip").unwrap();
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix("Authorization: "))
            .unwrap();
        let unknown = Unreadable::Scheme("NoOneKnowsThisScheme".to_owned());
        assert_eq!(Credentials::parse(value), Err(unknown));
    }

    proptest::proptest! {
        #[test]
        fn no_header_value_makes_it_panic(value in r#"[Digest=",\\ a-z\PC]{0,80}"#) {
            let challenges = Challenge::parse_all(&value);
            proptest::prop_assert!(!challenges.is_empty());
            let _ = Credentials::parse(&value);
        }
    }
}
