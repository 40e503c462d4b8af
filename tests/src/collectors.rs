//! What the daemon says of its collectors.

use crate::metrics::Exposition;

/// Their names.
pub const ALL: [&str; 6] = ["cgroup", "cpu", "docker", "machine", "network", "process"];

/// Reasons for which something is missing though something is wrong.
pub const FAULTS: [&str; 6] = ["hidden", "denied", "failed", "malformed", "late", "stuck"];

const MISSING: &str = "slicemeter_collector_missing_total";

/// What was missing for a reason, since the daemon began.
pub fn missing(scrape: &Exposition, collector: &str, reason: &str) -> f64 {
    scrape.value(MISSING, &[("collector", collector), ("reason", reason)])
}

/// What was missing through a fault, over all collectors, as text for people; empty if
/// nothing was.
pub fn faults(scrape: &Exposition) -> Vec<String> {
    scrape
        .select(MISSING, &[])
        .filter(|sample| sample.value > 0.0 && FAULTS.contains(&&*sample.labels["reason"]))
        .map(|sample| format!("{:?}: {}", sample.labels, sample.value))
        .collect()
}

/// Whether a collector told everything; `None` if it was not asked.
pub fn success(scrape: &Exposition, collector: &str) -> Option<bool> {
    let value = scrape.get("slicemeter_collector_success", &[("collector", collector)])?;
    Some(value > 0.5)
}
