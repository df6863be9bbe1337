//! How long a connection may keep us.
//!
//! **Listening.** The HTTP library bounds the first head of a connection and our reader bounds bodies, but the library bounds no
//! later head, and reads on after an early answer for as long as the rest of a body in chunks comes. Here every connection counts
//! from its beginning, and after an answer from the first byte that was not answered yet: when the time is over it reads as ended.
//! A request that is being worked on is answered all the same; after that the connection is closed.
//!
//! **Being read.** Who does not read what we send is waited for until nothing was taken for a while; then the connection is reset,
//! so that neither we nor the kernel keep what nobody wants. The same where it ends with something unsent.
//!
//! **Draining.** When the server ends, an idle connection reads as ended once nothing is left to read on it: a request that has
//! come already is answered.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock::Clock;

/// A head and a body have five seconds each, so that whoever still sends after this sends no request.
const LONGEST: Duration = Duration::from_secs(15);
/// So long a client may take nothing of what waits for it. A stream of events is not kept for longer either.
const LONGEST_STALL: Duration = Duration::from_secs(20);
/// While the server ends, a connection that has not said a word yet may take so long to say it.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// What a connection is asked beyond reading and writing.
pub trait Socket {
    /// From now on closing it discards what was not sent and tells the other side so.
    fn close_abruptly(&self);

    /// Whether the system holds bytes for us, also those that the runtime has not been told of yet. Takes none of them.
    fn has_bytes(&self) -> bool;
}

impl Socket for TcpStream {
    fn close_abruptly(&self) {
        // If it fails, the system's own deadline for unacknowledged bytes is left.
        let _ = self.set_zero_linger();
    }

    fn has_bytes(&self) -> bool {
        // The system itself is asked, because the runtime answers from what it heard when it last waited for events.
        matches!(SockRef::from(self).peek(&mut [MaybeUninit::uninit()]), Ok(1))
    }
}

/// An alarm for a time that moves. It is made with the first look, and when it rings too early, because it was set for an earlier
/// time, it is set again only then: setting it for every request would be work for what hardly ever happens.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether `until` is over; wakes the caller when it is.
    fn has_rung(&mut self, until: Instant, context: &mut Context<'_>) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= until {
                return true;
            }
            timer.as_mut().reset(until);
        }
        false
    }
}

/// A connection with the patience described above.
pub struct Patient<T: Socket> {
    connection: T,
    clock: Clock,
    limits: Limits,
    alarm: Alarm,
    state: State,
    /// Whether anything was ever read.
    has_spoken: bool,
    /// Ready when the server ends; `None` when it has been.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    write_alarm: Alarm,
    /// While bytes wait that the connection does not take: until when.
    stalled: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Limits {
    longest: Duration,
    stall: Duration,
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

impl<T: Socket> Patient<T> {
    /// With the patience that every connection has, until `ending`.
    pub fn new(connection: T, clock: Clock, ending: CancellationToken) -> Self {
        let limits = Limits {
            longest: LONGEST,
            stall: LONGEST_STALL,
        };
        Self::within(limits, connection, clock, ending)
    }

    fn within(limits: Limits, connection: T, clock: Clock, ending: CancellationToken) -> Self {
        let mut begun = Self {
            connection,
            clock,
            limits,
            alarm: Alarm::default(),
            state: State::Answered,
            has_spoken: false,
            ending: Some(Box::pin(ending.cancelled_owned())),
            write_alarm: Alarm::default(),
            stalled: None,
        };
        begun.begin_to_wait();
        begun
    }

    fn now(&self) -> Instant {
        Instant::from_std(self.clock.monotonic())
    }

    fn begin_to_wait(&mut self) {
        let until = self.now() + self.limits.longest;
        self.state = State::Waiting { until };
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if let State::Waiting { until } = self.state
            && self.alarm.has_rung(until, context)
        {
            self.state = State::Over;
        }
        self.state == State::Over
    }

    /// Whether the server ends and this connection, on which there is nothing to read, is not needed any more.
    fn is_dismissed(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(ending) = &mut self.ending {
            if ending.as_mut().poll(context).is_pending() {
                return false;
            }
            self.ending = None;
            if let State::Waiting { until } = self.state
                && !self.has_spoken
            {
                let until = until.min(self.now() + FIRST_WORD);
                self.state = State::Waiting { until };
            }
        }
        if self.connection.has_bytes() {
            // The runtime is about to be told, and then reads them.
            return false;
        }
        if self.state == State::Answered {
            self.state = State::Over;
        }
        self.is_over(context)
    }

    /// What became of an attempt to write.
    fn written(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(1..)) => {
                self.stalled = None;
                if matches!(self.state, State::Waiting { .. }) {
                    self.state = State::Answered;
                }
            }
            Poll::Pending => {
                let until = self.stalled.unwrap_or_else(|| self.now() + self.limits.stall);
                self.stalled = Some(until);
                if self.write_alarm.has_rung(until, context) {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "what was sent is not read")));
                }
            }
            Poll::Ready(_) => {}
        }
        written
    }
}

impl<T: Socket> Drop for Patient<T> {
    fn drop(&mut self) {
        if self.stalled.is_some() {
            self.connection.close_abruptly();
        }
    }
}

impl<T: AsyncRead + Socket + Unpin> AsyncRead for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        let known = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        if buffer.filled().len() > known {
            self.has_spoken = true;
            if self.state == State::Answered {
                self.begin_to_wait();
                // Polled once, so that it wakes whoever waits for the next bytes.
                self.is_over(context);
            }
        }
        if read.is_pending() && self.is_dismissed(context) {
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl<T: AsyncWrite + Socket + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(context, bytes);
        self.written(written, context)
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
    use std::cell::Cell;
    use std::io::Write as _;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpListener;
    use tokio::time::{sleep, timeout};

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    thread_local!(static ABRUPTLY_CLOSED: Cell<u32> = const { Cell::new(0) });

    impl Socket for DuplexStream {
        fn close_abruptly(&self) {
            ABRUPTLY_CLOSED.set(ABRUPTLY_CLOSED.get() + 1);
        }

        fn has_bytes(&self) -> bool {
            false
        }
    }

    fn connected_until(ending: &CancellationToken) -> (DuplexStream, Patient<DuplexStream>) {
        let (caller, server) = duplex(64);
        let limits = Limits {
            longest: SHORT,
            stall: SHORT,
        };
        (caller, Patient::within(limits, server, Clock::default(), ending.clone()))
    }

    fn connected() -> (DuplexStream, Patient<DuplexStream>) {
        connected_until(&CancellationToken::new())
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

    #[tokio::test]
    async fn who_reads_slowly_is_waited_for_and_who_does_not_read_is_cut_off() {
        let (mut caller, mut server) = connected();
        let reading = async {
            for _ in 0..8 {
                sleep(SHORT / 2).await;
                caller.read_exact(&mut [0; 32]).await.expect("read");
            }
        };
        let (sent, ()) = tokio::join!(server.write_all(&[0; 256]), reading);
        sent.expect("all of it, although it took longer than anybody may take nothing");
        let error = timeout(20 * SHORT, server.write_all(&[0; 256])).await.expect("an end");
        assert_eq!(error.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
        assert_eq!(ABRUPTLY_CLOSED.get(), 0);
        drop(server);
        assert_eq!(ABRUPTLY_CLOSED.get(), 1, "what was not sent goes with the connection");
        let (mut caller, mut server) = connected();
        server.write_all(&[0; 64]).await.expect("sent");
        caller.read_exact(&mut [0; 64]).await.expect("read");
        drop(server);
        assert_eq!(ABRUPTLY_CLOSED.get(), 1, "one that is done ends in peace");
    }

    #[tokio::test]
    async fn at_the_end_what_has_come_is_answered_and_who_is_idle_is_let_go() {
        let ending = CancellationToken::new();
        let (mut caller, mut server) = connected_until(&ending);
        caller.write_all(b"ask").await.expect("sent");
        assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 3);
        server.write_all(b"answer").await.expect("sent");
        caller.write_all(b"again").await.expect("sent");
        ending.cancel();
        assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 5, "it had come before");
        assert!(timeout(SHORT / 3, server.read(&mut [0; 8])).await.is_err(), "it is being worked on");
        server.write_all(b"answer").await.expect("sent");
        assert_eq!(server.read(&mut [0; 8]).await.expect("idle"), 0);
    }

    #[tokio::test]
    async fn at_the_end_an_idle_connection_is_woken() {
        let ending = CancellationToken::new();
        let (mut caller, mut server) = connected_until(&ending);
        caller.write_all(b"ask").await.expect("sent");
        assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 3);
        server.write_all(b"answer").await.expect("sent");
        let (read, ()) = tokio::join!(timeout(20 * SHORT, async { server.read(&mut [0; 8]).await }), async {
            ending.cancel()
        });
        assert_eq!(read.expect("woken").expect("read"), 0);
    }

    #[tokio::test]
    async fn at_the_end_bytes_that_the_runtime_has_not_heard_of_count() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let mut caller = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (connection, _) = listener.accept().await.expect("accepted");
        let ending = CancellationToken::new();
        let mut server = Patient::new(connection, Clock::default(), ending.clone());
        caller.write_all(b"ask").expect("sent");
        assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 3);
        server.write_all(b"answer").await.expect("sent");
        assert!(timeout(SHORT / 3, server.read(&mut [0; 8])).await.is_err(), "nothing has come");
        // In one go: the runtime, which has this thread alone, cannot wait for events between these.
        caller.write_all(b"again").expect("sent");
        ending.cancel();
        assert_eq!(server.read(&mut [0; 8]).await.expect("read"), 5);
        server.write_all(b"answer").await.expect("sent");
        assert_eq!(server.read(&mut [0; 8]).await.expect("idle"), 0);
    }
}
