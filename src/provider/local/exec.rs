//! One command on an embedded machine: a shell in a process group of its own, joined to an SSH channel.
//!
//! Its input is queued, since a session that waited for it could not send its output. When the channel goes, so does
//! the whole group.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::future::pending;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, mpsc};

use super::connection::Machine;
use crate::ssh::{Backlog, Held, send_all};

const STDERR: u32 = 1;
const READ: usize = 256 << 10;
/// How long a command may take to end after its channel went away.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// The commands that run on a machine, by process group.
#[derive(Debug, Default)]
pub(super) struct Running {
    groups: Mutex<BTreeSet<i32>>,
    changed: Notify,
}

/// The user's shell, as a login shell.
pub(super) const SHELL: &[u8] = b"exec \"${SHELL:-/bin/sh}\" -l";

/// A started command whose channel is not served yet.
pub(super) struct Exec {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    group: Group,
}

/// A process group, listed as running while this value lives.
pub(super) struct Group {
    leader: Pid,
    running: Arc<Running>,
}

pub(super) fn start(machine: &Machine, command: &[u8]) -> io::Result<Exec> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(OsStr::from_bytes(command)).current_dir(&machine.home).process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in own_variables() {
        shell.env_remove(name);
    }
    shell.envs(&machine.env).env("HOME", &machine.home).env("PWD", &machine.home);
    let mut child = shell.spawn()?;
    let parts = (child.stdin.take(), child.stdout.take(), child.stderr.take(), leader(&child));
    let (Some(stdin), Some(stdout), Some(stderr), Some(leader)) = parts else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    Ok(Exec { child, stdin, stdout, stderr, group: Group::new(leader, machine) })
}

/// Variables that speak to this program, not to what it runs.
pub(super) fn own_variables() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| name.as_bytes().starts_with(b"CLOUDIST_"))
}

pub(super) fn leader(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

impl Exec {
    /// Joins the command to its channel until one of them ends.
    pub(super) async fn serve(self, channel: Channel<Msg>, handle: Handle, backlog: Arc<Backlog>) {
        let Exec { mut child, stdin, stdout, stderr, group } = self;
        let id = channel.id();
        let (read, write) = channel.split();
        let (input, queue) = mpsc::unbounded_channel();
        let ended = async {
            let exited = async {
                if let Ok(status) = child.wait().await {
                    report(status, id, &write, &handle).await;
                }
            };
            tokio::join!(exited, copy(stdout, &write, &backlog, None), copy(stderr, &write, &backlog, Some(STDERR)));
            let _ = write.eof().await;
            let _ = write.close().await;
        };
        let fed = async {
            feed(stdin, queue).await;
            pending::<()>().await;
        };
        tokio::select! {
            () = ended => return,
            () = take(read, input, &backlog, &group) => {}
            () = fed => {}
        }
        group.signal(Signal::HUP);
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
        group.signal(Signal::KILL);
        let _ = child.wait().await;
    }
}

/// Takes what the client sends, until the channel is closed.
async fn take(mut read: ChannelReadHalf, input: mpsc::UnboundedSender<Held>, backlog: &Arc<Backlog>, group: &Group) {
    let mut input = Some(input);
    while let Some(message) = read.wait().await {
        match (message, &input) {
            // A command that closed its stdin gets no more of it.
            (ChannelMsg::Data { data }, Some(queue)) => drop(queue.send(backlog.hold(data))),
            (ChannelMsg::Eof, _) => input = None,
            (ChannelMsg::Signal { signal }, _) => {
                if let Some(signal) = signal_of(&signal) {
                    group.signal(signal);
                }
            }
            (ChannelMsg::Close, _) => return,
            _ => {}
        }
    }
}

/// Writes what was queued to the command's stdin; closes it at the end, or when the command no longer reads.
async fn feed(mut stdin: ChildStdin, mut queue: mpsc::UnboundedReceiver<Held>) {
    while let Some(held) = queue.recv().await {
        if stdin.write_all(held.as_ref()).await.is_err() {
            return;
        }
    }
}

pub(super) async fn copy(
    mut output: impl AsyncRead + Unpin,
    write: &ChannelWriteHalf<Msg>,
    backlog: &Arc<Backlog>,
    extended: Option<u32>,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ);
        match output.read_buf(&mut buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        if send_all(write, backlog, extended, buffer.split().freeze()).await.is_err() {
            return;
        }
    }
}

pub(super) async fn report(status: ExitStatus, id: ChannelId, write: &ChannelWriteHalf<Msg>, handle: &Handle) {
    match (status.code(), status.signal()) {
        (Some(code), _) => {
            let _ = write.exit_status(code.cast_unsigned()).await;
        }
        (None, signal) => {
            let name = name_of(signal.unwrap_or_default());
            let _ = handle.exit_signal_request(id, name, status.core_dumped(), String::new(), String::new()).await;
        }
    }
}

/// The signals that SSH has names for, and a few more that shells know.
const SIGNALS: [(Signal, &str); 15] = [
    (Signal::ABORT, "ABRT"),
    (Signal::ALARM, "ALRM"),
    (Signal::FPE, "FPE"),
    (Signal::HUP, "HUP"),
    (Signal::ILL, "ILL"),
    (Signal::INT, "INT"),
    (Signal::KILL, "KILL"),
    (Signal::PIPE, "PIPE"),
    (Signal::QUIT, "QUIT"),
    (Signal::SEGV, "SEGV"),
    (Signal::TERM, "TERM"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
    (Signal::STOP, "STOP"),
    (Signal::CONT, "CONT"),
];

pub(super) fn signal_of(name: &Sig) -> Option<Signal> {
    let name = match name {
        Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    };
    SIGNALS.iter().find(|(_, known)| *known == name).map(|(signal, _)| *signal)
}

fn name_of(number: i32) -> Sig {
    let known = SIGNALS.iter().find(|(signal, _)| signal.as_raw() == number);
    Sig::Custom(known.map_or_else(|| number.to_string(), |(_, name)| (*name).into()))
}

impl Running {
    pub(super) fn contains(&self, pid: i32) -> bool {
        self.groups().contains(&pid)
    }

    pub(super) fn hang_up(&self) {
        for leader in self.groups().iter().filter_map(|group| Pid::from_raw(*group)) {
            let _ = kill_process_group(leader, Signal::HUP);
        }
    }

    pub(super) async fn all_ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.groups().is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn groups(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    pub(super) fn new(leader: Pid, machine: &Machine) -> Self {
        let running = Arc::clone(&machine.running);
        running.groups().insert(leader.as_raw_nonzero().get());
        Group { leader, running }
    }

    /// A group that is gone takes no signals, which is fine.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.leader, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.running.groups().remove(&self.leader.as_raw_nonzero().get());
        self.running.changed.notify_waiters();
    }
}
