//! How Meta proves that an INVITE is its own: by the password of the number that it calls.

use std::time::Instant;

use super::bridge::Bridge;
use super::refused::{Because, Refused, not_ours};
use crate::policy::Number;
use crate::sip::Uri;
use crate::sip::digest::{Credentials, server};
use crate::sip::message::{Common, Request};

impl Bridge {
    /// Whether an INVITE of Meta's, for this number if it is ours, proves that it is Meta's; else what it is told.
    pub(super) fn authenticate(
        &mut self,
        invite: &Request,
        number: Option<&Number>,
        now: Instant,
    ) -> Result<(), Refused> {
        let setup = self.setup.clone();
        let demand = setup.meta.digest.challenge;
        let Some(status) = demand.status() else {
            return Ok(());
        };
        let Uri::Sip(uri) = &invite.uri else {
            return Err(Refused::new(416, "the Request-URI is no sip: URI"));
        };
        let realm = setup
            .meta
            .realm
            .as_deref()
            .or(number.map(|n| n.hostname.as_str()))
            .unwrap_or(&uri.host);
        let method = invite.method.to_string();
        let request = server::Request {
            method: &method,
            user: uri.user.as_deref().unwrap_or_default(),
            host: &uri.host,
            call_id: invite.call_id(),
            realm,
        };
        let stale = match self.judge(invite, number, &request, now)? {
            None => return Ok(()),
            Some(stale) => stale,
        };
        let challenge = self.nonces.challenge(&request, stale, now);
        Err(Refused::new(status, "").with(demand.challenge_header(), challenge.to_string()))
    }

    /// `None`: authentic. Otherwise whether the challenge to come should say `stale`.
    fn judge(
        &mut self,
        invite: &Request,
        number: Option<&Number>,
        request: &server::Request<'_>,
        now: Instant,
    ) -> Result<Option<bool>, Refused> {
        // Meta answers in the header that our challenge asks for; FAQ and sample differ about which that is.
        let mut given = ["Proxy-Authorization", "Authorization"]
            .into_iter()
            .flat_map(|n| invite.headers.all(n));
        let Some(credentials) = given.find_map(|value| Credentials::parse(value).ok()) else {
            return Ok(Some(false));
        };
        let password_of = |username: &str| number.and_then(|n| n.password_of(username));
        match self.nonces.check(&credentials, request, password_of, now) {
            server::Verdict::Ok => Ok(None),
            server::Verdict::Challenge { stale } => Ok(Some(stale)),
            // There is no password to hold it against, and the operator should read why.
            server::Verdict::Refused(_) if number.is_none() => Err(not_ours()),
            server::Verdict::Refused(reason) => {
                Err(Refused::new(403, format!("Meta's digest: {reason}")).because(Because::Digest))
            }
        }
    }
}
