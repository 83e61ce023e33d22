//! Answers a 401 or 407 for one request.
//!
//! ```text
//!   challenge ──▶ answered ─┬─ stale, new nonce ──▶ answered once more
//!                           ├─ challenged again ──▶ answered once more, with the new nonce
//!                           └─ the same nonce, or either of them a second time ──▶ give up
//! ```
//!
//! A challenge that comes back after a right answer may be Meta's way to say that a nonce is too old, or that the
//! password is wrong; one more try tells them apart without knocking for ever.

use super::{Challenge, Counted, Credentials, Unreadable};
use crate::secret::Secret;
use crate::sip::message::Response;

/// The request that is to be authenticated.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// `INVITE`, say.
    pub method: &'a str,
    /// What goes into `uri` and under the hash: as a rule the Request-URI as sent.
    pub uri: &'a str,
}

/// Who we are.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// At Meta the business number without `+`.
    pub username: &'a str,
    /// What only we and the server know.
    pub password: &'a Secret,
}

/// What a 401 or 407 asks for.
#[derive(Debug)]
pub struct Asked {
    /// Its challenges, in its order.
    pub challenges: Vec<Result<Challenge, Unreadable>>,
    /// The header that the answer stands in.
    pub answered_in: &'static str,
}

impl Asked {
    /// What this response asks for; `None` if it is neither 401 nor 407.
    pub fn by(response: &Response) -> Option<Asked> {
        let (asked, answered_in) = match response.status {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return None,
        };
        let challenges = response.headers.all(asked);
        Some(Asked {
            challenges: challenges.flat_map(Challenge::parse_all).collect(),
            answered_in,
        })
    }
}

/// Why a challenge gets no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The response has no challenge at all.
    #[error("the response asks for credentials without a challenge")]
    NoChallenge,
    /// None of the challenges is one that we can answer; this is what is wrong with the first.
    #[error("no challenge can be answered: {0}")]
    Unusable(Unreadable),
    /// The server asks again for what it has been given: as a rule the password is wrong.
    #[error("{realm:?} challenges again after {answers} of our answers: is the password right?")]
    Rejected {
        /// The server's realm.
        realm: String,
        /// How many answers it has had.
        answers: u32,
    },
}

/// What has been answered so far; one for each request that may be challenged.
#[derive(Debug, Default)]
pub struct Client {
    current: Option<Session>,
    answers: u32,
    retried_stale: bool,
    retried_fresh: bool,
}

/// A nonce in use.
#[derive(Debug)]
struct Session {
    challenge: Challenge,
    count: u32,
}

impl Client {
    /// Nothing answered yet.
    pub fn new() -> Self {
        Client::default()
    }

    /// Answers one of the `challenges` of a 401 or 407, in the order in which the response lists them: the first that
    /// we can compute, since the server lists what it likes best first (RFC 8760 §2.4). `cnonce` must be fresh.
    pub fn answer(
        &mut self,
        challenges: &[Result<Challenge, Unreadable>],
        target: Target,
        login: Login,
        cnonce: String,
    ) -> Result<Credentials, NoAnswer> {
        let Some(challenge) = challenges.iter().find_map(|c| c.as_ref().ok()) else {
            return Err(match challenges.first() {
                Some(Err(error)) => NoAnswer::Unusable(error.clone()),
                _ => NoAnswer::NoChallenge,
            });
        };
        self.spend_a_retry(challenge)?;
        self.answers += 1;
        // A count must never repeat under one nonce.
        let count = match &self.current {
            Some(last) if last.challenge.nonce == challenge.nonce => last.count,
            _ => 0,
        };
        let session = self.current.insert(Session {
            challenge: challenge.clone(),
            count,
        });
        Ok(session.next(target, login, cnonce))
    }

    /// Uses the nonce of the last answer once more, with the next count: for a request that is repeated without having
    /// been challenged. `None` before the first challenge.
    pub fn again(&mut self, target: Target, login: Login, cnonce: String) -> Option<Credentials> {
        Some(self.current.as_mut()?.next(target, login, cnonce))
    }

    /// The server took the last answer: what it asks from now on is asked for the first time. The nonce stays in use.
    pub fn accepted(&mut self) {
        self.answers = 0;
        self.retried_stale = false;
        self.retried_fresh = false;
    }

    /// The first answer is free; later ones need a new nonce, and are given once for a stale one and once without.
    fn spend_a_retry(&mut self, challenge: &Challenge) -> Result<(), NoAnswer> {
        let Some(last) = self.current.as_ref().filter(|_| self.answers > 0) else {
            return Ok(());
        };
        let spent = match challenge.stale {
            true => &mut self.retried_stale,
            false => &mut self.retried_fresh,
        };
        if *spent || challenge.nonce == last.challenge.nonce {
            let realm = challenge.realm.clone();
            return Err(NoAnswer::Rejected {
                realm,
                answers: self.answers,
            });
        }
        *spent = true;
        Ok(())
    }
}

impl Session {
    fn next(&mut self, target: Target, login: Login, cnonce: String) -> Credentials {
        self.count = self.count.saturating_add(1);
        let challenge = &self.challenge;
        let mut credentials = Credentials {
            username: login.username.to_owned(),
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            uri: target.uri.to_owned(),
            response: String::new(),
            algorithm: challenge.algorithm,
            opaque: challenge.opaque.clone(),
            counted: challenge.auth.then(|| Counted {
                cnonce,
                nc: format!("{:08x}", self.count),
            }),
        };
        credentials.response = credentials.expected(target.method, login.password);
        credentials
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    const TARGET: Target = Target {
        method: "INVITE",
        uri: "sip:+12195550714@wa.meta.vc;transport=tls",
    };

    fn secret() -> Secret {
        Secret::new("meta-generated-secret")
    }

    fn answer(client: &mut Client, challenges: &str) -> Result<Credentials, NoAnswer> {
        let password = secret();
        let login = Login {
            username: "12145551869",
            password: &password,
        };
        client.answer(
            &Challenge::parse_all(challenges),
            TARGET,
            login,
            "c".to_owned(),
        )
    }

    fn challenge(nonce: &str) -> String {
        format!("Digest realm=\"wa.meta.vc\",nonce=\"{nonce}\",algorithm=MD5,qop=\"auth\"")
    }

    #[test]
    fn every_documented_challenge_is_answered_as_the_sample_answers_it() {
        for (asked, answered) in [
            ("sip/bic-02-407.sip", "sip/bic-04-invite-auth.sip"),
            (
                "sip/bic-02b-407-sha256.sip",
                "sip/bic-04b-invite-auth-sha256.sip",
            ),
            (
                "dialogs/bic-sdes/02-407.sip",
                "dialogs/bic-sdes/04-invite-auth.sip",
            ),
            (
                "dialogs/bic-dtls/02-407.sip",
                "dialogs/bic-dtls/04-invite-auth.sip",
            ),
            (
                "dialogs/bic-dtls-sha256/02-407.sip",
                "dialogs/bic-dtls-sha256/04-invite-auth.sip",
            ),
        ] {
            let (_, challenges) = sample(asked, "Proxy-Authenticate");
            let (method, want) = sample(answered, "Proxy-Authorization");
            let parsed = Credentials::parse(&want).unwrap();
            let password = secret();
            let login = Login {
                username: &parsed.username,
                password: &password,
            };
            let target = Target {
                method: &method,
                uri: &parsed.uri,
            };
            let cnonce = parsed.counted.unwrap().cnonce;
            let challenges = Challenge::parse_all(&challenges);
            let given = Client::new()
                .answer(&challenges, target, login, cnonce)
                .unwrap();
            assert_eq!(given.to_string(), want, "{answered}");
        }
    }

    #[test]
    fn the_first_algorithm_that_we_know_is_taken() {
        let mut client = Client::new();
        let all = r#"Basic realm="x", Digest realm="r", nonce="1", algorithm=SHA-512-256, Digest realm="r", nonce="2", algorithm=SHA-256, Digest realm="r", nonce="3", algorithm=MD5"#;
        assert_eq!(answer(&mut client, all).unwrap().nonce, "2");
    }

    #[test]
    fn a_challenge_without_algorithm_and_qop_is_answered_without_them() {
        let given = answer(&mut Client::new(), r#"Digest realm="r", nonce="n""#).unwrap();
        assert!(!given.to_string().contains("algorithm"));
        assert!(!given.to_string().contains("cnonce") && !given.to_string().contains("nc="));
        assert_eq!(given.response, given.expected("INVITE", &secret()));
    }

    #[test]
    fn a_stale_nonce_is_answered_once() {
        let mut client = Client::new();
        answer(&mut client, &challenge("1")).unwrap();
        let second = answer(&mut client, &(challenge("2") + ",stale=true")).unwrap();
        assert_eq!(second.nonce, "2");
        assert_eq!(second.counted.unwrap().nc, "00000001");
        let third = answer(&mut client, &(challenge("3") + ",stale=true"));
        assert_eq!(
            third,
            Err(NoAnswer::Rejected {
                realm: "wa.meta.vc".to_owned(),
                answers: 2
            })
        );
    }

    #[test]
    fn a_second_challenge_is_answered_once_and_a_third_is_not() {
        let mut client = Client::new();
        answer(&mut client, &challenge("1")).unwrap();
        answer(&mut client, &challenge("2")).unwrap();
        assert!(matches!(
            answer(&mut client, &challenge("3")),
            Err(NoAnswer::Rejected { answers: 2, .. })
        ));
    }

    #[test]
    fn the_same_nonce_again_means_that_the_password_is_wrong() {
        let mut client = Client::new();
        answer(&mut client, &challenge("1")).unwrap();
        assert!(matches!(
            answer(&mut client, &challenge("1")),
            Err(NoAnswer::Rejected { answers: 1, .. })
        ));
    }

    #[test]
    fn what_is_asked_after_an_accepted_answer_is_asked_for_the_first_time() {
        let mut client = Client::new();
        for nonce in ["1", "2"] {
            answer(&mut client, &challenge(nonce)).unwrap();
        }
        client.accepted();
        let same = answer(&mut client, &challenge("2")).unwrap();
        assert_eq!(same.counted.unwrap().nc, "00000002");
        answer(&mut client, &challenge("3")).unwrap();
        assert!(answer(&mut client, &challenge("4")).is_err());
    }

    #[test]
    fn a_nonce_used_again_counts_up_in_hex() {
        let mut client = Client::new();
        let password = secret();
        let login = Login {
            username: "12145551869",
            password: &password,
        };
        assert_eq!(client.again(TARGET, login, "c".to_owned()), None);
        answer(&mut client, &challenge("1")).unwrap();
        let bare = Target {
            uri: "sip:+12195550714@wa.meta.vc",
            ..TARGET
        };
        let mut last = client.again(bare, login, "d".to_owned()).unwrap();
        assert_eq!(last.counted.as_ref().unwrap().nc, "00000002");
        assert_eq!(last.uri, "sip:+12195550714@wa.meta.vc");
        assert_eq!(last.response, last.expected("INVITE", &password));
        for _ in 2..10 {
            last = client.again(TARGET, login, "e".to_owned()).unwrap();
        }
        assert_eq!(last.counted.unwrap().nc, "0000000a");
    }

    #[test]
    fn what_cannot_be_answered_says_why() {
        let mut client = Client::new();
        let password = secret();
        let login = Login {
            username: "u",
            password: &password,
        };
        let none = client.answer(&[], TARGET, login, "c".to_owned());
        assert_eq!(none, Err(NoAnswer::NoChallenge));
        let basic = answer(&mut client, "Basic realm=\"x\"");
        assert_eq!(
            basic,
            Err(NoAnswer::Unusable(Unreadable::Scheme("Basic".to_owned())))
        );
    }
}
