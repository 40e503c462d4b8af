//! What `docker stats` shows, for people's eyes, as numbers.

use serde_json::Value;

use crate::dockerd::Dockerd;

/// It shows four digits: half a unit of the last one is at most this share of a value.
const ROUNDING: f64 = 0.000_5;

/// One line of `docker stats`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// Percent of one CPU, over the second or so before.
    pub cpu_percent: f64,
    /// Memory in use without inactive file pages, in bytes, rounded.
    pub memory_bytes: f64,
    /// Its limit in bytes, rounded.
    pub limit_bytes: f64,
    /// Tasks: processes and threads.
    pub pids: f64,
}

impl Stats {
    /// Asks for one container's.
    pub fn of(docker: &Dockerd, name: &str) -> Self {
        let line = docker.docker(&["stats", "--no-stream", "--format", "{{json .}}", name]);
        Self::parse(&line).unwrap_or_else(|| panic!("docker stats says {line:?}"))
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Value = serde_json::from_str(line).ok()?;
        let field = |key: &str| fields[key].as_str();
        let (memory, limit) = field("MemUsage")?.split_once(" / ")?;
        Some(Self {
            cpu_percent: field("CPUPerc")?.strip_suffix('%')?.parse().ok()?,
            memory_bytes: bytes(memory)?,
            limit_bytes: bytes(limit)?,
            pids: field("PIDs")?.parse().ok()?,
        })
    }
}

/// Whether an exact value may have been rounded to a shown one.
pub fn is_rounded_to(exact: f64, shown: f64) -> bool {
    (exact - shown).abs() <= shown * ROUNDING
}

fn bytes(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &text[unit..] {
        "B" => 1.0,
        "KiB" => 1_024.0,
        "MiB" => 1_024.0 * 1_024.0,
        "GiB" => 1_024.0 * 1_024.0 * 1_024.0,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read() {
        let line = r#"{"CPUPerc":"49.93%","MemUsage":"1.5MiB / 64MiB","PIDs":"7","Name":"x"}"#;
        let stats = Stats::parse(line).expect("a line");
        let Stats { cpu_percent, memory_bytes, limit_bytes, pids } = stats;
        assert!((cpu_percent - 49.93).abs() < 1e-9 && (pids - 7.0).abs() < 1e-9, "{stats:?}");
        assert!((memory_bytes - 1_572_864.0).abs() < 1e-9, "{stats:?}");
        assert!((limit_bytes - 67_108_864.0).abs() < 1e-9, "{stats:?}");
        assert_eq!(Stats::parse(&line.replace("MiB /", "TB /")), None);
    }

    #[test]
    fn rounding_is_to_four_digits() {
        assert!(is_rounded_to(1_000_499.0, 1_000_000.0));
        assert!(!is_rounded_to(1_000_501.0, 1_000_000.0));
    }
}
