//! What carries an SSH stream: a TCP connection, or a proxy command's stdin and stdout.
//!
//! Opens it and names what failed; never speaks SSH.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{ConnectFailure, Stage, Transport};

/// Reads that are acknowledged at once. Delayed acknowledgements cost 40 ms each while both sides wait for small packets.
const QUICK_READS: u32 = 64;

/// How much of a proxy command's stderr is kept for messages.
const TAIL: usize = 2048;
/// How long a command whose stream has ended may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) enum Carrier {
    Tcp { stream: TcpStream, quick_reads: u32 },
    Proxy { stdin: ChildStdin, stdout: ChildStdout, _child: Box<Child> },
}

/// The last words of a proxy command.
pub(super) struct LastWords {
    command: String,
    reader: JoinHandle<String>,
}

pub(super) async fn open(
    transport: &Transport,
    limit: Duration,
) -> Result<(Carrier, Option<LastWords>), ConnectFailure> {
    match transport {
        Transport::Tcp { host, port } => {
            let stream = connect(host, *port, limit).await?;
            Ok((Carrier::Tcp { stream, quick_reads: QUICK_READS }, None))
        }
        Transport::ProxyCommand(command) => spawn(command).map(|(carrier, words)| (carrier, Some(words))),
    }
}

async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, ConnectFailure> {
    let out_of_time = || ConnectFailure::Timeout { stage: Stage::Connect, after: limit };
    let unresolved = |source| ConnectFailure::Resolve { host: host.into(), source };
    let addresses: Vec<SocketAddr> = match timeout(limit, lookup_host((host, port))).await {
        Ok(found) => found.map_err(unresolved)?.collect(),
        Err(_) => return Err(out_of_time()),
    };
    let mut failure = unresolved(io::ErrorKind::AddrNotAvailable.into());
    for address in addresses {
        failure = match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match stream.set_nodelay(true) {
                Ok(()) => return Ok(stream),
                Err(source) => ConnectFailure::Unreachable { host: host.into(), port, source },
            },
            Ok(Err(source)) => match source.kind() {
                io::ErrorKind::ConnectionRefused => ConnectFailure::Refused { host: host.into(), port, source },
                io::ErrorKind::TimedOut => out_of_time(),
                _ => ConnectFailure::Unreachable { host: host.into(), port, source },
            },
            Err(_) => out_of_time(),
        };
    }
    Err(failure)
}

fn spawn(command: &str) -> Result<(Carrier, LastWords), ConnectFailure> {
    let failed = |source| ConnectFailure::Proxy { command: command.into(), stderr: String::new(), source };
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("exec {command}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| failed(Some(source)))?;
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(None));
    };
    let carrier = Carrier::Proxy { stdin, stdout, _child: Box::new(child) };
    Ok((carrier, LastWords { command: command.into(), reader: tokio::spawn(read_tail(stderr)) }))
}

/// Ends with the command, whose stderr it reads.
async fn read_tail(mut stderr: ChildStderr) -> String {
    let mut tail = Vec::new();
    while let Ok(1..) = stderr.read_buf(&mut tail).await {
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
    String::from_utf8_lossy(&tail).trim().lines().last().unwrap_or_default().into()
}

impl LastWords {
    /// What a command that has closed its stdout has to say for itself.
    pub(super) async fn failure(self) -> ConnectFailure {
        let stderr = timeout(LAST_WORDS, self.reader).await.ok().and_then(Result::ok).unwrap_or_default();
        ConnectFailure::Proxy { command: self.command, stderr, source: None }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Carrier::Tcp { stream, quick_reads } => {
                let poll = Pin::new(&mut *stream).poll_read(cx, buf);
                if *quick_reads > 0 {
                    acknowledge_at_once(stream);
                    *quick_reads -= 1;
                }
                poll
            }
            Carrier::Proxy { stdout, .. } => Pin::new(stdout).poll_read(cx, buf),
        }
    }
}

/// A hint: where it isn't taken, the connection is merely slower to begin.
#[cfg(target_os = "linux")]
fn acknowledge_at_once(stream: &TcpStream) {
    let _ = stream.set_quickack(true);
}

#[cfg(not(target_os = "linux"))]
fn acknowledge_at_once(_stream: &TcpStream) {}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Carrier::Tcp { stream, .. } => Pin::new(stream).poll_write(cx, buf),
            Carrier::Proxy { stdin, .. } => Pin::new(stdin).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Carrier::Tcp { stream, .. } => Pin::new(stream).poll_flush(cx),
            Carrier::Proxy { stdin, .. } => Pin::new(stdin).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Carrier::Tcp { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Carrier::Proxy { stdin, .. } => Pin::new(stdin).poll_shutdown(cx),
        }
    }
}
