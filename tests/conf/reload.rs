use wabridge::config::{Config, restart_only_changes};

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

#[test]
fn what_the_next_call_can_use_needs_no_restart() {
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
            ["# level = \"info\"", "level = \"debug\""],
        ],
    );
    assert_ne!(old, new);
    assert_eq!(restart_only_changes(&old, &new), Vec::<&str>::new());
}

#[test]
fn sockets_and_threads_stay_until_a_restart() {
    let workshop = Workshop::new();
    let old = changed(&workshop, &[]);
    let new = changed(
        &workshop,
        &[
            ["# listen = \"0.0.0.0:5061\"", "listen = \"0.0.0.0:15061\""],
            ["## address = \"127.0.0.1\"", "address = \"127.0.0.1\""],
            ["# tcp = \"0.0.0.0:5070\"", "tcp = \"off\""],
            ["# ports = \"20000-29999\"", "ports = \"30000-39999\""],
            ["# workers = 0", "workers = 2"],
        ],
    );
    let changes = ["meta.listen", "meta.address", "pbx_listener", "media"];
    assert_eq!(restart_only_changes(&old, &new), changes);
    assert_eq!(restart_only_changes(&new, &new), Vec::<&str>::new());
}

#[test]
fn a_renewed_certificate_is_a_change_that_needs_no_restart() {
    let (before, after) = (Workshop::new(), Workshop::new());
    let old = changed(&before, &[]);
    let mut new = changed(&after, &[]);
    assert_ne!(old.certificate, new.certificate);
    new.meta = old.meta.clone();
    assert_eq!(restart_only_changes(&old, &new), Vec::<&str>::new());
}
