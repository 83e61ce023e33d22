//! What an operator may set about the pages for operators.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `[admin]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where metrics, health and status are served.
    pub listen: Listen,
}

impl Settings {
    /// With a relative name of a file counted from this folder.
    #[must_use]
    pub fn within(self, folder: &Path) -> Settings {
        let listen = match self.listen {
            Listen::Unix(path) => Listen::Unix(folder.join(path)),
            other => other,
        };
        Settings { listen }
    }
}

/// Where pages are served: `off`, `unix:/path` or `IP:port`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At an address.
    Tcp(SocketAddr),
    /// At a socket that is a file: the permissions of the file and of its folder say who may ask.
    Unix(PathBuf),
}

impl Default for Listen {
    /// Loopback: it needs no folder and no rights, and Prometheus reads no Unix sockets.
    fn default() -> Listen {
        Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9091)))
    }
}

impl Listen {
    /// Its port, where it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Listen::Tcp(address) => Some(address.port()),
            Listen::Off | Listen::Unix(_) => None,
        }
    }

    /// Whether hosts other than this one may reach it.
    pub fn is_open_to_others(&self) -> bool {
        matches!(self, Listen::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let wanted = "write \"IP:port\", \"unix:/path\" or \"off\"";
        match text.strip_prefix("unix:") {
            _ if text == "off" => Ok(Listen::Off),
            Some("") => Err(format!("\"unix:\" names no file: {wanted}")),
            Some(path) => Ok(Listen::Unix(path.into())),
            None => match text.parse() {
                Ok(address) => Ok(Listen::Tcp(address)),
                Err(_) => Err(format!("{text:?} is no address: {wanted}")),
            },
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Listen, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> String {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Off => f.write_str("off"),
            Listen::Tcp(address) => address.fmt(f),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in [
            "off",
            "unix:/run/wabridge/admin.sock",
            "127.0.0.1:9091",
            "[::1]:9091",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "localhost:9091", "9091", "/run/admin.sock"] {
            let said = text.parse::<Listen>().unwrap_err();
            assert!(said.contains("unix:/path"), "{said}");
        }
    }

    #[test]
    fn only_what_others_can_reach_is_open_to_them() {
        let open = |text: &str| text.parse::<Listen>().unwrap().is_open_to_others();
        assert!(open("0.0.0.0:9091") && open("[::]:9091") && open("192.0.2.10:9091"));
        assert!(!open("127.0.0.5:9091") && !open("[::1]:9091") && !open("unix:/x") && !open("off"));
    }
}
