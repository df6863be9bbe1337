//! The only place that reads the time. Everything else is handed a [`Clock`] or an instant, so that a test can put one
//! server an hour off and see that no money depends on it: what must agree between servers is decided by the time of
//! PostgreSQL or Redis, and what must be short is measured on the monotonic clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeDelta, Utc};

/// The server's clock, optionally set wrong on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    offset_ms: i64,
}

impl Clock {
    /// A clock that is `offset_ms` milliseconds ahead of the machine's (negative: behind). Zero outside tests.
    pub fn with_offset_ms(offset_ms: i64) -> Self {
        Self { offset_ms }
    }

    /// The wall clock, for times that are shown or sent, never for deadlines.
    #[expect(clippy::disallowed_methods, reason = "one of the two places that read the wall clock")]
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.offset_ms)
    }

    /// The wall clock in whole milliseconds since 1970, without a calendar: every request asks for it.
    #[expect(clippy::disallowed_methods, reason = "one of the two places that read the wall clock")]
    pub fn now_unix_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add_signed(self.offset_ms)
    }

    /// The monotonic clock, for "at most so long after". It goes on while a process is stopped.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }

    /// How long ago `start` (from [`Clock::monotonic`]) was.
    pub fn elapsed_since(&self, start: Instant) -> Duration {
        self.monotonic().saturating_duration_since(start)
    }
}
