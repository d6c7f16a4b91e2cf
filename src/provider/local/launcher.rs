//! Starts the process of one embedded machine, and ends it.
//!
//! The keys are made here, fresh for each run and machine, and travel through the child's stdin: never over a command
//! line, an environment, or a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::parameters::{Answer, KEEP, Parameters};
use super::{LocalError, new_key};
use crate::ssh::{Endpoint, Handshakes, HostKey, Identity, Liveness, PrivateKey, PublicKey, Transport};

/// How long a machine may take from its start to its port; it takes a few milliseconds.
const START: Duration = Duration::from_secs(20);
/// How long a machine may take to end all it started.
const RELEASE: Duration = Duration::from_secs(10);

/// How to start machines of one run.
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
    pool: PathBuf,
    env: BTreeMap<String, String>,
    client_key: Arc<PrivateKey>,
}

/// A running machine. Dropping it takes its stdin away, and so ends it.
pub(super) struct Machine {
    child: Child,
    stdin: ChildStdin,
    port: u16,
    host_key: PublicKey,
}

impl Launcher {
    /// `program` with `arguments` must run [`super::serve()`].
    pub fn new(
        program: PathBuf,
        arguments: Vec<OsString>,
        pool: PathBuf,
        env: BTreeMap<String, String>,
    ) -> Result<Self, LocalError> {
        let client_key = Arc::new(new_key("cloudist run")?);
        Ok(Self { program, arguments, pool, env, client_key })
    }

    pub(super) async fn start(&self, name: &str) -> Result<Machine, LocalError> {
        let host_key = new_key(name)?;
        let parameters = self.parameters(&host_key)?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| LocalError::Spawn { program: self.program.clone(), source })?;
        let answer = match timeout(START, talk(&mut child, &parameters)).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
        };
        match answer {
            Ok((stdin, answer)) => {
                Ok(Machine { child, stdin, port: answer.port, host_key: host_key.public_key().clone() })
            }
            Err(source) => Err(LocalError::Start { said: last_words(child).await, source: Some(source) }),
        }
    }

    fn parameters(&self, host_key: &PrivateKey) -> Result<Vec<u8>, LocalError> {
        let parameters = Parameters {
            pool: self.pool.clone(),
            client_key: self.client_key.public_key().to_openssh().map_err(LocalError::Key)?,
            host_key: host_key.to_openssh(LineEnding::LF).map_err(LocalError::Key)?.to_string(),
            env: self.env.clone(),
        };
        let mut line = serde_json::to_vec(&parameters)
            .map_err(|error| LocalError::Start { said: error.to_string(), source: None })?;
        line.push(b'\n');
        Ok(line)
    }
}

async fn talk(child: &mut Child, parameters: &[u8]) -> io::Result<(ChildStdin, Answer)> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    stdin.write_all(parameters).await?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((stdin, serde_json::from_str(&line)?))
}

/// What a machine that did not start has to say; it is ended for good.
async fn last_words(mut child: Child) -> String {
    let _ = child.start_kill();
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(4096).read_to_string(&mut said).await;
    }
    let _ = child.wait().await;
    match said.trim() {
        "" => "it said nothing".into(),
        said => said.into(),
    }
}

impl Machine {
    pub(super) fn endpoint(&self, launcher: &Launcher, name: &str) -> Endpoint {
        let host = "127.0.0.1".to_owned();
        Endpoint {
            label: format!("{name} ({host}:{})", self.port),
            transport: Transport::Tcp { host, port: self.port },
            user: "cloudist".into(),
            identity: Identity::Key(Arc::clone(&launcher.client_key)),
            host_key: HostKey::Pinned(self.host_key.clone()),
            connect_timeout: Endpoint::CONNECT_TIMEOUT,
            liveness: Liveness::default(),
            handshakes: Handshakes::default(),
        }
    }

    /// Leaves the machine to itself: it ends after so long.
    pub(super) async fn leave(mut self, time: Duration) {
        // One that can't be told ends now.
        let _ = self.stdin.write_all(format!("{KEEP} {}\n", time.as_secs()).as_bytes()).await;
    }

    /// Ends the machine and all that runs on it.
    pub(super) async fn release(mut self) {
        drop(self.stdin);
        if timeout(RELEASE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
