//! One authenticated connection to a machine.
//!
//! Opens channels for commands, tells when and why the connection ended, and ends it. The host key is checked before
//! anything about us is sent. Never reconnects: that is `retry`'s and the caller's decision.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use russh::client::{self, ChannelOpenHandle, DisconnectReason, Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelOpenFailure, Disconnect, SshId};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::authenticate::authenticate;
use super::carrier;
use super::child::{self, Child};
use super::error::refusal;
use super::further;
use super::host_key::Expectation;
use super::{
    Backlog, ChildError, ConnectError, ConnectFailure, Disconnection, Endpoint, HostKeyError, ReadAhead, Severed,
    Stage, Throttled, preferred_for_host_keys,
};

/// How much output of all commands may wait here for its readers before we stop reading from the machine.
const BACKLOG: usize = 64 << 20;
/// What a machine may send on one channel before it hears from us: a second of a fast link at 100 ms.
const WINDOW: u32 = 16 << 20;
/// An agent may ask its user to confirm.
const AUTHENTICATION: Duration = Duration::from_secs(60);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection; clones share it. It ends with [`Session::disconnect`], or when the last clone and the last
/// [`Child`] of it are dropped.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    label: String,
    handle: Handle<Client>,
    end: End,
    backlog: Arc<Backlog>,
    tasks: TaskTracker,
    lent_agent: Arc<OnceLock<PathBuf>>,
}

/// When a session is over, and why.
#[derive(Clone)]
pub(super) struct End {
    reason: watch::Receiver<Option<Disconnection>>,
    /// Cuts the stream under the session.
    cut: CancellationToken,
    leaving: CancellationToken,
}

impl Session {
    /// Connects, checks the host key, and authenticates.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        Session::try_connect(endpoint)
            .await
            .map_err(|failure| ConnectError { endpoint: endpoint.label.clone(), failure })
    }

    async fn try_connect(endpoint: &Endpoint) -> Result<Self, ConnectFailure> {
        let expectation = endpoint.host_key.expectation(&endpoint.label).await?;
        let config = Arc::new(config(endpoint, &expectation));
        let _turn = endpoint.handshakes.turn().await;
        let (carrier, last_words) = carrier::open(&endpoint.transport, endpoint.connect_timeout).await?;

        let backlog = Backlog::new(BACKLOG);
        let (ended, reason) = watch::channel(None);
        let end = End { reason, cut: CancellationToken::new(), leaving: CancellationToken::new() };
        let cut_on_failure = end.cut.clone().drop_guard();
        let stream = Throttled::new(ReadAhead::new(carrier), Arc::clone(&backlog), endpoint.liveness.keepalive / 4);
        let stream = Severed::new(stream, end.cut.clone());
        let lent_agent = Arc::new(OnceLock::new());
        let client = Client { expectation, ended, lent_agent: Arc::clone(&lent_agent) };

        let connected = within(Stage::KeyExchange, endpoint.connect_timeout, async {
            client::connect_stream(config, stream, client).await.map_err(handshake_failure)
        });
        let mut handle = match (connected.await, last_words) {
            (Ok(handle), _) => handle,
            (Err(ConnectFailure::Dropped { .. }), Some(words)) => return Err(words.failure().await),
            (Err(failure), _) => return Err(failure),
        };
        within(
            Stage::Authentication,
            AUTHENTICATION,
            authenticate(&mut handle, &endpoint.user, &endpoint.identity).boxed(),
        )
        .await?;
        cut_on_failure.disarm();
        let shared =
            Shared { label: endpoint.label.clone(), handle, end, backlog, tasks: TaskTracker::new(), lent_agent };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The endpoint's label.
    pub fn label(&self) -> &str {
        &self.shared.label
    }

    /// Starts a command in the login shell of the user there.
    ///
    /// Returns as soon as the channel is open; a server that refuses the command makes [`super::Process::wait`] fail.
    pub async fn exec(&self, command: &str) -> Result<Child, ChildError> {
        let channel = self.channel().await?;
        if channel.exec(true, command).await.is_err() {
            return Err(self.disconnected().await);
        }
        Ok(self.follow(channel))
    }

    /// How long the other side takes to answer, none of its processes involved. Nothing if it is gone.
    pub async fn round_trip(&self) -> Option<Duration> {
        let asked = Instant::now();
        self.handle().send_ping().await.ok()?;
        Some(asked.elapsed())
    }

    pub(super) async fn channel(&self) -> Result<Channel<Msg>, ChildError> {
        self.opened(self.handle().channel_open_session().await).await
    }

    pub(super) async fn opened(&self, opened: Result<Channel<Msg>, russh::Error>) -> Result<Channel<Msg>, ChildError> {
        match opened {
            Ok(channel) => Ok(channel),
            Err(russh::Error::ChannelOpenFailure(failure)) => {
                Err(ChildError::ChannelRefused { endpoint: self.label().to_owned(), reason: refusal(&failure) })
            }
            Err(_) => Err(self.disconnected().await),
        }
    }

    pub(super) fn handle(&self) -> &Handle<Client> {
        &self.shared.handle
    }

    pub(super) fn follow(&self, channel: Channel<Msg>) -> Child {
        child::follow(self, channel, &self.shared.backlog, &self.shared.tasks)
    }

    /// From now on the machine may ask the agent at this socket.
    pub(super) fn lend_agent(&self, socket: PathBuf) {
        self.shared.lent_agent.set(socket).ok();
    }

    /// Waits until the session is over.
    pub fn closed(&self) -> impl Future<Output = Disconnection> + Send + 'static {
        let end = self.end().clone();
        async move { end.wait().await }
    }

    /// Says goodbye and ends the connection, whether the machine answers or not.
    pub async fn disconnect(&self) {
        let Shared { handle, end, tasks, .. } = &*self.shared;
        end.leaving.cancel();
        let _ = timeout(GOODBYE, async {
            if handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok() {
                end.wait().await;
            }
        })
        .await;
        end.cut.cancel();
        end.wait().await;
        tasks.close();
        tasks.wait().await;
    }

    pub(super) fn end(&self) -> &End {
        &self.shared.end
    }

    pub(super) async fn disconnected(&self) -> ChildError {
        ChildError::Disconnected { endpoint: self.shared.label.clone(), source: self.end().wait().await }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end.cut.cancel();
    }
}

impl End {
    pub(super) async fn wait(&self) -> Disconnection {
        let mut reason = self.reason.clone();
        // The sender lives as long as the session's task, which tells the reason before it ends.
        let _ = reason.wait_for(Option::is_some).await;
        self.now().unwrap_or(Disconnection::Dropped)
    }

    pub(super) fn now(&self) -> Option<Disconnection> {
        let reason = self.reason.borrow().clone()?;
        Some(if self.leaving.is_cancelled() || self.cut.is_cancelled() { Disconnection::Local } else { reason })
    }
}

fn config(endpoint: &Endpoint, expectation: &Expectation) -> client::Config {
    client::Config {
        client_id: SshId::Standard(concat!("SSH-2.0-cloudist_", env!("CARGO_PKG_VERSION")).into()),
        window_size: WINDOW,
        maximum_packet_size: 65535,
        channel_buffer_size: 256,
        preferred: preferred_for_host_keys(&expectation.algorithms()),
        keepalive_interval: Some(endpoint.liveness.keepalive),
        keepalive_max: endpoint.liveness.unanswered,
        inactivity_timeout: Some(endpoint.liveness.inactivity()),
        nodelay: true,
        ..client::Config::default()
    }
}

async fn within<T>(
    stage: Stage,
    limit: Duration,
    step: impl Future<Output = Result<T, ConnectFailure>>,
) -> Result<T, ConnectFailure> {
    timeout(limit, step).await.unwrap_or(Err(ConnectFailure::Timeout { stage, after: limit }))
}

fn handshake_failure(error: ClientError) -> ConnectFailure {
    let stage = Stage::KeyExchange;
    match error {
        ClientError::HostKey(error) => error.into(),
        ClientError::Ssh(russh::Error::NoCommonAlgo { kind, theirs, .. }) => {
            ConnectFailure::NoCommonAlgorithm { kind: format!("{kind:?}"), theirs }
        }
        ClientError::Ssh(error @ (russh::Error::IO(_) | russh::Error::HUP | russh::Error::Disconnect)) => {
            ConnectFailure::Dropped { stage, source: Some(error) }
        }
        ClientError::Ssh(source) => ConnectFailure::Protocol { stage, source },
    }
}

/// What the SSH engine calls back.
pub(super) struct Client {
    expectation: Expectation,
    ended: watch::Sender<Option<Disconnection>>,
    lent_agent: Arc<OnceLock<PathBuf>>,
}

#[derive(Debug)]
pub(super) enum ClientError {
    Ssh(russh::Error),
    HostKey(HostKeyError),
}

impl From<russh::Error> for ClientError {
    fn from(error: russh::Error) -> Self {
        ClientError::Ssh(error)
    }
}

impl client::Handler for Client {
    type Error = ClientError;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, ClientError> {
        self.expectation.check(&key.public_key()).map_err(ClientError::HostKey)?;
        Ok(true)
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), ClientError> {
        match self.lent_agent.get() {
            Some(socket) => further::join_agent(channel, reply, socket.clone()),
            // It was never offered.
            None => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<ClientError>) -> Result<(), ClientError> {
        let reason = match reason {
            DisconnectReason::ReceivedDisconnect(info) if info.message.is_empty() => Disconnection::Dropped,
            DisconnectReason::ReceivedDisconnect(info) => Disconnection::Remote(info.message),
            DisconnectReason::Error(ClientError::Ssh(error)) => Disconnection::from_russh(error),
            DisconnectReason::Error(ClientError::HostKey(error)) => Disconnection::Protocol(error.to_string()),
        };
        self.ended.send_replace(Some(reason));
        Ok(())
    }
}
