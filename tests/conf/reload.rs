use wabridge::config::Config;

use super::workshop::{Workshop, reference};

/// The reference file with some defaults changed.
fn changed(workshop: &Workshop, changes: &[[&str; 2]]) -> Config {
    let mut text = reference();
    for [from, to] in changes {
        assert!(text.contains(&format!("\n{from}\n")), "{from}");
        text = text.replace(&format!("\n{from}\n"), &format!("\n{to}\n"));
    }
    workshop.load(&text).unwrap()
}

/// What a bridge that was started with the one says of a reload with the other: what changed, and what waits.
fn reload(started: &Config, new: &Config) -> [Vec<String>; 2] {
    let now = new.without_restart(started);
    [started.changes_to(&now), now.changes_to(new)]
        .map(|changes| changes.iter().map(ToString::to_string).collect())
}

#[test]
fn what_the_next_call_can_use_needs_no_restart_and_is_named() {
    let workshop = Workshop::new();
    let old = changed(&workshop, &[]);
    let new = changed(
        &workshop,
        &[
            ["## target = \"100\"", "target = \"200\""],
            ["address = \"127.0.0.1:5060\"", "address = \"127.0.0.2\""],
            ["# ring_timeout = 55", "ring_timeout = 20"],
            ["# keying = \"auto\"", "keying = \"sdes\""],
            ["# dtls_setup = \"actpass\"", "dtls_setup = \"active\""],
            ["# ack_when_keyed = false", "ack_when_keyed = true"],
            ["# reinvite = \"reject\"", "reinvite = \"local\""],
            [
                "## media_address = \"127.0.0.1\"",
                "media_address = \"127.0.0.2\"",
            ],
            [
                "# international_prefix = \"00\"",
                "international_prefix = \"011\"",
            ],
            ["# level = \"info\"", "level = \"debug\""],
        ],
    );
    let [changed, kept] = reload(&old, &new);
    let number = "number[+1214555••69]";
    let shown = changed.iter().find_map(|key| key.strip_suffix(".target"));
    let shown = shown.unwrap_or_else(|| panic!("{changed:?}"));
    assert!(
        !shown.contains("5551869"),
        "{shown} is not masked as {number} is"
    );
    let expected = [
        "calls.ring_timeout".to_owned(),
        "log.level".to_owned(),
        "meta.dtls_setup".to_owned(),
        format!("{shown}.keying"),
        format!("{shown}.offer"),
        format!("{shown}.target"),
        "pbx[main].ack_when_keyed".to_owned(),
        "pbx[main].address".to_owned(),
        "pbx[main].dialling.international_prefix".to_owned(),
        "pbx[main].media_address".to_owned(),
        "pbx[main].reinvite".to_owned(),
    ];
    assert_eq!(changed, expected);
    assert_eq!(kept, Vec::<String>::new());
}

#[test]
fn sockets_and_threads_stay_until_a_restart_and_each_key_is_named() {
    let workshop = Workshop::new();
    let old = changed(&workshop, &[]);
    let new = changed(
        &workshop,
        &[
            ["# listen = \"0.0.0.0:5061\"", "listen = \"0.0.0.0:15061\""],
            ["## address = \"127.0.0.1\"", "address = \"127.0.0.1\""],
            ["# tcp = \"0.0.0.0:5070\"", "tcp = \"off\""],
            ["# keepalive = 30", "keepalive = 20"],
            ["# t1 = 500", "t1 = 400"],
            ["# ports = \"20000-29999\"", "ports = \"22000-29999\""],
            ["# workers = 0", "workers = 2"],
            ["# format = \"text\"", "format = \"json\""],
        ],
    );
    let keys = [
        "log.format",
        "media.ports",
        "media.workers",
        "meta.address",
        "meta.listen",
        "pbx_listener.tcp",
        "sip.keepalive",
        "transactions.t1",
    ];
    let [took_effect, kept] = reload(&old, &new);
    assert_eq!(
        (took_effect, kept),
        (Vec::new(), keys.map(str::to_owned).to_vec())
    );
    assert_eq!(reload(&new, &new), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn where_the_domain_is_not_looked_up_it_and_its_port_wait_too() {
    let workshop = Workshop::new();
    let simulated = ["## address = \"127.0.0.1\"", "address = \"127.0.0.1\""];
    let other = ["# port = 5061", "port = 5062"];
    let [took_effect, kept] = reload(
        &changed(&workshop, &[simulated]),
        &changed(&workshop, &[simulated, other]),
    );
    assert_eq!(
        (took_effect, kept),
        (Vec::new(), vec!["meta.port".to_owned()])
    );
    let [took_effect, kept] = reload(&changed(&workshop, &[]), &changed(&workshop, &[other]));
    assert_eq!(
        (took_effect, kept),
        (vec!["meta.port".to_owned()], Vec::new())
    );
}

#[test]
fn numbers_and_pbxs_that_come_and_go_are_named_whatever_their_order() {
    let workshop = Workshop::new();
    let pbx = "[[pbx]]\nname = \"branch\"\naddress = \"127.0.0.9\"\n";
    let number =
        "[[number]]\nnumber = \"+4930123456\"\npassword_file = \"password\"\npbx = \"branch\"\n";
    // The first such key is that of [[number]].
    let named = reference().replacen("## pbx = ", "pbx = ", 1);
    let both = format!("{number}{named}{pbx}");
    let old = workshop.load(&reference()).unwrap();
    let new = workshop.load(&both).unwrap();
    let [changed, _] = reload(&old, &new);
    let told = |changes: &[String], what: &str| {
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes[0].starts_with("number[+49"), "{changes:?}");
        assert!(!changes[0].contains("123456"), "{changes:?}");
        assert!(changes[0].ends_with(what), "{changes:?}");
        assert_eq!(changes[1], format!("pbx[branch] {what}"));
    };
    told(&changed, "added");
    told(&reload(&new, &old)[0], "removed");
}

#[test]
fn a_renewed_certificate_and_a_new_password_are_changes_though_the_files_are_called_as_before() {
    let workshop = Workshop::new();
    let old = changed(&workshop, &[]);
    let renewed = Workshop::new();
    for file in ["fullchain.pem", "privkey.pem"] {
        std::fs::copy(renewed.path(file), workshop.path(file)).unwrap();
    }
    workshop.write("password", "another-secret\n");
    let [changed, kept] = reload(&old, &changed(&workshop, &[]));
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert_eq!(changed[0], "meta.certificate");
    assert!(changed[1].ends_with("].password"), "{changed:?}");
    assert_eq!(kept, Vec::<String>::new());
}
