//! A private Docker engine: own socket, own data, stopped by its pid.
//!
//! It changes nothing of the host's network: either it sets none up ([`Dockerd::start`]),
//! or it runs in a network namespace of its own, and its bridges and what hangs on them are
//! in there ([`Dockerd::bridged`]). To a container of the latter `--network host` is the
//! engine's network, not the host's.
//!
//! It makes its containers' cgroups itself, below `/docker`, and must be told so: on a v2
//! host that systemd runs, an engine has systemd make them (`docker-<id>.scope`), and then
//! whether its containers start depends on the host's manager. Images are imported: there
//! is no registry.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use crate::{
    cgroup,
    netns::Netns,
    process::{Process, Signal, bound_command},
    scratch::Scratch,
    wait, workload,
};

/// The image that the containers run: busybox and the workload.
pub const IMAGE: &str = "slicemeter-workload:1";

/// Address of the bridge of an engine with a network, in that network.
pub const BRIDGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Containers started or removed at once: two for each of a small machine's CPUs, and
/// twice that for the time runc waits.
const PARALLEL: usize = 8;

const START_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// The engine.
#[derive(Debug)]
pub struct Dockerd {
    process: Option<Process>,
    live_restore: bool,
    /// Where it runs, if not in the host's.
    netns: Option<Netns>,
    scratch: Scratch,
}

/// A container of it.
#[derive(Clone, Debug)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// Name, without a slash.
    pub name: String,
}

impl Dockerd {
    /// Starts it, and waits until its API answers and the image is there.
    pub fn start() -> Self {
        Self::with(false, None)
    }

    /// The same with a network of its own, in which it has its bridge; containers are on it
    /// unless told otherwise.
    pub fn bridged() -> Self {
        Self::with(false, Some(Netns::new()))
    }

    /// The same; containers will outlive a stop of the engine.
    pub fn start_live_restore() -> Self {
        Self::with(true, None)
    }

    fn with(live_restore: bool, netns: Option<Netns>) -> Self {
        let scratch = Scratch::new("docker");
        let mut this = Self { process: None, live_restore, netns, scratch };
        this.start_again();
        this.import_image();
        this
    }

    /// Starts the engine after [`Dockerd::stop`].
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = match &self.netns {
            Some(netns) => netns.bound_command("TERM", &["dockerd"]),
            None => bound_command("TERM", "dockerd"),
        };
        command.arg("--host").arg(self.host());
        for (flag, name) in
            [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "docker.pid")]
        {
            command.arg(flag).arg(self.scratch.join(name));
        }
        match self.netns {
            Some(_) => command.arg("--ip-masq=false").arg(format!("--bip={BRIDGE}/24")),
            None => command.arg("--bridge=none"),
        };
        command.args(["--iptables=false", "--ip-forward=false"]);
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
        command.arg(format!("--live-restore={}", self.live_restore));
        let log = self.scratch.join("dockerd.log");
        let mut process = Process::start("dockerd", &mut command, &log);
        wait::until("answer of dockerd", START_LIMIT, || {
            if let Some(status) = process.try_wait() {
                process.show_log();
                panic!("dockerd is gone: {status}");
            }
            self.output(&["version"]).status.success().then_some(())
        });
        self.process = Some(process);
    }

    /// The network that it runs in; panics where that is the host's.
    pub fn netns(&self) -> &Netns {
        self.netns.as_ref().expect("an engine with a network")
    }

    /// The network of a running container.
    pub fn netns_of(&self, name: &str) -> Netns {
        Netns::of(self.pid(name))
    }

    /// A running container's address in one of the engine's networks.
    pub fn address(&self, name: &str, network: &str) -> Ipv4Addr {
        let format = format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}");
        let address = self.docker(&["inspect", "--format", &format, name]);
        address.parse().unwrap_or_else(|_| panic!("{name} is not in {network}: {address:?}"))
    }

    /// Stops the engine.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("a running dockerd");
        let status = process.stop(Signal::TERM, STOP_LIMIT);
        assert!(status.success(), "dockerd: {status}");
    }

    /// Sends the engine a signal (`STOP` makes it hang, `CONT` go on).
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("a running dockerd").signal(signal);
    }

    /// The engine's address, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.scratch.join("docker.sock").display())
    }

    /// A `docker` command against this engine.
    pub fn command(&self, arguments: &[&str]) -> Command {
        // Debian's client speaks the API of Debian's engine; others may be too new for it.
        let debian = Path::new("/usr/bin/docker");
        let mut command = Command::new(if debian.exists() { debian } else { Path::new("docker") });
        command.args(arguments).env("DOCKER_HOST", self.host());
        command.env("DOCKER_CONFIG", self.scratch.join("client"));
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the docker client")
    }

    /// Runs `docker ARGUMENTS`; its stdout, trimmed. Panics with its stderr if it fails.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn import_image(&self) {
        let root = self.scratch.join("image");
        let bin = root.join("bin");
        fs::create_dir_all(&bin).expect("the image's directory");
        fs::copy(workload::binary(), bin.join("workload")).expect("the workload");
        let script = "cp \"$(command -v busybox)\" \"$0/bin/busybox\" && tar -C \"$0\" -c .";
        let tar = Command::new("sh").args(["-c", script]).arg(&root).output().expect("sh");
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let archive = self.scratch.join("image.tar");
        fs::write(&archive, tar.stdout).expect("the image's archive");
        let archive = archive.to_string_lossy();
        self.docker(&["import", "--change", "ENTRYPOINT [\"/bin/workload\"]", &archive, IMAGE]);
    }

    /// Starts a container that runs `workload ARGUMENTS`.
    pub fn run(&self, name: &str, options: &[&str], arguments: &[&str]) -> Container {
        let id = self.docker(&self.run_line(&["--detach"], name, options, arguments));
        Container { id, name: name.to_owned() }
    }

    /// Makes a container that is not started.
    pub fn create(&self, name: &str, arguments: &[&str]) {
        let line = self.run_line(&[], name, &[], arguments);
        self.docker(&[&["create"], &line[1..]].concat());
    }

    /// Starts another process in a container: `workload ARGUMENTS`.
    pub fn exec(&self, name: &str, arguments: &[&str]) {
        self.docker(&[&["exec", "--detach", name, "/bin/workload"], arguments].concat());
    }

    /// Runs a command in a container to its end; its stdout.
    pub fn exec_to_end(&self, name: &str, command: &[&str]) -> String {
        self.docker(&[&["exec", name], command].concat())
    }

    /// Runs a container to its end and removes it; its stdout.
    pub fn run_to_end(&self, name: &str, options: &[&str], arguments: &[&str]) -> String {
        self.docker(&self.run_line(&["--rm"], name, options, arguments))
    }

    /// A command that runs a container in the foreground, for its pipes.
    pub fn run_command(&self, name: &str, options: &[&str], arguments: &[&str]) -> Command {
        self.command(&self.run_line(&["--interactive"], name, options, arguments))
    }

    /// Starts many, some at once; in the order of `names`.
    pub fn run_many(&self, names: &[String], arguments: &[&str]) -> Vec<Container> {
        let mut containers = in_parallel(names, |name| self.run(name, &[], arguments));
        containers.sort_by_key(|container| names.iter().position(|name| *name == container.name));
        containers
    }

    /// Removes a container, running or not.
    pub fn remove(&self, name: &str) {
        self.docker(&["rm", "--force", name]);
    }

    /// Removes many, some at once.
    pub fn remove_many(&self, names: &[String]) {
        in_parallel(names, |name| self.remove(name));
    }

    /// The pid of a running container's first process.
    pub fn pid(&self, name: &str) -> u32 {
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}", name]);
        pid.parse().ok().filter(|&pid| pid != 0).unwrap_or_else(|| panic!("{name} isn't running"))
    }

    /// The cgroup of a running container.
    pub fn cgroup(&self, name: &str) -> String {
        cgroup::path_of(self.pid(name))
    }

    fn run_line<'a>(
        &self,
        how: &[&'a str],
        name: &'a str,
        options: &[&'a str],
        arguments: &[&'a str],
    ) -> Vec<&'a str> {
        // Where there is no bridge. Naming two networks is not replacing one.
        let is_told = self.netns.is_some() || options.contains(&"--network");
        let network: &[&str] = if is_told { &[] } else { &["--network", "none"] };
        let common = ["--log-driver", "none", "--name", name];
        [&["run"], how, network, &common, options, &[IMAGE], arguments].concat()
    }

    fn remove_all(&mut self) {
        if self.process.is_none() {
            self.start_again();
        }
        let names = self.docker(&["ps", "--all", "--quiet"]);
        self.remove_many(&names.lines().map(ToOwned::to_owned).collect::<Vec<_>>());
    }
}

/// Does `work` for each item, for as many at once as containers are started.
pub fn in_parallel<T: Send>(items: &[String], work: impl Fn(&str) -> T + Sync) -> Vec<T> {
    let queue = Mutex::new(items.iter());
    let results = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let item = queue.lock().expect("the queue").next();
                    let Some(item) = item else { break };
                    let result = work(item);
                    results.lock().expect("the results").push(result);
                }
            });
        }
    });
    results.into_inner().expect("the results")
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // A panic in here while the test unwinds would abort and leave containers behind.
        let cleaned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if let Some(process) = &self.process {
                // In case the test left it stopped.
                process.signal(Signal::CONT);
            }
            self.remove_all();
            self.stop();
        }));
        if cleaned.is_err() {
            println!("left behind: containers of {}", self.host());
        }
        // With live-restore the engine mounts its data on itself, and leaves it so.
        // So it leaves the host's network, once a container was in it.
        for mounted in ["data", "exec/netns/default"] {
            let path = self.scratch.join(mounted);
            let _ = Command::new("umount").arg("--quiet").arg(path).stderr(Stdio::null()).status();
        }
        // The engine leaves its cgroup parent behind in every hierarchy. If other
        // containers live there (of another engine), removing fails, and must.
        let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for root in roots {
            let _ = fs::remove_dir(root.path().join("docker"));
        }
        let _ = fs::remove_dir("/sys/fs/cgroup/docker");
    }
}
