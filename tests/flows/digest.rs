//! Digest, both ways: Meta proves itself to us, and we to Meta.

use sha2::{Digest as _, Sha256};
use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::sip::digest::server::Demand;
use wabridge::sip::message::Common;
use wabridge::sip::{Limits, Message, Request, Response, build};

use crate::world::*;

/// The parameters of our credentials.
pub fn given(request: &Request, name: &str) -> String {
    let header = ["Proxy-Authorization", "Authorization"]
        .iter()
        .find_map(|header| request.headers.get(header))
        .expect("credentials");
    let header = header.strip_prefix("Digest ").unwrap();
    header
        .split(", ")
        .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
        .unwrap_or_default()
        .trim_matches('"')
        .to_owned()
}

/// Whether our credentials prove the password that Meta has, by the rules of RFC 7616 written down once more.
#[track_caller]
fn proves(invite: &Request) {
    proves_to_be(BUSINESS.trim_start_matches('+'), PASSWORD, invite);
}

/// The same for any name and password.
#[track_caller]
pub fn proves_to_be(username: &str, password: &str, request: &Request) {
    let hash = |text: String| match given(request, "algorithm").as_str() {
        "SHA-256" => format!("{:x}", Sha256::digest(text)),
        _ => format!("{:x}", md5::compute(text)),
    };
    let of = |name| given(request, name);
    let secret = hash(format!("{}:{}:{password}", of("username"), of("realm")));
    let what = hash(format!("{}:{}", request.method, of("uri")));
    let response = format!(
        "{secret}:{}:{}:{}:auth:{what}",
        of("nonce"),
        of("nc"),
        of("cnonce")
    );
    assert_eq!(of("response"), hash(response));
    assert_eq!(of("username"), username);
    assert_eq!(of("uri"), request.uri.to_string());
}

// ---- Meta proves itself --------------------------------------------------------------------------------------------

/// Meta sends an INVITE and is challenged.
fn challenged(w: &mut World, status: u16) -> (Request, Response) {
    let invite = w.metas_invite();
    w.sends(Meta, invite.clone());
    let challenge = w.is_refused(Meta, &invite, status);
    (invite, challenge)
}

#[test]
fn meta_is_challenged_as_its_sample_shows_and_the_pbx_rings_only_after_the_answer() {
    let mut w = World::new();
    let (invite, challenge) = challenged(&mut w, 407);
    let asked = challenge.headers.get("Proxy-Authenticate").unwrap();
    assert!(asked.contains("realm=\"meta-voip.example.com\""), "{asked}");
    assert!(!asked.contains("algorithm"), "{asked}");
    assert!(challenge.to().unwrap().tag().is_some());
    w.gets_nothing(Pbx);
    let again = w.answers_challenge(&invite, &challenge, PASSWORD);
    w.sends(Meta, again);
    w.gets(Meta, 100);
    w.gets(Pbx, "INVITE");
    assert_eq!(w.bridge.stats().refused, 0, "a challenge is no refusal");
}

#[test]
fn meta_may_be_challenged_with_401_and_answers_over_another_connection() {
    let mut w = World::with(with_meta(|meta| meta.digest.challenge = Demand::Server));
    let (invite, challenge) = challenged(&mut w, 401);
    assert!(challenge.headers.get("Proxy-Authenticate").is_none());
    let again = w.answers_challenge(&invite, &challenge, PASSWORD);
    w.sends_over(World::other_flow(Meta), again);
    w.gets(Meta, 100);
    w.gets(Pbx, "INVITE");
}

#[test]
fn without_digest_the_call_goes_straight_to_the_pbx() {
    let mut w = World::with(with_meta(|meta| meta.digest.challenge = Demand::Off));
    let invite = w.metas_invite();
    w.sends(Meta, invite.clone());
    w.gets(Meta, 100);
    let ours = w.gets_request(Pbx, "INVITE");
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &invite, 486);
    w.leaves_nothing_behind();
}

#[test]
fn a_wrong_password_never_rings_the_pbx() {
    let mut w = World::new();
    let (invite, challenge) = challenged(&mut w, 407);
    let again = w.answers_challenge(&invite, &challenge, "guessed");
    w.sends(Meta, again.clone());
    let refusal = w.is_refused(Meta, &again, 403);
    assert!(refusal.headers.get("Warning").unwrap().contains("password"));
    assert_eq!((w.bridge.stats().refused, w.bridge.calls()), (1, 0));
    w.is_left_empty();
    assert!(w.ended.is_empty());
}

#[test]
fn an_answer_that_comes_too_late_is_challenged_again_as_stale() {
    let mut w = World::new();
    let (invite, challenge) = challenged(&mut w, 407);
    w.wait(secs(61));
    let late = w.answers_challenge(&invite, &challenge, PASSWORD);
    w.sends(Meta, late.clone());
    let challenge = w.is_refused(Meta, &late, 407);
    let asked = challenge.headers.get("Proxy-Authenticate").unwrap();
    assert!(asked.contains("stale=true"), "{asked}");
    w.gets_nothing(Pbx);
    let again = w.answers_challenge(&late, &challenge, PASSWORD);
    w.sends(Meta, again);
    w.gets(Meta, 100);
    w.gets(Pbx, "INVITE");
}

#[test]
fn credentials_that_were_used_are_refused_though_everything_else_is_new() {
    let mut w = World::new();
    let invite = w.metas_invite();
    let used = w.user_authenticates(invite);
    w.gets(Meta, 100);
    let ours = w.gets_request(Pbx, "INVITE");
    let mut replayed = used.clone();
    w.new_branch(&mut replayed);
    replayed.headers.set("CSeq", "9999 INVITE");
    w.sends_over(World::other_flow(Meta), replayed.clone());
    let refusal = w.gets_response(Meta, 403);
    assert!(
        refusal
            .headers
            .get("Warning")
            .unwrap()
            .contains("used before")
    );
    w.sends_over(World::other_flow(Meta), build::ack(&replayed, &refusal));
    w.refuses(Pbx, &ours, 486);
    w.is_refused(Meta, &used, 486);
    w.leaves_nothing_behind();
}

#[test]
fn credentials_are_good_for_the_call_that_they_were_asked_for_alone() {
    let mut w = World::new();
    let (invite, challenge) = challenged(&mut w, 407);
    let mut other = w.answers_challenge(&invite, &challenge, PASSWORD);
    other.headers.set("Call-ID", "outgoing:wacid.another==");
    w.sends(Meta, other.clone());
    let challenge = w.is_refused(Meta, &other, 407);
    assert!(
        challenge
            .headers
            .get("Proxy-Authenticate")
            .unwrap()
            .contains("stale=true"),
        "the password was right"
    );
    w.is_left_empty();
}

#[test]
fn an_authentic_call_to_a_number_that_is_not_ours_is_not_found() {
    let mut w = World::with(with_meta(|meta| meta.digest.challenge = Demand::Off));
    let mut invite = w.metas_invite();
    invite.uri = wabridge::sip::SipUri::new(Some("+4930123456"), "meta-voip.example.com").into();
    w.sends(Meta, invite.clone());
    w.is_refused(Meta, &invite, 404);
    w.is_left_empty();
}

#[test]
fn a_call_to_a_number_that_is_not_ours_is_not_found_whatever_its_password() {
    let mut w = World::new();
    let mut invite = w.metas_invite();
    invite.uri = wabridge::sip::SipUri::new(Some("+4930123456"), "meta-voip.example.com").into();
    w.sends(Meta, invite.clone());
    let challenge = w.is_refused(Meta, &invite, 407);
    let again = w.answers_challenge(&invite, &challenge, PASSWORD);
    w.sends(Meta, again.clone());
    w.is_refused(Meta, &again, 404);
    w.is_left_empty();
}

// ---- we prove ourselves --------------------------------------------------------------------------------------------

/// Meta accepts the INVITE and the call runs its course.
fn accepts(w: &mut World, theirs: Request, ours: Request) {
    let their_ok = metas_ok(&ours);
    let up = w.answers(Pbx, theirs, ours, their_ok);
    let ack = w.ack(&up);
    w.sends(Pbx, ack);
    w.hangs_up(&up, Pbx);
    assert_eq!(w.leaves_nothing_behind().status, 200);
}

#[test]
fn our_answer_proves_the_password_and_the_pbx_hears_nothing_of_it() {
    let mut w = World::new();
    let (theirs, first) = w.business_starts();
    assert!(first.headers.get("Proxy-Authorization").is_none());
    w.challenges(&first, 407, CHALLENGE);
    w.gets_nothing(Pbx);
    let second = w.gets_request(Meta, "INVITE");
    proves(&second);
    assert_eq!(given(&second, "nc"), "00000001");
    assert_eq!(given(&second, "opaque"), "fedcba9876543210");
    assert_eq!(
        second.cseq().unwrap().number,
        first.cseq().unwrap().number + 1
    );
    assert_eq!(second.call_id(), first.call_id());
    assert_eq!(second.headers.get("From"), first.headers.get("From"));
    assert_eq!(second.body, first.body);
    assert_ne!(second.via(), first.via());
    accepts(&mut w, theirs, second);
}

#[test]
fn a_401_is_answered_in_its_own_header() {
    let mut w = World::new();
    let (theirs, first) = w.business_starts();
    w.challenges(&first, 401, CHALLENGE);
    let second = w.gets_request(Meta, "INVITE");
    assert!(second.headers.get("Authorization").is_some());
    assert!(second.headers.get("Proxy-Authorization").is_none());
    proves(&second);
    accepts(&mut w, theirs, second);
}

#[test]
fn the_challenges_of_the_samples_are_answered_by_their_algorithm() {
    for (file, algorithm) in [
        ("dialogs/bic-sdes/02-407.sip", "MD5"),
        ("sip/bic-02b-407-sha256.sip", "SHA-256"),
    ] {
        let Ok(Message::Response(sample)) = Message::parse(&fixture(file), &Limits::default())
        else {
            panic!("{file} is a response")
        };
        let mut w = World::new();
        let (theirs, first) = w.business_starts();
        let challenge = sample.headers.get("Proxy-Authenticate").unwrap();
        w.challenges(&first, 407, challenge);
        let second = w.gets_request(Meta, "INVITE");
        assert!(
            ["", algorithm].contains(&given(&second, "algorithm").as_str()),
            "{file}"
        );
        assert_eq!(
            algorithm == "SHA-256",
            given(&second, "response").len() == 64
        );
        proves(&second);
        accepts(&mut w, theirs, second);
    }
}

#[test]
fn of_several_challenges_the_first_that_we_know_is_answered() {
    let sha256 =
        "Digest realm=\"wa.meta.vc\", nonce=\"b\", algorithm=SHA-256, qop=\"auth,auth-int\"";
    let unknown = "Digest realm=\"wa.meta.vc\", nonce=\"a\", algorithm=SHA-512-256, qop=\"auth\"";
    let mut w = World::new();
    let (theirs, first) = w.business_starts();
    let mut response = respond(&first, 407);
    response
        .headers
        .push("Proxy-Authenticate", "Bearer x=\"y\"");
    response.headers.push("Proxy-Authenticate", unknown);
    response.headers.push("Proxy-Authenticate", sha256);
    response.headers.push("Proxy-Authenticate", CHALLENGE);
    w.sends(Meta, response);
    w.gets(Meta, "ACK");
    let second = w.gets_request(Meta, "INVITE");
    assert_eq!(given(&second, "algorithm"), "SHA-256");
    proves(&second);
    accepts(&mut w, theirs, second);
}

#[test]
fn a_stale_nonce_is_replaced_once() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    w.challenges(
        &ours,
        407,
        "Digest realm=\"wa.meta.vc\", nonce=\"fresh\", qop=\"auth\", stale=true",
    );
    let third = w.gets_request(Meta, "INVITE");
    assert_eq!(given(&third, "nonce"), "fresh");
    assert_eq!(third.headers.all("Proxy-Authorization").count(), 1);
    proves(&third);
    accepts(&mut w, theirs, third);
}

#[test]
fn a_challenge_after_a_right_answer_is_tried_once_more_and_then_the_pbx_is_told() {
    let again =
        |nonce: &str| format!("Digest realm=\"wa.meta.vc\", nonce=\"{nonce}\", qop=\"auth\"");
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    w.challenges(&ours, 407, &again("second"));
    let third = w.gets_request(Meta, "INVITE");
    proves(&third);
    w.challenges(&third, 407, &again("third"));
    let told = w.is_refused(Pbx, &theirs, 503);
    assert!(reason(&told).starts_with("Q.850;cause=38;text=\"407 "));
    assert!(reason(&told).contains("password"), "{}", reason(&told));
    w.leaves_nothing_behind();
}

#[test]
fn the_same_nonce_again_means_that_the_password_is_wrong() {
    let mut w = World::new();
    let (theirs, ours) = w.business_calls();
    w.challenges(&ours, 407, CHALLENGE);
    let told = w.is_refused(Pbx, &theirs, 503);
    assert!(reason(&told).starts_with("Q.850;cause=38"));
    w.leaves_nothing_behind();
}

#[test]
fn a_challenge_that_cannot_be_answered_ends_the_call() {
    for challenge in [
        "Bearer x=\"y\"",
        "Digest realm=\"a\", nonce=\"b\", algorithm=X",
    ] {
        let mut w = World::new();
        let (theirs, first) = w.business_starts();
        w.challenges(&first, 407, challenge);
        w.is_refused(Pbx, &theirs, 503);
        w.leaves_nothing_behind();
    }
}

#[test]
fn a_bye_that_meta_challenges_is_sent_again_with_credentials() {
    let mut w = World::new();
    let up = w.business_talks();
    let bye = w.within(&up, Pbx, "BYE");
    w.sends(Pbx, bye);
    w.gets(Pbx, 200);
    let bye = w.gets_request(Meta, "BYE");
    let mut challenge = respond(&bye, 407);
    challenge.headers.push("Proxy-Authenticate", CHALLENGE);
    w.sends(Meta, challenge.clone());
    let again = w.gets_request(Meta, "BYE");
    proves(&again);
    assert_eq!(again.cseq().unwrap().number, bye.cseq().unwrap().number + 1);
    assert!(again.headers.all("Route").eq(bye.headers.all("Route")));
    assert_eq!(reason(&again), reason(&bye));
    assert_ne!(again.via(), bye.via());
    // Once: who asks again is not answered again.
    let mut challenge = respond(&again, 407);
    challenge.headers.push(
        "Proxy-Authenticate",
        CHALLENGE.replace("0123456789abcdef", "another"),
    );
    w.sends(Meta, challenge);
    w.leaves_nothing_behind();
}
