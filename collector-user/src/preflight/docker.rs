//! Docker's API: does it answer? Names depend on it, accounting does not, so nothing
//! here is worse than a warning.

use std::{io, time::Duration};

use tokio::runtime::{self, Runtime};

use super::{Finding, Severity};
use crate::{
    errors::chain,
    source::docker::{DockerError, Endpoint, EngineVersion},
};

/// How long Docker may take to answer the probe: a live one takes milliseconds.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why Docker can't tell its version.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    /// This process can't ask.
    #[error("cannot ask for it")]
    Runtime(#[source] io::Error),
    /// Docker's part.
    #[error(transparent)]
    Docker(#[from] DockerError),
}

/// Asks Docker for its version, in a runtime of its own; connecting and answering may
/// take `limit` each.
pub(super) fn probe(host: &Endpoint, limit: Duration) -> Result<EngineVersion, ProbeError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    limited(runtime.map_err(ProbeError::Runtime)?, host.version(limit)).map_err(Into::into)
}

/// Waits for `question` and for nothing else: a name is resolved in a thread that can't
/// be interrupted, and dropping the runtime would wait for it, without a limit.
fn limited<T>(runtime: Runtime, question: impl Future<Output = T>) -> T {
    let answer = runtime.block_on(question);
    runtime.shutdown_background();
    answer
}

pub(super) fn judge(host: &Endpoint, probe: &Result<EngineVersion, ProbeError>) -> Finding {
    match probe {
        Ok(EngineVersion { engine, api }) => {
            Finding::fine("Docker", format!("{engine} (API {api}) at {host}"))
        }
        // These errors say themselves what to do.
        Err(error) => Finding::told(
            Severity::Warning,
            "Docker",
            format!("container names and labels will be missing: {}", chain(error)),
        ),
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

    fn judged(host: &Endpoint, limit: Duration) -> Finding {
        judge(host, &probe(host, limit))
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
        let host = Endpoint::Unix(path);
        let expected = format!("20.10.24 (API 1.41) at {host}");
        assert_eq!(judged(&host, Duration::from_secs(5)), Finding::fine("Docker", expected));
        assert!(engine.join().unwrap().starts_with("GET /version "), "any engine knows this path");
    }

    #[test]
    fn every_way_to_be_unreachable_is_a_warning_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("dead.sock");
        drop(UnixListener::bind(&dead).unwrap());
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        for (host, what) in [
            (Endpoint::Unix(dir.path().join("absent.sock")), "does not exist (is Docker running"),
            (Endpoint::Unix(dead), "nobody listens on"),
            (format!("tcp://127.0.0.1:{port}").parse().unwrap(), "nobody listens on"),
        ] {
            let finding = judged(&host, Duration::from_secs(5));
            assert_eq!(finding.severity, Severity::Warning);
            assert!(finding.what.contains("names and labels will be missing"), "{finding:?}");
            assert!(finding.what.contains(what), "{finding:?}");
            assert!(finding.what.contains("--docker.host"), "{finding:?}");
        }
    }

    #[test]
    fn a_socket_of_others_points_at_the_group() {
        // Root may open anything: as root, tests/cli.rs does this without capabilities.
        if !rustix::process::geteuid().is_root() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("docker.sock");
            let _listener = UnixListener::bind(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
            let finding = judged(&Endpoint::Unix(path), Duration::from_secs(5));
            assert!(finding.what.contains("-aG docker"), "{finding:?}");
        }
    }

    #[test]
    fn a_name_that_is_long_in_resolving_does_not_keep_the_answer() {
        // What the resolver does behind `TcpStream::connect((name, port))`.
        let (resolver, hangs) = std::sync::mpsc::channel::<()>();
        let question = async move {
            let resolving = tokio::task::spawn_blocking(move || hangs.recv());
            tokio::time::timeout(Duration::from_millis(50), resolving).await.is_err()
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (answer, answered) = std::sync::mpsc::channel();
        thread::spawn(move || answer.send(limited(runtime, question)));
        let gave_up = answered.recv_timeout(Duration::from_secs(20));
        assert_eq!(gave_up, Ok(true), "while the thread still hangs");
        drop(resolver);
    }

    #[test]
    fn one_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let _listener = UnixListener::bind(&path).unwrap(); // takes connections, never reads
        let finding = judged(&Endpoint::Unix(path), Duration::from_millis(200));
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.what.contains("hangs") && finding.what.contains("200ms"), "{finding:?}");
    }
}
