//! Where a Docker daemon listens, and calls to it that end in time.
//!
//! Owns the address, the client made for it, the limit on each call, and what to
//! tell people when it does not work. It must not know what is asked of the daemon.

use std::{
    error::Error, fmt, future::Future, io, iter::successors, path::PathBuf, str::FromStr,
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error as ClientError};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::authority::{AuthorityError, Host, split_port};

/// Where Docker listens unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";

/// Docker's port for plain HTTP, where the address names none: as `docker` has it.
const DEFAULT_PORT: u16 = 2375;

/// Longest path of a Unix socket in bytes: `sun_path` less its NUL (unix(7)).
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// The client's own limit on a response's head, a year: [`Daemon::call`] limits the
/// calls, and the event stream may rightly be silent for ever.
const CLIENT_TIMEOUT_S: u64 = 365 * 24 * 3600;

/// Where a Docker daemon (or Podman's service, which speaks the same) listens: what
/// `--docker.host` and `DOCKER_HOST` give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
    /// Plain HTTP.
    Tcp {
        /// Name or address.
        host: Host,
        /// Port, not 0.
        port: u16,
    },
}

/// What is wrong with an address of Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EndpointError {
    #[error("it needs a scheme: unix:///var/run/docker.sock, tcp://HOST:PORT or http://HOST:PORT")]
    NoScheme,
    #[error(
        "{scheme}:// is not supported (TLS and ssh are not spoken here): use the Unix socket, or \
         a proxy on this host that speaks plain HTTP"
    )]
    Encrypted { scheme: String },
    #[error("the scheme {scheme}:// is not supported: use unix, tcp or http")]
    UnknownScheme { scheme: String },
    #[error("the socket's path must be absolute, as in unix:///var/run/docker.sock")]
    RelativePath,
    #[error("a socket's path has at most {SOCKET_PATH_MAX_BYTES} bytes")]
    LongPath,
    #[error("only a host and a port may follow the scheme, as in tcp://127.0.0.1:2375")]
    MoreThanHost,
    #[error("it needs a host, as in tcp://127.0.0.1:2375")]
    NoHost,
    #[error("port 0 can't be connected to")]
    PortZero,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads an address as `DOCKER_HOST` has it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::NoScheme)?;
        match scheme {
            "unix" if !rest.starts_with('/') => Err(EndpointError::RelativePath),
            "unix" if rest.len() > SOCKET_PATH_MAX_BYTES => Err(EndpointError::LongPath),
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" | "http" => tcp(rest),
            "https" | "ssh" => Err(EndpointError::Encrypted { scheme: scheme.to_owned() }),
            _ => Err(EndpointError::UnknownScheme { scheme: scheme.to_owned() }),
        }
    }
}

fn tcp(rest: &str) -> Result<Endpoint, EndpointError> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err(EndpointError::MoreThanHost);
    }
    let (host, port) = split_port(authority)?;
    if host.is_empty() {
        return Err(EndpointError::NoHost);
    }
    let host = host.parse()?;
    match port.unwrap_or(DEFAULT_PORT) {
        0 => Err(EndpointError::PortZero),
        port => Ok(Endpoint::Tcp { host, port }),
    }
}

/// Why Docker can't be asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DockerError {
    #[error("{endpoint} does not exist (is Docker running, is --docker.host right?)")]
    Missing { endpoint: Endpoint },
    #[error(
        "{endpoint} may not be opened: run as root, or let the user be in the socket's group \
         (sudo usermod -aG docker USER; in a systemd unit: SupplementaryGroups=docker)"
    )]
    Denied { endpoint: Endpoint },
    #[error("nobody listens on {endpoint} (is Docker running, is --docker.host right?)")]
    Refused { endpoint: Endpoint },
    #[error("cannot connect to {endpoint}")]
    Unreachable { endpoint: Endpoint, source: io::Error },
    #[error("Docker on {endpoint} hangs: no answer to {call} within {limit:?}")]
    Hung { endpoint: Endpoint, call: &'static str, limit: Duration },
    #[error("Docker on {endpoint} has ended its event stream: it stops or restarts")]
    Ended { endpoint: Endpoint },
    #[error("Docker on {endpoint} did not answer {call}")]
    Failed { endpoint: Endpoint, call: &'static str, source: ClientError },
}

impl DockerError {
    /// Whether what was asked about does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        use ClientError::DockerResponseServerError as Refusal;
        matches!(self, Self::Failed { source: Refusal { status_code: 404, .. }, .. })
    }
}

impl Endpoint {
    /// Whether a daemon answers there, and as what: connects and asks for its version.
    ///
    /// # Errors
    /// When it does not, each within `limit`.
    pub async fn version(&self, limit: Duration) -> Result<EngineVersion, DockerError> {
        let daemon = self.connect(limit).await?;
        let answer = daemon.call("a question for its version", daemon.docker.version()).await?;
        let unknown = || "unknown".to_owned();
        Ok(EngineVersion {
            engine: answer.version.unwrap_or_else(unknown),
            api: answer.api_version.unwrap_or_else(unknown),
        })
    }

    /// Connects once, for an error that tells what is wrong (the client's own does
    /// not), then makes the client; it opens a connection for each call.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Daemon, DockerError> {
        let attempt = async {
            match self {
                Self::Unix(path) => UnixStream::connect(path).await.map(drop),
                Self::Tcp { host: Host::Ip(ip), port } => {
                    TcpStream::connect((*ip, *port)).await.map(drop)
                }
                Self::Tcp { host: Host::Name(name), port } => {
                    TcpStream::connect((name.as_str(), *port)).await.map(drop)
                }
            }
        };
        match timeout(limit, attempt).await {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Err(self.unreachable(source, limit)),
            Err(_) => return Err(self.hung("a connection", limit)),
        }
        let address = self.to_string();
        // bollard 0.21 asks without a version in the path (`Uri::parse` in its
        // uri.rs joins an absolute one), so that every daemon answers in its own
        // newest: Debian's 20.10 as well as those that dropped the old versions. A
        // test holds on to that.
        let client = match self {
            Self::Unix(_) => {
                Docker::connect_with_unix(&address, CLIENT_TIMEOUT_S, API_DEFAULT_VERSION)
            }
            Self::Tcp { .. } => {
                Docker::connect_with_http(&address, CLIENT_TIMEOUT_S, API_DEFAULT_VERSION)
            }
        };
        let docker = client.map_err(|source| self.failed("a connection", source))?;
        Ok(Daemon { endpoint: self.clone(), docker, limit })
    }

    fn unreachable(&self, source: io::Error, limit: Duration) -> DockerError {
        // A Unix socket whose queue is full: it has not been served for long.
        if source.kind() == io::ErrorKind::WouldBlock {
            return self.hung("a connection", limit);
        }
        self.refusal(&source)
            .unwrap_or_else(|| DockerError::Unreachable { endpoint: self.clone(), source })
    }

    /// What the usual reasons for no connection are called.
    fn refusal(&self, source: &io::Error) -> Option<DockerError> {
        let endpoint = self.clone();
        match source.kind() {
            io::ErrorKind::NotFound => Some(DockerError::Missing { endpoint }),
            io::ErrorKind::PermissionDenied => Some(DockerError::Denied { endpoint }),
            io::ErrorKind::ConnectionRefused => Some(DockerError::Refused { endpoint }),
            _ => None,
        }
    }

    fn hung(&self, call: &'static str, limit: Duration) -> DockerError {
        DockerError::Hung { endpoint: self.clone(), call, limit }
    }

    fn failed(&self, call: &'static str, source: ClientError) -> DockerError {
        // The client connects anew for each call, which may be what fails.
        let mut causes = successors(Some(&source as &dyn Error), |&cause| cause.source());
        let refusal = causes.find_map(|cause| self.refusal(cause.downcast_ref::<io::Error>()?));
        refusal.unwrap_or(DockerError::Failed { endpoint: self.clone(), call, source })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

/// What a daemon says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineVersion {
    /// The daemon's version.
    pub engine: String,
    /// Newest version of the API that it speaks.
    pub api: String,
}

/// A daemon that could be connected to.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    endpoint: Endpoint,
    docker: Docker,
    limit: Duration,
}

impl Daemon {
    /// The client, to be asked through [`Self::call`].
    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Waits for an answer, within the limit.
    pub(super) async fn call<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, DockerError> {
        match timeout(self.limit, answer).await {
            Ok(answer) => answer.map_err(|source| self.endpoint.failed(call, source)),
            Err(_) => Err(self.endpoint.hung(call, self.limit)),
        }
    }

    async fn ping(&self) -> Result<(), DockerError> {
        self.call("a ping", self.docker.ping()).await.map(drop)
    }

    /// Pings to see whether the daemon hangs; a refusal (of a proxy that lets only
    /// some paths through) is an answer too.
    pub(super) async fn prove_alive(&self) -> Result<(), DockerError> {
        match self.ping().await {
            Err(DockerError::Failed {
                source: ClientError::DockerResponseServerError { .. },
                ..
            }) => Ok(()),
            proof => proof,
        }
    }

    /// What the next item of an event stream amounts to.
    pub(super) fn streamed<T>(
        &self,
        item: Option<Result<T, ClientError>>,
    ) -> Result<T, DockerError> {
        match item {
            Some(Ok(event)) => Ok(event),
            // A daemon that stops ends the stream, one that is killed breaks it.
            None
            | Some(Err(ClientError::IOError { .. } | ClientError::HyperResponseError { .. })) => {
                Err(DockerError::Ended { endpoint: self.endpoint.clone() })
            }
            Some(Err(source)) => Err(self.endpoint.failed("a request for events", source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::errors::chain;

    #[test]
    fn addresses_are_read_as_docker_host_has_them() {
        for (text, shown) in [
            (DEFAULT_ENDPOINT, "unix:///var/run/docker.sock"),
            ("unix:///run/user/1000/docker.sock", "unix:///run/user/1000/docker.sock"),
            ("tcp://127.0.0.1:2376", "tcp://127.0.0.1:2376"),
            ("tcp://127.0.0.1", "tcp://127.0.0.1:2375"),
            ("http://docker:80/", "tcp://docker:80"),
            ("tcp://[::1]:2375", "tcp://[::1]:2375"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_what_to_give() {
        let longest = format!("unix:///{}", "a".repeat(SOCKET_PATH_MAX_BYTES - 1));
        longest.parse::<Endpoint>().unwrap();
        let too_long = format!("{longest}a");
        for (text, reason) in [
            ("", "needs a scheme: unix:///"),
            ("/var/run/docker.sock", "needs a scheme"),
            ("unix://docker.sock", "must be absolute"),
            ("unix://", "must be absolute"),
            (&too_long, "at most 107 bytes"),
            ("tcp://", "needs a host"),
            ("tcp://:2375", "needs a host"),
            ("tcp://host:99999", "\"99999\" is no port"),
            ("tcp://host:0", "port 0"),
            ("tcp://::1:2375", "needs brackets"),
            ("tcp://[::g]:2375", "no IPv6 address"),
            ("tcp://300.0.0.1", "neither an IP address nor a host name"),
            ("tcp://host:1/path", "only a host and a port"),
            ("tcp://user@host:1", "only a host and a port"),
            ("https://host", "https:// is not supported (TLS"),
            ("ssh://host", "ssh:// is not supported"),
            ("npipe:////./pipe/docker_engine", "npipe:// is not supported: use unix, tcp or http"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(text in "(tcp|http|unix)://[a-z/\\[\\]:.0-9]{1,20}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Endpoint>();
        }
    }

    #[test]
    fn connection_errors_say_what_to_do() {
        let endpoint: Endpoint = DEFAULT_ENDPOINT.parse().unwrap();
        let explain = |kind: io::ErrorKind| {
            chain(&endpoint.unreachable(io::Error::from(kind), Duration::from_secs(5)))
        };
        assert_eq!(
            explain(io::ErrorKind::PermissionDenied),
            "unix:///var/run/docker.sock may not be opened: run as root, or let the user be in \
             the socket's group (sudo usermod -aG docker USER; in a systemd unit: \
             SupplementaryGroups=docker)"
        );
        assert!(explain(io::ErrorKind::NotFound).contains("does not exist"));
        assert!(explain(io::ErrorKind::ConnectionRefused).contains("nobody listens"));
        assert!(explain(io::ErrorKind::WouldBlock).contains("within 5s"));
        assert!(explain(io::ErrorKind::HostUnreachable).contains("host unreachable"));
    }
}
