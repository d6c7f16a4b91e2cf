//! The SSH client: connect to one machine, run commands on it, move bytes both ways.
//!
//! Mirrors `std::process`: a [`Session`] starts a [`Child`] with a stdin, a stdout and a stderr. It never accepts a
//! host key that isn't expected, never asks the user anything, and knows nothing of tests, runners or providers.

mod algorithms;
mod authenticate;
mod backlog;
mod carrier;
mod child;
mod endpoint;
mod error;
mod further;
mod host_key;
mod identity;
mod known_hosts;
mod output;
mod read_ahead;

mod retry;
mod session;
mod stdin;
mod stream;

pub use algorithms::{preferred_algorithms, preferred_for_host_keys};
pub use backlog::{Backlog, Held};
pub use child::{Child, Completed, ExitStatus, Process};
pub use endpoint::{Endpoint, Handshakes, Liveness, Transport};
pub use error::{AuthError, ChildError, ConnectError, ConnectFailure, Disconnection, HostKeyError, Stage};
pub use further::{Carried, Terminal};
pub use host_key::HostKey;
pub use identity::{AgentKeys, Identity, KeyOffer};
pub use known_hosts::{KnownHosts, Verdict};
pub use output::ChildOutput;
pub use read_ahead::ReadAhead;
pub use retry::{Retry, connect_with_retry};
pub use russh::Sig as Signal;
pub use russh::keys::ssh_key::{Error as KeyError, LineEnding};
pub use russh::keys::{Algorithm, PrivateKey, PublicKey};
pub use session::Session;
pub use stdin::{ChildStdin, send_all};
pub use stream::{Severed, Throttled};

/// A new ed25519 key pair from the system's random source.
pub fn generate_key(comment: &str) -> Result<PrivateKey, russh::keys::ssh_key::Error> {
    let mut key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?;
    key.set_comment(comment);
    Ok(key)
}
