//! Container ids from cgroup paths.
