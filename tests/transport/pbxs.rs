//! Several PBXs over TLS, each with an authority of its own.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use wabridge::sip::transport::tls::ByHost;

/// A PBX over TLS at an address of its own.
struct Pbx {
    name: &'static str,
    address: Ipv4Addr,
    authority: Authority,
    end: End,
}

impl Pbx {
    async fn start(name: &'static str, last: u8) -> Pbx {
        let address = Ipv4Addr::new(127, 81, 1, last);
        let authority = Authority::named(name);
        let listens = vec![Listen {
            address: SocketAddr::from((address, 0)),
            ..listen(Leg::Pbx, Protocol::Tls, Some(authority.server(name)))
        }];
        let settings = Settings::default();
        Pbx {
            name,
            address,
            end: End::start(settings, listens, Clients::default(), no_names()).await,
            authority,
        }
    }

    fn at(&self, host: &str) -> Target {
        hop(Leg::Pbx, Protocol::Tls, host, self.end.bound[0].port())
    }
}

/// Rules for these PBXs, each judged by the authority beside it.
fn clients(pbxs: &[(&Pbx, &Authority)]) -> Clients {
    let mut clients = Clients::default();
    for (pbx, authority) in pbxs {
        let client = ClientTls {
            config: tls::client_config(&authority.roots()).unwrap(),
            server_name: Some(pbx.name.to_owned()),
        };
        let network = std::net::IpAddr::from(pbx.address).into();
        clients.pbxs.insert(pbx.name, vec![network], client);
    }
    clients
}

/// A bridge that finds the PBXs by their names.
async fn bridge(pbxs: &[&Pbx], clients: Clients) -> End {
    let names = pbxs
        .iter()
        .map(|pbx| (pbx.name.to_owned(), pbx.end.bound[0]));
    let names = Names::system(Overrides::from_iter(names));
    End::start(Settings::default(), Vec::new(), clients, names).await
}

#[tokio::test]
async fn each_pbx_is_judged_by_its_own_authority_and_name() {
    let mut a = Pbx::start("a.example", 1).await;
    let mut b = Pbx::start("b.example", 2).await;
    let rules = clients(&[(&a, &a.authority), (&b, &b.authority)]);
    let bridge = bridge(&[&a, &b], rules).await;
    for (pbx, id) in [(&mut a, "a"), (&mut b, "b")] {
        // By its name, and by the address that it may give in a Contact.
        for host in [pbx.name.to_owned(), pbx.address.to_string()] {
            bridge.transports.send(options(id), pbx.at(&host), None);
            assert_eq!(call_id(&pbx.end.arrival().await.message), id);
        }
    }
}

#[tokio::test]
async fn a_connection_to_one_pbx_is_not_judged_by_the_authority_of_another() {
    let a = Pbx::start("a.example", 3).await;
    let mut b = Pbx::start("b.example", 4).await;
    // The authority of a has vouched for neither, and that of b for b alone.
    let strangers = Authority::named("nobody's");
    let rules = clients(&[(&a, &strangers), (&b, &b.authority)]);
    let mut bridge = bridge(&[&a, &b], rules).await;
    for host in [a.name, "127.81.1.3"] {
        bridge.transports.send(options("1"), a.at(host), None);
        let (_, reason) = bridge.failed().await;
        let why = "its certificate for a.example comes from an authority that is not trusted here";
        assert!(reason.contains(why), "{reason}");
    }
    bridge.transports.send(options("2"), b.at(b.name), None);
    assert_eq!(call_id(&b.end.arrival().await.message), "2");
    // A reload puts it right for the next connection.
    let rules = clients(&[(&a, &a.authority), (&b, &strangers)]);
    bridge.transports.replace_clients(rules);
    let mut a = a;
    bridge.transports.send(options("3"), a.at(a.name), None);
    assert_eq!(call_id(&a.end.arrival().await.message), "3");
}

#[tokio::test]
async fn a_host_that_belongs_to_no_pbx_is_not_connected_to() {
    let a = Pbx::start("a.example", 5).await;
    let b = Pbx::start("b.example", 6).await;
    let elsewhere = Pbx::start("c.example", 7).await;
    let rules = clients(&[(&a, &a.authority), (&b, &b.authority)]);
    let mut bridge = bridge(&[&a, &b, &elsewhere], rules).await;
    bridge
        .transports
        .send(options("1"), elsewhere.at("c.example"), None);
    let (_, reason) = bridge.failed().await;
    let why = "c.example is none of the hosts that are reached by TLS, and 127.81.1.7 is in no";
    assert!(reason.contains(why), "{reason}");
}

#[tokio::test]
async fn of_two_pbxs_in_one_network_the_narrower_is_meant() {
    let mut narrow = Pbx::start("a.example", 8).await;
    let wide = Authority::named("wide");
    let mut rules = ByHost::default();
    let mut add = |host: &str, network: &str, authority: &Authority| {
        let client = ClientTls {
            config: tls::client_config(&authority.roots()).unwrap(),
            server_name: Some(host.to_owned()),
        };
        rules.insert(host, vec![network.parse().unwrap()], client);
    };
    add("wide.example", "127.0.0.0/8", &wide);
    add("a.example", "127.81.1.0/24", &narrow.authority);
    let clients = Clients {
        pbxs: rules,
        ..Clients::default()
    };
    let bridge = bridge(&[], clients).await;
    let target = narrow.at(&narrow.address.to_string());
    bridge.transports.send(options("1"), target, None);
    assert_eq!(call_id(&narrow.end.arrival().await.message), "1");
}
