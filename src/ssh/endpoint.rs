//! Where a machine is, who we are there, and which host key it must prove.
//!
//! Plain values: nothing here opens a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{HostKey, Identity};

/// Everything that a connection to one machine needs.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The machine in messages: `m3 (127.0.0.1:2201)`.
    pub label: String,
    pub transport: Transport,
    pub user: String,
    pub identity: Identity,
    pub host_key: HostKey,
    /// How long connecting, and then exchanging keys, may take each.
    pub connect_timeout: Duration,
    pub liveness: Liveness,
    /// Shared by all endpoints of one server.
    pub handshakes: Handshakes,
}

/// What carries the SSH stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        host: String,
        port: u16,
    },
    /// A command, run by `sh`, whose stdin and stdout are the stream.
    ProxyCommand(String),
}

/// How soon a machine that no longer answers is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// Silence after which we ask for a sign of life.
    pub keepalive: Duration,
    /// How many such questions may stay unanswered. A peer that does not even read gets as long in all.
    pub unanswered: usize,
}

/// Bounds the handshakes that one server sees at a time: OpenSSH drops some beyond ten (`MaxStartups`).
#[derive(Clone, Debug)]
pub struct Handshakes(Arc<Semaphore>);

impl Endpoint {
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
}

impl Default for Liveness {
    fn default() -> Self {
        Self { keepalive: Duration::from_secs(15), unanswered: 3 }
    }
}

impl Liveness {
    /// The longest time in which nothing at all may move.
    pub(super) fn inactivity(&self) -> Duration {
        let rounds = u32::try_from(self.unanswered).unwrap_or(u32::MAX).saturating_add(1);
        self.keepalive.saturating_mul(rounds)
    }
}

impl Default for Handshakes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(Self::AT_ONCE)))
    }
}

impl Handshakes {
    pub const AT_ONCE: usize = 8;

    /// Waits for a turn, which lasts until the permit is dropped.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}
