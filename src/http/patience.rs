//! How long a connection may keep us listening. The HTTP library bounds the first head of a connection and our reader bounds
//! bodies, but the library bounds no later head, and reads on after an early answer for as long as the rest of a body in
//! chunks comes. Here every connection counts from its beginning, and after an answer from the first byte that was not answered
//! yet: when the time is over it reads as ended. A request that is being worked on is answered all the same; after that the
//! connection is closed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::Clock;

/// A head and a body have five seconds each, so that whoever still sends after this sends no request.
const LONGEST: Duration = Duration::from_secs(15);

/// A connection that is listened to for so long without an answer.
pub struct Patient<T> {
    connection: T,
    clock: Clock,
    longest: Duration,
    /// Made with the first look. One that ends too early, because the wait that it was set for is over and another began, is
    /// set again only then: setting it for every request would be work for what hardly ever happens.
    timer: Option<Pin<Box<Sleep>>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// All that came was answered.
    Answered,
    /// Bytes came, or the first are waited for, and are listened to until then.
    Waiting { until: Instant },
    /// The time is over.
    Over,
}

impl<T> Patient<T> {
    /// With the patience that every connection has.
    pub fn new(connection: T, clock: Clock) -> Self {
        Self::listening_for(connection, clock, LONGEST)
    }

    fn listening_for(connection: T, clock: Clock, longest: Duration) -> Self {
        let mut begun = Self {
            connection,
            clock,
            longest,
            timer: None,
            state: State::Answered,
        };
        begun.begin_to_wait();
        begun
    }

    fn begin_to_wait(&mut self) {
        let until = Instant::from_std(self.clock.monotonic()) + self.longest;
        self.state = State::Waiting { until };
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if let State::Waiting { until } = self.state {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            while timer.as_mut().poll(context).is_ready() {
                if timer.deadline() >= until {
                    self.state = State::Over;
                    break;
                }
                timer.as_mut().reset(until);
            }
        }
        self.state == State::Over
    }

    fn answered(&mut self, written: &Poll<io::Result<usize>>) {
        if matches!(self.state, State::Waiting { .. }) && matches!(written, Poll::Ready(Ok(1..))) {
            self.state = State::Answered;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        let known = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        if self.state == State::Answered && buffer.filled().len() > known {
            self.begin_to_wait();
            // Polled once, so that it wakes whoever waits for the next bytes.
            self.is_over(context);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(context, bytes);
        self.answered(&written);
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(context, bytes);
        self.answered(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    fn connected() -> (DuplexStream, Patient<DuplexStream>) {
        let (caller, server) = duplex(64);
        (caller, Patient::listening_for(server, Clock::default(), SHORT))
    }

    #[tokio::test]
    async fn who_is_answered_may_go_on_for_ever() {
        let (mut caller, mut server) = connected();
        for _ in 0..4 {
            caller.write_all(b"ask").await.expect("sent");
            assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 3);
            sleep(SHORT / 3).await;
            server.write_all(b"answer").await.expect("sent");
            assert_eq!(caller.read(&mut [0; 8]).await.expect("read"), 6);
        }
        // Silence after an answer is not counted here.
        assert!(tokio::time::timeout(2 * SHORT, server.read(&mut [0; 8])).await.is_err());
        caller.write_all(b"ask").await.expect("sent");
        assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 3);
    }

    #[tokio::test]
    async fn who_is_never_done_is_listened_to_no_longer() {
        let (mut caller, mut server) = connected();
        let listening = async {
            loop {
                caller.write_all(b"x").await.expect("sent");
                if server.read(&mut [0; 8]).await.expect("read") == 0 {
                    break;
                }
                sleep(SHORT / 20).await;
            }
        };
        tokio::time::timeout(20 * SHORT, listening).await.expect("an end");
        server.write_all(b"late").await.expect("an answer is still sent");
        assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 0, "and it stays so");
    }

    #[tokio::test]
    async fn who_never_says_a_word_is_given_up() {
        let (_caller, mut server) = connected();
        assert_eq!(server.read(&mut [0; 8]).await.expect("woken by the timer"), 0);
    }

    #[tokio::test]
    async fn who_falls_silent_in_the_middle_is_given_up() {
        let (mut caller, mut server) = connected();
        caller.write_all(b"ask").await.expect("sent");
        assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 3);
        assert_eq!(server.read(&mut [0; 8]).await.expect("woken by the timer"), 0);
    }
}
