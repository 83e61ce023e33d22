//! What DTLS handshakes leave behind: the library's memory is C's, so the process is asked, not the allocator. The
//! only test of its file, for it measures the whole process.

use std::time::{Duration, Instant};

use wabridge::media::dtls::{Action, Certificate, Context, Handshake, Role, Settings};

/// Memory of this process that is in use, in octets.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.unwrap().parse::<usize>().unwrap() * 1024
}

/// Two ends that have agreed on keys.
fn agreed(context: &Context) -> [Handshake; 2] {
    let now = Instant::now();
    let mut ends = [Role::Client, Role::Server]
        .map(|role| Handshake::new(context, role, vec![context.fingerprint()], now).unwrap());
    let (mut keys, mut at) = (0, 0);
    let mut actions = ends[0].tick(now);
    while keys < 2 {
        assert!(!actions.is_empty(), "stuck");
        let mut answers = Vec::new();
        for action in actions {
            match action {
                Action::Send(datagram) => answers.extend(ends[1 - at].handle(&datagram, now)),
                Action::Keys(_) => keys += 1,
                Action::Failed(failure) => panic!("{failure}"),
            }
        }
        (actions, at) = (answers, 1 - at);
    }
    ends
}

#[test]
fn handshakes_are_small_while_they_live_and_leave_nothing_behind() {
    const ENDS: usize = 400;
    let context = Context::new(&Certificate::generate().unwrap(), &Settings::default()).unwrap();
    drop(agreed(&context));
    let before = resident();
    let living: Vec<_> = (0..ENDS / 2).map(|_| agreed(&context)).collect();
    let each = resident().saturating_sub(before) / ENDS;
    assert!(each < 32 * 1024, "{each} octets an end");
    drop(living);

    let before = resident();
    for nth in 0..2_000u64 {
        // Half of them are given up instead.
        if nth % 2 == 0 {
            drop(agreed(&context));
            continue;
        }
        let (now, late) = (Instant::now(), Instant::now() + Duration::from_secs(11));
        let mut client = Handshake::new(&context, Role::Client, Vec::new(), now).unwrap();
        assert_eq!(client.tick(now).len(), 1);
        assert!(matches!(client.tick(late)[..], [Action::Failed(_)]));
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 1024 * 1024, "{grown} octets more after 3000 ends");
}
