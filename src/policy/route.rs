//! Which business number leads to which extension, and as which number a PBX calls.

use std::collections::BTreeMap;

use super::keying::{AdditionalCodec, Keying};
use crate::number::{self, E164, User};
use crate::secret::Secret;

/// A business number that this bridge serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// The number.
    pub number: E164,
    /// Its password at Meta, for the digests of both directions.
    pub password: Secret,
    /// The SIP server name that is set for it at Meta: the domain of our From, the realm of our challenges.
    pub hostname: String,
    /// User part of the Request-URI at the PBX; if unset, the number with its `+`.
    pub target: Option<String>,
    /// Names of the PBXs that it belongs to: the first gets its calls, the next one those that the first does not take.
    pub pbxs: Vec<String>,
    /// How its media gets its keys at Meta.
    pub keying: Keying,
    /// What it may speak beside Opus, as it is set at Meta.
    pub additional_codecs: Vec<AdditionalCodec>,
}

impl Number {
    /// Its password, for the one digest username that Meta may use for it: the digits, with or without `+`.
    pub fn password_of(&self, username: &str) -> Option<&Secret> {
        let digits = username.strip_prefix('+').unwrap_or(username);
        (digits == self.number.digits()).then_some(&self.password)
    }
}

/// Why a PBX has no number to call with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCaller {
    /// It named none of its own, and has no default.
    #[error(
        "the PBX {pbx} calls as none of its numbers (From, P-Asserted-Identity) and has no default_number"
    )]
    NoDefault {
        /// Its name.
        pbx: String,
    },
    /// Its default is not one of the numbers that were given to it.
    #[error("the default_number {number} of the PBX {pbx} is not among its numbers")]
    StrangeDefault {
        /// Its name.
        pbx: String,
        /// The default.
        number: E164,
    },
}

/// All business numbers of this bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(BTreeMap<E164, Number>);

impl Numbers {
    /// Takes the numbers; of two entries for one number the later one counts.
    pub fn new(numbers: impl IntoIterator<Item = Number>) -> Self {
        Numbers(numbers.into_iter().map(|n| (n.number.clone(), n)).collect())
    }

    /// One number.
    pub fn get(&self, number: &E164) -> Option<&Number> {
        self.0.get(number)
    }

    /// The number that Meta calls: `user` is the user part of its Request-URI, with trunk parameters (RFC 4904) where
    /// such are set at Meta.
    pub fn called(&self, user: &str) -> Option<&Number> {
        self.get(user.parse::<User>().ok()?.number()?)
    }

    /// The number that a call from `pbx` uses: the first of `claimed` (user parts of From and P-Asserted-Identity, in
    /// the order in which they count) that belongs to this PBX, else its default. A number of another PBX is not
    /// taken, so that one PBX cannot call in the name of another.
    pub fn calling<'c>(
        &self,
        pbx: &str,
        claimed: impl IntoIterator<Item = &'c str>,
        dialling: &number::Settings,
        default: Option<&E164>,
    ) -> Result<&Number, NoCaller> {
        let own = |number: &E164| {
            self.get(number)
                .filter(|n| n.pbxs.iter().any(|name| name == pbx))
        };
        let claims = claimed
            .into_iter()
            .filter_map(|user| number::normalise(user, dialling).ok());
        if let Some(number) = claims.filter_map(|user| own(user.number()?)).next() {
            return Ok(number);
        }
        let default = default.ok_or_else(|| NoCaller::NoDefault {
            pbx: pbx.to_owned(),
        })?;
        own(default).ok_or_else(|| NoCaller::StrangeDefault {
            pbx: pbx.to_owned(),
            number: default.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e164(text: &str) -> E164 {
        text.parse().unwrap()
    }

    fn number(text: &str, pbx: &str) -> Number {
        Number {
            number: e164(text),
            password: Secret::new("meta-generated-secret"),
            hostname: "meta-voip.example.com".to_owned(),
            target: None,
            pbxs: vec![pbx.to_owned()],
            keying: Keying::default(),
            additional_codecs: Vec::new(),
        }
    }

    fn numbers() -> Numbers {
        Numbers::new([
            Number {
                target: Some("100".to_owned()),
                ..number("+12145551869", "main")
            },
            number("+493012345678", "main"),
            number("+442079460958", "branch"),
        ])
    }

    fn calling(claimed: &[&str], default: Option<&str>) -> Result<String, NoCaller> {
        let dialling = number::Settings {
            country_code: Some("49".parse().unwrap()),
            ..Default::default()
        };
        let default = default.map(e164);
        numbers()
            .calling("main", claimed.iter().copied(), &dialling, default.as_ref())
            .map(|n| n.number.plus())
    }

    #[test]
    fn a_called_number_leads_to_its_target_or_to_itself() {
        let numbers = numbers();
        for user in [
            "+12145551869",
            "12145551869",
            "+12145551869;tgrp=wacall;trunk-context=a",
        ] {
            let number = numbers.called(user).unwrap();
            assert_eq!(number.target.as_deref(), Some("100"), "{user}");
        }
        let plain = numbers.called("+493012345678").unwrap();
        assert_eq!((&plain.target, plain.pbxs[0].as_str()), (&None, "main"));
    }

    #[test]
    fn a_number_that_is_not_ours_leads_nowhere() {
        for user in ["+12195550714", "US.1349", "", "100", "sip"] {
            assert_eq!(numbers().called(user), None, "{user}");
        }
    }

    #[test]
    fn a_pbx_calls_as_the_first_of_its_numbers_that_it_claims() {
        let default = Some("+12145551869");
        assert_eq!(
            calling(&["100", "+493012345678"], default).unwrap(),
            "+493012345678"
        );
        assert_eq!(
            calling(&["03012345678", "+12145551869"], default).unwrap(),
            "+493012345678"
        );
        assert_eq!(calling(&["12145551869"], None).unwrap(), "+12145551869");
    }

    #[test]
    fn without_a_claim_of_its_own_it_calls_as_its_default() {
        let default = Some("+12145551869");
        for claimed in [&["anonymous"][..], &[], &["+12195550714"], &["US.1349"]] {
            assert_eq!(
                calling(claimed, default).unwrap(),
                "+12145551869",
                "{claimed:?}"
            );
        }
    }

    #[test]
    fn it_cannot_call_as_a_number_of_another_pbx() {
        assert_eq!(
            calling(&["+442079460958"], Some("+12145551869")).unwrap(),
            "+12145551869"
        );
        let strange = calling(&[], Some("+442079460958")).unwrap_err();
        assert_eq!(
            strange.to_string(),
            "the default_number +4420******58 of the PBX main is not among its numbers"
        );
    }

    #[test]
    fn without_claim_and_default_there_is_nobody_to_call_as() {
        assert_eq!(
            calling(&["100"], None),
            Err(NoCaller::NoDefault {
                pbx: "main".to_owned()
            })
        );
    }

    #[test]
    fn only_the_number_itself_is_a_username_for_its_password() {
        let number = number("+12145551869", "main");
        assert!(number.password_of("12145551869").is_some());
        assert!(number.password_of("+12145551869").is_some());
        assert!(number.password_of("12195550714").is_none());
        assert!(number.password_of("++12145551869").is_none());
        assert!(!format!("{number:?}").contains("meta-generated-secret"));
    }
}
