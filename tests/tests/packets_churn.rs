//! Many short-lived containers with traffic: interfaces' slots return, and no packet is lost.

use std::{process, time::Duration};

use slicemeter::model::network::Traffic;
use slicemeter_tests::{
    collectors::faults,
    daemon::Daemon,
    dockerd::{BRIDGE, Dockerd, in_parallel},
    host::require_docker,
    interfaces::{CONTAINER, EXITED, UNATTRIBUTED, told},
    metrics::{Exposition, Monotone},
    packets::assert_same,
    procfs,
    slots::Slots,
    traffic::ping,
    wait,
};

const CONTAINERS: usize = 100;

/// Sent by each, and received: the pings, and the question for the bridge's address. More than
/// [`assert_same`] lets lack of so few packets in all: none of the containers can be missing.
const LEAST_PACKETS: u64 = 6;

/// Events, the last read, the end of the series, and the slot is free.
const RETIRE_LIMIT: Duration = Duration::from_secs(30);

/// Whose series have begun or have ended, and what they have and had in sum.
fn all(scrape: &Exposition) -> Traffic {
    let containers = [CONTAINER, EXITED].map(|group| {
        let exited = told(scrape, group, &[]).unwrap_or_default();
        let host = told(scrape, group, &[("id", "/")]).unwrap_or_default();
        exited.since(host)
    });
    containers.into_iter().sum()
}

/// Runs a container that pings the bridge; what its interface had when it was taken down.
fn come_and_go(docker: &Dockerd, name: &str) -> Traffic {
    docker.run(name, &[], &["sleep", "600"]);
    let netns = docker.netns_of(name);
    ping(&netns, BRIDGE, 200);
    // Others on the bridge ask everybody for addresses: now it can't hear them any more.
    netns.run(&["ip", "link", "set", "eth0", "down"]);
    let had = netns.devices()["eth0"].traffic;
    docker.remove(name);
    had
}

#[test]
fn a_hundred_containers_leave_their_totals_and_nothing_else() {
    if !require_docker() {
        return;
    }
    let docker = Dockerd::bridged();
    let daemon = Daemon::start(&docker.host(), &["--retain-exited", "1s"]);
    ping(docker.netns(), BRIDGE, 56);
    let before = Slots::of_networks(&daemon.scrape());
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("brief-{number}")).collect();
    let mut monotone = Monotone::default();
    let kernels: Traffic = names
        .chunks(CONTAINERS / 10)
        .map(|names| {
            let had = in_parallel(names, |name| come_and_go(&docker, name));
            // As Prometheus would, meanwhile.
            let scrape = daemon.scrape();
            monotone.observe(&scrape);
            println!("so far {:?}, slots {:?}", all(&scrape), Slots::of_networks(&scrape));
            had.into_iter().sum::<Traffic>()
        })
        .sum();
    for packets in [kernels.rx_packets, kernels.tx_packets] {
        assert!(packets >= LEAST_PACKETS * CONTAINERS as u64, "{kernels:?}");
    }

    // The host's and the engine's own may have had their first packet meanwhile.
    let others = procfs::devices(process::id()).len() + docker.netns().devices().len();
    let most = before.used.max(others as u64);
    let scrape = wait::until("free slots", RETIRE_LIMIT, || {
        let scrape = daemon.scrape();
        monotone.observe(&scrape);
        let now = Slots::of_networks(&scrape);
        let has_ended = scrape.count("container_exited_total", &[]) >= CONTAINERS as u64;
        (has_ended && now.retiring == 0 && now.used <= most).then_some(scrape)
    });
    println!("slots: {before:?} before, {:?} after", Slots::of_networks(&scrape));
    println!("no container's: {:?}", told(&scrape, UNATTRIBUTED, &[]));
    assert_same("all that have ended", all(&scrape), kernels);
    let exited = told(&scrape, EXITED, &[]).expect("it is told in any case");
    assert_same("the roll-up alone", exited, kernels);
    assert_eq!(faults(&scrape), [""; 0]);
    daemon.stop();
}
