//! One SSH connection to an embedded machine.
//!
//! Lets the one key in; runs commands and shells, also on terminals, serves files, and makes TCP connections from the
//! machine. No passwords, no agents, no ports that listen.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, SshId};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::exec::{self, Running};
use super::{files, terminal};
use crate::ssh::{Backlog, ReadAhead, Terminal, Throttled, preferred_algorithms};

/// How much input of all commands of one connection may wait here.
const BACKLOG: usize = 16 << 20;
/// What a client may send to one command before it hears from us. All of it may be ahead of a question whether we live,
/// and while a command doesn't read it trickles in; a loopback connection gains nothing from more.
const WINDOW: u32 = 2 << 20;
const TRICKLE: Duration = Duration::from_millis(25);

/// What all connections of a machine share.
pub(super) struct Machine {
    pub home: PathBuf,
    /// Added to the environment that the machine's process was started in.
    pub env: BTreeMap<String, String>,
    pub running: Arc<Running>,
    client_key: PublicKey,
    config: Arc<server::Config>,
}

impl Machine {
    pub(super) fn new(
        home: PathBuf,
        env: BTreeMap<String, String>,
        client_key: PublicKey,
        host_key: PrivateKey,
        running: Arc<Running>,
    ) -> Self {
        Self { home, env, running, client_key, config: Arc::new(config(host_key)) }
    }
}

fn config(host_key: PrivateKey) -> server::Config {
    server::Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-cloudist_", env!("CARGO_PKG_VERSION")))),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(200),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: WINDOW,
        maximum_packet_size: 65535,
        channel_buffer_size: 256,
        event_buffer_size: 64,
        preferred: preferred_algorithms(),
        max_auth_attempts: 3,
        inactivity_timeout: None,
        nodelay: true,
        ..server::Config::default()
    }
}

/// Serves a connection in a task of its own, which ends with it.
pub(super) fn accept(machine: &Arc<Machine>, stream: TcpStream) {
    tokio::spawn(serve(Arc::clone(machine), stream).boxed());
}

async fn serve(machine: Arc<Machine>, stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let backlog = Backlog::new(BACKLOG);
    let stream = Throttled::new(ReadAhead::new(stream), Arc::clone(&backlog), TRICKLE);
    let config = Arc::clone(&machine.config);
    let connection = Connection { machine, backlog, opened: HashMap::new() };
    if let Ok(session) = server::run_stream(config, stream, connection).await {
        // However it ends, its channels end with it, and so do their commands.
        let _ = session.await;
    }
}

struct Connection {
    machine: Arc<Machine>,
    backlog: Arc<Backlog>,
    /// Channels on which nothing runs yet.
    opened: HashMap<ChannelId, Opened>,
}

/// A channel, and the terminal that was asked for on it.
struct Opened {
    channel: Channel<Msg>,
    terminal: Option<Terminal>,
}

impl Connection {
    fn decide(&self, key: &PublicKey) -> Auth {
        if key.key_data() == self.machine.client_key.key_data() { Auth::Accept } else { Auth::reject() }
    }

    /// Starts a command, or a shell, on the terminal that was asked for, or on none.
    fn run(
        &mut self,
        id: ChannelId,
        command: Option<&[u8]>,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let Some(Opened { channel, terminal }) = self.opened.remove(&id) else {
            return session.channel_failure(id);
        };
        let backlog = Arc::clone(&self.backlog);
        let started = match &terminal {
            None => exec::start(&self.machine, command.unwrap_or(exec::SHELL)).map(|command| {
                tokio::spawn(command.serve(channel, session.handle(), backlog).boxed());
            }),
            Some(asked) => terminal::start(&self.machine, command, asked).map(|command| {
                tokio::spawn(command.serve(channel, session.handle(), backlog).boxed());
            }),
        };
        match started {
            Ok(()) => session.channel_success(id),
            Err(error) => {
                session.channel_failure(id)?;
                session.extended_data(id, 1, format!("cannot start a shell: {error}\n"))?;
                session.close(id)
            }
        }
    }
}

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        Ok(self.decide(offer.public_key))
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(self.decide(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.opened.insert(channel.id(), Opened { channel, terminal: None });
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut server::Session) -> Result<(), russh::Error> {
        self.opened.remove(&id);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.run(id, Some(command), session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut server::Session) -> Result<(), russh::Error> {
        self.run(id, None, session)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        kind: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        match self.opened.get_mut(&id) {
            Some(opened) => {
                opened.terminal = Some(Terminal { kind: kind.to_owned(), columns, rows });
                session.channel_success(id)
            }
            None => session.channel_failure(id),
        }
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        match self.opened.remove(&id) {
            Some(opened) if name == "sftp" => {
                session.channel_success(id)?;
                files::serve(opened.channel, self.machine.home.clone(), Arc::clone(&self.backlog));
                Ok(())
            }
            _ => session.channel_failure(id),
        }
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let (host, port) = (host.to_owned(), u16::try_from(port).unwrap_or_default());
        tokio::spawn(async move {
            match TcpStream::connect((host.as_str(), port)).await {
                Ok(mut there) => {
                    reply.accept().await;
                    // Either side may end it at any time.
                    let _ = copy_bidirectional(&mut channel.into_stream(), &mut there).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }
}
