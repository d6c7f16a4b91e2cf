//! The line to the local pytest's plugin: frames in, frames out.
//!
//! Pumps and nothing else; what the frames mean is the bridge's business.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::unix::pipe,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::{bridge::internal, failure::Failure};
use crate::{
    protocol::{
        Frame, FrameCodec,
        bridge::{FromPlugin, ToPlugin},
    },
    run::{Listener, RunError, tests::Bridge},
};

/// The line to the plugin: two pumps and the channels between them and the run.
pub struct Line {
    pub bridge: Bridge,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    watcher: Option<JoinHandle<()>>,
}

impl Line {
    pub fn open(read: OwnedFd, write: OwnedFd) -> Result<Self, Failure> {
        let failed = |error| internal("failed to open the bridge to pytest", error);
        let read = pipe::Receiver::from_owned_fd(read).map_err(failed)?;
        let write = pipe::Sender::from_owned_fd(write).map_err(failed)?;
        let (incoming_sender, incoming) = mpsc::channel(Bridge::WAITING);
        let (outgoing, outgoing_receiver) = mpsc::channel(Bridge::WAITING);
        Ok(Self {
            bridge: Bridge { incoming, outgoing },
            reader: tokio::spawn(pump_in(read, incoming_sender)),
            writer: tokio::spawn(pump_out(write, outgoing_receiver)),
            watcher: None,
        })
    }

    /// Whoever ends this process by a signal gets what the end of the local pytest brings: all machines are given back.
    pub fn part_on_signals(&mut self) -> Result<(), Failure> {
        let failed = |error| internal("failed to watch for signals", error);
        let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
        let reader = self.reader.abort_handle();
        self.watcher = Some(tokio::spawn(async move {
            tokio::select! {
                _ = terminations.recv() => {}
                _ = hangups.recv() => {}
            }
            reader.abort();
        }));
        Ok(())
    }

    pub async fn tell(&self, message: &ToPlugin) {
        self.bridge.outgoing.send(Frame::with_blob(message, Bytes::new())).await.ok();
    }

    /// Sends what is still waiting and lets the plugin hang up first. It may go on printing until then.
    pub async fn hang_up(self, listener: &Listener) {
        let Self { bridge: Bridge { mut incoming, outgoing }, reader, writer, watcher } = self;
        drop(outgoing);
        writer.await.ok();
        while let Some(message) = incoming.recv().await {
            if let Ok(FromPlugin::Printed { stream, data }) = message {
                listener.printed(stream, data);
            }
        }
        reader.await.ok();
        if let Some(watcher) = watcher {
            watcher.abort();
        }
    }
}

async fn pump_in(read: pipe::Receiver, sender: mpsc::Sender<Result<FromPlugin, RunError>>) {
    let mut frames = FramedRead::with_capacity(read, FrameCodec, 64 << 10);
    while let Some(frame) = frames.next().await {
        let message = frame.and_then(|frame| FromPlugin::read(&frame));
        let message = message.map_err(|error| RunError::Bridge { detail: crate::text::chain(&error) });
        let broken = message.is_err();
        if sender.send(message).await.is_err() || broken {
            return;
        }
    }
}

async fn pump_out(write: pipe::Sender, mut frames: mpsc::Receiver<Frame>) {
    let mut sink = FramedWrite::new(write, FrameCodec);
    sink.set_backpressure_boundary(256 << 10);
    while let Some(frame) = frames.recv().await {
        if sink.feed(frame).await.is_err() {
            return;
        }
        // What waits already goes out in the same write.
        while let Ok(frame) = frames.try_recv() {
            if sink.feed(frame).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}
