//! What we are at a PBX that wants its trunks registered.

use std::time::Duration;

use crate::secret::Secret;
use crate::sip::dialog::Identity;
use crate::sip::digest::client::{Asked, Client, Login, NoAnswer, Target};
use crate::sip::message::Request;
use crate::sip::register::Account;
use crate::sip::transport::Hop;
use crate::sip::{NameAddr, SipUri};

/// How we register at a PBX, and what that changes about calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Where.
    pub registrars: Vec<Hop>,
    /// User part of the address of record, and of our Contact.
    pub user: String,
    /// Host of the address of record; IPv6 in brackets.
    pub domain: String,
    /// Whose password it is.
    pub username: String,
    /// The password, for REGISTER and for calls.
    pub password: Secret,
    /// For how long a registration is asked for.
    pub expires: Duration,
    /// Whether calls to the PBX are from `user`, and the WhatsApp user stands in P-Asserted-Identity.
    pub calls_as_user: bool,
    /// The header that has the number dialled where the PBX calls our Contact.
    pub dialled_in: String,
}

impl Register {
    /// What is registered by whoever names himself so.
    pub fn account(&self, identity: Identity) -> Account {
        Account {
            registrar: SipUri::new(None, &self.domain),
            address: self.address(),
            user: self.user.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            expires: self.expires,
            identity,
        }
    }

    /// From of a call that is ours, with this to be shown.
    pub fn from(&self, shown: String) -> NameAddr {
        let mut from = NameAddr::new(self.address());
        from.display = Some(shown);
        from
    }

    /// The credentials that a challenge to a request of a call asks for.
    pub fn answer(
        &self,
        digest: &mut Client,
        request: &Request,
        asked: &Asked,
        cnonce: String,
    ) -> Result<String, NoAnswer> {
        let (method, uri) = (request.method.to_string(), request.uri.to_string());
        let target = Target {
            method: &method,
            uri: &uri,
        };
        let login = Login {
            username: &self.username,
            password: &self.password,
        };
        let credentials = digest.answer(&asked.challenges, target, login, cnonce)?;
        Ok(credentials.to_string())
    }

    fn address(&self) -> SipUri {
        SipUri::new(Some(&self.user), &self.domain)
    }
}
