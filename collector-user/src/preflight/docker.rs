//! Docker's API: does it answer? Names depend on it, accounting does not, so nothing
//! here is worse than a warning.

use std::{io, time::Duration};

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::{
    net::{TcpStream, UnixStream},
    runtime, time,
};

use super::{Finding, Severity};
use crate::args::DockerHost;

/// How long Docker may take to answer the probe. A live one takes milliseconds; a
/// start must not wait long for a hung one.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What became of the attempt to talk to it.
#[derive(Debug)]
pub(super) enum Probe {
    /// It answered: version of the engine, version of the API.
    Answered { engine: String, api: String },
    /// No connection.
    Unreachable(io::Error),
    /// A connection, but no proper answer within the time; in words.
    Silent(String),
}

/// Connects and asks for the version.
pub(super) fn probe(host: &DockerHost) -> Probe {
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(probe_within(host, PROBE_TIMEOUT)),
        Err(error) => Probe::Unreachable(error),
    }
}

async fn probe_within(host: &DockerHost, timeout: Duration) -> Probe {
    // A bare connection first: its error number says what is wrong, where the HTTP
    // client's error says that something is.
    let connected = async {
        match host {
            DockerHost::Unix(path) => UnixStream::connect(path).await.map(drop),
            DockerHost::Http(authority) => TcpStream::connect(authority).await.map(drop),
        }
    };
    match time::timeout(timeout, connected).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Probe::Unreachable(error),
        Err(_elapsed) => return Probe::Unreachable(io::ErrorKind::TimedOut.into()),
    }
    match time::timeout(timeout, version(host, timeout)).await {
        Ok(Ok((engine, api))) => Probe::Answered { engine, api },
        Ok(Err(error)) => Probe::Silent(error.to_string()),
        Err(_elapsed) => {
            Probe::Silent(format!("no answer within {}", humantime::format_duration(timeout)))
        }
    }
}

async fn version(
    host: &DockerHost,
    timeout: Duration,
) -> Result<(String, String), bollard::errors::Error> {
    let address = host.to_string();
    // bollard counts in whole seconds: one more, so that the caller's time-out, which
    // says what happened, is the one that bites.
    let seconds = timeout.as_secs() + 1;
    let docker = match host {
        DockerHost::Unix(_) => Docker::connect_with_unix(&address, seconds, API_DEFAULT_VERSION)?,
        DockerHost::Http(_) => Docker::connect_with_http(&address, seconds, API_DEFAULT_VERSION)?,
    };
    let version = docker.version().await?;
    let unknown = || "unknown".to_owned();
    Ok((version.version.unwrap_or_else(unknown), version.api_version.unwrap_or_else(unknown)))
}

pub(super) fn judge(host: &DockerHost, probe: &Probe) -> Finding {
    let warning = |what: String, remedy: &str| {
        let what = format!("container names and labels will be missing: {what}");
        Finding::new(Severity::Warning, "Docker", what, remedy)
    };
    match probe {
        Probe::Answered { engine, api } => {
            Finding::fine("Docker", format!("{engine} (API {api}) at {host}"))
        }
        Probe::Silent(error) => warning(
            format!("{host} takes connections but does not answer properly ({error})"),
            "see whether dockerd hangs, and whether this is Docker's address",
        ),
        Probe::Unreachable(error) => match error.kind() {
            io::ErrorKind::NotFound => warning(
                format!("there is no socket at {host}"),
                "install or start Docker, or say where it is with --docker.host",
            ),
            io::ErrorKind::PermissionDenied => warning(
                format!("{host} may not be opened"),
                "run as root, or let the user be in the socket's group: \
                 sudo usermod -aG docker USER (in a systemd unit: SupplementaryGroups=docker)",
            ),
            io::ErrorKind::ConnectionRefused => warning(
                format!("nobody listens at {host}"),
                "start Docker, or say where it is with --docker.host",
            ),
            _ => warning(
                format!("{host} cannot be reached: {error}"),
                "say where Docker is with --docker.host",
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::{fs::PermissionsExt as _, net::UnixListener},
        thread,
    };

    use super::*;

    fn judged(host: &DockerHost, timeout: Duration) -> Finding {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        judge(host, &runtime.block_on(probe_within(host, timeout)))
    }

    #[test]
    fn an_engine_that_answers_is_named_with_its_versions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let engine = thread::spawn(move || {
            drop(listener.accept().unwrap()); // the bare connection
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1_024];
            let length = stream.read(&mut request).unwrap();
            let body = r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let host = DockerHost::Unix(path);
        let expected = format!("20.10.24 (API 1.41) at {host}");
        assert_eq!(judged(&host, Duration::from_secs(5)), Finding::fine("Docker", expected));
        assert!(engine.join().unwrap().starts_with("GET /version "), "any engine knows this path");
    }

    #[test]
    fn every_way_to_be_unreachable_is_a_warning_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("dead.sock");
        drop(UnixListener::bind(&dead).unwrap());
        for (path, what, remedy) in [
            (dir.path().join("absent.sock"), "there is no socket", "start Docker"),
            (dead, "nobody listens", "start Docker"),
        ] {
            let finding = judged(&DockerHost::Unix(path), Duration::from_secs(5));
            assert_eq!(finding.severity, Severity::Warning);
            assert!(finding.what.contains("names and labels will be missing"), "{finding:?}");
            assert!(finding.what.contains(what) && finding.remedy.contains(remedy), "{finding:?}");
        }
    }

    #[test]
    fn a_socket_of_others_points_at_the_group() {
        let host = DockerHost::Unix("/run/docker.sock".into());
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        let finding = judge(&host, &Probe::Unreachable(error));
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.remedy.contains("-aG docker"), "{finding:?}");

        // The same from the kernel, where this test isn't root (who may open anything).
        if !rustix::process::geteuid().is_root() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("docker.sock");
            let _listener = UnixListener::bind(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
            let finding = judged(&DockerHost::Unix(path), Duration::from_secs(5));
            assert!(finding.what.contains("may not be opened"), "{finding:?}");
        }
    }

    #[test]
    fn one_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let _listener = UnixListener::bind(&path).unwrap(); // takes connections, never reads
        let finding = judged(&DockerHost::Unix(path), Duration::from_millis(200));
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.what.contains("no answer within 200ms"), "{finding:?}");
    }

    #[test]
    fn tcp_without_a_listener_is_refused() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let host = DockerHost::Http(format!("127.0.0.1:{port}"));
        let finding = judged(&host, Duration::from_secs(5));
        assert!(finding.what.contains("nobody listens"), "{finding:?}");
    }
}
