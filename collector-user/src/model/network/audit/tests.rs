//! Comparisons, with made-up counts.

use super::*;

const ID: InterfaceId = InterfaceId { netns: 9, ifindex: 2 };

/// An interface that has received and sent so many packets of 100 bytes.
fn traffic(rx_packets: u64, tx_packets: u64) -> Traffic {
    Traffic { rx_packets, rx_bytes: 100 * rx_packets, tx_packets, tx_bytes: 100 * tx_packets }
}

fn device(traffic: Traffic) -> Device {
    Device { name: "eth0".into(), traffic, ..Device::default() }
}

/// Looks while nothing moves; `ours` is what the programs have counted.
fn quiet(audit: &mut Audit, link: Link, ours: Traffic, device: &Device, now_ms: u64) -> Vec<Drift> {
    audit.look(
        ID,
        &Look { link, merges: false, sighting: 1, before: ours, device, after: ours },
        now_ms,
    )
}

fn counted(audit: &Audit) -> Vec<(Verdict, u64)> {
    let checks = audit.checks();
    let all = Verdict::ALL.into_iter().map(|verdict| (verdict, checks.get(verdict)));
    all.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn every_verdict_is_counted_at_its_place() {
    for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
        assert_eq!(verdict.index(), index, "{verdict:?}");
    }
}

#[test]
fn what_both_counted_since_the_first_look_agrees_to_the_byte() {
    let mut audit = Audit::default();
    // The kernel has counted since the interface was made, the programs since they began.
    let first = device(traffic(1_000, 2_000));
    assert_eq!(quiet(&mut audit, Link::Veth, traffic(10, 20), &first, 0), []);
    assert_eq!(counted(&audit), [], "there is nothing to compare with");
    let second = device(traffic(1_005, 2_007));
    assert_eq!(quiet(&mut audit, Link::Veth, traffic(15, 27), &second, 10), []);
    assert_eq!(counted(&audit), [(Verdict::Agree, 2)]);
}

#[test]
fn one_packet_less_is_a_drift_once_it_is_confirmed() {
    let mut audit = Audit::default();
    quiet(&mut audit, Link::Veth, traffic(0, 0), &device(traffic(0, 0)), 0);
    let theirs = device(traffic(1_000, 7));
    assert_eq!(quiet(&mut audit, Link::Veth, traffic(999, 7), &theirs, 10), []);
    let pending = Verdict::Unknown(Reason::Pending);
    assert_eq!(counted(&audit), [(Verdict::Agree, 1), (pending, 1)]);
    let drift = Drift {
        direction: "receive",
        ours_packets: 999,
        ours_bytes: 99_900,
        theirs_packets: 1_000,
        theirs_bytes: 100_000,
    };
    assert_eq!(quiet(&mut audit, Link::Veth, traffic(999, 7), &theirs, 20), [drift]);
    assert_eq!(quiet(&mut audit, Link::Veth, traffic(999, 7), &theirs, 30), [], "told once");
    assert_eq!(audit.checks().get(Verdict::Drift), 2);
    // In a new window it must show again.
    quiet(&mut audit, Link::Veth, traffic(999, 7), &theirs, WINDOW_MS);
    quiet(&mut audit, Link::Veth, traffic(999, 7), &theirs, WINDOW_MS + 10);
    assert_eq!(audit.checks().get(Verdict::Drift), 3, "that of the window's end");
}

#[test]
fn packets_that_pass_while_it_is_looked_are_no_drift() {
    let mut audit = Audit::default();
    let (link, merges) = (Link::Veth, false);
    let look = |before, device, after| Look { link, merges, sighting: 1, before, device, after };
    let first = device(traffic(0, 0));
    audit.look(ID, &look(traffic(0, 0), &first, traffic(3, 0)), 0);
    let second = device(traffic(900, 0));
    audit.look(ID, &look(traffic(400, 0), &second, traffic(1_500, 0)), 10);
    assert_eq!(counted(&audit), [(Verdict::Agree, 2)]);
    // But no more than a backlog.
    let third = device(traffic(9_000, 0));
    audit.look(ID, &look(traffic(1_500, 0), &third, traffic(1_510, 0)), 20);
    audit.look(ID, &look(traffic(1_500, 0), &third, traffic(1_510, 0)), 30);
    assert_eq!(audit.checks().get(Verdict::Drift), 1);
}

#[test]
fn what_is_known_to_differ_is_unknown_with_its_reason() {
    let dropped = Device { tx_dropped: 5, ..device(traffic(50, 45)) };
    // Ten packets went into others on the way in, each with its headers of 66 bytes.
    let merged = Traffic { rx_packets: 40, rx_bytes: 50 * 100 - 10 * 66, ..traffic(0, 50) };
    let (zero, theirs) = (traffic(0, 0), device(traffic(50, 50)));
    for (link, merges, reason, ours, device_then) in [
        (Link::Physical, true, Reason::Offload, traffic(40, 50), &theirs),
        (Link::Stacked, true, Reason::Stacked, traffic(0, 50), &theirs),
        (Link::Virtual, true, Reason::Kind, merged, &theirs),
        (Link::Veth, false, Reason::Dropped, traffic(50, 50), &dropped),
        (Link::Veth, true, Reason::Merged, merged, &theirs),
        (Link::Veth, false, Reason::Pending, merged, &theirs),
        (Link::Veth, true, Reason::Pending, traffic(51, 50), &theirs),
    ] {
        let mut audit = Audit::default();
        quiet(&mut audit, link, zero, &device(zero), 0);
        let look =
            Look { link, merges, sighting: 1, before: ours, device: device_then, after: ours };
        audit.look(ID, &look, 10);
        assert_eq!(counted(&audit), [(Verdict::Agree, 1), (Verdict::Unknown(reason), 1)]);
    }
}

#[test]
fn another_interface_with_the_same_index_is_not_compared_with_the_old_one() {
    let mut audit = Audit::default();
    quiet(&mut audit, Link::Veth, traffic(0, 0), &device(traffic(0, 0)), 0);
    let renamed = Device { name: "wan0".into(), ..device(traffic(77, 77)) };
    quiet(&mut audit, Link::Veth, traffic(1, 1), &renamed, 10);
    assert_eq!(counted(&audit), []);
    // Forgotten and seen again in between: its counts began anew.
    let eth0 = device(traffic(100, 100));
    let look = Look {
        link: Link::Veth,
        merges: false,
        sighting: 2,
        before: traffic(0, 0),
        device: &eth0,
        after: traffic(0, 0),
    };
    audit.look(ID, &look, 15);
    assert_eq!(counted(&audit), []);
    audit.retain(&HashSet::new());
    quiet(&mut audit, Link::Veth, traffic(1, 1), &device(traffic(0, 0)), 20);
    assert_eq!(counted(&audit), []);
    audit.unread();
    assert_eq!(counted(&audit), [(Verdict::Unknown(Reason::Unread), 2)]);
}
