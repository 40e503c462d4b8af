//! Where a Docker daemon listens, and calls to it that end in time.
//!
//! Owns the address, the client made for it, the limit on each call, and what to
//! tell people when it does not work. It must not know what is asked of the daemon.

use std::{error::Error, fmt, future::Future, io, path::PathBuf, time::Duration};

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error as ClientError};
use hyper::Uri;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Where Docker listens unless told otherwise.
const DEFAULT_PATH: &str = "/var/run/docker.sock";

/// Docker's port for plain HTTP.
const DEFAULT_PORT: u16 = 2375;

/// The client's own limit on a response's head, a year: [`Daemon::call`] limits the
/// calls, and the event stream may rightly be silent for ever.
const CLIENT_TIMEOUT_S: u64 = 365 * 24 * 3600;

/// Where a Docker daemon (or Podman's service, which speaks the same) listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plain HTTP.
    Tcp {
        /// Name or address; an IPv6 address in brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Docker's address `{host}` {problem}: give unix:///PATH, tcp://HOST:PORT or http://HOST:PORT"
)]
pub struct EndpointError {
    host: String,
    problem: &'static str,
}

/// Why Docker can't be asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DockerError {
    #[error("{endpoint} does not exist (is Docker running, is --docker.host right?)")]
    Missing { endpoint: Endpoint },
    #[error(
        "cannot open {endpoint}: permission denied: run as root or add the user to group docker"
    )]
    Denied { endpoint: Endpoint },
    #[error("nobody listens on {endpoint} (is Docker running, is --docker.host right?)")]
    Refused { endpoint: Endpoint },
    #[error("cannot connect to {endpoint}: {source}")]
    Unreachable { endpoint: Endpoint, source: io::Error },
    #[error("Docker on {endpoint} hangs: no answer to {call} within {limit:?}")]
    Hung { endpoint: Endpoint, call: &'static str, limit: Duration },
    #[error("Docker on {endpoint} has ended its event stream: it stops or restarts")]
    Ended { endpoint: Endpoint },
    #[error("Docker on {endpoint} did not answer {call}: {}", causes(source))]
    Failed { endpoint: Endpoint, call: &'static str, source: ClientError },
}

impl Endpoint {
    /// Reads an address as `DOCKER_HOST` has it; an empty one is Docker's default.
    ///
    /// # Errors
    /// When the scheme is none of `unix`, `tcp`, `http`, or the rest does not fit it.
    pub fn parse(host: &str) -> Result<Self, EndpointError> {
        let fails = |problem| Err(EndpointError { host: host.to_owned(), problem });
        if host.is_empty() {
            return Ok(Self::Unix(PathBuf::from(DEFAULT_PATH)));
        }
        let Some((scheme, rest)) = host.split_once("://") else { return fails("has no scheme") };
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => fails("is not absolute"),
            "tcp" | "http" => {
                let Ok(uri) = host.parse::<Uri>() else { return fails("can't be read") };
                let (name, port) = (uri.host().unwrap_or_default(), uri.port_u16());
                let has_path = uri.path().len() > 1 || uri.query().is_some();
                match rest.strip_prefix(name) {
                    _ if name.is_empty() => fails("has no host"),
                    None => fails("has a user name"),
                    Some(_) if has_path => fails("has a path"),
                    Some(more) if more.starts_with(':') && port.is_none() => {
                        fails("has a bad port")
                    }
                    Some(_) => {
                        Ok(Self::Tcp { host: name.to_owned(), port: port.unwrap_or(DEFAULT_PORT) })
                    }
                }
            }
            "https" | "ssh" => fails("needs TLS or ssh, which this program does not speak"),
            _ => fails("has an unknown scheme"),
        }
    }

    /// Whether a daemon answers there: connects and asks for a ping.
    ///
    /// # Errors
    /// When it does not, each within `limit`.
    pub async fn check(&self, limit: Duration) -> Result<(), DockerError> {
        self.connect(limit).await?.ping().await
    }

    /// Connects once, for an error that tells what is wrong (the client's own does
    /// not), then makes the client; it opens a connection for each call.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Daemon, DockerError> {
        let attempt = async {
            match self {
                Self::Unix(path) => UnixStream::connect(path).await.map(drop),
                Self::Tcp { host, port } => {
                    let name = host.trim_matches(['[', ']']);
                    TcpStream::connect((name, *port)).await.map(drop)
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
        let refusal =
            chain(&source).find_map(|cause| self.refusal(cause.downcast_ref::<io::Error>()?));
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

/// An error and what caused it, on one line.
fn causes(error: &ClientError) -> String {
    let mut texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    // Many an error's text already holds its cause's.
    texts.dedup_by(|cause, text| text.contains(cause.as_str()));
    texts.join(": ")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_host_has_them() {
        for (host, address) in [
            ("", "unix:///var/run/docker.sock"),
            ("unix:///run/user/1000/docker.sock", "unix:///run/user/1000/docker.sock"),
            ("tcp://127.0.0.1:2376", "tcp://127.0.0.1:2376"),
            ("tcp://127.0.0.1", "tcp://127.0.0.1:2375"),
            ("http://docker:80/", "tcp://docker:80"),
            ("tcp://[::1]:2375", "tcp://[::1]:2375"),
        ] {
            assert_eq!(Endpoint::parse(host).unwrap().to_string(), address, "{host}");
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_what_to_give() {
        for (host, problem) in [
            ("/var/run/docker.sock", "no scheme"),
            ("unix://docker.sock", "not absolute"),
            ("unix://", "not absolute"),
            ("tcp://", "can't be read"),
            ("tcp://:2375", "no host"),
            ("tcp://host:99999", "bad port"),
            ("tcp://host:1/path", "path"),
            ("tcp://user@host:1", "user name"),
            ("https://host", "TLS"),
            ("ssh://host", "ssh"),
            ("npipe:////./pipe/docker_engine", "unknown scheme"),
        ] {
            let error = Endpoint::parse(host).expect_err(host).to_string();
            assert!(error.contains(problem) && error.contains("unix:///PATH"), "{error}");
        }
    }

    #[test]
    fn connection_errors_say_what_to_do() {
        let endpoint = Endpoint::parse("").unwrap();
        let explain = |kind: io::ErrorKind| {
            endpoint.unreachable(io::Error::from(kind), Duration::from_secs(5)).to_string()
        };
        assert_eq!(
            explain(io::ErrorKind::PermissionDenied),
            "cannot open unix:///var/run/docker.sock: permission denied: run as root or add the \
             user to group docker"
        );
        assert!(explain(io::ErrorKind::NotFound).contains("does not exist"));
        assert!(explain(io::ErrorKind::ConnectionRefused).contains("nobody listens"));
        assert!(explain(io::ErrorKind::WouldBlock).contains("within 5s"));
        assert!(explain(io::ErrorKind::HostUnreachable).contains("host unreachable"));
    }
}
