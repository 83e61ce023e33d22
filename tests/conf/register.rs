//! `[pbx.register]`: what it may say, and what is said of its mistakes.

use wabridge::config::{Caller, Severity};

use super::workshop::{Workshop, reference};

/// The reference file with a registration of these keys.
fn with(keys: &str) -> String {
    let section = "[pbx.register]\n";
    assert!(reference().contains(section));
    reference().replacen(section, &format!("{section}{keys}\n"), 1)
}

fn workshop() -> Workshop {
    let workshop = Workshop::new();
    workshop.write("pbx-password", "the-pbx-has-it-too\n");
    workshop.set_mode("pbx-password", 0o600);
    workshop
}

const GOOD: &str = "username = 'trunk'\npassword_file = 'pbx-password'";

#[test]
fn a_registration_needs_a_name_and_a_password_and_has_a_default_for_the_rest() {
    let config = workshop().load(&with(GOOD)).unwrap();
    assert_eq!(config.warnings, []);
    let register = &config.pbxs[0].register;
    let (username, password) = register.login().unwrap();
    assert_eq!(
        (username, password.expose()),
        ("trunk", "the-pbx-has-it-too")
    );
    assert_eq!(register.expires().as_secs(), 300);
    assert_eq!(
        (register.from, register.dialled.as_str()),
        (Caller::Username, "To")
    );
    let printed = format!("{config:?}");
    assert!(!printed.contains("the-pbx-has-it-too"), "{printed}");
}

#[test]
fn without_a_name_nothing_is_registered() {
    let config = workshop().load(&reference()).unwrap();
    assert_eq!(config.pbxs[0].register.login(), None);
}

#[test]
fn every_mistake_is_named_with_its_key() {
    let workshop = workshop();
    for (keys, key, what) in [
        (
            "password_file = 'pbx-password'",
            "pbx.register",
            "no username",
        ),
        (
            "username = 'trunk'",
            "pbx.register.username",
            "password is missing",
        ),
        (
            "username = 'a b'\npassword_file = 'pbx-password'",
            "pbx.register.username",
            "before an @",
        ),
        (
            "username = ''\npassword_file = 'pbx-password'",
            "pbx.register.username",
            "before an @",
        ),
        (
            "username = 'trunk'\npassword_file = 'none'",
            "pbx.register.password_file",
            "cannot read",
        ),
        (
            &format!("{GOOD}\npassword = 'x'"),
            "pbx.register.password_file",
            "more than once",
        ),
        (
            &format!("{GOOD}\ndomain = 'sip:pbx'"),
            "pbx.register.domain",
            "neither a host name",
        ),
        (
            &format!("{GOOD}\nexpires = 29"),
            "pbx.register.expires",
            "30 to 86400",
        ),
        (
            &format!("{GOOD}\nexpires = 86401"),
            "pbx.register.expires",
            "30 to 86400",
        ),
        (
            &format!("{GOOD}\nfrom = 'me'"),
            "pbx.register.from",
            "must be \"username\"",
        ),
        (
            &format!("{GOOD}\ndialled = 'To:'"),
            "pbx.register.dialled",
            "no name of a header",
        ),
        (
            &format!("{GOOD}\nregistrars = []"),
            "pbx.register.registrars",
            "no address",
        ),
        (
            &format!("{GOOD}\nregistrars = ['sip:x']"),
            "pbx.register.registrars",
            "is no address",
        ),
        (
            &format!("{GOOD}\nuser = 'x'"),
            "pbx.register.user",
            "no such key",
        ),
    ] {
        let found = workshop.findings(&with(keys));
        let errors: Vec<_> = found
            .iter()
            .filter(|p| p.severity == Severity::Error)
            .collect();
        // A number that refers to a section that could not be read is told so as well.
        let problem = errors.iter().find(|p| p.key.starts_with(key));
        let problem = problem.unwrap_or_else(|| panic!("{keys}: {found:#?}"));
        assert!(problem.what.contains(what), "{keys}: {problem}");
        assert!(problem.position.line > 1, "{problem}");
    }
}

#[test]
fn over_tls_it_registers_at_the_host_whose_certificate_is_verified() {
    let workshop = workshop();
    let over_tls = |registrar: &str| {
        let keys = format!("{GOOD}\nregistrars = ['{registrar}']");
        let text = with(&keys).replacen("# transport = \"udp\"", "transport = \"tls\"", 1);
        workshop
            .load(&text)
            .map(|_| ())
            .map_err(|found| found[0].key.clone())
    };
    assert_eq!(over_tls("127.0.0.1:5071"), Ok(()));
    assert_eq!(
        over_tls("127.0.0.2:5061"),
        Err("pbx.register.registrars".into())
    );
}
