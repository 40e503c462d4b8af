//! Out.
