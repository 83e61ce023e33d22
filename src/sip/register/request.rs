//! The REGISTER itself (RFC 3261 §10.2), with credentials once the registrar has asked for them.

use std::time::Duration;

use super::{Account, Action, Registration};
use crate::sip::NameAddr;
use crate::sip::digest::client::{Asked, Login, Target};
use crate::sip::header::CSeq;
use crate::sip::message::{Method, Request, Response};
use crate::sip::token::Tokens;

impl Registration {
    /// The next REGISTER, for so long; with credentials that the registrar may take without asking once more.
    pub(super) fn ask(&mut self, expires: Duration, tokens: &mut Tokens) -> Action {
        let (uri, cnonce) = (self.account.registrar.to_string(), tokens.word());
        let login = login(&self.account);
        let credentials = self.digest.again(target(&uri), login, cnonce);
        let header = self.credentials.zip(credentials);
        let header = header.map(|(name, credentials)| (name, credentials.to_string()));
        self.request(expires, header, tokens)
    }

    /// The same REGISTER again with what the challenge asks for; else why not.
    pub(super) fn answer(
        &mut self,
        response: &Response,
        expires: Duration,
        tokens: &mut Tokens,
    ) -> Result<Action, String> {
        let asked = Asked::by(response).ok_or("it asks for nothing")?;
        let (uri, cnonce) = (self.account.registrar.to_string(), tokens.word());
        let answer = self.digest.answer(
            &asked.challenges,
            target(&uri),
            login(&self.account),
            cnonce,
        );
        let credentials = answer.map_err(|why| why.to_string())?;
        self.credentials = Some(asked.answered_in);
        let header = (asked.answered_in, credentials.to_string());
        Ok(self.request(expires, Some(header), tokens))
    }

    fn request(
        &mut self,
        expires: Duration,
        credentials: Option<(&str, String)>,
        tokens: &mut Tokens,
    ) -> Action {
        self.series.cseq += 1;
        let Account {
            registrar,
            address,
            identity,
            ..
        } = &self.account;
        let of_record = NameAddr::new(address.clone());
        let cseq = CSeq {
            number: self.series.cseq,
            method: Method::REGISTER,
        };
        let mut request = Request::new(Method::REGISTER, registrar.clone());
        let headers = &mut request.headers;
        headers.push("Via", identity.via(&tokens.branch()).to_string());
        headers.push("Max-Forwards", "70");
        let from = of_record.clone().with_tag(&self.series.tag);
        headers.push("From", from.to_string());
        headers.push("To", of_record.to_string());
        headers.push("Call-ID", &self.series.call_id);
        headers.push("CSeq", cseq.to_string());
        let contact = identity.contact(Some(&self.account.user));
        headers.push("Contact", contact.to_string());
        headers.push("Expires", expires.as_secs().to_string());
        if let Some((name, value)) = credentials {
            headers.push(name, value);
        }
        headers.push("Allow", identity.abilities.allow);
        headers.push("User-Agent", identity.agent);
        Action::Send(request)
    }
}

fn target(uri: &str) -> Target<'_> {
    Target {
        method: "REGISTER",
        uri,
    }
}

fn login(account: &Account) -> Login<'_> {
    Login {
        username: &account.username,
        password: &account.password,
    }
}
