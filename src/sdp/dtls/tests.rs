//! Every line of ICE and DTLS, as it should be, missing and malformed.

use super::*;
use crate::media::{Codec, Direction, Security, SideSpec};
use crate::sdp::tests::{local, sdp};
use crate::sdp::{Answered, Capabilities, Keying, Offer, RemoteOffer};

const UFRAG: &str = "a=ice-ufrag:RmDDkfzkwbexPfbC\n";
const PWD: &str = "a=ice-pwd:0YdE1EdHlZXr9y2NbUCZiA==\n";
const SETUP: &str = "a=setup:actpass\n";
const MUX: &str = "a=rtcp-mux\n";
const IPV4: &str = "a=candidate:1 1 udp 2122260223 203.0.113.9 3480 typ host generation 0\n";
const IPV6: &str = "a=candidate:2 1 udp 2122262783 2001:db8::9 3480 typ host generation 0\n";
const MEDIA: &str = "m=audio 3480 UDP/TLS/RTP/SAVPF 111 126\na=rtpmap:111 opus/48000/2\na=rtpmap:126 telephone-event/8000\n";

fn both() -> Capabilities {
    Capabilities::meta(vec![Keying::Dtls, Keying::Sdes], Setup::Actpass)
}

fn fingerprint(octet: &str) -> String {
    format!("a=fingerprint:sha-256 {}\n", [octet; 32].join(":"))
}

/// Meta's offer as far as it counts here, and with a line in place of another.
fn with(instead_of: &str, line: &str) -> String {
    let lines = [UFRAG, PWD, SETUP, MUX, IPV4, IPV6].concat();
    assert!(lines.contains(instead_of), "{instead_of}");
    let lines = lines.replacen(instead_of, line, 1);
    format!("{MEDIA}{lines}{}", fingerprint("CD"))
}

fn offered() -> String {
    with("", "")
}

fn answer(rest: &str) -> Result<Answered, Reject> {
    let offer = RemoteOffer::parse(&sdp(rest), &both())?;
    assert_eq!(offer.keying(), Keying::Dtls);
    offer.answer(&local(5000), Codec::Opus)
}

fn accept(ours: Setup, rest: &str) -> Result<SideSpec, Reject> {
    let capabilities = Capabilities::meta(vec![Keying::Dtls, Keying::Sdes], ours);
    Offer::new(&local(5000), &capabilities).accept(&sdp(rest))
}

fn spec(side: SideSpec) -> DtlsSpec {
    match side.security {
        Security::Dtls(spec) => *spec,
        other => panic!("keyed by DTLS: {other:?}"),
    }
}

fn words(rest: &str) -> String {
    let reject = answer(rest).unwrap_err();
    assert_eq!(reject.status(), 488, "{reject}");
    reject.to_string()
}

#[test]
fn an_offer_of_metas_is_answered_as_the_end_that_opens() {
    let Answered { text, side } = answer(&offered()).unwrap();
    for line in [
        "m=audio 5000 UDP/TLS/RTP/SAVPF 111 126",
        "a=setup:active",
        "a=ice-ufrag:8hhY",
        "a=ice-pwd:asd88fgpdd777uzjYhagZg",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host",
        "a=end-of-candidates",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=rtcp-mux",
        fingerprint("AB").trim_end(),
    ] {
        assert_eq!(
            text.lines().filter(|l| *l == line).count(),
            1,
            "{line}: {text}"
        );
    }
    for never in ["ice-lite", "crypto", "a=candidate:2"] {
        assert!(!text.contains(never), "{text}");
    }
    assert_eq!(side.remote_rtp, "203.0.113.9:3480".parse().unwrap());
    assert_eq!(side.remote_rtcp, None);
    let spec = spec(side);
    assert_eq!(spec.role, Role::Client);
    assert_eq!(spec.local, local(5000).ice);
    assert_eq!(spec.remote.pwd(), "0YdE1EdHlZXr9y2NbUCZiA==", "as printed");
    assert_eq!(spec.fingerprints.len(), 1);
    assert_eq!(spec.candidates.len(), 2, "of the other family too");
}

#[test]
fn the_end_that_the_offer_leaves_us_is_ours() {
    for (stated, ours, role) in [
        ("actpass", "active", Role::Client),
        ("passive", "active", Role::Client),
        ("active", "passive", Role::Server),
        ("ACTPASS ", "active", Role::Client),
    ] {
        let answered = answer(&with(SETUP, &format!("a=setup:{stated}\n"))).unwrap();
        let line = format!("a=setup:{ours}\r\n");
        assert!(answered.text.contains(&line), "{stated}: {}", answered.text);
        assert_eq!(spec(answered.side).role, role, "{stated}");
    }
}

#[test]
fn an_answer_settles_who_opens_the_handshake() {
    let accept = |ours, theirs: &str| {
        let side = accept(ours, &with(SETUP, &format!("a=setup:{theirs}\n")))?;
        Ok(spec(side).role)
    };
    assert_eq!(accept(Setup::Actpass, "active"), Ok(Role::Server));
    assert_eq!(accept(Setup::Actpass, "passive"), Ok(Role::Client));
    assert_eq!(accept(Setup::Active, "passive"), Ok(Role::Client));
    let words = |ours, theirs| {
        let reject: Reject = accept(ours, theirs).unwrap_err();
        reject.to_string()
    };
    assert_eq!(
        words(Setup::Actpass, "actpass"),
        "a=setup is actpass; it must be active or passive (RFC 8842)"
    );
    assert_eq!(
        words(Setup::Active, "active"),
        "a=setup is active; it must be passive, since we offered active (RFC 8842)"
    );
    assert_eq!(
        words(Setup::Active, "actpass"),
        "a=setup is actpass; it must be passive, since we offered active (RFC 8842)"
    );
}

#[test]
fn we_offer_the_setup_that_is_set_and_every_address_that_listens() {
    let mut local = local(5000);
    local.ports.other_family = Some("[2001:db8:40::20]:5002".parse().unwrap());
    local.ports.rtcp = Some("192.0.2.1:5007".parse().unwrap());
    for (setup, word) in [(Setup::Actpass, "actpass"), (Setup::Active, "active")] {
        let offer = Offer::new(&local, &Capabilities::meta(vec![Keying::Dtls], setup));
        let text = offer.text();
        for line in [
            "a=group:BUNDLE audio",
            "a=mid:audio",
            "m=audio 5000 UDP/TLS/RTP/SAVPF 111 126",
            "a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host",
            "a=candidate:2 1 udp 2130706175 2001:db8:40::20 5002 typ host",
            &format!("a=setup:{word}"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        assert_eq!(text.matches("a=rtcp:").count(), 1, "{text}");
    }
}

#[test]
fn what_the_session_part_says_holds_for_the_stream_and_its_own_goes_before() {
    let general = [UFRAG, PWD, SETUP, &fingerprint("CD")].concat();
    let read = |own: &str| {
        let text = format!("{general}{MEDIA}{MUX}{IPV4}{own}");
        spec(answer(&text).unwrap().side)
    };
    let spec = read("");
    assert_eq!(spec.remote.ufrag(), "RmDDkfzkwbexPfbC");
    assert_eq!(
        spec.fingerprints,
        [["CD"; 32].join(":")].map(|f| format!("sha-256 {f}").parse().unwrap())
    );
    let own = ["a=ice-ufrag:own0\n", "a=setup:active\n", &fingerprint("EF")].concat();
    let spec = read(&own);
    assert_eq!(
        (spec.remote.ufrag(), spec.remote.pwd()),
        ("own0", "0YdE1EdHlZXr9y2NbUCZiA==")
    );
    assert_eq!(spec.role, Role::Server);
    assert_eq!(
        spec.fingerprints,
        [["EF"; 32].join(":")].map(|f| format!("sha-256 {f}").parse().unwrap())
    );
}

#[test]
fn of_many_fingerprints_those_that_we_can_compare_are_kept() {
    let many = [
        "a=fingerprint:sha-512 AB:CD\n",
        "a=fingerprint:sha-256 AB:CD\n",
        &fingerprint("EF"),
        &fingerprint("ef"),
        "a=fingerprint\n",
    ];
    let side = answer(&(offered() + &many.concat())).unwrap().side;
    assert_eq!(spec(side).fingerprints.len(), 2);
    let more: String = (16..48).map(|n| fingerprint(&format!("{n:02X}"))).collect();
    let side = answer(&(offered() + &more)).unwrap().side;
    assert_eq!(spec(side).fingerprints.len(), FINGERPRINTS);
}

#[test]
fn without_a_usable_fingerprint_the_reason_says_what_it_must_be() {
    let remedy = "the peer must send the SHA-256 of its certificate";
    let good = fingerprint("CD");
    let words = |line: &str| words(&offered().replace(&good, line));
    assert_eq!(words(""), format!("there is no a=fingerprint: {remedy}"));
    assert_eq!(
        words("a=fingerprint:sha-256 AB:CD\n"),
        format!("a=fingerprint has 2 octets, where sha-256 has 32: {remedy}")
    );
    assert_eq!(
        words("a=fingerprint:md5\u{e9}\u{7} AB:CD\na=fingerprint:sha-1 AB:CD\n"),
        format!("a=fingerprint uses md5??; we compare only sha-256: {remedy}")
    );
    assert!(words(&good.replace("CD", "CG")).contains("hexadecimal digits"));
    assert!(words("a=fingerprint\n").contains("needs a hash function"));
}

#[test]
fn without_a_known_setup_nobody_would_open_the_handshake() {
    assert_eq!(
        words(&with(SETUP, "")),
        "there is no a=setup: the peer must say whether it opens the DTLS handshake"
    );
    assert_eq!(
        words(&with(SETUP, "a=setup:holdconn\n")),
        "a=setup is holdconn; it must be actpass, active or passive (RFC 8842)"
    );
    assert!(words(&with(SETUP, "a=setup\n")).starts_with("a=setup is ; it must be"));
    assert_eq!(
        accept(Setup::Actpass, &with(SETUP, "")),
        Err(Reject::NoSetup)
    );
}

#[test]
fn without_credentials_the_line_is_named_and_never_quoted() {
    assert_eq!(
        words(&with(UFRAG, "")),
        "there is no a=ice-ufrag: the peer must use ICE where it uses DTLS (RFC 8839)"
    );
    assert!(words(&with(PWD, "")).starts_with("there is no a=ice-pwd"));
    assert_eq!(
        words(&with(UFRAG, "a=ice-ufrag:abc\n")),
        "a=ice-ufrag has 3 characters instead of 4 to 256 (RFC 8839)"
    );
    let words = words(&with(PWD, "a=ice-pwd:never.print.this.password\n"));
    assert_eq!(
        words,
        "a=ice-pwd has a character that is no ice-char (RFC 8839)"
    );
}

#[test]
fn candidates_that_we_cannot_use_are_passed_over_while_one_is_left() {
    let foreign = "a=candidate:1 1 tcp 2105458943 203.0.113.9 9 typ host tcptype active\n\
        a=candidate:1 2 udp 2130706430 203.0.113.9 3481 typ host\n\
        a=candidate:1 1 udp 2130706431 5f1c6a7e-0000.local 3480 typ host\n";
    let broken = "a=candidate\na=candidate:1 1 udp 5 203.0.113.9 0 typ host\n";
    let text = format!("{}{foreign}{broken}", offered());
    assert_eq!(spec(answer(&text).unwrap().side).candidates.len(), 2);
    let without = |lines: &str| with(&format!("{IPV4}{IPV6}"), lines);
    assert_eq!(
        words(&without("")),
        "there is no a=candidate: the peer must list its UDP addresses at once (RFC 8839)"
    );
    assert_eq!(
        words(&without(foreign)),
        "none of the 3 a=candidate lines has an IP address for RTP over UDP: the peer must list one"
    );
    assert_eq!(
        words(&without(&format!(
            "{foreign}a=candidate:1 1 udp 5 203.0.\u{e9}\u{7}.113 x typ\n"
        ))),
        "a=candidate has no type (RFC 8839 §5.1); the peer must list an IP address for RTP over UDP"
    );
    assert!(
        words(&without("a=candidate:1 1 udp 5 \u{e9}:1 3480 typ host\n"))
            .contains("address: \"?:1\"")
    );
}

#[test]
fn where_c_points_is_of_no_account() {
    for address in [
        "IN IP4 0.0.0.0",
        "IN IP4 198.51.100.77",
        "IN IP6 ::",
        "IN IP4 relay.invalid",
    ] {
        let text = offered().replacen("a=rtpmap", &format!("c={address}\na=rtpmap"), 1);
        let side = answer(&text.replacen("3480", "9", 1)).unwrap().side;
        assert_eq!(
            side.remote_rtp,
            "203.0.113.9:3480".parse().unwrap(),
            "{address}"
        );
        assert_eq!(side.direction, Direction::SendRecv, "{address} is no hold");
    }
    let ended = offered().replacen("audio 3480", "audio 0", 1);
    assert_eq!(answer(&ended).unwrap_err(), Reject::Refused);
}

#[test]
fn rtcp_that_would_need_a_path_of_its_own_is_refused() {
    assert_eq!(
        words(&with(MUX, "")),
        "there is no a=rtcp-mux: keyed by DTLS, RTCP must share the port of RTP (RFC 5761)"
    );
    assert!(answer(&with(MUX, "a=rtcp-mux-only\n")).is_ok());
    assert_eq!(
        accept(
            Setup::Actpass,
            &with(MUX, "a=setup:active\n").replacen(SETUP, "", 1)
        ),
        Err(Reject::NoRtcpMux)
    );
}

#[test]
fn rtcp_shares_the_port_whatever_the_leg_does_otherwise() {
    let capabilities = Capabilities {
        rtcp_mux: false,
        ..both()
    };
    let offer = RemoteOffer::parse(&sdp(&offered()), &capabilities).unwrap();
    let answered = offer.answer(&local(5000), Codec::Opus).unwrap();
    assert!(answered.text.contains("a=rtcp-mux\r\n") && answered.side.remote_rtcp.is_none());
    assert!(
        Offer::new(&local(5000), &capabilities)
            .text()
            .contains("a=rtcp-mux\r\n")
    );
}

#[test]
fn one_address_family_in_common_is_enough() {
    let only = |line: &str| {
        let offer = with(&format!("{IPV4}{IPV6}"), line);
        RemoteOffer::parse(&sdp(&offer), &both()).unwrap()
    };
    let ipv4 = local(5000);
    let mut ipv6 = local(5000);
    ipv6.ports.rtp = "[2001:db8:40::20]:5000".parse().unwrap();
    let mut dual = local(5000);
    dual.ports.other_family = Some(ipv6.ports.rtp);
    for (line, local, reached) in [
        (IPV4, &ipv4, true),
        (IPV6, &ipv4, false),
        (IPV4, &ipv6, false),
        (IPV6, &ipv6, true),
        (IPV4, &dual, true),
        (IPV6, &dual, true),
    ] {
        assert_eq!(
            only(line).reachable_from(local).is_ok(),
            reached,
            "{line}{:?}",
            local.ports
        );
    }
    assert_eq!(
        only(IPV6).reachable_from(&ipv4).unwrap_err().to_string(),
        "the peer's media is at 2001:db8::9, ours at 192.0.2.1: not the same IP version"
    );
    let both = only(&format!("{IPV4}{IPV6}"))
        .answer(&dual, Codec::Opus)
        .unwrap();
    assert_eq!(
        both.side.remote_rtp,
        "[2001:db8::9]:3480".parse().unwrap(),
        "the peer's first choice"
    );
}

#[test]
fn dtls_by_its_older_name_is_answered_by_that() {
    let older = offered().replacen("UDP/TLS/RTP/SAVPF", "RTP/SAVPF", 1);
    let text = answer(&older).unwrap().text;
    assert!(
        text.contains("m=audio 5000 RTP/SAVPF 111 126\r\n"),
        "{text}"
    );
    let key =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ\n";
    let offer = RemoteOffer::parse(&sdp(&format!("{older}{key}")), &both()).unwrap();
    assert_eq!(
        offer.keying(),
        Keying::Sdes,
        "with a key beside it, it is what it says"
    );
}

#[test]
fn an_answer_of_another_kind_than_offered_is_refused() {
    let sdes = "m=audio 4000 RTP/SAVP 111\na=rtpmap:111 opus/48000/2\n\
        a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ\n";
    assert_eq!(
        accept(Setup::Actpass, sdes).unwrap_err().to_string(),
        "the m= line says RTP/SAVP; this leg takes UDP/TLS/RTP/SAVPF with a=fingerprint"
    );
    let capabilities = Capabilities::meta(vec![Keying::Sdes, Keying::Dtls], Setup::Actpass);
    let offer = Offer::new(&local(5000), &capabilities);
    assert!(offer.accept(&sdp(sdes)).is_ok());
    assert_eq!(
        offer.accept(&sdp(&offered())).unwrap_err().to_string(),
        "the m= line says UDP/TLS/RTP/SAVPF, keyed by DTLS; this leg takes RTP/SAVP with a=crypto: set the peer to that"
    );
}

#[test]
fn a_transport_that_no_keying_has_is_named_with_all_that_would_do() {
    assert_eq!(
        words(&offered().replacen("UDP/TLS", "TCP/DTLS", 1)),
        "the m= line says TCP/DTLS/RTP/SAVPF; this leg takes \
         UDP/TLS/RTP/SAVPF with a=fingerprint or RTP/SAVP with a=crypto"
    );
}

#[test]
fn neither_password_is_printed() {
    let offer = RemoteOffer::parse(&sdp(&offered()), &both()).unwrap();
    let answered = offer.answer(&local(5000), Codec::Opus).unwrap();
    let ours = Offer::new(&local(5000), &both());
    let side = ours.accept(&sdp(&with(SETUP, "a=setup:active\n")));
    let printed = format!("{offer:?} {answered:?} {ours:?} {side:?}");
    assert!(printed.contains("8hhY") && printed.contains("RmDDkfzkwbexPfbC"));
    assert!(
        !printed.contains("0YdE1EdH") && !printed.contains("asd88fgp"),
        "{printed}"
    );
}
