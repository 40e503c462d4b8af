//! The address to listen on.
//!
//! Owns its syntax and its candidates. Must not bind, nor resolve while parsing.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    str::FromStr,
};

use crate::authority::{AuthorityError, Host, split_port};

/// Where to listen for scrapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// All interfaces if there is none.
    host: Option<Host>,
    port: u16,
}

/// What is wrong with an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddressError {
    /// It has no port.
    #[error("it needs a port, as in 127.0.0.1:10402 or [::1]:10402")]
    NoPort,
    /// Its host or port can't be read.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl ListenAddress {
    /// Socket addresses to try in this order until one can be bound. All interfaces
    /// means IPv6's wildcard (which takes IPv4 too), else IPv4's, on hosts without IPv6.
    ///
    /// # Errors
    /// When a host name can't be resolved.
    pub fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            None => Ok(vec![
                (Ipv6Addr::UNSPECIFIED, self.port).into(),
                (Ipv4Addr::UNSPECIFIED, self.port).into(),
            ]),
            Some(Host::Ip(ip)) => Ok(vec![(*ip, self.port).into()]),
            Some(Host::Name(name)) => Ok((name.as_str(), self.port).to_socket_addrs()?.collect()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = split_port(text)?;
        let port = port.ok_or(ListenAddressError::NoPort)?;
        let host = if host.is_empty() { None } else { Some(host.parse()?) };
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            host.fmt(f)?;
        }
        write!(f, ":{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

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
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<ListenAddress>();
        }

        #[test]
        fn every_socket_address_is_a_listen_address(ip: IpAddr, port: u16) {
            let address = SocketAddr::from((ip, port));
            let parsed: ListenAddress = address.to_string().parse().unwrap();
            prop_assert_eq!(parsed.candidates().unwrap(), vec![address]);
        }
    }
}
