//! The file reader: one task that answers what the exposition asks of files.
//!
//! Owns the way from a request to a round of the survey. Must not read anything itself.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::{
    args::Config,
    exposition::ReadingsRequest,
    source::{
        cgroupfs::{self, Controllers, Hierarchy, HierarchyError, Paths, ResourceReader},
        machine::MachineReader,
        process::{self, ProcessReader},
        survey::{Readers, Survey},
    },
};

/// The survey of this host's files.
pub(super) fn survey(config: &Config, hierarchy: &Hierarchy) -> Result<Survey, HierarchyError> {
    let paths = &config.paths;
    let cgroups = Paths { procfs: &paths.procfs, cgroupfs: &paths.cgroupfs };
    Ok(Survey::new(Readers {
        process: ProcessReader::new(process::Options {
            procfs: paths.procfs.clone(),
            sysfs: paths.sysfs.clone(),
            hierarchy: hierarchy.mount.clone(),
            distrust: cgroupfs::distrust(hierarchy, &paths.procfs),
            max_pids: config.collectors.max_pids,
        }),
        resources: ResourceReader::new(Controllers::find(cgroups, hierarchy)?),
        machine: MachineReader::new(&paths.procfs, &paths.sysfs),
    }))
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
