//! The file reader: one task that answers what the exposition asks of files.
//!
//! Owns the way from a request to a round of the survey. Must not read anything itself.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};

use crate::{
    args::Config,
    exposition::ReadingsRequest,
    source::{
        cgroupfs::{self, Controllers, Hierarchy, HierarchyError, Paths, ResourceReader},
        lookup::Places,
        machine::MachineReader,
        network::NetworkReader,
        process::ProcessReader,
        survey::{Readers, Survey},
    },
};

/// Controllers' files that stay open: those of some fifty containers. Each pins a page of
/// kernel memory, so it is 4 MiB at most; what is beyond is opened anew at each scrape.
const KEEP_OPEN: usize = 1_024;

/// Descriptors for these, for connections, and for maps and programs.
const DESCRIPTORS: u64 = 2 * KEEP_OPEN as u64;

/// The survey of this host's files.
pub(super) fn survey(config: &Config, hierarchy: &Hierarchy) -> Result<Survey, HierarchyError> {
    let paths = &config.paths;
    let cgroups = Paths { procfs: &paths.procfs, cgroupfs: &paths.cgroupfs };
    Ok(Survey::new(Readers {
        process: ProcessReader::new(places(config, hierarchy), config.collectors.max_pids),
        network: networks(config, hierarchy),
        resources: ResourceReader::new(Controllers::find(cgroups, hierarchy)?, keep_open()),
        machine: MachineReader::new(&paths.procfs, &paths.sysfs),
    }))
}

/// Someone to ask for this host's networks.
pub(super) fn networks(config: &Config, hierarchy: &Hierarchy) -> NetworkReader {
    NetworkReader::new(places(config, hierarchy), config.paths.sysfs.clone())
}

fn places(config: &Config, hierarchy: &Hierarchy) -> Places {
    let procfs = config.paths.procfs.clone();
    let distrust = cgroupfs::distrust(hierarchy, &procfs);
    Places { procfs, hierarchy: hierarchy.mount.clone(), distrust }
}

/// How many files may stay open: raises the soft limit of descriptors, which many hosts set
/// to 1,024 for the sake of select(2), towards the hard one, and leaves half of them to
/// connections and maps.
fn keep_open() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.map_or(DESCRIPTORS, |hard| hard.min(DESCRIPTORS));
    if limit.current.is_some_and(|soft| soft < enough) {
        limit.current = Some(enough);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "cannot raise the limit of open files");
            limit = getrlimit(Resource::Nofile);
        }
    }
    let half = limit.current.map_or(DESCRIPTORS, |soft| soft / 2);
    usize::try_from(half).unwrap_or(usize::MAX).min(KEEP_OPEN)
}

/// Answers until told to stop, each request on its own: one that waits for a file that
/// hangs holds up no other. The web server bounds how many there are at once.
pub(super) async fn answer(
    survey: Survey,
    mut requests: mpsc::Receiver<ReadingsRequest>,
    mut shutdown: watch::Receiver<bool>,
) {
    let survey = Arc::new(survey);
    loop {
        let request = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return,
            Some(request) = requests.recv() => request,
        };
        let survey = Arc::clone(&survey);
        tokio::spawn(async move {
            let ReadingsRequest { snapshot, collectors, deadline, reply } = request;
            let readings = survey.take(&snapshot, collectors, deadline).await;
            // Whoever asked may have gone away: nothing is lost by it.
            let _gone = reply.send(readings);
        });
    }
}
