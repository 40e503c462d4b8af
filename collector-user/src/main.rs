//! Entry point: parse, set up logging, run, exit code.

fn main() {}
