//! One SSH connection to an embedded machine.
//!
//! Lets the one key in, and runs commands. No passwords, no shells, no terminals, no forwarding.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Pty, SshId};
use tokio::net::TcpStream;

use super::exec::{self, Running};
use crate::ssh::{Backlog, ReadAhead, Throttled, preferred_algorithms};

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
    let machine = Arc::clone(machine);
    tokio::spawn(async move {
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
    });
}

struct Connection {
    machine: Arc<Machine>,
    backlog: Arc<Backlog>,
    /// Channels on which nothing runs yet.
    opened: HashMap<ChannelId, Channel<Msg>>,
}

impl Connection {
    fn decide(&self, key: &PublicKey) -> Auth {
        if key.key_data() == self.machine.client_key.key_data() { Auth::Accept } else { Auth::reject() }
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
        self.opened.insert(channel.id(), channel);
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
        let Some(channel) = self.opened.remove(&id) else {
            return session.channel_failure(id);
        };
        match exec::start(&self.machine, command) {
            Ok(command) => {
                session.channel_success(id)?;
                tokio::spawn(command.serve(channel, session.handle(), Arc::clone(&self.backlog)));
                Ok(())
            }
            Err(error) => {
                session.channel_failure(id)?;
                session.extended_data(id, 1, format!("cannot start a shell: {error}\n"))?;
                session.close(id)
            }
        }
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut server::Session) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
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
