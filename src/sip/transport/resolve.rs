//! Names become addresses, by the system's resolver and off the call path.
//!
//! Meta documents no SRV or NAPTR records, and a PBX is named with its port, so A and AAAA are all that is asked for.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long addresses are kept; short, since the system's resolver does not tell how long they may be.
const KEPT: Duration = Duration::from_secs(30);
/// How long a failure is kept: those who waited for the same lookup share it.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Most names kept at once; peers can put any host into a Contact.
const MOST_NAMES: usize = 1024;
/// Most addresses tried for one name.
const MOST_ADDRESSES: usize = 8;

/// What a lookup comes to.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Something that knows the addresses of names.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, best first.
    fn addresses(&self, host: String) -> Lookup;
}

/// The system's resolver: `/etc/hosts`, DNS and whatever else nsswitch says.
struct System;

impl Resolve for System {
    fn addresses(&self, host: String) -> Lookup {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Hosts that are not looked up: host name, lower case, to the address that is used instead of it and its port.
pub type Overrides = HashMap<String, SocketAddr>;

/// Looks up names; remembers the answers for a short time, and asks only once at a time for each name.
pub struct Names {
    resolver: Box<dyn Resolve>,
    overrides: Overrides,
    known: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Answer>>>>>,
}

struct Answer {
    until: Instant,
    addresses: Result<Vec<IpAddr>, String>,
}

impl Names {
    /// By the system's resolver.
    pub fn system(overrides: Overrides) -> Names {
        Names::with(System, overrides)
    }

    /// By another resolver.
    pub fn with(resolver: impl Resolve, overrides: Overrides) -> Names {
        Names {
            resolver: Box::new(resolver),
            overrides,
            known: Mutex::default(),
        }
    }

    /// What needs no lookup: an address as it stands, or an override.
    pub(super) fn at_once(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let overridden = self.overrides.get(&host.to_ascii_lowercase()).copied();
        overridden.or_else(|| Some(SocketAddr::new(host.parse().ok()?, port)))
    }

    /// The addresses to try for `host`, in order; the error is for the operator.
    pub async fn lookup(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = self.at_once(host, port) {
            return Ok(vec![address]);
        }
        let slot = self.slot(host);
        let asked = async {
            let mut slot = slot.lock().await;
            match &*slot {
                Some(answer) if Instant::now() < answer.until => answer.addresses.clone(),
                _ => {
                    let addresses = self.ask(host, limit).await;
                    let kept = if addresses.is_ok() {
                        KEPT
                    } else {
                        FAILURE_KEPT
                    };
                    let until = Instant::now() + kept;
                    let answer = slot.insert(Answer { until, addresses });
                    answer.addresses.clone()
                }
            }
        };
        let addresses = asked.await?;
        Ok(addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }

    async fn ask(&self, host: &str, limit: Duration) -> Result<Vec<IpAddr>, String> {
        let answer = tokio::time::timeout(limit, self.resolver.addresses(host.to_owned())).await;
        match answer {
            Ok(Ok(mut addresses)) if !addresses.is_empty() => {
                addresses.truncate(MOST_ADDRESSES);
                Ok(addresses)
            }
            Ok(Ok(_)) => Err(format!("the name {host} has no address")),
            Ok(Err(error)) => Err(format!("the name {host} cannot be looked up: {error}")),
            Err(_) => Err(format!(
                "looking up the name {host} took over {} s; is the name server reachable?",
                limit.as_secs()
            )),
        }
    }

    fn slot(&self, host: &str) -> Arc<tokio::sync::Mutex<Option<Answer>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_NAMES {
            let now = Instant::now();
            // What is locked is being looked up, and somebody waits for it.
            known.retain(|_, slot| {
                slot.try_lock()
                    .map_or(true, |slot| slot.as_ref().is_some_and(|a| now < a.until))
            });
        }
        if known.len() >= MOST_NAMES {
            known.clear();
        }
        known.entry(host.to_ascii_lowercase()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LIMIT: Duration = Duration::from_secs(5);

    /// Answers when it is let go.
    struct Counting(Arc<AtomicUsize>, Arc<tokio::sync::Notify>);

    impl Resolve for Counting {
        fn addresses(&self, host: String) -> Lookup {
            self.0.fetch_add(1, Ordering::Relaxed);
            let go = self.1.clone();
            Box::pin(async move {
                go.notified().await;
                match host.as_str() {
                    "known.test" => Ok(vec![IpAddr::from([127, 0, 0, 7])]),
                    _ => Err(io::Error::other("no such name")),
                }
            })
        }
    }

    fn names() -> (Arc<AtomicUsize>, Arc<tokio::sync::Notify>, Names) {
        let asked = Arc::new(AtomicUsize::new(0));
        let go = Arc::new(tokio::sync::Notify::new());
        let resolver = Counting(asked.clone(), go.clone());
        let names = Names::with(resolver, Overrides::default());
        (asked, go, names)
    }

    #[tokio::test]
    async fn those_who_wait_for_one_name_share_one_lookup_and_its_answer_is_kept() {
        let (asked, go, names) = names();
        let (one, two, ()) = tokio::join!(
            names.lookup("known.test", 5061, LIMIT),
            names.lookup("Known.test", 5070, LIMIT),
            async { go.notify_one() }
        );
        assert_eq!(one.unwrap(), ["127.0.0.7:5061".parse().unwrap()]);
        assert_eq!(two.unwrap(), ["127.0.0.7:5070".parse().unwrap()]);
        names.lookup("known.test", 1, LIMIT).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failure_and_a_lookup_without_end_name_the_host() {
        let (_, go, names) = names();
        go.notify_one();
        let said = names.lookup("gone.test", 1, LIMIT).await.unwrap_err();
        assert!(
            said.contains("gone.test") && said.contains("no such name"),
            "{said}"
        );
        let short = Duration::from_millis(1);
        let said = names.lookup("known.test", 1, short).await.unwrap_err();
        assert!(said.contains("known.test took over"), "{said}");
    }

    #[tokio::test]
    async fn addresses_and_overrides_are_never_looked_up() {
        let (asked, _, mut names) = names();
        let elsewhere: SocketAddr = "127.0.0.1:15061".parse().unwrap();
        names.overrides.insert("wa.meta.vc".into(), elsewhere);
        assert_eq!(names.at_once("WA.meta.vc", 5061), Some(elsewhere));
        let found = names.lookup("::1", 5060, LIMIT).await.unwrap();
        assert_eq!(found, ["[::1]:5060".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }
}
