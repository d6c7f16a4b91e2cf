//! What a command writes, as its reader gets it.
//!
//! The queue itself is unbounded; the connection's [`Backlog`] bounds what all of them hold together.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Backlog, Held};

/// A stdout or stderr. It ends when the command closes it, and when the connection breaks: `Process::wait` tells which.
#[derive(Debug)]
pub struct ChildOutput {
    queue: mpsc::UnboundedReceiver<Held>,
    _unwanted: DropGuard,
}

pub(super) struct OutputSender {
    queue: mpsc::UnboundedSender<Held>,
    backlog: Arc<Backlog>,
}

impl ChildOutput {
    /// `unwanted` is cancelled when nobody reads any more.
    pub(super) fn new(backlog: &Arc<Backlog>, unwanted: CancellationToken) -> (OutputSender, Self) {
        let (sender, queue) = mpsc::unbounded_channel();
        let output = Self { queue, _unwanted: unwanted.drop_guard() };
        (OutputSender { queue: sender, backlog: Arc::clone(backlog) }, output)
    }

    /// The next bytes, `None` at the end. Safe to cancel.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.queue.recv().await.map(Held::take)
    }

    /// Everything up to the end.
    pub async fn collect(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await {
            all.extend_from_slice(&bytes);
        }
        all
    }
}

impl Stream for ChildOutput {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.queue.poll_recv(cx).map(|held| held.map(Held::take))
    }
}

impl OutputSender {
    /// Drops the bytes if nobody wants them.
    pub(super) fn send(&self, bytes: Bytes) {
        let _ = self.queue.send(self.backlog.hold(bytes));
    }
}
