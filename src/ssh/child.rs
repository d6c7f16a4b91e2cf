//! A command that runs on a machine, and the channel that it is known by.
//!
//! One task per command takes whatever the machine sends as soon as it comes, so that no command can hold up another.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::output::{ChildOutput, OutputSender};
use super::stdin::{self, ChildStdin};
use super::{Backlog, ChildError, Session, Signal};

const STDERR: u32 = 1;

/// A running command. Take it apart to use its parts from several tasks.
///
/// An output that nobody wants should be dropped rather than kept unread: what waits in it counts against what the
/// whole connection may hold.
pub struct Child {
    pub stdin: ChildStdin,
    pub stdout: ChildOutput,
    pub stderr: ChildOutput,
    pub process: Process,
}

/// The command itself. Dropping it before the command has ended closes the channel; a server of ours then kills the
/// command, OpenSSH's merely takes its stdin away. What an ended command has said can be read to its end all the same.
pub struct Process {
    session: Session,
    write: Arc<ChannelWriteHalf<Msg>>,
    exit: Exit,
    _hang_up: DropGuard,
}

enum Exit {
    Awaited(oneshot::Receiver<Result<ExitStatus, ChildError>>),
    Known(Result<ExitStatus, ChildError>),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Code(u32),
    /// The signal's name, without `SIG`.
    Signal(String),
}

/// A command that has ended, with all that it said.
#[derive(Debug)]
pub struct Completed {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Child {
    /// Closes stdin, collects both outputs, and waits for the end.
    pub async fn output(self) -> Result<Completed, ChildError> {
        let Child { stdin, stdout, stderr, mut process } = self;
        drop(stdin);
        let (stdout, stderr, status) = tokio::join!(stdout.collect(), stderr.collect(), process.wait());
        Ok(Completed { status: status?, stdout, stderr })
    }
}

impl Process {
    /// Waits for the command's end. Its outputs may hold more that was not read yet.
    pub async fn wait(&mut self) -> Result<ExitStatus, ChildError> {
        if let Exit::Awaited(exit) = &mut self.exit {
            let known = exit.await.unwrap_or_else(|_| Err(disconnected(&self.session)));
            self.exit = Exit::Known(known);
        }
        match &self.exit {
            Exit::Known(known) => known.clone(),
            Exit::Awaited(_) => Err(disconnected(&self.session)),
        }
    }

    /// Asks the server to send the command a signal. OpenSSH does so neither for root nor for forced commands, and
    /// doesn't tell.
    pub async fn signal(&self, signal: Signal) -> Result<(), ChildError> {
        self.write.signal(signal).await.map_err(|_| disconnected(&self.session))
    }
}

impl Process {
    /// Tells a command on a terminal how large that is now.
    pub async fn resize(&self, columns: u32, rows: u32) -> Result<(), ChildError> {
        self.write.window_change(columns, rows, 0, 0).await.map_err(|_| disconnected(&self.session))
    }
}

impl ExitStatus {
    pub fn success(&self) -> bool {
        *self == ExitStatus::Code(0)
    }
}

/// Starts the tasks that serve a channel whose command was just requested.
pub(super) fn follow(session: &Session, channel: Channel<Msg>, backlog: &Arc<Backlog>, tasks: &TaskTracker) -> Child {
    let (read, write) = channel.split();
    let write = Arc::new(write);
    let closed = CancellationToken::new();
    let hang_up = CancellationToken::new();
    let unwanted = Unwanted::default();
    let (stdout_sender, stdout) = ChildOutput::new(backlog, unwanted.stdout.clone());
    let (stderr_sender, stderr) = ChildOutput::new(backlog, unwanted.stderr.clone());
    let (exit_sender, exit) = oneshot::channel();
    let (pieces, queue) = mpsc::channel(stdin::PIECES);

    tasks.spawn(stdin::feed(Arc::clone(&write), queue, Arc::clone(backlog), closed.clone()).boxed());
    let pump = Pump {
        end: session.end().clone(),
        label: session.label().to_owned(),
        stdout: Some(stdout_sender),
        stderr: Some(stderr_sender),
        exit: Some(exit_sender),
        exited: CancellationToken::new(),
    };
    let close = close(Arc::clone(&write), hang_up.clone(), pump.exited.clone(), unwanted);
    tasks.spawn(pump.run(read, close, closed.drop_guard()).boxed());
    Child {
        stdin: ChildStdin::new(pieces, session.clone()),
        stdout,
        stderr,
        process: Process { session: session.clone(), write, exit: Exit::Awaited(exit), _hang_up: hang_up.drop_guard() },
    }
}

pub(super) fn disconnected(session: &Session) -> ChildError {
    let endpoint = session.label().to_owned();
    match session.end().now() {
        Some(source) => ChildError::Disconnected { endpoint, source },
        None => ChildError::StdinClosed { endpoint },
    }
}

/// Cancelled as the readers of the outputs go.
#[derive(Default)]
struct Unwanted {
    stdout: CancellationToken,
    stderr: CancellationToken,
}

/// Closes the channel when nobody wants the command any more.
async fn close(
    write: Arc<ChannelWriteHalf<Msg>>,
    hang_up: CancellationToken,
    exited: CancellationToken,
    unwanted: Unwanted,
) {
    hang_up.cancelled().await;
    if exited.is_cancelled() {
        unwanted.stdout.cancelled().await;
        unwanted.stderr.cancelled().await;
    }
    let _ = write.close().await;
}

/// Takes what the machine sends for one command.
struct Pump {
    end: super::session::End,
    label: String,
    stdout: Option<OutputSender>,
    stderr: Option<OutputSender>,
    exit: Option<oneshot::Sender<Result<ExitStatus, ChildError>>>,
    exited: CancellationToken,
}

impl Pump {
    /// Runs until the channel is closed; `_closed` tells the others then.
    async fn run(mut self, mut read: ChannelReadHalf, close: impl Future<Output = ()>, _closed: DropGuard) {
        let mut close = pin!(close.fuse());
        loop {
            let message = tokio::select! {
                biased;
                () = &mut close => continue,
                message = read.wait() => message,
            };
            match message {
                Some(ChannelMsg::Data { data }) => deliver(&self.stdout, data),
                Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => deliver(&self.stderr, data),
                Some(ChannelMsg::ExitStatus { exit_status }) => self.exited(ExitStatus::Code(exit_status)),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    self.exited(ExitStatus::Signal(signal_name_of(&signal_name)));
                }
                Some(ChannelMsg::Failure) => {
                    let endpoint = self.label.clone();
                    self.ended(Err(ChildError::ExecRefused { endpoint }));
                }
                Some(ChannelMsg::Eof) => {
                    self.stdout = None;
                    self.stderr = None;
                }
                Some(ChannelMsg::Close) => {
                    let endpoint = self.label.clone();
                    return self.ended(Err(ChildError::NoStatus { endpoint }));
                }
                None => {
                    let (endpoint, source) = (self.label.clone(), self.end.wait().await);
                    return self.ended(Err(ChildError::Disconnected { endpoint, source }));
                }
                Some(_) => {}
            }
        }
    }

    fn exited(&mut self, status: ExitStatus) {
        self.exited.cancel();
        self.ended(Ok(status));
    }

    /// The first word about the end counts.
    fn ended(&mut self, status: Result<ExitStatus, ChildError>) {
        if let Some(exit) = self.exit.take() {
            let _ = exit.send(status);
        }
    }
}

fn deliver(output: &Option<OutputSender>, data: Bytes) {
    if let Some(output) = output {
        output.send(data);
    }
}

fn signal_name_of(signal: &Signal) -> String {
    match signal {
        Signal::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}
