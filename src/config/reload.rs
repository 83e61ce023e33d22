//! What a reload may not change: sockets and threads that calls in progress are using.

use std::net::SocketAddr;

use super::{Config, Meta};

/// The keys whose new value takes effect at the next start only, by name. Everything else is for the next call.
#[must_use]
pub fn restart_only_changes(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("meta.listen", old.meta.listen == new.meta.listen),
        ("meta.address", instead(&old.meta) == instead(&new.meta)),
        ("pbx_listener", old.pbx_listener == new.pbx_listener),
        ("sip", old.sip == new.sip),
        ("transactions", old.transactions == new.transactions),
        ("media", old.media == new.media),
        ("log.format", old.log.format == new.log.format),
    ];
    let changed = |(key, same): (&'static str, bool)| (!same).then_some(key);
    keys.into_iter().filter_map(changed).collect()
}

/// The domain that is not looked up, and what is connected to instead: sockets are opened with both from the start.
fn instead(meta: &Meta) -> Option<(&str, SocketAddr)> {
    let address = SocketAddr::new(meta.address?, meta.port);
    Some((&meta.domain, address))
}
