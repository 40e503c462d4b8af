//! Addresses on the command line: where to listen, and where Docker's API is.
//!
//! Owns their syntax. Must not resolve or connect while parsing.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Longest host name that DNS can hold, in bytes (RFC 1035 §2.3.4, without the root).
const HOST_NAME_MAX_BYTES: usize = 253;

/// Longest path of a Unix socket in bytes: `sun_path` less its NUL (unix(7)).
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// Port of Docker's API without TLS where the URL names none, as `docker` itself has it.
const DOCKER_PORT: u16 = 2375;

/// Where to listen for scrapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Ip(IpAddr),
    Name(String),
}

impl ListenAddress {
    /// Socket addresses to try in this order until one can be bound. All interfaces
    /// means IPv6's wildcard (which takes IPv4 too), else IPv4's, on hosts without IPv6.
    ///
    /// # Errors
    /// When a host name can't be resolved.
    pub fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Any => Ok(vec![
                (Ipv6Addr::UNSPECIFIED, self.port).into(),
                (Ipv4Addr::UNSPECIFIED, self.port).into(),
            ]),
            Host::Ip(ip) => Ok(vec![(*ip, self.port).into()]),
            Host::Name(name) => Ok((name.as_str(), self.port).to_socket_addrs()?.collect()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = split_port(text)?;
        let port = port.ok_or("it needs a port, as in 127.0.0.1:10402 or [::1]:10402")?;
        let host = if host.is_empty() { Host::Any } else { parse_host(host)? };
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host {
            Host::Any => write!(f, ":{port}"),
            Host::Ip(ip) => SocketAddr::from((*ip, *port)).fmt(f),
            Host::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

/// Where Docker's API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerHost {
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
    /// Plain HTTP, by `HOST:PORT` (IPv6 addresses in brackets).
    Http(String),
}

impl DockerHost {
    /// The socket's path, if it is one.
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Http(_) => None,
        }
    }
}

impl FromStr for DockerHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(
            "it needs a scheme: unix:///var/run/docker.sock, tcp://HOST:PORT or http://HOST:PORT",
        )?;
        match scheme {
            "unix" => parse_socket_path(rest),
            "tcp" | "http" => parse_authority(rest),
            "https" => Err("TLS is not supported: use the Unix socket, or a proxy on this \
                            host that speaks plain HTTP"
                .to_owned()),
            other => Err(format!("the scheme {other}:// is not supported: use unix, tcp or http")),
        }
    }
}

impl fmt::Display for DockerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

fn parse_socket_path(path: &str) -> Result<DockerHost, String> {
    if !path.starts_with('/') {
        return Err("the socket's path must be absolute, as in unix:///var/run/docker.sock".into());
    }
    if path.len() > SOCKET_PATH_MAX_BYTES {
        return Err(format!("a socket's path has at most {SOCKET_PATH_MAX_BYTES} bytes"));
    }
    Ok(DockerHost::Unix(path.into()))
}

fn parse_authority(rest: &str) -> Result<DockerHost, String> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err("only a host and a port may follow the scheme".to_owned());
    }
    let (host, port) = split_port(authority)?;
    if host.is_empty() {
        return Err("it needs a host, as in tcp://127.0.0.1:2375".to_owned());
    }
    parse_host(host)?;
    match port.unwrap_or(DOCKER_PORT) {
        0 => Err("port 0 can't be connected to".to_owned()),
        port => Ok(DockerHost::Http(format!("{host}:{port}"))),
    }
}

/// Splits `HOST[:PORT]`; the host keeps its brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an address in brackets are not the port's.
        Some((_, inside)) if inside.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err("an IPv6 address needs brackets, as in [::1]:10402".to_owned());
    }
    let Some(port) = port else { return Ok((host, None)) };
    // u16's parser would take "+1", which no other tool does.
    match port.parse() {
        Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, Some(number))),
        _ => Err(format!("{port:?} is no port: it must be a number from 0 to 65535")),
    }
}

fn parse_host(host: &str) -> Result<Host, String> {
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inside.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(Host::Ip(ip.into())),
            Err(_) => Err(format!("{inside:?} is no IPv6 address")),
        };
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A name that ends in a number is a mistyped IPv4 address: no top-level domain does.
    let ends_in_number = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        last.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_name = host.len() <= HOST_NAME_MAX_BYTES && host.split('.').all(is_label);
    if is_name && !ends_in_number(host) {
        Ok(Host::Name(host.to_owned()))
    } else {
        Err(format!("{host:?} is neither an IP address nor a host name"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listen_addresses_as_node_exporter_takes_them() {
        let candidates = |text: &str| {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text, "shown as given");
            let socket_addresses = address.candidates().unwrap();
            socket_addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(candidates("127.0.0.1:10402"), ["127.0.0.1:10402"]);
        assert_eq!(candidates("[::1]:0"), ["[::1]:0"]);
        assert_eq!(candidates(":10402"), ["[::]:10402", "0.0.0.0:10402"]);
        assert!(candidates("localhost:80").contains(&"127.0.0.1:80".to_owned()));
    }

    #[test]
    fn wrong_listen_addresses_say_why() {
        for (text, reason) in [
            ("", "needs a port"),
            ("127.0.0.1", "needs a port"),
            ("[::1]", "needs a port"),
            ("::1:80", "needs brackets"),
            ("[::1:80", "needs brackets"),
            ("127.0.0.1:", "is no port"),
            ("127.0.0.1:+1", "is no port"),
            ("127.0.0.1:65536", "is no port"),
            ("127.0.0.1:http", "is no port"),
            ("[::g]:80", "no IPv6 address"),
            ("300.0.0.1:80", "neither an IP address nor a host name"),
            ("a host:80", "neither an IP address nor a host name"),
            ("a..b:80", "neither an IP address nor a host name"),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn docker_hosts_come_in_three_schemes() {
        for (text, shown) in [
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
            ("tcp://127.0.0.1:2376", "http://127.0.0.1:2376"),
            ("http://[::1]:80/", "http://[::1]:80"),
            ("tcp://dockerhost", "http://dockerhost:2375"),
            ("tcp://[::1]", "http://[::1]:2375"),
        ] {
            assert_eq!(text.parse::<DockerHost>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn wrong_docker_hosts_say_why() {
        let long_path = format!("unix:///{}", "a".repeat(SOCKET_PATH_MAX_BYTES));
        for (text, reason) in [
            ("/var/run/docker.sock", "needs a scheme"),
            ("unix://docker.sock", "must be absolute"),
            (long_path.as_str(), "at most 107 bytes"),
            ("ssh://root@host", "ssh:// is not supported"),
            ("https://host", "TLS is not supported"),
            ("tcp://", "needs a host"),
            ("tcp://:2375", "needs a host"),
            ("tcp://host:0", "port 0"),
            ("tcp://host:2375/v1.41", "only a host and a port"),
            ("tcp://::1:2375", "needs brackets"),
        ] {
            let error = text.parse::<DockerHost>().unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<ListenAddress>();
            let _ = text.parse::<DockerHost>();
        }

        #[test]
        fn every_socket_address_is_a_listen_address(ip: IpAddr, port: u16) {
            let address = SocketAddr::from((ip, port));
            let parsed: ListenAddress = address.to_string().parse().unwrap();
            prop_assert_eq!(parsed.candidates().unwrap(), vec![address]);
        }

        #[test]
        fn what_is_shown_parses_to_the_same(text in "(tcp|http|unix)://[a-z/\\[\\]:.0-9]{1,20}") {
            if let Ok(host) = text.parse::<DockerHost>() {
                prop_assert_eq!(host.to_string().parse::<DockerHost>(), Ok(host));
            }
        }
    }
}
