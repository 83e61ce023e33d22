//! Whole calls as ladders, in virtual time: the bridge's signalling with nothing but sockets left out.

// The words that ladders are written in.
#[path = "flows/calls.rs"]
mod calls;
#[path = "flows/changes.rs"]
mod changes;
#[path = "flows/fake_media.rs"]
mod fake_media;
#[path = "flows/far_ends.rs"]
mod far_ends;
#[path = "flows/log.rs"]
mod log;
#[path = "flows/metas_pages.rs"]
mod metas_pages;
#[path = "flows/settings.rs"]
mod settings;
#[path = "flows/world.rs"]
mod world;

// The ladders.
#[path = "flows/business_calls.rs"]
mod business_calls;
#[path = "flows/cancel.rs"]
mod cancel;
#[path = "flows/digest.rs"]
mod digest;
#[path = "flows/digits.rs"]
mod digits;
#[path = "flows/early_media.rs"]
mod early_media;
#[path = "flows/failover.rs"]
mod failover;
#[path = "flows/handshake.rs"]
mod handshake;
#[path = "flows/hangup.rs"]
mod hangup;
#[path = "flows/headers.rs"]
mod headers;
#[path = "flows/health.rs"]
mod health;
#[path = "flows/hold.rs"]
mod hold;
#[path = "flows/keying.rs"]
mod keying;
#[path = "flows/lost.rs"]
mod lost;
#[path = "flows/media_addresses.rs"]
mod media_addresses;
#[path = "flows/notes.rs"]
mod notes;
#[path = "flows/over_tcp.rs"]
mod over_tcp;
#[path = "flows/overload.rs"]
mod overload;
#[path = "flows/records.rs"]
mod records;
#[path = "flows/refusals.rs"]
mod refusals;
#[path = "flows/refused_by_meta.rs"]
mod refused_by_meta;
#[path = "flows/refused_by_pbx.rs"]
mod refused_by_pbx;
#[path = "flows/register.rs"]
mod register;
#[path = "flows/registered_calls.rs"]
mod registered_calls;
#[path = "flows/routes.rs"]
mod routes;
#[path = "flows/stopping.rs"]
mod stopping;
#[path = "flows/strangers.rs"]
mod strangers;
#[path = "flows/timers.rs"]
mod timers;
#[path = "flows/torture_answers.rs"]
mod torture_answers;
#[path = "flows/traces.rs"]
mod traces;
#[path = "flows/transfer.rs"]
mod transfer;
#[path = "flows/user_calls.rs"]
mod user_calls;
