//! What the bridge writes into its log in the course of a ladder.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

thread_local! {
    /// Each test has a thread of its own, and the bridge of its ladder runs on it.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Paper;

impl Write for Paper {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_writer(|| Paper)
            .with_ansi(false)
            .without_time()
            .init();
    });
    LOG.with_borrow_mut(Vec::clear);
}

/// The warnings since then, one each.
pub fn warnings() -> Vec<String> {
    lines("WARN")
}

/// The lines of one level since then.
pub fn lines(level: &str) -> Vec<String> {
    let log = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    log.lines()
        .filter(|line| line.trim_start().starts_with(level))
        .map(str::to_owned)
        .collect()
}
