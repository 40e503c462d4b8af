//! `HOST[:PORT]` as people write it (RFC 3986 calls it the authority).
//!
//! Owns that syntax, for addresses to listen on and to connect to. Must not resolve
//! names.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Longest host name that DNS can hold, in bytes (RFC 1035 §2.3.4, without the root).
const NAME_MAX_BYTES: usize = 253;

/// A host, by its address or its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; IPv6 is written in brackets.
    Ip(IpAddr),
    /// A name that DNS, or the hosts file, may know.
    Name(String),
}

/// What is wrong with a host or a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Colons outside of brackets.
    #[error("an IPv6 address needs brackets, as in [::1]:10402")]
    Brackets,
    /// No port number.
    #[error("{0:?} is no port: it must be a number from 0 to 65535")]
    Port(String),
    /// In brackets, and no IPv6 address.
    #[error("{0:?} is no IPv6 address")]
    Ipv6(String),
    /// Neither of both.
    #[error("{0:?} is neither an IP address nor a host name")]
    Host(String),
}

/// Splits `HOST[:PORT]`; the host keeps its brackets and may be empty.
///
/// # Errors
/// When the port is no number up to 65535, or it is not clear where it begins.
pub fn split_port(text: &str) -> Result<(&str, Option<u16>), AuthorityError> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an address in brackets are not the port's.
        Some((_, inside)) if inside.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(AuthorityError::Brackets);
    }
    let Some(port) = port else { return Ok((host, None)) };
    // u16's parser would take "+1", which no other tool does.
    match port.parse() {
        Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, Some(number))),
        _ => Err(AuthorityError::Port(port.to_owned())),
    }
}

impl FromStr for Host {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return match inside.parse::<Ipv6Addr>() {
                Ok(ip) => Ok(Self::Ip(ip.into())),
                Err(_) => Err(AuthorityError::Ipv6(inside.to_owned())),
            };
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        if is_name(text) {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(AuthorityError::Host(text.to_owned()))
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A name that ends in a number is a mistyped IPv4 address: no top-level domain does.
    let ends_in_number = || {
        let last = text.rsplit('.').next().unwrap_or(text);
        last.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.len() <= NAME_MAX_BYTES && text.split('.').all(is_label) && !ends_in_number()
}

/// As [`FromStr`] reads it.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_port_begins_at_the_last_colon_outside_of_brackets() {
        for (text, parts) in [
            ("host", ("host", None)),
            ("host:0", ("host", Some(0))),
            (":65535", ("", Some(65_535))),
            ("[::1]", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some(80))),
        ] {
            assert_eq!(split_port(text), Ok(parts), "{text}");
        }
        for text in ["::1:80", "[::1:80", "a:b:80"] {
            assert_eq!(split_port(text), Err(AuthorityError::Brackets), "{text}");
        }
        for (text, port) in [("a:", ""), ("a:+1", "+1"), ("a:65536", "65536"), ("a:http", "http")] {
            assert_eq!(split_port(text), Err(AuthorityError::Port(port.to_owned())), "{text}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_names() {
        let name = |text: &str| Ok(Host::Name(text.to_owned()));
        assert_eq!("127.0.0.1".parse(), Ok(Host::Ip(Ipv4Addr::LOCALHOST.into())));
        assert_eq!("[::1]".parse(), Ok(Host::Ip(Ipv6Addr::LOCALHOST.into())));
        for text in ["localhost", "a_b.example-1.org", "1host"] {
            assert_eq!(text.parse(), name(text));
        }
        assert_eq!("[::g]".parse::<Host>(), Err(AuthorityError::Ipv6("::g".to_owned())));
        let long = format!("{}a", "a.".repeat(NAME_MAX_BYTES / 2 + 1));
        for text in ["", "300.0.0.1", "a host", "a..b", ".", "é", "[", "user@host", &long] {
            assert_eq!(text.parse::<Host>(), Err(AuthorityError::Host(text.to_owned())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(text in "\\PC{0,40}|[a-z0-9:.\\[\\]-]{0,20}") {
            if let Ok((host, _)) = split_port(&text)
                && let Ok(host) = host.parse::<Host>()
            {
                prop_assert_eq!(host.to_string().parse(), Ok(host));
            }
        }
    }
}
