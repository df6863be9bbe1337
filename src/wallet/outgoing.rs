//! A request body that knows whether it left. The connection asks for it at the moment it would write it; from then on
//! the operator may have it. Until then it can be withdrawn, and whoever withdraws it first wins: after a withdrawal not
//! a byte leaves, however late the connection asks.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use crate::clock::Clock;

const WAITING: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;
const TOO_LATE: u8 = 3;

/// The fate of a body, shared with the one who sends it.
#[derive(Clone, Default)]
pub(super) struct Fate(Arc<AtomicU8>);

impl Fate {
    /// Keeps the body from leaving if it has not left yet; `false` when it may have left.
    pub fn withdraw(&self) -> bool {
        !matches!(self.decide(WITHDRAWN), SENT)
    }

    /// Whether the body was asked for only after its time.
    pub fn was_too_late(&self) -> bool {
        self.0.load(Ordering::Acquire) == TOO_LATE
    }

    /// Decides once; returns what stands.
    fn decide(&self, fate: u8) -> u8 {
        match self.0.compare_exchange(WAITING, fate, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fate,
            Err(decided) => decided,
        }
    }
}

/// The bytes of one request, sent before `latest` or not at all.
pub(super) struct OutgoingBody {
    pub bytes: Option<Bytes>,
    pub latest: Option<Instant>,
    pub clock: Clock,
    pub fate: Fate,
}

/// The body was withdrawn, or its time was over.
#[derive(Debug, Error)]
#[error("the message did not leave in time")]
pub(super) struct Withheld;

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = Withheld;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withheld>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let is_late = self.latest.is_some_and(|latest| self.clock.monotonic() > latest);
        match self.fate.decide(if is_late { TOO_LATE } else { SENT }) {
            SENT => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            _ => Poll::Ready(Some(Err(Withheld))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn body(latest: Option<Instant>) -> (OutgoingBody, Fate) {
        let fate = Fate::default();
        (
            OutgoingBody {
                bytes: Some(Bytes::from_static(b"key=a")),
                latest,
                clock: Clock::default(),
                fate: fate.clone(),
            },
            fate,
        )
    }

    fn ask(body: &mut OutgoingBody) -> Result<Bytes, Withheld> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(Some(frame)) => frame.map(|frame| frame.into_data().expect("data")),
            _ => panic!("a body that is not asked for twice is ready"),
        }
    }

    #[test]
    fn a_body_that_left_cannot_be_withdrawn_and_a_withdrawn_one_does_not_leave() {
        let (mut sent, fate) = body(None);
        assert_eq!(ask(&mut sent).expect("sent"), "key=a");
        assert!(!fate.withdraw());

        let (mut withdrawn, fate) = body(None);
        assert!(fate.withdraw());
        assert!(ask(&mut withdrawn).is_err());
        assert!(!fate.was_too_late());
    }

    #[test]
    fn a_late_body_does_not_leave() {
        let clock = Clock::default();
        let (mut late, fate) = body(clock.monotonic().checked_sub(Duration::from_millis(1)));
        assert!(ask(&mut late).is_err());
        assert!(fate.was_too_late() && fate.withdraw());
    }
}
