//! Errors as people read them: what is wrong, then why, in one line.
//!
//! Owns how an error and its causes are put together. Messages therefore do not hold
//! their causes' texts themselves, or the reason would be told twice.

use std::error::Error;

/// An error with its causes in one line, `what: why: why that`, whichever level of the
/// error knows the reason. A cause that is told already is left out: some libraries'
/// messages hold their causes'.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        let reason = cause.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Told {
        #[error("cannot do it")]
        Once(#[source] io::Error),
        #[error("cannot do it ({0}), alas")]
        Twice(#[source] io::Error),
        #[error("that failed")]
        Both(#[source] Box<Told>),
    }

    #[test]
    fn every_cause_is_told_once() {
        let reason = || io::Error::other("disk full");
        assert_eq!(chain(&reason()), "disk full");
        assert_eq!(chain(&Told::Once(reason())), "cannot do it: disk full");
        assert_eq!(chain(&Told::Twice(reason())), "cannot do it (disk full), alas");
        let both = Told::Both(Box::new(Told::Once(reason())));
        assert_eq!(chain(&both), "that failed: cannot do it: disk full");
    }
}
