//! Which machine the figures are from.

use std::fs;

/// One line: CPU, how many, kernel.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let virtual_machine = if cpuinfo.contains(" hypervisor") { " (virtual machine)" } else { "" };
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("{cpus} × {model}{virtual_machine}, Linux {}, load {load} at start", kernel.trim())
}
