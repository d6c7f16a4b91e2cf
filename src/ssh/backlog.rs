//! How many received bytes wait for somebody to take them, and when that is a reason to stop reading.
//!
//! A session that waits for one slow reader inside its own loop can no longer send, and two such sessions deadlock.
//! So received bytes go to unbounded queues, which are counted here, and the *socket* pauses while the count is high.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

/// The bytes that one connection has received and nobody has taken yet.
#[derive(Debug)]
pub struct Backlog {
    limit: usize,
    waiting: AtomicUsize,
    /// Senders whose window is used up. The peer's answer to that is behind what we have not read yet, so reading must
    /// go on however much waits.
    starved: AtomicUsize,
    reader: AtomicWaker,
}

/// Bytes that count as waiting until they are taken or dropped.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    backlog: Arc<Backlog>,
}

/// Marks a sender as starved while it lives.
#[derive(Debug)]
pub struct Starved(Arc<Backlog>);

impl Backlog {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, waiting: AtomicUsize::new(0), starved: AtomicUsize::new(0), reader: AtomicWaker::new() })
    }

    pub fn hold(self: &Arc<Self>, bytes: Bytes) -> Held {
        self.waiting.fetch_add(bytes.len(), Ordering::AcqRel);
        Held { bytes, backlog: Arc::clone(self) }
    }

    /// Declares that a sender of this connection waits for its window.
    pub fn starve(self: &Arc<Self>) -> Starved {
        self.starved.fetch_add(1, Ordering::AcqRel);
        self.reader.wake();
        Starved(Arc::clone(self))
    }

    /// Ready when more may be read from the peer.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.reader.register(cx.waker());
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < self.limit || self.starved.load(Ordering::Acquire) > 0
    }

    fn release(&self, count: usize) {
        let before = self.waiting.fetch_sub(count, Ordering::AcqRel);
        if before >= self.limit && before - count < self.limit {
            self.reader.wake();
        }
    }
}

impl Held {
    /// Takes the bytes; they no longer wait.
    pub fn take(mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.bytes);
        self.backlog.release(bytes.len());
        bytes
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.backlog.release(self.bytes.len());
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        self.0.starved.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn reading_pauses_at_the_limit_and_resumes_below_it() {
        let backlog = Backlog::new(10);
        let room = || poll_fn(|cx| backlog.poll_room(cx)).now_or_never().is_some();
        let first = backlog.hold(Bytes::from_static(b"123456"));
        assert!(room());
        let second = backlog.hold(Bytes::from_static(b"7890"));
        assert!(!room());
        assert_eq!(first.take().as_ref(), b"123456");
        assert!(room());
        drop(second);
        assert!(room());
    }

    #[test]
    fn a_starved_sender_keeps_the_reader_going() {
        let backlog = Backlog::new(1);
        let _held = backlog.hold(Bytes::from_static(b"full"));
        let room = || poll_fn(|cx| backlog.poll_room(cx)).now_or_never().is_some();
        assert!(!room());
        let starved = backlog.starve();
        assert!(room());
        drop(starved);
        assert!(!room());
    }
}
