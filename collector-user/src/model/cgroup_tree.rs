//! The cgroup tree.
