//! Whole calls as ladders, in virtual time: the bridge's signalling with nothing but sockets left out.

#[path = "flows/world.rs"]
mod world;

#[path = "flows/business_calls.rs"]
mod business_calls;
#[path = "flows/user_calls.rs"]
mod user_calls;
