//! A point in time, as a value: the model reads no clock.

/// One moment on both clocks: durations are taken on the monotonic one, which no
/// administrator sets back; what people read is on the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since some fixed moment of this boot, in ms.
    pub monotonic_ms: u64,
    /// Since the epoch, in ms.
    pub wall_ms: u64,
}
