//! Losses: what can't be read of files, said in the log and counted.
//!
//! Owns which kind of loss a failure is, and that none is counted without a line that
//! names it. Must not know what is in a file.

use std::{fmt, io};

use rustix::io::Errno;

use crate::model::{
    collectors::Collector,
    losses::{Losses, Reason},
};

/// Why a file does not tell what it should.
#[derive(Debug)]
pub(super) struct Loss {
    reason: Reason,
    /// What the kernel said, if that is why.
    error: Option<io::Error>,
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        Self { reason: reason(&error), error: Some(error) }
    }
}

impl Loss {
    /// A loss that no error of the kernel's stands behind.
    pub(super) const fn of(reason: Reason) -> Self {
        Self { reason, error: None }
    }

    /// Text that is not what the kernel's documentation says.
    pub(super) const fn malformed() -> Self {
        Self::of(Reason::Malformed)
    }

    /// A failure to read what is there as long as the host is: it has not ended when it is
    /// absent, but is looked for in the wrong place.
    pub(super) fn of_permanent(error: io::Error) -> Self {
        let loss = Self::from(error);
        if loss.reason == Reason::Vanished { loss.because(Reason::Failed) } else { loss }
    }

    /// The same failure, known to be of this kind.
    pub(super) fn because(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// Its kind.
    pub(super) const fn reason(&self) -> Reason {
        self.reason
    }

    /// Counts it. If it is a fault, the log says at level debug which file it is about: a
    /// path, or for a process one below procfs.
    pub(super) fn count(
        &self,
        collector: Collector,
        file: fmt::Arguments<'_>,
        losses: &mut Losses,
    ) {
        self.count_many(1, collector, file, losses);
    }

    /// Counts it several times, with one line in the log; not at all if the number is 0.
    pub(super) fn count_many(
        &self,
        number: u64,
        collector: Collector,
        file: fmt::Arguments<'_>,
        losses: &mut Losses,
    ) {
        let Self { reason, error } = self;
        if number > 0 && reason.is_fault() {
            tracing::debug!(
                %collector,
                file,
                reason = reason.name(),
                error = error.as_ref().map(tracing::field::display),
                "not told"
            );
        }
        losses.count_many(collector, *reason, number);
    }
}

/// Which kind of loss a failed read is.
fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::NotFound => Reason::Vanished,
        io::ErrorKind::PermissionDenied => Reason::Denied,
        // A process, or a cgroup, that has ended between opening and reading.
        _ if [Errno::SRCH, Errno::NODEV].iter().any(|it| is(error, *it)) => Reason::Vanished,
        _ => Reason::Failed,
    }
}

/// Whether an error is this one of the kernel's.
pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// A log that a test can read.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("unharmed").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `act` says of losses at level debug.
    pub(in crate::source) fn logged(act: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            // Threads that log to nobody may have been the first at the place that logs, and
            // have switched it off.
            let mut losses = Losses::default();
            Loss::malformed().count(Collector::Cpu, format_args!("none"), &mut losses);
            tracing::callsite::rebuild_interest_cache();
            page.0.lock().expect("unharmed").clear();
            act();
        });
        let bytes = page.0.lock().expect("unharmed").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn failures_are_told_apart() {
        for (errno, expected) in [
            (Errno::NOENT, Reason::Vanished),
            (Errno::SRCH, Reason::Vanished),
            (Errno::NODEV, Reason::Vanished),
            (Errno::ACCESS, Reason::Denied),
            (Errno::PERM, Reason::Denied),
            (Errno::IO, Reason::Failed),
        ] {
            assert_eq!(Loss::from(io::Error::from(errno)).reason(), expected, "{errno}");
            let permanent = Loss::of_permanent(errno.into()).reason();
            let expected = if expected == Reason::Vanished { Reason::Failed } else { expected };
            assert_eq!(permanent, expected, "{errno}");
        }
    }

    #[test]
    fn faults_are_named_in_the_log_and_races_are_only_counted() {
        let mut losses = Losses::default();
        let mut say = |loss: &Loss, number| {
            logged(|| loss.count_many(number, Collector::Cgroup, format_args!("/c/x"), &mut losses))
        };
        let line = say(&Loss::from(io::Error::from(Errno::ACCESS)), 1);
        for part in ["DEBUG", "collector=cgroup", "file=/c/x", "reason=\"denied\"", "os error 13"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let line = say(&Loss::malformed(), 3);
        assert!(line.contains("reason=\"malformed\"") && !line.contains("error"), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(say(&Loss::from(io::Error::from(Errno::NOENT)), 1), "");
        assert_eq!(say(&Loss::of(Reason::Hidden), 0), "");
        let counts = Reason::ALL.map(|reason| losses.get(Collector::Cgroup, reason));
        assert_eq!(counts, [1, 0, 0, 1, 0, 3, 0, 0]);
    }

    #[test]
    fn nothing_is_put_into_words_that_nobody_reads() {
        struct Words;
        impl fmt::Display for Words {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("put into words");
            }
        }
        let quiet = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_writer(io::sink)
            .finish();
        tracing::subscriber::with_default(quiet, || {
            let mut losses = Losses::default();
            Loss::malformed().count(Collector::Process, format_args!("{Words}"), &mut losses);
            assert!(!losses.is_complete(Collector::Process));
        });
    }
}
