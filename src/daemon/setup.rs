//! What signalling needs of the configuration: the profiles of Meta and of each PBX, the numbers, the routes, the limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::call::Setup;
use crate::config::{self, Config};
use crate::media::Codec;
use crate::peer::{Meta, Pbx, Register, pbx};
use crate::policy::{Numbers, Way};
use crate::sdp::Keying;
use crate::sip::dialog::Pace;
use crate::sip::transport::Protocol;

use super::ourselves::{self, Ourselves};
use super::{Addresses, DaemonError, listening};

/// `before`: what is in force. Names are looked up, and nothing is changed: whoever waits no longer may drop it.
pub(super) async fn of(
    config: &Config,
    addresses: &Addresses,
    before: Option<&Setup>,
) -> Result<Setup, DaemonError> {
    let limit = config.sip.connect_timeout();
    let found = ourselves::towards_each(
        &config.pbxs,
        &addresses.pbx,
        listening::names(config),
        limit,
    )
    .await;
    let mut pbxs = Vec::new();
    for (pbx, found) in config.pbxs.iter().zip(found) {
        let ourselves = match found {
            Ok(ourselves) => ourselves,
            Err(error) => {
                let before = before.and_then(|setup| known_by(setup, &pbx.name));
                let ourselves = ourselves::in_place_of(pbx, &addresses.pbx, before);
                match ourselves {
                    Ok(ourselves) => {
                        tracing::warn!(
                            %error,
                            our_host = ourselves.host,
                            "until a reload finds it, the PBX is told this host"
                        );
                        ourselves
                    }
                    Err(_) => return Err(error),
                }
            }
        };
        let profile = Pbx {
            name: pbx.name.clone(),
            ways: pbx.address.iter().map(|place| way(pbx, place)).collect(),
            health: pbx.health(),
            try_timeout: pbx.try_timeout(),
            our_host: ourselves.host,
            our_ports: ourselves.ports,
            keying: if pbx.srtp {
                Keying::Sdes
            } else {
                Keying::Plain
            },
            media: pbx.facing(&config.media),
            source: pbx.source,
            codecs: pbx.codecs.iter().copied().map(Codec::from).collect(),
            ptime: Duration::from_millis(pbx.ptime.into()),
            dtmf: pbx.dtmf,
            headers: pbx.headers.clone().into_iter().collect(),
            ack_when_keyed: pbx.ack_when_keyed,
            reinvite: pbx.reinvite,
            dialling: pbx.dialling.clone(),
            default_number: pbx.default_number.clone(),
            register: register(pbx),
        };
        pbxs.push((Arc::new(profile), pbx.allowed_sources()));
    }
    let our_port = addresses.meta.first().map(SocketAddr::port);
    Ok(Setup {
        pbxs,
        ..without_pbxs(config, our_port)
    })
}

/// What the PBX of this name knows us by so far.
fn known_by(setup: &Setup, name: &str) -> Option<Ourselves> {
    let (profile, _) = setup.pbxs.iter().find(|(pbx, _)| pbx.name == name)?;
    Some(Ourselves {
        host: profile.our_host.clone(),
        ports: profile.our_ports,
    })
}

/// The same for whoever needs no PBX. `our_port`: where Meta reaches us, if that is known.
pub fn without_pbxs(config: &Config, our_port: Option<u16>) -> Setup {
    Setup {
        meta: Arc::new(Meta {
            domain: config.meta.domain.clone(),
            port: config.meta.port,
            our_port: our_port.unwrap_or(Protocol::Tls.default_port()),
            digest: config.meta.digest.clone(),
            realm: config.meta.realm.clone(),
            dtls_setup: config.meta.dtls_setup,
        }),
        meta_sources: config.meta.allowed_sources.clone(),
        pbxs: Vec::new(),
        numbers: Numbers::new(config.numbers.iter().cloned()),
        routes: config.routes.clone(),
        pace: Pace::from(&config.transactions),
        max_calls: config.calls.max.into(),
        overload_delay: config.calls.overload_delay(),
        ring_timeout: config.calls.ring_timeout(),
        answer_timeout: config.calls.answer_timeout(),
    }
}

/// How we register at a PBX, if we do.
fn register(pbx: &config::Pbx) -> Option<Register> {
    let register = &pbx.register;
    let (user, password) = register.login()?;
    let of_pbx: Vec<_> = pbx.address.iter().map(|place| &place.address).collect();
    let registrars = match &register.registrars {
        Some(registrars) => registrars.iter().collect(),
        None => of_pbx.clone(),
    };
    let domain = register.domain.as_ref();
    let domain = domain.or(of_pbx.first().map(|first| &first.host))?;
    let hop = |address: &config::Address| {
        let port = address.port.unwrap_or(pbx.transport.default_port());
        pbx::hop(&address.host, port, pbx.transport)
    };
    Some(Register {
        registrars: registrars.into_iter().map(hop).collect(),
        user: user.to_owned(),
        domain: ourselves::bracketed(domain),
        username: register.auth_username.as_deref().unwrap_or(user).to_owned(),
        password: password.clone(),
        expires: register.expires(),
        calls_as_user: register.from == config::Caller::Username,
        dialled_in: register.dialled.clone(),
    })
}

fn way(pbx: &config::Pbx, place: &config::Place) -> Way {
    Way {
        hop: pbx::hop(&place.address.host, pbx.port(place), pbx.transport),
        priority: place.priority,
        weight: place.weight,
    }
}
