//! Challenges a request, and judges what comes back.
//!
//! ```text
//!   another realm ───────────────────────────────▶ challenge
//!   algorithm, qop, uri, user or response wrong ──▶ refuse
//!   nonce not ours, too old or of another call ───▶ challenge, stale
//!   count seen before ───────────────────────────▶ refuse
//! ```
//!
//! A nonce carries its own proof (`nonce.rs`), so that a stranger's INVITE costs no memory: only the counts of nonces
//! that were answered *rightly* are remembered, and of those a bounded number. A nonce is good for the call that it
//! was made for, and not bound to an address: the answer may come from another one of Meta's, over another connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::nonce::{Mint, Stamp, is_same};
use super::{Algorithm, Challenge, Counted, Credentials};
use crate::secret::Secret;
use crate::sip::Uri;

/// How requests from Meta are challenged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How an INVITE is challenged: `"407"`, `"401"` or `"off"`. With `"off"` whoever can send from an allowed
    /// address can call the PBX.
    pub challenge: Demand,
    /// Seconds for which a challenge can be answered. Later answers are challenged again.
    pub nonce_lifetime: u16,
    /// How many answered challenges are remembered to refuse their replay. Beyond it the oldest answers expire early;
    /// never less than one.
    pub remembered_nonces: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            challenge: Demand::Proxy,
            nonce_lifetime: 60,
            remembered_nonces: 20_000,
        }
    }
}

/// How credentials are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Demand {
    /// As a proxy does: 407, as in Meta's sample.
    #[default]
    #[serde(rename = "407")]
    Proxy,
    /// As the called side does: 401.
    #[serde(rename = "401")]
    Server,
    /// Not at all.
    #[serde(rename = "off")]
    Off,
}

impl Demand {
    /// The status that challenges; `None` when nothing is asked for.
    pub fn status(self) -> Option<u16> {
        match self {
            Demand::Proxy => Some(407),
            Demand::Server => Some(401),
            Demand::Off => None,
        }
    }

    /// The header that carries the challenge.
    pub fn challenge_header(self) -> &'static str {
        match self {
            Demand::Server => "WWW-Authenticate",
            Demand::Proxy | Demand::Off => "Proxy-Authenticate",
        }
    }
}

/// The request that is challenged or carries credentials.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// `INVITE`, say.
    pub method: &'a str,
    /// User part of the Request-URI, as it stands there.
    pub user: &'a str,
    /// Host of the Request-URI, without port.
    pub host: &'a str,
    /// Its Call-ID.
    pub call_id: &'a str,
    /// What we call ourselves towards this sender: the hostname of the number that is called.
    pub realm: &'a str,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is authentic.
    Ok,
    /// Challenge it (again).
    Challenge {
        /// The password was right and only the nonce is not good any more (RFC 7616 §3.3).
        stale: bool,
    },
    /// Answer 403: another challenge would end the same way.
    Refused(Reason),
}

/// Why credentials are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not who was to call.
    #[error("the digest username is not that of the number called")]
    UnknownUser,
    /// Wrong password, or a request that was changed on its way.
    #[error("the digest response does not fit: another password?")]
    WrongResponse,
    /// Credentials that were made for another request.
    #[error("the digest uri names another user or host than the Request-URI")]
    OtherUri,
    /// We asked for MD5.
    #[error("the digest algorithm is not the one asked for")]
    OtherAlgorithm,
    /// We asked for `qop=auth`; without it nothing tells a replay.
    #[error("the digest has no qop")]
    NoQop,
    /// The same nonce with a count that has been seen.
    #[error("the digest nonce count has been used before")]
    Replayed,
}

/// Issues nonces and judges answers.
#[derive(Debug)]
pub struct Server {
    mint: Mint,
    lifetime: Duration,
    capacity: usize,
    /// Highest count seen of each nonce that was answered rightly, oldest nonce first.
    counts: BTreeMap<Stamp, u32>,
    /// Nonces up to this one were forgotten to make room, and so are good no more.
    forgotten: Option<Stamp>,
}

impl Server {
    /// `key` must be random and stay in this process; with another key all nonces that are out become stale.
    pub fn new(settings: &Settings, key: [u8; 32], now: Instant) -> Self {
        let mut server = Server {
            mint: Mint::new(key, now),
            lifetime: Duration::ZERO,
            capacity: 0,
            counts: BTreeMap::new(),
            forgotten: None,
        };
        server.configure(settings);
        server
    }

    /// Takes new settings; nonces that are out stay good as far as the new lifetime lets them.
    pub fn configure(&mut self, settings: &Settings) {
        self.lifetime = Duration::from_secs(settings.nonce_lifetime.into());
        self.capacity = settings.remembered_nonces.max(1);
    }

    /// A fresh challenge for this request: MD5 without saying so, `qop="auth"`, as in Meta's sample.
    pub fn challenge(&mut self, request: &Request, stale: bool, now: Instant) -> Challenge {
        Challenge {
            realm: request.realm.to_owned(),
            nonce: self.mint.issue(request.call_id, request.realm, now),
            opaque: Some(self.mint.opaque(request.call_id)),
            algorithm: None,
            auth: true,
            stale,
        }
    }

    /// Judges credentials. `password_of` gives the password of a username, and must know no other user than the one
    /// that this request may come from.
    pub fn check<'s>(
        &mut self,
        credentials: &Credentials,
        request: &Request,
        password_of: impl FnOnce(&str) -> Option<&'s Secret>,
        now: Instant,
    ) -> Verdict {
        if credentials.realm != request.realm {
            return Verdict::Challenge { stale: false }; // meant for somebody else
        }
        let nc = match judge(credentials, request, password_of) {
            Ok(nc) => nc,
            Err(reason) => return Verdict::Refused(reason),
        };
        self.forget_expired(now);
        match self
            .mint
            .read(&credentials.nonce, request.call_id, request.realm)
        {
            Some(stamp) if self.is_current(stamp, now) => self.count(stamp, nc),
            _ => Verdict::Challenge { stale: true },
        }
    }

    /// Accepts a count higher than any before it (RFC 7616 §3.4: it may skip, it may not repeat).
    fn count(&mut self, stamp: Stamp, nc: u32) -> Verdict {
        let highest = self.counts.entry(stamp).or_insert(0);
        if nc <= *highest {
            return Verdict::Refused(Reason::Replayed);
        }
        *highest = nc;
        while self.counts.len() > self.capacity {
            self.forgotten = self
                .counts
                .pop_first()
                .map(|(oldest, _)| oldest)
                .max(self.forgotten);
        }
        Verdict::Ok
    }

    fn is_current(&self, stamp: Stamp, now: Instant) -> bool {
        Some(stamp) > self.forgotten && !self.is_expired(stamp, now)
    }

    fn is_expired(&self, stamp: Stamp, now: Instant) -> bool {
        self.mint.age(stamp, now) >= self.lifetime
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some((&oldest, _)) = self.counts.first_key_value()
            && self.is_expired(oldest, now)
        {
            self.counts.pop_first();
        }
    }
}

/// What needs no memory: whether the credentials prove the password for this request. Gives their count.
fn judge<'s>(
    credentials: &Credentials,
    request: &Request,
    password_of: impl FnOnce(&str) -> Option<&'s Secret>,
) -> Result<u32, Reason> {
    if credentials.algorithm.unwrap_or(Algorithm::Md5) != Algorithm::Md5 {
        return Err(Reason::OtherAlgorithm);
    }
    let count = credentials
        .counted
        .as_ref()
        .map(Counted::count)
        .ok_or(Reason::NoQop)?;
    if !names(&credentials.uri, request.user, request.host) {
        return Err(Reason::OtherUri);
    }
    let password = password_of(&credentials.username).ok_or(Reason::UnknownUser)?;
    // The hash covers `uri` as received: Meta leaves `;transport=tls` out of it, though the Request-URI has it.
    let expected = credentials.expected(request.method, password);
    match is_same(&expected, &credentials.response.to_ascii_lowercase()) {
        true => Ok(count),
        false => Err(Reason::WrongResponse),
    }
}

/// Whether `uri` names this user at this host. Neither parameters (of the URI or, RFC 4904, of the user) nor ports
/// count, for Meta does not repeat them faithfully.
fn names(uri: &str, user: &str, host: &str) -> bool {
    let Ok(Uri::Sip(uri)) = Uri::parse(uri) else {
        return false;
    };
    let bare = |user: &str| user.split([';', ':']).next().unwrap_or_default().to_owned();
    uri.user.is_some_and(|theirs| bare(&theirs) == bare(user))
        && unbracketed(&uri.host).eq_ignore_ascii_case(unbracketed(host))
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, Login, Target};
    use super::super::tests::sample;
    use super::*;

    const REQUEST: Request = Request {
        method: "INVITE",
        user: "+12145551869",
        host: "meta-voip.example.com",
        call_id: "outgoing:wacid.HBgL==",
        realm: "meta-voip.example.com",
    };

    /// A server, the clock, and a caller with the right password.
    struct Bench {
        server: Server,
        now: Instant,
        secret: Secret,
    }

    impl Bench {
        fn new() -> Bench {
            Bench::with(&Settings::default())
        }

        fn with(settings: &Settings) -> Bench {
            let now = Instant::now();
            let secret = Secret::new("meta-generated-secret");
            Bench {
                server: Server::new(settings, [7; 32], now),
                now,
                secret,
            }
        }

        /// What a rightful caller answers to a fresh challenge for this request.
        fn answer(&mut self, request: &Request) -> Credentials {
            let challenge = self.server.challenge(request, false, self.now);
            self.sign(Credentials {
                username: "12145551869".to_owned(),
                realm: challenge.realm,
                nonce: challenge.nonce,
                uri: "sip:+12145551869@meta-voip.example.com".to_owned(),
                response: String::new(),
                algorithm: None,
                opaque: challenge.opaque,
                counted: Some(Counted {
                    cnonce: "c".to_owned(),
                    nc: "00000001".to_owned(),
                }),
            })
        }

        fn sign(&self, mut credentials: Credentials) -> Credentials {
            credentials.response = credentials.expected("INVITE", &self.secret);
            credentials
        }

        fn check(&mut self, credentials: &Credentials, request: &Request) -> Verdict {
            let secret = &self.secret;
            let password_of = |username: &str| (username == "12145551869").then_some(secret);
            self.server
                .check(credentials, request, password_of, self.now)
        }

        fn wait(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn the_right_answer_passes_once() {
        let mut bench = Bench::new();
        let answer = bench.answer(&REQUEST);
        assert_eq!(bench.check(&answer, &REQUEST), Verdict::Ok);
        assert_eq!(
            bench.check(&answer, &REQUEST),
            Verdict::Refused(Reason::Replayed)
        );
    }

    #[test]
    fn a_client_that_was_too_slow_gets_in_at_the_second_try() {
        let mut bench = Bench::new();
        let mut client = Client::new();
        let secret = bench.secret.clone();
        let target = Target {
            method: "INVITE",
            uri: "sip:+12145551869@meta-voip.example.com;transport=tls",
        };
        let login = Login {
            username: "12145551869",
            password: &secret,
        };
        let mut stale = false;
        let verdicts = [60, 1].map(|delay| {
            let asked = bench
                .server
                .challenge(&REQUEST, stale, bench.now)
                .to_string();
            let challenges = Challenge::parse_all(&asked);
            let sent = client
                .answer(&challenges, target, login, "c".to_owned())
                .unwrap()
                .to_string();
            bench.wait(delay);
            let verdict = bench.check(&Credentials::parse(&sent).unwrap(), &REQUEST);
            stale = verdict == Verdict::Challenge { stale: true };
            verdict
        });
        assert_eq!(verdicts, [Verdict::Challenge { stale: true }, Verdict::Ok]);
    }

    #[test]
    fn a_count_may_skip_but_not_go_back() {
        let mut bench = Bench::new();
        let mut answer = bench.answer(&REQUEST);
        for (nc, verdict) in [
            ("00000000", Verdict::Refused(Reason::Replayed)),
            ("00000009", Verdict::Ok),
            ("0000000A", Verdict::Ok),
            ("00000002", Verdict::Refused(Reason::Replayed)),
            ("0000000a", Verdict::Refused(Reason::Replayed)),
        ] {
            answer.counted = Some(Counted {
                cnonce: "c".to_owned(),
                nc: nc.to_owned(),
            });
            answer = bench.sign(answer);
            assert_eq!(bench.check(&answer, &REQUEST), verdict, "{nc}");
        }
    }

    #[test]
    fn our_challenge_reads_as_metas_sample_does() {
        let mut bench = Bench::new();
        let challenge = bench.server.challenge(&REQUEST, false, bench.now);
        let (_, sampled) = sample("sip/uic-05-407.sip", "Proxy-Authenticate");
        let sampled = Challenge::parse_all(&sampled).remove(0).unwrap();
        assert_eq!(challenge.algorithm, sampled.algorithm);
        assert_eq!(challenge.auth, sampled.auth);
        assert_eq!(
            challenge.opaque.as_ref().unwrap().len(),
            sampled.opaque.unwrap().len()
        );
        assert_eq!(
            Challenge::parse_all(&challenge.to_string()),
            [Ok(challenge)]
        );
    }

    #[test]
    fn a_nonce_expires_and_says_that_it_is_stale() {
        let mut bench = Bench::new();
        let answer = bench.answer(&REQUEST);
        bench.wait(59);
        assert_eq!(bench.check(&answer, &REQUEST), Verdict::Ok);
        let answer = bench.answer(&REQUEST);
        bench.wait(60);
        assert_eq!(
            bench.check(&answer, &REQUEST),
            Verdict::Challenge { stale: true }
        );
        assert_eq!(bench.server.counts.len(), 0);
    }

    #[test]
    fn a_nonce_of_another_call_or_realm_is_no_good() {
        let mut bench = Bench::new();
        let answer = bench.answer(&REQUEST);
        let other_call = Request {
            call_id: "outgoing:wacid.other",
            ..REQUEST
        };
        assert_eq!(
            bench.check(&answer, &other_call),
            Verdict::Challenge { stale: true }
        );
        let other_realm = Request {
            realm: "other.example.com",
            ..REQUEST
        };
        assert_eq!(
            bench.check(&answer, &other_realm),
            Verdict::Challenge { stale: false }
        );
        assert_eq!(bench.check(&answer, &REQUEST), Verdict::Ok);
    }

    #[test]
    fn a_nonce_that_was_tampered_with_is_no_good() {
        let mut bench = Bench::new();
        let good = bench.answer(&REQUEST);
        for nonce in [
            good.nonce.replacen('0', "1", 1),
            good.nonce.to_uppercase(),
            good.nonce.clone() + "0",
            "ü".repeat(32),
            String::new(),
        ] {
            let forged = bench.sign(Credentials {
                nonce,
                ..good.clone()
            });
            assert_eq!(
                bench.check(&forged, &REQUEST),
                Verdict::Challenge { stale: true }
            );
        }
    }

    #[test]
    fn after_a_restart_the_old_nonces_are_stale() {
        let mut bench = Bench::new();
        let answer = bench.answer(&REQUEST);
        bench.server = Server::new(&Settings::default(), [8; 32], bench.now);
        assert_eq!(
            bench.check(&answer, &REQUEST),
            Verdict::Challenge { stale: true }
        );
    }

    #[test]
    fn a_wrong_password_or_user_is_refused_even_when_stale() {
        let mut bench = Bench::new();
        let good = bench.answer(&REQUEST);
        bench.wait(3600);
        let wrong = Credentials {
            response: "0".repeat(32),
            ..good.clone()
        };
        assert_eq!(
            bench.check(&wrong, &REQUEST),
            Verdict::Refused(Reason::WrongResponse)
        );
        let short = Credentials {
            response: good.response[..31].to_owned(),
            ..good.clone()
        };
        assert_eq!(
            bench.check(&short, &REQUEST),
            Verdict::Refused(Reason::WrongResponse)
        );
        let other = bench.sign(Credentials {
            username: "1".to_owned(),
            ..good
        });
        assert_eq!(
            bench.check(&other, &REQUEST),
            Verdict::Refused(Reason::UnknownUser)
        );
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let mut bench = Bench::new();
        let good = bench.answer(&REQUEST);
        let sha = Credentials {
            algorithm: Some(Algorithm::Sha256),
            ..good.clone()
        };
        let sha = bench.sign(sha);
        assert_eq!(
            bench.check(&sha, &REQUEST),
            Verdict::Refused(Reason::OtherAlgorithm)
        );
        let uncounted = bench.sign(Credentials {
            counted: None,
            ..good.clone()
        });
        assert_eq!(
            bench.check(&uncounted, &REQUEST),
            Verdict::Refused(Reason::NoQop)
        );
        let named = bench.sign(Credentials {
            algorithm: Some(Algorithm::Md5),
            ..good
        });
        assert_eq!(bench.check(&named, &REQUEST), Verdict::Ok);
    }

    #[test]
    fn the_uri_is_compared_by_user_and_host_only() {
        for (uri, fits) in [
            ("sip:+12145551869@meta-voip.example.com", true),
            (
                "SIP:+12145551869@Meta-VoIP.example.com:5061;transport=tls",
                true,
            ),
            (
                "sips:+12145551869;tgrp=wacall@meta-voip.example.com?x=y",
                true,
            ),
            ("sip:12145551869@meta-voip.example.com", false),
            ("sip:+12145551869@example.com", false),
            ("sip:+12145551869@meta-voip.example.com.evil.example", false),
            ("tel:+12145551869", false),
            ("sip:meta-voip.example.com", false),
            ("+12145551869@meta-voip.example.com", false),
            ("", false),
        ] {
            assert_eq!(
                names(uri, "+12145551869;tgrp=x", "meta-voip.example.com"),
                fits,
                "{uri}"
            );
        }
        assert!(names("sip:a@[2001:db8::1]:5061", "a", "2001:DB8::1"));
        assert!(!names("sip:a@[2001:db8::1", "a", "[2001:db8::1]"));
        let mut bench = Bench::new();
        let good = bench.answer(&REQUEST);
        let other = bench.sign(Credentials {
            uri: "sip:+1@example.com".to_owned(),
            ..good
        });
        assert_eq!(
            bench.check(&other, &REQUEST),
            Verdict::Refused(Reason::OtherUri)
        );
    }

    #[test]
    fn memory_is_bounded_and_what_was_forgotten_cannot_be_replayed() {
        let mut bench = Bench::with(&Settings {
            remembered_nonces: 2,
            ..Settings::default()
        });
        let answers: Vec<_> = (0..4).map(|_| bench.answer(&REQUEST)).collect();
        for answer in &answers {
            assert_eq!(bench.check(answer, &REQUEST), Verdict::Ok);
        }
        assert_eq!(bench.server.counts.len(), 2);
        for answer in &answers[..2] {
            assert_eq!(
                bench.check(answer, &REQUEST),
                Verdict::Challenge { stale: true }
            );
        }
        for answer in &answers[2..] {
            assert_eq!(
                bench.check(answer, &REQUEST),
                Verdict::Refused(Reason::Replayed)
            );
        }
    }

    #[test]
    fn a_flood_of_challenges_costs_no_memory() {
        let mut bench = Bench::new();
        for _ in 0..1000 {
            bench.server.challenge(&REQUEST, false, bench.now);
        }
        assert_eq!(bench.server.counts.len(), 0);
    }

    #[test]
    fn the_samples_of_a_users_call_are_told_apart() {
        let mut bench = Bench::new();
        for (file, header, verdict) in [
            (
                "uic-07-invite-proxy-authorization",
                "Proxy-Authorization",
                Verdict::Challenge { stale: true },
            ),
            (
                "uic-07b-invite-authorization",
                "Authorization",
                Verdict::Challenge { stale: true },
            ),
            (
                "uic-07c-invite-wrong-password",
                "Proxy-Authorization",
                Verdict::Refused(Reason::WrongResponse),
            ),
            (
                "uic-07d-invite-documented-response",
                "Proxy-Authorization",
                Verdict::Refused(Reason::WrongResponse),
            ),
        ] {
            let (method, value) = sample(&format!("sip/{file}.sip"), header);
            let credentials = Credentials::parse(&value).unwrap();
            let request = Request {
                method: &method,
                realm: &credentials.realm,
                ..REQUEST
            };
            // Right or wrong, the nonce is not ours; a right password is told apart by being called stale.
            assert_eq!(bench.check(&credentials, &request), verdict, "{file}");
            let secret = bench.secret.clone();
            let passed = judge(&credentials, &request, |_| Some(&secret)).is_ok();
            assert_eq!(
                passed,
                verdict == Verdict::Challenge { stale: true },
                "{file}"
            );
        }
    }

    #[test]
    fn settings_name_the_status() {
        let settings: Settings = toml::from_str("challenge = \"401\"").unwrap();
        assert_eq!(settings.challenge.status(), Some(401));
        assert_eq!(settings.challenge.challenge_header(), "WWW-Authenticate");
        assert_eq!(Settings::default().challenge.status(), Some(407));
        assert!(toml::from_str::<Settings>("challenge = \"403\"").is_err());
    }
}
