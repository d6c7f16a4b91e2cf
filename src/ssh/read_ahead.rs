//! A byte stream that goes on reading while a write is blocked.
//!
//! An SSH session of russh does not read while it writes. Two of them that send in bulk to each other would wait for
//! each other for ever: each one's socket is full, because the other doesn't read. And one whose peer has ended its side
//! and takes nothing more would never learn of it. Knows nothing of SSH itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PIECE: usize = 64 << 10;
/// Pieces that are read at a stretch before others get their turn.
const STRETCH: usize = 16;

/// Wraps a stream whose peer may be as stubborn as we are.
#[derive(Debug)]
pub struct ReadAhead<S> {
    inner: S,
    /// What was read while a write was blocked. The windows that the session granted bound it: it grants no more until
    /// its write is done.
    ahead: BytesMut,
    /// How reading ahead ended, if it did.
    end: Option<io::Result<()>>,
}

impl<S> ReadAhead<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, ahead: BytesMut::new(), end: None }
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    /// Takes what there is, and has the task woken when there is more.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        for _ in 0..STRETCH {
            if self.end.is_some() {
                return;
            }
            let length = self.ahead.len();
            self.ahead.resize(length + PIECE, 0);
            let mut buffer = ReadBuf::new(&mut self.ahead[length..]);
            let poll = Pin::new(&mut self.inner).poll_read(cx, &mut buffer);
            let count = buffer.filled().len();
            self.ahead.truncate(length + count);
            match poll {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if count > 0 => {}
                Poll::Ready(end) => self.end = Some(end),
            }
        }
        cx.waker().wake_by_ref();
    }

    /// What to answer to a write that is blocked.
    fn blocked<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.read_ahead(cx);
        match &self.end {
            None => Poll::Pending,
            Some(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.has_remaining() {
            let count = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..count]);
            this.ahead.advance(count);
            if this.ahead.is_empty() {
                this.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        match this.end.take() {
            None => Pin::new(&mut this.inner).poll_read(cx, buf),
            Some(Ok(())) => {
                this.end = Some(Ok(()));
                Poll::Ready(Ok(()))
            }
            Some(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, buf) {
            Poll::Pending => self.blocked(cx),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Pending => self.blocked(cx),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::UnixStream;

    use super::*;

    /// Writes all before it reads anything, as a session does.
    async fn write_then_read(mut stream: impl AsyncRead + AsyncWrite + Unpin, length: usize) -> usize {
        stream.write_all(&vec![7; length]).await.expect("written");
        let mut received = vec![0; length];
        stream.read_exact(&mut received).await.expect("read")
    }

    #[tokio::test]
    async fn two_that_write_first_do_not_wait_for_each_other() {
        const LENGTH: usize = 5 << 20;
        let (one, other) = duplex(1000);
        let both = async { tokio::join!(write_then_read(ReadAhead::new(one), LENGTH), write_then_read(other, LENGTH)) };
        let both = tokio::time::timeout(std::time::Duration::from_secs(20), both).await;
        assert_eq!(both.expect("no deadlock"), (LENGTH, LENGTH));
    }

    #[tokio::test]
    async fn a_write_that_nobody_will_take_fails_once_the_other_side_has_ended() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut theirs = theirs.into_std().expect("a socket");
        let writing = tokio::spawn(async move { ReadAhead::new(ours).write_all(&vec![7; 16 << 20]).await });
        std::io::Write::write_all(&mut theirs, b"last words").expect("written");
        theirs.shutdown(std::net::Shutdown::Write).expect("shut down");
        let written = tokio::time::timeout(std::time::Duration::from_secs(20), writing).await.expect("no deadlock");
        assert_eq!(written.expect("no panic").expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
        drop(theirs);
    }

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_and_the_end_stays() {
        let (one, mut other) = duplex(4);
        let mut one = ReadAhead::new(one);
        let peer = async {
            other.write_all(b"abcd").await.expect("written");
            tokio::task::yield_now().await;
            other.write_all(b"efgh").await.expect("written");
            let mut received = [0; 8];
            other.read_exact(&mut received).await.expect("read");
            drop(other);
        };
        let (written, ()) = tokio::join!(one.write_all(b"12345678"), peer);
        written.expect("written");
        let mut received = Vec::new();
        one.read_to_end(&mut received).await.expect("read");
        assert_eq!(received, b"abcdefgh");
        assert_eq!(one.read(&mut [0; 4]).await.expect("the end"), 0);
    }
}
