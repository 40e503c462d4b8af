//! The accounts of interfaces.
