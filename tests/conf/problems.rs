use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use wabridge::config::{Problem, Severity};
use wabridge::policy::{KeyExchange, Keying};

use super::workshop::Workshop;

/// A small good file.
const GOOD: &str = r#"
[meta]
hostname = "bridge.example.com"
certificate = "fullchain.pem"
key = "privkey.pem"

[[number]]
number = "+12145551869"
password_file = "password"
target = "100"

[[pbx]]
name = "main"
address = "127.0.0.1:5060"

[media]
meta_address = "192.0.2.10"
ports = "20000-29999"
"#;

/// One change to the good file, and what must be said about it: at which key, on the line that begins how, in words
/// that hold what.
struct Case {
    change: [&'static str; 2],
    key: &'static str,
    line: &'static str,
    what: &'static str,
}

fn case(
    from: &'static str,
    to: &'static str,
    key: &'static str,
    line: &'static str,
    what: &'static str,
) -> Case {
    Case {
        change: [from, to],
        key,
        line,
        what,
    }
}

fn line_of(text: &str, start: &str) -> usize {
    let at = text.lines().position(|line| line.starts_with(start));
    at.unwrap_or_else(|| panic!("no line begins with {start:?}")) + 1
}

/// Tries a case; the only finding must be the expected one.
fn only_finding(workshop: &Workshop, case: &Case) -> Problem {
    let [from, to] = case.change;
    assert!(GOOD.contains(from), "{from:?}");
    let text = GOOD.replacen(from, to, 1);
    let found = workshop.findings(&text);
    let [problem] = found.as_slice() else {
        panic!("{to:?} should give one finding, not {found:#?}");
    };
    assert_eq!(problem.key, case.key, "{problem}");
    assert_eq!(
        problem.position.line,
        line_of(&text, case.line),
        "{problem}"
    );
    assert!(problem.what.contains(case.what), "{problem}");
    problem.clone()
}

#[test]
fn the_good_file_is_good() {
    assert_eq!(Workshop::new().findings(GOOD), []);
}

#[test]
fn a_pbx_over_ipv6_has_no_use_for_a_loopback_address_of_ipv4_and_each_has_its_own() {
    let workshop = Workshop::new();
    let second = |media: &str| {
        let pbx = "[[pbx]]\nname = \"v6\"\naddress = \"2001:db8::7\"\ntransport = \"tcp\"\n";
        let good = GOOD.replace("target = ", "pbx = \"main\"\ntarget = ");
        workshop.findings(&format!("{good}{pbx}{media}"))
    };
    let found = second("");
    let [problem] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert_eq!(problem.key, "pbx.media_address");
    assert!(problem.remedy.contains("an IPv6 address"), "{problem}");
    assert!(
        problem
            .what
            .contains("the PBX \"v6\" cannot send to 127.0.0.1"),
        "{problem}"
    );
    assert_eq!(second("media_address = \"2001:db8::10\"\n"), []);
}

#[test]
fn a_route_that_no_call_can_reach_is_told_which_one_is_before_it() {
    let workshop = Workshop::new();
    let routes = "[[route]]\ncountry = [\"1\", \"55\"]\ntarget = \"1\"\n[[route]]\ncountry = \"5511\"\ntarget = \"2\"\n";
    let text = format!("{GOOD}{routes}");
    let found = workshop.findings(&text);
    let [problem] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert_eq!(problem.position.line, text.lines().count() - 2);
    assert!(problem.what.contains("number 1 of the file"), "{problem}");
    let apart = text.replace("\"5511\"", "\"5\"");
    assert_eq!(workshop.findings(&apart), []);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_key() {
    let workshop = Workshop::new();
    let cases = [
        // The text itself.
        case(
            "name = \"main\"",
            "name = main",
            "pbx.name",
            "name = main",
            "string",
        ),
        case(
            "[media]",
            "[medai]\n[media]",
            "medai",
            "[medai]",
            "unknown section",
        ),
        case(
            "target = ",
            "tarrget = ",
            "number.tarrget",
            "tarrget",
            "there is no such key",
        ),
        case(
            "hostname = \"bridge.example.com\"\n",
            "",
            "meta.hostname",
            "[meta]",
            "it must be set",
        ),
        case("[[pbx]]", "[pbx]", "pbx", "[pbx]", "is not a list"),
        case(
            "\"100\"",
            "100",
            "number.target",
            "target",
            "must be text in quotes, not 100",
        ),
        // Meta's side.
        case(
            "\"bridge.example.com\"",
            "\"203.0.113.7\"",
            "meta.hostname",
            "hostname",
            "is no host name",
        ),
        case(
            "[[number]]",
            "allowed_sources = [\"31.13.24.0/33\"]\n[[number]]",
            "meta.allowed_sources",
            "allowed",
            "neither a network",
        ),
        case(
            "[[number]]",
            "allowed_sources = []\n[[number]]",
            "meta.allowed_sources",
            "allowed",
            "empty",
        ),
        case(
            "[[number]]",
            "[meta.digest]\nchallenge = \"403\"\n[[number]]",
            "meta.digest.challenge",
            "challenge",
            "403",
        ),
        case(
            "[[number]]",
            "[meta.digest]\nnonce_lifetime = 0\n[[number]]",
            "meta.digest.nonce_lifetime",
            "nonce",
            "5 to 3600",
        ),
        case(
            "[[number]]",
            "ca_file = \"none.pem\"\n[[number]]",
            "meta.ca_file",
            "ca_file",
            "cannot read",
        ),
        case(
            "[[number]]",
            "ca_file = \"privkey.pem\"\n[[number]]",
            "meta.ca_file",
            "ca_file",
            "no certificate",
        ),
        case(
            "fullchain.pem",
            "none.pem",
            "meta.certificate",
            "certificate",
            "cannot read",
        ),
        case(
            "fullchain.pem",
            "privkey.pem",
            "meta.certificate",
            "certificate",
            "no certificate",
        ),
        case("privkey.pem", "none.key", "meta.key", "key", "cannot read"),
        case(
            "privkey.pem",
            "fullchain.pem",
            "meta.key",
            "key",
            "no private key",
        ),
        case(
            "privkey.pem",
            "meta.key",
            "meta.key",
            "key",
            "does not belong to the certificate",
        ),
        case(
            "bridge.example.com",
            "other.example.com",
            "meta.certificate",
            "certificate",
            "does not cover other",
        ),
        case(
            "[[number]]",
            "realm = 'a\"b'\n[[number]]",
            "meta.realm",
            "realm",
            "without quotes",
        ),
        case(
            "[[number]]",
            "dtls_setup = \"passive\"\n[[number]]",
            "meta.dtls_setup",
            "dtls_setup",
            "must be \"actpass\" or \"active\"",
        ),
        // Numbers.
        case(
            "+12145551869",
            "+1214",
            "number.number",
            "number",
            "too few",
        ),
        case(
            "\"password\"",
            "\"none\"",
            "number.password_file",
            "password_file",
            "cannot read",
        ),
        case(
            "_file = \"password\"",
            "_env = \"WABRIDGE_NOT_SET\"",
            "number.password_env",
            "password_env",
            "is not set",
        ),
        case(
            "password_file = \"password\"\n",
            "",
            "number.number",
            "number",
            "password is missing",
        ),
        case(
            "\"100\"",
            "\"1 0 0\"",
            "number.target",
            "target",
            "cannot be dialled",
        ),
        case(
            "\"100\"",
            "\"100\"\npbx = \"branch\"",
            "number.pbx",
            "pbx",
            "no PBX is called \"branch\"",
        ),
        case(
            "\"100\"",
            "\"100\"\nkeying = \"none\"",
            "number.keying",
            "keying",
            "must be \"dtls\", \"sdes\" or \"auto\", not \"none\"",
        ),
        case(
            "\"100\"",
            "\"100\"\nkeying = \"sdes\"\noffer = \"dtls\"",
            "number.offer",
            "offer",
            "what keying says: \"sdes\"",
        ),
        case(
            "\"100\"",
            "\"100\"\nkeying = \"dtls\"\noffer = \"dtls\"",
            "number.offer",
            "offer",
            "what keying says: \"dtls\"",
        ),
        case(
            "\"100\"",
            "\"100\"\nhostname = \"x.example.com\"",
            "meta.certificate",
            "certificate",
            "number.hostname",
        ),
        // Routes.
        case(
            "[[pbx]]",
            "[[route]]\ncountry = \"55\"\npbx = \"x\"\n[[pbx]]",
            "route.pbx",
            "pbx",
            "no PBX is called",
        ),
        case(
            "[[pbx]]",
            "[[route]]\ncountry = \"Brazil\"\ntarget = \"1\"\n[[pbx]]",
            "route.country",
            "country",
            "is no country",
        ),
        case(
            "[[pbx]]",
            "[[route]]\nnumber = \"+4930123456\"\ntarget = \"1\"\n[[pbx]]",
            "route.number",
            "number = \"+4930123456\"",
            "has no [[number]] section",
        ),
        case(
            "[[pbx]]",
            "[[route]]\ntarget = \"1\"\n[[pbx]]",
            "route",
            "[[route]]",
            "it has no condition",
        ),
        case(
            "[[pbx]]",
            "[[route]]\ncountry = \"55\"\n[[pbx]]",
            "route",
            "[[route]]",
            "does not say where calls go",
        ),
        case(
            "[[pbx]]",
            "[[route]]\ncountry = \"55\"\ntarget = \"a b\"\n[[pbx]]",
            "route.target",
            "target = \"a b\"",
            "cannot be dialled",
        ),
        case(
            "[[pbx]]",
            "[[route]]\nheader = { \"From\" = \"x\" }\ntarget = \"1\"\n[[pbx]]",
            "route.header",
            "header",
            "no header that can be asked for",
        ),
        // PBXs.
        case(
            "127.0.0.1:5060",
            "127.0.0.1:sip",
            "pbx.address",
            "address",
            "is no address",
        ),
        case(
            "\"127.0.0.1:5060\"",
            "[]",
            "pbx.address",
            "address",
            "the list has no address",
        ),
        case(
            "\"127.0.0.1:5060\"",
            "[\"127.0.0.1\", { address = \"127.0.0.2\", wait = 1 }]",
            "pbx.address.wait",
            "address",
            "there is no such key",
        ),
        case(
            "\"127.0.0.1:5060\"",
            "[\"127.0.0.1\", \"127.0.0.1:5060\"]",
            "pbx.address",
            "address",
            "listed already",
        ),
        case(
            "[media]",
            "options_interval = 1\n[media]",
            "pbx.options_interval",
            "options_interval",
            "2 to 3600 seconds, or 0",
        ),
        case(
            "[media]",
            "down_after = 0\n[media]",
            "pbx.down_after",
            "down_after",
            "1 to 20",
        ),
        case(
            "[media]",
            "try_timeout = 0\n[media]",
            "pbx.try_timeout",
            "try_timeout",
            "1 to 60 seconds",
        ),
        case(
            "[media]",
            "up_after = 21\n[media]",
            "pbx.up_after",
            "up_after",
            "1 to 20",
        ),
        case(
            "127.0.0.1:5060",
            "pbx.example.com",
            "pbx.allowed_sources",
            "[[pbx]]",
            "nobody may call",
        ),
        case(
            "[media]",
            "allowed_sources = [\"x\"]\n[media]",
            "pbx.allowed_sources",
            "allowed",
            "neither a network",
        ),
        case(
            "[media]",
            "ca_file = \"ca.pem\"\n[media]",
            "pbx.ca_file",
            "ca_file",
            "without TLS",
        ),
        case(
            "[media]",
            "source = \"authentic\"\n[media]",
            "pbx.source",
            "source",
            "without SRTP",
        ),
        case(
            "[media]",
            "default_number = \"+4930123456\"\n[media]",
            "pbx.default_number",
            "default",
            "no [[number]]",
        ),
        case(
            "[media]",
            "[pbx.dialling]\ncountry_code = \"0\"\n[media]",
            "pbx.dialling.country_code",
            "country",
            "one to three digits",
        ),
        case(
            "[media]",
            "codecs = [\"telephone-event\"]\n[media]",
            "pbx.codecs",
            "codecs",
            "there is no codec of sound",
        ),
        case(
            "[media]",
            "codecs = [\"opus\", \"telephone-event\", \"opus\"]\n[media]",
            "pbx.codecs",
            "codecs",
            "listed twice",
        ),
        case(
            "[media]",
            "codecs = [\"g729\"]\n[media]",
            "pbx.codecs",
            "codecs",
            "must be \"opus\", \"g722\", \"pcma\", \"pcmu\" or \"telephone-event\"",
        ),
        case(
            "[media]",
            "ptime = 25\n[media]",
            "pbx.ptime",
            "ptime",
            "must be 10, 20, 30, 40, 50 or 60 ms",
        ),
        case(
            "target = ",
            "additional_codecs = [\"pcma\", \"pcma\"]\ntarget = ",
            "number.additional_codecs",
            "additional_codecs",
            "listed twice",
        ),
        case(
            "[media]",
            "dtmf = \"sms\"\n[media]",
            "pbx.dtmf",
            "dtmf",
            "must be \"rfc4733\", \"info\" or \"inband\"",
        ),
        case(
            "[media]",
            "codecs = [\"opus\"]\ndtmf = \"inband\"\n[media]",
            "pbx.dtmf",
            "dtmf",
            "no codec of this PBX carries tones",
        ),
        case(
            "[media]",
            "headers = { call-id = \"x\" }\n[media]",
            "pbx.headers.call-id",
            "headers",
            "writes this header itself",
        ),
        case(
            "[media]",
            "headers = { x-wa-meta-wacid = \"x\" }\n[media]",
            "pbx.headers.x-wa-meta-wacid",
            "headers",
            "writes this header itself",
        ),
        case(
            "[media]",
            "headers = { v = \"x\" }\n[media]",
            "pbx.headers.v",
            "headers",
            "writes this header itself",
        ),
        case(
            "[media]",
            "headers = { X-Tenant = \"a\\r\\nTo: b\" }\n[media]",
            "pbx.headers.X-Tenant",
            "headers",
            "control characters",
        ),
        case(
            "[media]",
            "headers = { \"X Tenant\" = \"a\" }\n[media]",
            "pbx.headers.X Tenant",
            "headers",
            "no name of a header",
        ),
        case(
            "[media]",
            "headers = { X-Tenant = 7 }\n[media]",
            "pbx.headers.X-Tenant",
            "headers",
            "must be text in quotes",
        ),
        case(
            "[media]",
            "our_host = \"sip:a\"\n[media]",
            "pbx.our_host",
            "our_host",
            "neither a host name",
        ),
        case(
            "[media]",
            "[pbx_listener]\nudp = \"off\"\n[media]",
            "pbx.transport",
            "[[pbx]]",
            "nothing can be sent to \"main\"",
        ),
        case(
            "[media]",
            "[pbx_listener]\nudp = \"[::]:5070\"\n[media]",
            "pbx.transport",
            "[[pbx]]",
            "pbx_listener.udp has no IPv4 address",
        ),
        case(
            "[[number]]",
            "listen = \"off\"\n[[number]]",
            "meta.listen",
            "listen",
            "address",
        ),
        case(
            "[media]",
            "[pbx_listener]\nudp = []\n[media]",
            "pbx_listener.udp",
            "udp",
            "or \"off\"",
        ),
        // Ports, limits, times.
        case(
            "[media]",
            "[pbx_listener]\ntcp = \"0.0.0.0:5061\"\n[media]",
            "pbx_listener.tcp",
            "tcp",
            "meta.listen",
        ),
        case(
            "[media]",
            "[pbx_listener]\ntls = \"0.0.0.0:5070\"\n[media]",
            "pbx_listener.tls",
            "tls",
            "has this port",
        ),
        case(
            "20000-29999",
            "29999-20000",
            "media.ports",
            "ports",
            "no port range",
        ),
        case(
            "20000-29999",
            "20001-20002",
            "media.ports",
            "ports",
            "at least one even port",
        ),
        case("20000-29999", "5062-15000", "media.ports", "ports", "5070"),
        case(
            "192.0.2.10",
            "127.0.0.1",
            "media.meta_address",
            "meta_address",
            "Meta cannot send to 127.0.0.1",
        ),
        case(
            "[media]",
            "[media]\nmeta_public_address = \"2001:db8::10\"",
            "media.meta_public_address",
            "meta_public_address",
            "not of one IP version",
        ),
        case(
            "127.0.0.1:5060",
            "192.0.2.20",
            "media.pbx_address",
            "[media]",
            "the PBX \"main\" cannot send",
        ),
        case(
            "[media]",
            "[media]\npbx_address = \"0.0.0.0\"",
            "media.pbx_address",
            "pbx_address",
            "name the address",
        ),
        case(
            "[media]",
            "media_address = \"0.0.0.0\"\n[media]",
            "pbx.media_address",
            "media_address",
            "name the address",
        ),
        case(
            "[media]",
            "media_address = \"::ffff:192.0.2.1\"\n[media]",
            "pbx.media_address",
            "media_address",
            "write 192.0.2.1 instead",
        ),
        case(
            "[media]",
            "media_public_address = \"ff02::1\"\n[media]",
            "pbx.media_public_address",
            "media_public_address",
            "no address of one host",
        ),
        case(
            "[media]",
            "media_public_address = \"2001:db8::1\"\n[media]",
            "pbx.media_public_address",
            "media_public_address",
            "2001:db8::1 and media_address (127.0.0.1) are not of one IP version",
        ),
        case(
            "127.0.0.1:5060\"",
            "192.0.2.20\"\nmedia_address = \"127.0.0.2\"",
            "pbx.media_address",
            "media_address",
            "the PBX \"main\" cannot send to 127.0.0.2",
        ),
        case(
            "127.0.0.1:5060\"",
            "192.0.2.20\"\nmedia_address = \"10.0.0.1\"\nmedia_public_address = \"127.0.0.2\"",
            "pbx.media_public_address",
            "media_public_address",
            "the PBX \"main\" cannot send to 127.0.0.2",
        ),
        case(
            "127.0.0.1:5060\"",
            "127.0.0.1\"\nmedia_address = \"here\"",
            "pbx.media_address",
            "media_address",
            "IP address",
        ),
        case(
            "[media]",
            "[calls]\nring_timeout = 0\n[media]",
            "calls.ring_timeout",
            "ring",
            "1 to 300",
        ),
        case(
            "[media]",
            "[sip]\nmax_headers = 3\n[media]",
            "sip.max_headers",
            "max",
            "32 or more",
        ),
        case(
            "[media]",
            "[transactions]\nt2 = 100\n[media]",
            "transactions.t2",
            "t2",
            "not be shorter than t1",
        ),
        case(
            "[media]",
            "[admin]\nlisten = \"localhost:9091\"\n[media]",
            "admin.listen",
            "listen",
            "write \"IP:port\"",
        ),
        case(
            "[media]",
            "[trace]\ncalls = 2001\n[media]",
            "trace.calls",
            "calls",
            "must be 0 to 2000",
        ),
        case(
            "[media]",
            "[log]\nlevel = \"loud=x\"\n[media]",
            "log.level",
            "level",
            "write for instance",
        ),
    ];
    for case in &cases {
        assert_eq!(only_finding(&workshop, case).severity, Severity::Error);
    }
}

#[test]
fn what_should_be_seen_is_a_warning_and_the_file_is_used() {
    let workshop = Workshop::new();
    let cases = [
        case(
            "[[number]]",
            "[meta.digest]\nchallenge = \"off\"\n[[number]]",
            "meta.digest.challenge",
            "challenge",
            "not authenticated",
        ),
        case(
            "[[number]]",
            "allowed_sources = [\"0.0.0.0/0\"]\n[[number]]",
            "meta.allowed_sources",
            "allowed",
            "whole internet",
        ),
        case(
            "_file = \"password\"",
            " = \"x\"",
            "number.password",
            "password",
            "has the password",
        ),
        case(
            "[media]",
            "allowed_sources = [\"::/0\"]\n[media]",
            "pbx.allowed_sources",
            "allowed",
            "at your cost",
        ),
        case(
            "[media]",
            "transport = \"tls\"\nverify = false\n[media]",
            "pbx.verify",
            "verify",
            "not verified",
        ),
        case(
            "192.0.2.10",
            "10.0.0.7",
            "media.meta_address",
            "meta_address",
            "a private address",
        ),
        case(
            "[media]",
            "media_address = \"2001:db8::1\"\n[media]",
            "pbx.media_address",
            "media_address",
            "the PBX \"main\" has IPv4, and is told to send media to 2001:db8::1, which is IPv6",
        ),
        case(
            "127.0.0.1:5060\"",
            "2001:db8::7\"\ntransport = \"tcp\"\nmedia_address = \"192.0.2.10\"",
            "pbx.media_address",
            "media_address",
            "the PBX \"main\" has IPv6, and is told to send media to 192.0.2.10, which is IPv4",
        ),
        case(
            "[media]",
            "[media]\nmeta_ipv6_address = \"fe80::1\"",
            "media.meta_ipv6_address",
            "meta_ipv6_address",
            "Meta cannot send to fe80::1",
        ),
        case(
            "[[number]]",
            "address = \"127.0.0.9\"\n[[number]]",
            "meta.allowed_sources",
            "[meta]",
            "calls from meta.address",
        ),
        case(
            "[media]",
            "transport = \"tcp\"\n[pbx_listener]\nudp = \"off\"\ntcp = \"off\"\n[media]",
            "pbx_listener",
            "[pbx_listener]",
            "no PBX can reach",
        ),
        case(
            "[media]",
            "codecs = [\"opus\", \"telephone-event\"]\ndtmf = \"info\"\n[media]",
            "pbx.codecs",
            "codecs",
            "\"telephone-event\" is not offered to this PBX",
        ),
        case(
            "[media]",
            "codecs = [\"pcma\"]\n[media]",
            "pbx.codecs",
            "codecs",
            "gets no digits of the user",
        ),
        case(
            "[media]",
            "codecs = [\"opus\", \"pcma\"]\ndtmf = \"inband\"\n[media]",
            "pbx.codecs",
            "codecs",
            "\"opus\" is not offered to this PBX",
        ),
        case(
            "[media]",
            "srtp = true\n[media]",
            "pbx.srtp",
            "srtp",
            "keys travel in clear text",
        ),
        case(
            "[media]",
            "[admin]\nlisten = \"0.0.0.0:9091\"\n[media]",
            "admin.listen",
            "listen",
            "may read status and metrics",
        ),
        case(
            "[media]",
            "[trace]\nreveal_numbers = true\n[media]",
            "trace.reveal_numbers",
            "reveal_numbers",
            "may read the numbers and names",
        ),
        case(
            "20000-29999",
            "20000-20998",
            "media.ports",
            "ports",
            "499 calls",
        ),
        case(
            "20000-29999",
            "5060-5069\"\n[calls]\nmax = 2 # \"",
            "media.ports",
            "ports",
            "5060",
        ),
    ];
    for case in &cases {
        assert_eq!(only_finding(&workshop, case).severity, Severity::Warning);
        assert!(
            workshop
                .load(&GOOD.replacen(case.change[0], case.change[1], 1))
                .is_ok()
        );
    }
}

#[test]
fn secrets_that_everybody_may_read_are_a_warning() {
    let workshop = Workshop::new();
    for (file, key) in [
        ("privkey.pem", "meta.key"),
        ("password", "number.password_file"),
    ] {
        workshop.set_mode(file, 0o644);
        let found = workshop.findings(GOOD);
        workshop.set_mode(file, 0o600);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].severity, found[0].key.as_str()),
            (Severity::Warning, key)
        );
        assert!(found[0].what.contains("may read"), "{}", found[0]);
        assert!(found[0].remedy.contains("chmod o= "), "{}", found[0]);
        workshop.set_mode(file, 0o662);
        let found = workshop.findings(GOOD);
        workshop.set_mode(file, 0o600);
        assert!(found[0].what.contains("may change"), "{}", found[0]);
    }
}

#[test]
fn a_password_in_a_file_that_everybody_may_read_is_said_so() {
    let workshop = Workshop::new();
    let text = GOOD.replace("_file = \"password\"", " = \"x\"");
    for (mode, what) in [(0o644, "everybody on this machine"), (0o600, "whoever can")] {
        workshop.write("wabridge.toml", "");
        workshop.set_mode("wabridge.toml", mode);
        let found = workshop.findings(&text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].key, "number.password");
        assert!(found[0].what.starts_with(what), "{}", found[0]);
    }
}

#[test]
fn ports_that_the_system_gives_to_others_are_a_warning() {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let range = range.split_whitespace().collect::<Vec<_>>().join("-");
    let reserved = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    let reserved = std::fs::read_to_string(reserved).unwrap();
    assert_eq!(reserved.trim(), "", "this machine keeps ports for others");
    let found = Workshop::new().findings(&GOOD.replace("20000-29999", &range));
    let [only] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert_eq!(
        (only.severity, only.key.as_str()),
        (Severity::Warning, "media.ports")
    );
    assert!(only.what.contains("to any program"), "{only}");
    assert!(only.remedy.contains("ip_local_reserved_ports"), "{only}");
}

/// A self-signed certificate for bridge.example.com, valid between two times counted in days from now.
fn certificate(workshop: &Workshop, valid_from: i64, valid_until: i64) {
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
        .cast_signed();
    let day = |days: i64| {
        let seconds = (now + days * 24 * 3600).cast_unsigned();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let mut params = CertificateParams::new(["bridge.example.com".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (day(valid_from), day(valid_until));
    let key = KeyPair::generate().unwrap();
    workshop.write("fullchain.pem", &params.self_signed(&key).unwrap().pem());
    workshop.write("privkey.pem", &key.serialize_pem());
}

#[test]
fn a_certificate_out_of_its_time_is_refused_and_one_near_its_end_is_a_warning() {
    let workshop = Workshop::new();
    let cases = [
        (-30, -1, Some((Severity::Error, "expired on"))),
        (1, 90, Some((Severity::Error, "is not valid before"))),
        (-70, 20, Some((Severity::Warning, "expires on"))),
        (-70, 22, None),
    ];
    for (from, until, wanted) in cases {
        certificate(&workshop, from, until);
        let mut found = workshop.findings(GOOD);
        found.retain(|p| !p.what.contains("self-signed"));
        let told = found
            .iter()
            .map(|p| (p.severity, p.key.as_str(), p.what.as_str()));
        let told: Vec<_> = told.collect();
        match (wanted, told.as_slice()) {
            (None, []) => {}
            (Some((severity, what)), [(told, "meta.certificate", why)]) => {
                assert_eq!(*told, severity, "{why}");
                assert!(why.contains(what), "{why}");
            }
            _ => panic!("{from} to {until}: {told:?}"),
        }
    }
}

#[test]
fn a_certificate_that_meta_would_not_trust_is_a_warning() {
    let workshop = Workshop::new();
    let chain = std::fs::read_to_string(workshop.path("fullchain.pem")).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let (first, _) = chain.split_once(end).unwrap();
    workshop.write("fullchain.pem", &format!("{first}{end}"));
    let found = workshop.findings(GOOD);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].what.contains("and not the chain"), "{}", found[0]);
    certificate(&workshop, -1, 90);
    let found = workshop.findings(GOOD);
    assert!(
        found.iter().any(|p| p.what.contains("self-signed")),
        "{found:#?}"
    );
}

#[test]
fn a_key_with_a_passphrase_comes_with_what_to_do_about_it() {
    let workshop = Workshop::new();
    let label = "ENCRYPTED PRIVATE KEY-----";
    workshop.write(
        "privkey.pem",
        &format!("-----BEGIN {label}\nMAA=\n-----END {label}\n"),
    );
    let found = workshop.findings(GOOD);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].key, "meta.key");
    assert!(found[0].remedy.contains("passphrase"), "{}", found[0]);
    assert!(!found[0].to_string().contains("MAA="), "{}", found[0]);
}

#[test]
fn an_empty_password_file_is_a_problem() {
    let workshop = Workshop::new();
    workshop.write("password", "\n");
    let found = workshop.findings(GOOD);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].what.contains("is empty"), "{}", found[0]);
}

#[test]
fn everything_wrong_is_said_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("privkey.pem", "none.key")
        .replace("\"100\"", "\"100\"\npbx = \"branch\"")
        .replace("127.0.0.1:5060", "pbx.example.com")
        .replace("20000-29999", "1-2");
    let found = Workshop::new().findings(&text);
    let keys: Vec<_> = found.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "meta.key",
            "number.pbx",
            "pbx.allowed_sources",
            "media.ports"
        ]
    );
}

#[test]
fn a_number_or_a_pbx_cannot_be_listed_twice() {
    let number =
        "[[number]]\nnumber = \"12145551869\"\npassword_file = \"password\"\npbx = \"main\"\n";
    let pbx = "[[pbx]]\nname = \"main\"\naddress = \"127.0.0.2\"\n";
    let good = GOOD.replace("\"100\"", "\"100\"\npbx = \"main\"");
    let found = Workshop::new().findings(&format!("{good}{number}{pbx}"));
    let told: Vec<_> = found
        .iter()
        .map(|p| (p.key.as_str(), p.position.line))
        .collect();
    let end = good.lines().count();
    assert_eq!(told, [("number.number", end + 2), ("pbx.name", end + 6)]);
}

#[test]
fn two_pbxs_over_tls_go_by_their_own_rules_but_one_host_has_one_set() {
    let pbx = |name: &str, address: &str, rule: &str| {
        format!(
            "[[pbx]]\nname = \"{name}\"\naddress = \"{address}\"\ntransport = \"tls\"\n{rule}\n\
             allowed_sources = [\"127.0.1.{}\"]\n",
            name.len()
        )
    };
    let text = GOOD.replace("target = ", "pbx = \"main\"\ntarget = ");
    let with = |address: &str, rule: &str| {
        let first = pbx("a", "pbx.example.com:5061", "ca_file = \"ca.pem\"");
        format!("{text}{first}{}", pbx("bb", address, rule))
    };
    let workshop = Workshop::new();
    std::fs::copy(workshop.path("ca.pem"), workshop.path("other.pem")).unwrap();
    for (address, rule) in [
        ("pbx.example.com:5063", "ca_file = \"ca.pem\""),
        ("pbx2.example.com:5061", "ca_file = \"other.pem\""),
        ("pbx2.example.com", ""),
    ] {
        assert_eq!(workshop.findings(&with(address, rule)), [], "{address}");
    }
    for rule in ["ca_file = \"other.pem\"", ""] {
        let found = workshop.findings(&with("PBX.example.com:5063", rule));
        let [only] = found.as_slice() else {
            panic!("{found:#?}")
        };
        assert_eq!(only.key, "pbx.address");
        assert!(only.what.starts_with("\"a\" is reached by TLS"), "{only}");
    }
}

#[test]
fn both_versions_of_ip_are_listened_on_at_once() {
    let workshop = Workshop::new();
    let text = GOOD
        .replace(
            "[[number]]",
            "listen = [\"0.0.0.0:5061\", \"[::]:5061\"]\n[[number]]",
        )
        .replace(
            "[media]",
            "[pbx_listener]\nudp = [\"0.0.0.0:5070\", \"[::]:5070\"]\ntcp = \"[::1]:5070\"\n[media]",
        );
    let config = workshop.load(&text).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(
        (config.meta.listen.len(), config.pbx_listener.udp.len()),
        (2, 2)
    );
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let workshop = Workshop::new();
    for (meta, listener, key, what) in [
        (
            r#"["0.0.0.0:5061", "192.0.2.1:5061"]"#,
            "",
            "meta.listen",
            "192.0.2.1:5061 is part of another",
        ),
        (
            r#"["192.0.2.1:5061", "[::]:5061"]"#,
            r#"tcp = ["192.0.2.2:5061", "[2001:db8::1]:5061"]"#,
            "pbx_listener.tcp",
            "meta.listen has this port",
        ),
        (
            r#""192.0.2.1:5061""#,
            r#"tls = ["[::]:5071", "0.0.0.0:5070"]"#,
            "pbx_listener.tls",
            "pbx_listener.tcp has this port",
        ),
        (
            r#""192.0.2.1:5061""#,
            r#"udp = ["127.0.0.1:5070", "127.0.0.1:5070"]"#,
            "pbx_listener.udp",
            "is part of another",
        ),
        (
            r#""192.0.2.1:5061""#,
            r#"udp = ["127.0.0.1:5070", "127.0.0.1:20000"]"#,
            "media.ports",
            "port 20000 of pbx_listener.udp",
        ),
        (
            r#"["192.0.2.1:5061", "192.0.2.2:5063"]"#,
            "",
            "meta.listen",
            "one port, that of the first address: 5061",
        ),
    ] {
        let text = GOOD
            .replace("[[number]]", &format!("listen = {meta}\n[[number]]"))
            .replace("[media]", &format!("[pbx_listener]\n{listener}\n[media]"));
        let found = workshop.findings(&text);
        let [only] = found.as_slice() else {
            panic!("{found:#?}")
        };
        assert_eq!(only.key, key, "{only}");
        assert!(only.what.contains(what), "{only}");
    }
}

#[test]
fn a_password_can_come_from_systemd_which_must_have_started_us() {
    let workshop = Workshop::new();
    for (name, what, remedy) in [
        (
            "meta",
            "CREDENTIALS_DIRECTORY is not set",
            "LoadCredential=",
        ),
        ("../meta", "no name of a credential", "LoadCredential="),
    ] {
        let credential = format!("password_credential = \"{name}\"");
        let text = GOOD.replace("password_file = \"password\"", &credential);
        let found = workshop.findings(&text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].key, "number.password_credential");
        assert!(found[0].what.contains(what), "{}", found[0]);
        assert!(found[0].remedy.contains(remedy), "{}", found[0]);
    }
}

#[test]
fn two_pbxs_and_a_number_that_names_neither_are_a_problem() {
    let pbx = "[[pbx]]\nname = \"branch\"\naddress = \"127.0.0.2\"\n";
    let found = Workshop::new().findings(&format!("{GOOD}\n{pbx}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].key, "number.pbx");
    assert_eq!(found[0].remedy, "name one of: main, branch");
    let said = format!("{GOOD}\n{pbx}").replace("\"100\"", "\"100\"\npbx = \"branch\"");
    assert_eq!(
        Workshop::new().load(&said).unwrap().numbers[0].pbxs,
        ["branch"]
    );
}

#[test]
fn a_pbx_that_would_be_taken_for_another_is_pointed_out() {
    let good = GOOD.replace("\"100\"", "\"100\"\npbx = \"main\"");
    let wide = good.replace("[media]", "allowed_sources = [\"127.0.0.0/8\"]\n[media]");
    let second = "[[pbx]]\nname = \"branch\"\naddress = \"127.0.0.2\"\n";
    let found = Workshop::new().findings(&format!("{wide}\n{second}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].severity, Severity::Warning);
    assert_eq!(found[0].key, "pbx.allowed_sources");
    assert!(found[0].what.contains("\"main\""), "{}", found[0]);
    let apart = Workshop::new().findings(&format!("{good}\n{second}"));
    assert_eq!(apart, []);
}

#[test]
fn a_file_without_numbers_is_of_no_use() {
    let (start, rest) = GOOD.split_once("[[number]]").unwrap();
    let (_, end) = rest.split_once("[[pbx]]").unwrap();
    let found = Workshop::new().findings(&format!("{start}[[pbx]]{end}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].what, "no number is configured");
}

#[test]
fn a_password_of_the_wrong_kind_is_not_repeated() {
    let text = GOOD.replace("password_file = \"password\"", "password = 31415926");
    let found = Workshop::new().findings(&text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].key, "number.password");
    assert!(!found[0].to_string().contains("31415926"), "{}", found[0]);
}

#[test]
fn a_file_that_is_not_there_is_said_so() {
    let found = wabridge::config::Config::load("/nonexistent/wabridge.toml".as_ref()).unwrap_err();
    assert!(
        found[0]
            .to_string()
            .starts_with("/nonexistent/wabridge.toml:1:1: cannot be read"),
        "{}",
        found[0]
    );
}

#[test]
fn a_number_offers_what_it_is_set_to_at_meta_or_with_auto_what_it_is_told() {
    let workshop = Workshop::new();
    for (said, keying) in [
        (
            "",
            Keying::Auto {
                offer: KeyExchange::Dtls,
            },
        ),
        (
            "offer = \"sdes\"",
            Keying::Auto {
                offer: KeyExchange::Sdes,
            },
        ),
        (
            "keying = \"auto\"\noffer = \"dtls\"",
            Keying::Auto {
                offer: KeyExchange::Dtls,
            },
        ),
        ("keying = \"dtls\"", Keying::Set(KeyExchange::Dtls)),
        ("keying = \"sdes\"", Keying::Set(KeyExchange::Sdes)),
    ] {
        let text = GOOD.replace("\"100\"", &format!("\"100\"\n{said}"));
        assert_eq!(workshop.load(&text).unwrap().numbers[0].keying, keying);
    }
}

#[test]
fn records_that_could_not_be_written_are_found_before_the_first_call() {
    let workshop = Workshop::new();
    std::fs::create_dir(workshop.path("folder")).unwrap();
    let good = workshop.findings(&format!("{GOOD}[records]\nfile = \"records.jsonl\""));
    assert_eq!(good, []);
    assert!(!workshop.path("records.jsonl").exists(), "check makes none");
    let cases = [
        (
            "file = \"no/records.jsonl\"",
            "records.file",
            "no file can be made in",
        ),
        ("file = \"folder\"", "records.file", "is no regular file"),
        ("keep = 0", "records.keep", "1 to 999"),
        (
            "numbers = \"some\"",
            "records.numbers",
            "must be \"full\" or \"masked\"",
        ),
    ];
    for (line, key, what) in cases {
        let found = workshop.findings(&format!("{GOOD}[records]\n{line}"));
        let [problem] = found.as_slice() else {
            panic!("{line}: {found:#?}");
        };
        assert_eq!(
            (problem.key.as_str(), problem.severity),
            (key, Severity::Error)
        );
        assert!(problem.what.contains(what), "{problem}");
    }
}

#[test]
fn records_that_everybody_may_read_are_a_warning() {
    let workshop = Workshop::new();
    workshop.write("records.jsonl", "");
    workshop.set_mode("records.jsonl", 0o644);
    let found = workshop.findings(&format!("{GOOD}[records]\nfile = \"records.jsonl\""));
    let [problem] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert_eq!(
        (problem.key.as_str(), problem.severity),
        ("records.file", Severity::Warning)
    );
}
