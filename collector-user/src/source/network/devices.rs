//! What `net/dev` says.
//!
//! Owns the way from its text to interfaces. Pure: text in, values out, no panics.
//!
//! All of it is told or nothing: a sum that lacks an interface looks like a counter that was
//! reset.

use std::io::Read;

use procfs::{FromBufRead, net::InterfaceDeviceStatus};

use crate::{
    model::network::{Device, Traffic},
    source::losses::Loss,
};

/// What the lines above the interfaces' begin with (`dev_seq_show` in
/// net/core/net-procfs.c).
const HEADERS: [&[u8]; 2] = [b"Inter-|", b" face |"];

/// A line with an interface.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    /// Its name as the kernel has it, which need not be text.
    pub(super) name: &'t [u8],
    /// What is told of it.
    pub(super) device: Device,
}

/// The interfaces in `net/dev`. One line that is not as it should be makes all of it
/// malformed, and so does an end that is cut off.
pub(super) fn parse(net_dev: &[u8]) -> Result<Vec<Line<'_>>, Loss> {
    let mut lines = net_dev.strip_suffix(b"\n").unwrap_or_default().split(|byte| *byte == b'\n');
    let has_headers =
        HEADERS.into_iter().all(|start| lines.next().is_some_and(|line| line.starts_with(start)));
    let lines: Option<Vec<_>> = lines.map(line).collect();
    // Every network has at least `lo`.
    lines.filter(|it| has_headers && !it.is_empty()).ok_or(Loss::malformed())
}

/// One interface. The crate wants names in UTF-8, which an interface's need not be: it is
/// given a line at a time, under a name of ours.
fn line(line: &[u8]) -> Option<Line<'_>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii();
    let file = b"\n\nname: ".chain(&line[colon + 1..]);
    let InterfaceDeviceStatus(devices) = InterfaceDeviceStatus::from_buf_read(file).ok()?;
    let told = devices.into_values().next().filter(|_| !name.is_empty())?;
    let traffic = Traffic {
        rx_bytes: told.recv_bytes,
        rx_packets: told.recv_packets,
        tx_bytes: told.sent_bytes,
        tx_packets: told.sent_packets,
    };
    let device = Device {
        name: String::from_utf8_lossy(name).into(),
        traffic,
        rx_errors: told.recv_errs,
        rx_dropped: told.recv_drop,
        tx_errors: told.sent_errs,
        tx_dropped: told.sent_drop,
    };
    Some(Line { name, device })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::losses::Reason;

    const HEADER: &str = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";

    fn text(names: &[&str], number: u64) -> String {
        let line = |name: &&str| format!("{name:>6}: {number}{}\n", " 1".repeat(15));
        [HEADER.to_owned()].into_iter().chain(names.iter().map(line)).collect()
    }

    #[test]
    fn names_are_bytes_and_the_numbers_those_of_their_columns() {
        let line = b"\xff|eth: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let file = [HEADER.as_bytes(), line].concat();
        let device = Device {
            name: "\u{fffd}|eth".into(),
            traffic: Traffic { rx_bytes: 1, rx_packets: 2, tx_bytes: 9, tx_packets: 10 },
            rx_errors: 3,
            rx_dropped: 4,
            tx_errors: 11,
            tx_dropped: 12,
        };
        assert_eq!(parse(&file).expect("sound"), [Line { name: b"\xff|eth", device }]);
    }

    #[test]
    fn what_is_cut_off_is_malformed_wherever_it_can_be_seen() {
        let whole = text(&["lo", "eth0"], 4711);
        let only_lo = whole.rfind("  eth0").expect("it is there");
        for length in 0..whole.len() {
            let is_sound = parse(&whole.as_bytes()[..length]).is_ok();
            assert_eq!(is_sound, length == only_lo, "{:?}", &whole[..length]);
        }
        assert!(parse(whole.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), line in "[a-z0-9: |\n-]{0,80}") {
            let _ = parse(&bytes);
            for end in ["", "\n"] {
                let _ = parse(format!("{HEADER}{line}{end}").as_bytes());
            }
        }

        #[test]
        fn a_mangled_line_leaves_nothing(
            number in any::<u64>(),
            place in 0_usize..4,
            mangled in "[a-z]{0,3}:?( [0-9]{1,4}){0,15}",
        ) {
            let sound = text(&["lo", "eth0", "eth1"], number);
            prop_assert_eq!(parse(sound.as_bytes()).map(|it| it.len()).ok(), Some(3));
            let mut lines: Vec<_> = sound.lines().collect();
            lines.insert(2 + place, &mangled);
            let file = lines.join("\n") + "\n";
            let loss = parse(file.as_bytes()).expect_err("a line too short");
            prop_assert_eq!(loss.reason(), Reason::Malformed);
        }
    }
}
