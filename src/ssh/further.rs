//! What a session carries besides plain commands: commands on a terminal, TCP connections, file transfer, the agent.
//!
//! For people who look at a machine; runs need none of it. The agent is lent only to a session that was told to.

use std::path::PathBuf;

use russh::client::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure, ChannelStream};
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;

use super::{Child, ChildError, Session};

/// A stream of bytes over a channel.
pub type Carried = ChannelStream<Msg>;

/// What a command on a terminal is to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its kind, as in `TERM`.
    pub kind: String,
    pub columns: u32,
    pub rows: u32,
}

impl Session {
    /// Starts a command on a terminal there. All it writes is on its stdout. With `agent`, it may ask the keys that are
    /// behind this socket.
    pub async fn exec_on_terminal(
        &self,
        command: &str,
        terminal: &Terminal,
        agent: Option<PathBuf>,
    ) -> Result<Child, ChildError> {
        let channel = self.channel().await?;
        let asked = async {
            if let Some(socket) = agent {
                self.lend_agent(socket);
                channel.agent_forward(false).await?;
            }
            let Terminal { kind, columns, rows } = terminal;
            channel.request_pty(true, kind, *columns, *rows, 0, 0, &[]).await?;
            channel.exec(true, command).await
        };
        match asked.await {
            Ok(()) => Ok(self.follow(channel)),
            Err(_) => Err(self.disconnected().await),
        }
    }

    /// A TCP connection from the machine to somewhere: its stdin and stdout are the two directions.
    pub async fn dial(&self, host: &str, port: u16) -> Result<Child, ChildError> {
        let opened = self.handle().channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await;
        Ok(self.follow(self.opened(opened).await?))
    }

    /// Starts a subsystem, like `sftp`. Nothing else may go on in the session meanwhile: whoever reads slowly holds it up.
    pub async fn subsystem(&self, name: &str) -> Result<Carried, ChildError> {
        let mut channel = self.channel().await?;
        if channel.request_subsystem(true, name).await.is_err() {
            return Err(self.disconnected().await);
        }
        loop {
            match channel.wait().await {
                Some(russh::ChannelMsg::Success) => return Ok(channel.into_stream()),
                Some(russh::ChannelMsg::Failure | russh::ChannelMsg::Close) => {
                    return Err(ChildError::ExecRefused { endpoint: self.label().to_owned() });
                }
                Some(_) => {}
                None => return Err(self.disconnected().await),
            }
        }
    }
}

/// Joins a channel that the machine has opened to the agent here, until one of them ends.
pub(super) fn join_agent(channel: Channel<Msg>, reply: ChannelOpenHandle, socket: PathBuf) {
    tokio::spawn(async move {
        match UnixStream::connect(socket).await {
            Ok(mut agent) => {
                reply.accept().await;
                // Either side may end it at any time.
                let _ = copy_bidirectional(&mut channel.into_stream(), &mut agent).await;
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
    });
}
