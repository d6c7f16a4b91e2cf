//! What can go wrong between here and a machine, one variant for each thing a user would cure differently.
//!
//! Every error names its subject and keeps its source; `help` says the cure in one sentence. Nothing is printed here.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelOpenFailure;
use thiserror::Error;

/// A connection that did not come about.
#[derive(Debug, Error)]
#[error("failed to connect to {endpoint}")]
pub struct ConnectError {
    /// The endpoint's label.
    pub endpoint: String,
    #[source]
    pub failure: ConnectFailure,
}

/// Why a connection did not come about.
#[derive(Debug, Error)]
pub enum ConnectFailure {
    #[error("cannot resolve the host name {host:?}")]
    Resolve { host: String, source: io::Error },
    #[error("{host} port {port} refused the connection")]
    Refused { host: String, port: u16, source: io::Error },
    #[error("cannot reach {host} port {port}")]
    Unreachable { host: String, port: u16, source: io::Error },
    #[error("{stage} did not finish within {}", humantime::format_duration(*.after))]
    Timeout { stage: Stage, after: Duration },
    #[error("the proxy command failed: {command}{}", quoted_tail(.stderr))]
    Proxy { command: String, stderr: String, source: Option<io::Error> },
    #[error("the server dropped the connection during {stage}")]
    Dropped { stage: Stage, source: Option<russh::Error> },
    #[error("no {kind} in common: the server offers {}", .theirs.join(", "))]
    NoCommonAlgorithm { kind: String, theirs: Vec<String> },
    #[error("the SSH protocol broke during {stage}")]
    Protocol { stage: Stage, source: russh::Error },
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// The steps of a connection, as messages name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Connect,
    KeyExchange,
    Authentication,
}

/// The server's host key is not one that we may talk to.
#[derive(Debug, Error)]
pub enum HostKeyError {
    #[error("the host key of {host} is not the expected one: expected {}, got {got}", .expected.join(" or "))]
    Mismatch { host: String, expected: Vec<String>, got: String, recorded: Option<Place> },
    #[error("the host key of {host} is not known: it presented {algorithm} {got}")]
    Unknown { host: String, port: u16, algorithm: String, got: String, files: Vec<PathBuf>, authority: Option<Place> },
    #[error("the host key {got} of {host} is marked as revoked at {at}")]
    Revoked { host: String, got: String, at: Place },
    #[error("cannot read {}", .file.display())]
    Unreadable { file: PathBuf, source: Arc<io::Error> },
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
}

/// The server would not let us in.
#[derive(Debug, Error)]
pub enum AuthError {
    #[error("the server accepted no key of user {user:?}: {}", list_or(.tried, "there was none to offer"))]
    Rejected { user: String, tried: Vec<String>, skipped: Vec<String>, server_accepts: Vec<String> },
    #[error("the server wants more than a key of user {user:?}: {}", .server_accepts.join(", "))]
    Partial { user: String, server_accepts: Vec<String> },
}

/// Why a session is over.
#[derive(Clone, Debug, Error)]
pub enum Disconnection {
    #[error("the connection was closed from this side")]
    Local,
    #[error("the server closed the connection: {0}")]
    Remote(String),
    #[error("the server closed the connection without a word")]
    Dropped,
    #[error("the server stopped answering")]
    Unresponsive,
    #[error("the connection broke")]
    Io(#[source] Arc<io::Error>),
    #[error("the SSH protocol broke: {0}")]
    Protocol(String),
}

/// A command that could not be started, fed, or followed to its end.
#[derive(Clone, Debug, Error)]
pub enum ChildError {
    #[error("{endpoint} refused another session: {reason}")]
    ChannelRefused { endpoint: String, reason: String },
    #[error("{endpoint} refused to run the command")]
    ExecRefused { endpoint: String },
    #[error("lost the connection to {endpoint}")]
    Disconnected { endpoint: String, source: Disconnection },
    #[error("the command on {endpoint} ended without an exit status")]
    NoStatus { endpoint: String },
    #[error("the command on {endpoint} no longer takes input")]
    StdinClosed { endpoint: String },
}

impl ConnectError {
    /// Whether trying again a little later may help.
    pub fn is_transient(&self) -> bool {
        match &self.failure {
            ConnectFailure::Refused { .. }
            | ConnectFailure::Unreachable { .. }
            | ConnectFailure::Timeout { .. }
            | ConnectFailure::Dropped { .. } => true,
            ConnectFailure::Resolve { .. }
            | ConnectFailure::Proxy { .. }
            | ConnectFailure::NoCommonAlgorithm { .. }
            | ConnectFailure::Protocol { .. }
            | ConnectFailure::HostKey(_)
            | ConnectFailure::Auth(_) => false,
        }
    }

    pub fn help(&self) -> String {
        match &self.failure {
            ConnectFailure::Resolve { .. } => "check the spelling, or give an address instead of a name".into(),
            ConnectFailure::Refused { .. } => "check the port, and that an SSH server runs there".into(),
            ConnectFailure::Unreachable { .. } => "check the address, the network, and firewall rules".into(),
            ConnectFailure::Timeout { stage: Stage::Authentication, .. } => {
                "the server or the ssh-agent is waiting for something: try `ssh` to this host by hand".into()
            }
            ConnectFailure::Timeout { .. } => {
                "check that the machine is up and that its firewall lets SSH through".into()
            }
            ConnectFailure::Proxy { .. } => "run the proxy command by hand to see what it says".into(),
            ConnectFailure::Dropped { .. } => {
                "the server may be shedding load (`MaxStartups`) or refuse this address: look at its log".into()
            }
            ConnectFailure::NoCommonAlgorithm { .. } => {
                "the server is too old or too strict: enable a current algorithm in its sshd_config".into()
            }
            ConnectFailure::Protocol { .. } => "check that the port belongs to an SSH server".into(),
            ConnectFailure::HostKey(error) => error.help(),
            ConnectFailure::Auth(error) => error.help(),
        }
    }
}

impl HostKeyError {
    pub fn help(&self) -> String {
        match self {
            HostKeyError::Mismatch { recorded: Some(place), .. } => format!(
                "either somebody is intercepting the connection, or the machine was reinstalled: if you know that it \
                 was, delete {place} and record its new key with `ssh`"
            ),
            HostKeyError::Mismatch { recorded: None, .. } => {
                "something else answers at this address: nothing was sent to it".into()
            }
            HostKeyError::Unknown { authority: Some(place), .. } => format!(
                "{place} trusts a certificate authority, which is not supported here: record the host's own key as well"
            ),
            HostKeyError::Unknown { host, port, .. } => {
                let (name, flag) = match host.rsplit_once("]:") {
                    Some((name, _)) => (name.trim_start_matches('['), format!(" -p {port}")),
                    None => (host.as_str(), String::new()),
                };
                format!(
                    "run `ssh{flag} {name}` once, compare the fingerprint and accept it; or, on a network you trust, \
                     `ssh-keyscan{flag} {name} >> ~/.ssh/known_hosts`"
                )
            }
            HostKeyError::Revoked { at, .. } => format!("do not connect to this host; the mark is at {at}"),
            HostKeyError::Unreadable { file, .. } => format!("make {} readable", file.display()),
        }
    }
}

impl AuthError {
    pub fn help(&self) -> String {
        match self {
            AuthError::Rejected { skipped, .. } if !skipped.is_empty() => {
                format!("not offered: {}", skipped.join("; "))
            }
            AuthError::Rejected { server_accepts, .. }
                if !server_accepts.is_empty() && !server_accepts.iter().any(|method| method == "publickey") =>
            {
                format!("the server offers only {}: allow `PubkeyAuthentication` there", server_accepts.join(", "))
            }
            AuthError::Rejected { tried, .. } if tried.is_empty() => {
                "add a key with `ssh-add`, or name one with `IdentityFile` in ~/.ssh/config".into()
            }
            AuthError::Rejected { user, .. } => {
                format!(
                    "add one of these public keys to ~{user}/.ssh/authorized_keys on the machine, or fix the user name"
                )
            }
            AuthError::Partial { .. } => {
                "only public keys are supported: allow `AuthenticationMethods publickey`".into()
            }
        }
    }
}

impl ChildError {
    pub fn help(&self) -> String {
        match self {
            ChildError::ChannelRefused { .. } => {
                "raise `MaxSessions` in the server's sshd_config (10 by default)".into()
            }
            ChildError::ExecRefused { .. } => {
                "the account may be limited to a forced command or to file transfer: look at the server's log".into()
            }
            ChildError::Disconnected { source: Disconnection::Unresponsive, .. } => {
                "the machine hangs, is overloaded, or lost its network".into()
            }
            ChildError::Disconnected { .. } => "look at the server's log for the reason".into(),
            ChildError::NoStatus { .. } | ChildError::StdinClosed { .. } => {
                "the command was ended from outside: look at its last output".into()
            }
        }
    }
}

impl Disconnection {
    pub(super) fn from_russh(error: russh::Error) -> Self {
        match error {
            russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => Disconnection::Unresponsive,
            russh::Error::IO(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    Disconnection::Dropped
                }
                _ => Disconnection::Io(Arc::new(error)),
            },
            russh::Error::HUP | russh::Error::Disconnect => Disconnection::Dropped,
            other => Disconnection::Protocol(other.to_string()),
        }
    }
}

/// The words of a refused channel.
pub(super) fn refusal(failure: &ChannelOpenFailure) -> String {
    match failure {
        ChannelOpenFailure::AdministrativelyProhibited => "prohibited by the administrator".into(),
        ChannelOpenFailure::ConnectFailed => "open failed".into(),
        ChannelOpenFailure::UnknownChannelType => "unknown channel type".into(),
        ChannelOpenFailure::ResourceShortage => "resource shortage".into(),
        ChannelOpenFailure::Other { code, reason } => format!("{reason} ({code})"),
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "the connection",
            Stage::KeyExchange => "the key exchange",
            Stage::Authentication => "the authentication",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

fn quoted_tail(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(" ({stderr})") }
}

fn list_or(items: &[String], otherwise: &str) -> String {
    if items.is_empty() { otherwise.into() } else { format!("tried {}", items.join(", ")) }
}
