//! What we write to a command.
//!
//! Writing is decoupled from sending by a bounded queue. It waits while the command doesn't read, and fails as soon as
//! the channel or the connection is gone: a sender that waits for its window would never learn of that by itself.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use russh::client::Msg;
use russh::{ChannelId, ChannelMsg, ChannelWriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::child::disconnected;
use super::{Backlog, ChildError, Session};

/// How many pieces may wait.
pub(super) const PIECES: usize = 16;
const PIECE: usize = 256 << 10;
/// Small writes that wait are sent together up to this size: a packet each would cost nine times as much.
const COALESCE: usize = 32 << 10;

/// The stdin of a command. Dropping it closes it.
pub struct ChildStdin {
    pieces: mpsc::Sender<Bytes>,
    session: Session,
}

impl ChildStdin {
    pub(super) fn new(pieces: mpsc::Sender<Bytes>, session: Session) -> Self {
        Self { pieces, session }
    }

    /// Queues all of `bytes`, waiting for room.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), ChildError> {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            self.pieces.send(piece).await.map_err(|_| disconnected(&self.session))?;
        }
        Ok(())
    }

    /// How many more pieces it takes without waiting.
    pub fn room(&self) -> usize {
        self.pieces.capacity()
    }

    /// Ends the command's input once all that was written is sent.
    pub fn close(self) {}
}

/// Sends what was queued until the writer or the channel closes.
pub(super) async fn feed(
    write: Arc<ChannelWriteHalf<Msg>>,
    mut pieces: mpsc::Receiver<Bytes>,
    backlog: Arc<Backlog>,
    closed: CancellationToken,
) {
    let sending = async {
        while let Some(piece) = pieces.recv().await {
            let piece = coalesce(piece, &mut pieces);
            send_all(&write, &backlog, None, piece).await?;
        }
        write.eof().await
    };
    tokio::select! {
        _ = sending => {}
        () = closed.cancelled() => {}
    }
}

fn coalesce(first: Bytes, pieces: &mut mpsc::Receiver<Bytes>) -> Bytes {
    if first.len() >= COALESCE || pieces.is_empty() {
        return first;
    }
    let mut together = BytesMut::from(first);
    while together.len() < COALESCE {
        let Ok(piece) = pieces.try_recv() else { break };
        together.extend_from_slice(&piece);
    }
    together.freeze()
}

/// Sends bytes on a channel, and lets the connection read on while the channel's window is used up.
pub async fn send_all<S>(
    write: &ChannelWriteHalf<S>,
    backlog: &Arc<Backlog>,
    extended: Option<u32>,
    mut bytes: Bytes,
) -> Result<(), russh::Error>
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    while !bytes.is_empty() {
        let writable = write.writable_packet_size().await;
        let starved = (writable == 0).then(|| backlog.starve());
        let piece = bytes.split_to(bytes.len().min(writable.max(1)));
        match extended {
            None => write.data_bytes(piece).await?,
            Some(kind) => write.extended_data_bytes(kind, piece).await?,
        }
        drop(starved);
    }
    Ok(())
}
