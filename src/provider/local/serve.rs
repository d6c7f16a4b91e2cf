//! The process of an embedded machine: takes its parameters from stdin, serves SSH, and leaves nothing behind.
//!
//! It has its own session, so that no terminal reaches it, and adopts the orphans of whatever it runs. It ends when its
//! stdin ends, unless it was told to go on for a while, or on SIGTERM.

use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use russh::keys::{PrivateKey, PublicKey};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use super::connection::{Machine, accept};
use super::exec::Running;
use super::home::Home;
use super::parameters::{Answer, KEEP, Parameters};
use super::process_tree;

/// How long commands may take to end by themselves once they were told.
const GRACE: Duration = Duration::from_millis(300);

/// A machine that cannot begin, or cannot go on.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("cannot read the parameters of the machine")]
    Read(#[source] io::Error),
    #[error("the parameters of the machine make no sense")]
    Parameters(#[from] serde_json::Error),
    #[error("cannot read a key")]
    Key(#[from] russh::keys::ssh_key::Error),
    #[error("cannot claim a home directory in {}", .pool.display())]
    Home { pool: PathBuf, source: io::Error },
    #[error("cannot set up the machine's process")]
    Process(#[source] io::Error),
    #[error("cannot serve on a loopback port")]
    Listen(#[source] io::Error),
}

/// Runs one machine to its end.
pub fn serve() -> Result<(), ServeError> {
    // Fails where the process leads a session already, which serves as well.
    let _ = rustix::process::setsid();
    process_tree::adopt_orphans().map_err(ServeError::Process)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(ServeError::Read)?;
    let parameters: Parameters = serde_json::from_str(&line)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Process)?;
    let result = runtime.block_on(run(parameters).boxed_local());
    runtime.shutdown_background();
    process_tree::end_all();
    result
}

async fn run(parameters: Parameters) -> Result<(), ServeError> {
    let client_key = PublicKey::from_openssh(&parameters.client_key)?;
    let host_key = PrivateKey::from_openssh(&parameters.host_key)?;
    let home =
        Home::claim(&parameters.pool).map_err(|source| ServeError::Home { pool: parameters.pool.clone(), source })?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(ServeError::Listen)?;
    let port = listener.local_addr().map_err(ServeError::Listen)?.port();
    let mut stopped = std::pin::pin!(stopped()?);
    let mut children = signal(SignalKind::child()).map_err(ServeError::Process)?;
    answer(&Answer { port, home: home.path.clone() }).map_err(ServeError::Listen)?;

    let running = Arc::new(Running::default());
    let machine = Machine::new(home.path.clone(), parameters.env, client_key, host_key, Arc::clone(&running));
    let machine = Arc::new(machine);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            _ = children.recv() => process_tree::reap_orphans(|pid| running.contains(pid)),
            connection = listener.accept() => match connection {
                Ok((stream, _)) => accept(&machine, stream),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(ServeError::Listen(error)),
            },
        }
    }
    running.hang_up();
    let _ = tokio::time::timeout(GRACE, running.all_ended()).await;
    Ok(())
}

/// Resolves when nobody needs the machine any more.
fn stopped() -> Result<impl Future<Output = ()>, ServeError> {
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(ServeError::Process)?;
    let mut stdin = pipe::Receiver::from_owned_fd(stdin).map_err(ServeError::Process)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Process)?;
    Ok(async move {
        let mut said = Vec::new();
        loop {
            tokio::select! {
                read = stdin.read_buf(&mut said) => if !matches!(read, Ok(1..)) { break },
                _ = terminate.recv() => return,
            }
        }
        if let Some(time) = kept_for(&said) {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                _ = terminate.recv() => {}
            }
        }
    })
}

/// For how long the machine goes on without whoever started it, if that was said.
fn kept_for(said: &[u8]) -> Option<Duration> {
    let line = std::str::from_utf8(said).ok()?.lines().next_back()?;
    let seconds = line.strip_prefix(KEEP)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn answer(answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// Whether accepting may go on: the peer is gone, or descriptors are short for now.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
