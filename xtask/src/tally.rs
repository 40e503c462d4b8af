//! Counting tests over all the test binaries that a `cargo test` runs, from the
//! `test result:` line that each of them prints.

use std::fmt;

/// Tests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

impl Tally {
    /// Adds the line's counts if it is a result line; other lines don't matter.
    pub(crate) fn add_line(&mut self, line: &str) {
        if let Some(Self { passed, failed }) = parse(line) {
            self.passed += passed;
            self.failed += failed;
        }
    }

    /// Adds another tally.
    pub(crate) fn add(&mut self, Self { passed, failed }: Self) {
        self.passed += passed;
        self.failed += failed;
    }

    /// Whether nothing was counted: a test run without a test proves nothing.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed } = self;
        write!(formatter, "{passed} passed, {failed} failed")
    }
}

/// `test result: ok. 5 passed; 0 failed; 0 ignored; …`, which libtest begins on a line
/// of its own, whatever the tests printed.
fn parse(line: &str) -> Option<Tally> {
    let result = line.strip_prefix("test result: ")?;
    let (_verdict, counts) = result.split_once(". ")?;
    let count = |what: &str| -> Option<u64> {
        let mut parts = counts.split("; ");
        parts.find_map(|part| part.strip_suffix(what)?.trim_end().parse().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_nothing_else_is() {
        let output = "\
running 3 tests
test a ... ok
test prints ... test result: ok. 5 passed; 5 failed;

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out
test result: unheard of
";
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.add_line(line));
        assert_eq!(tally, Tally { passed: 15, failed: 2 });
        assert_eq!(tally.to_string(), "15 passed, 2 failed");
    }

    #[test]
    fn no_tests_is_not_success() {
        let mut tally = Tally::default();
        tally.add_line("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured");
        assert!(tally.is_empty());
        tally.add(Tally { passed: 1, failed: 0 });
        assert!(!tally.is_empty());
    }
}
