//! What the openssl crate does not offer of AWS-LC: its DTLS timer, and the clock that the timer reads.
//!
//! The only unsafe code of the module. The library asks for the time through a callback that is not told for whom, so
//! the time stands in a thread-local: [`at`] sets it, and every call into the library is made inside of `at`.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::time::Duration;

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslRef, SslStream};
use openssl::x509::X509VerifyResult;
use openssl_sys::{
    DTLSv1_get_timeout, DTLSv1_handle_timeout, DTLSv1_set_initial_timeout_duration, SSL,
    SSL_CTX_set_current_time_cb, X509_V_ERR_CERT_REJECTED, timeval,
};

thread_local! {
    /// The time of the call into the library that is under way on this thread.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Calls the library at a time, counted from any moment; times of one handshake must not go back.
pub(super) fn at<T>(time: Duration, call: impl FnOnce() -> T) -> T {
    // The library takes 0 for "no timer", so no time may be 0.
    NOW.set(time + Duration::from_secs(1));
    call()
}

/// Makes handshakes of a context read the time that [`at`] sets.
pub(super) fn inject_clock(builder: &mut SslContextBuilder) {
    // SAFETY: `builder` owns a live SSL_CTX, mutably borrowed here. The callback is a plain function that lives as long
    // as the program, and touches nothing but its argument and a thread-local without a destructor.
    unsafe { SSL_CTX_set_current_time_cb(builder.as_ptr(), Some(read_clock)) }
}

/// The library's clock. `_ssl` is always null.
unsafe extern "C" fn read_clock(_ssl: *const SSL, out: *mut timeval) {
    let now = NOW.get();
    let time = timeval {
        tv_sec: now.as_secs().cast_signed(),
        tv_usec: now.subsec_micros().into(),
    };
    // SAFETY: the library passes a pointer to a timeval of its own, valid for writes during this call.
    unsafe { out.write(time) }
}

/// Sets how long the library waits before it repeats its first flight; the wait then doubles.
pub(super) fn set_first_wait(ssl: &mut SslRef, wait: Duration) {
    let milliseconds = wait.as_millis().try_into().unwrap_or(u32::MAX);
    // SAFETY: `ssl` is a live SSL, mutably borrowed; the function stores the number in it.
    unsafe { DTLSv1_set_initial_timeout_duration(ssl.as_ptr(), milliseconds) }
}

/// How long until the library wants to repeat its flight. `None`: it waits for nothing.
pub(super) fn time_left(ssl: &SslRef) -> Option<Duration> {
    let mut left = timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    // SAFETY: `ssl` is a live SSL, which the function only reads, and `left` is valid for writes.
    let running = unsafe { DTLSv1_get_timeout(ssl.as_ptr(), &raw mut left) } == 1;
    let seconds = Duration::from_secs(left.tv_sec.try_into().unwrap_or(0));
    let rest = Duration::from_micros(left.tv_usec.try_into().unwrap_or(0));
    running.then_some(seconds + rest)
}

/// Repeats the flight if its time has come.
///
/// # Errors
/// When the library gives up: it repeats a flight twelve times.
pub(super) fn repeat_flight<S>(stream: &mut SslStream<S>) -> Result<(), ErrorStack> {
    // SAFETY: the stream's SSL is live. It writes to the `S` behind its BIO, and since the stream is mutably borrowed
    // here, nobody holds a reference to it or to that `S`.
    let done = unsafe { DTLSv1_handle_timeout(stream.ssl().as_ptr()) };
    if done < 0 {
        return Err(ErrorStack::get());
    }
    Ok(())
}

/// "Certificate rejected", which makes the library send the alert `bad_certificate` (RFC 8122 §6.2).
pub(super) fn rejected() -> X509VerifyResult {
    // SAFETY: unsafe only for numbers that are no verification result, and this one is one.
    unsafe { X509VerifyResult::from_raw(X509_V_ERR_CERT_REJECTED) }
}
