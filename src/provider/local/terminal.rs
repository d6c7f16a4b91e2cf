//! A command or a shell on a terminal of an embedded machine, joined to an SSH channel.
//!
//! It leads a session whose terminal this is, so Ctrl-C is the terminal's business. When the channel goes, it hangs up.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use pty_process::{Command, OwnedReadPty, OwnedWritePty, Size};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::sync::mpsc;

use super::connection::Machine;
use super::exec::{GRACE, Group, copy, leader, own_variables, report, signal_of};
use crate::ssh::{Backlog, Held, Terminal};

/// A started command whose channel is not served yet.
pub(super) struct OnTerminal {
    child: Child,
    output: OwnedReadPty,
    input: OwnedWritePty,
    group: Group,
}

/// What reaches the terminal from the other side.
enum Input {
    Bytes(Held),
    Resized(Size),
}

/// Without a command, the user's shell as a login shell.
pub(super) fn start(machine: &Machine, command: Option<&[u8]>, terminal: &Terminal) -> io::Result<OnTerminal> {
    let (pty, there) = pty_process::open().map_err(io::Error::other)?;
    pty.resize(size(terminal.columns, terminal.rows)).map_err(io::Error::other)?;
    let shell = match command {
        Some(command) => Command::new("/bin/sh").arg("-c").arg(OsStr::from_bytes(command)),
        None => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
            let name = Path::new(&shell).file_name().unwrap_or_default().to_string_lossy().into_owned();
            Command::new(&shell).arg0(format!("-{name}"))
        }
    };
    let shell = own_variables().fold(shell, |shell, name| shell.env_remove(name));
    let shell = shell.envs(&machine.env).env("HOME", &machine.home).env("PWD", &machine.home);
    let shell = shell.env("TERM", &terminal.kind).current_dir(&machine.home);
    let child = shell.spawn(there).map_err(io::Error::other)?;
    let Some(leader) = leader(&child) else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let (output, input) = pty.into_split();
    Ok(OnTerminal { child, output, input, group: Group::new(leader, machine) })
}

fn size(columns: u32, rows: u32) -> Size {
    let small = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    Size::new(small(rows), small(columns))
}

impl OnTerminal {
    /// Joins the command to its channel until one of them ends.
    pub(super) async fn serve(self, channel: Channel<Msg>, handle: Handle, backlog: Arc<Backlog>) {
        let OnTerminal { mut child, output, input, group } = self;
        let id = channel.id();
        let (read, write) = channel.split();
        let (sender, queue) = mpsc::unbounded_channel();
        let ended = async {
            // The kernel takes the terminal away from whoever is left when its session's leader ends: then it is read empty.
            let (status, ()) = tokio::join!(child.wait(), copy(output, &write, &backlog, None));
            if let Ok(status) = status {
                report(status, id, &write, &handle).await;
            }
            let _ = write.eof().await;
            let _ = write.close().await;
        };
        let fed = async {
            feed(input, queue).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = ended => return,
            () = take(read, sender, &backlog, &group) => {}
            () = fed => {}
        }
        group.signal(Signal::HUP);
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
        group.signal(Signal::KILL);
        let _ = child.wait().await;
    }
}

/// Takes what the client sends, until the channel is closed. The end of its input is none of a terminal's.
async fn take(mut read: ChannelReadHalf, input: mpsc::UnboundedSender<Input>, backlog: &Arc<Backlog>, group: &Group) {
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => drop(input.send(Input::Bytes(backlog.hold(data)))),
            ChannelMsg::WindowChange { col_width, row_height, .. } => {
                drop(input.send(Input::Resized(size(col_width, row_height))));
            }
            ChannelMsg::Signal { signal } => {
                if let Some(signal) = signal_of(&signal) {
                    group.signal(signal);
                }
            }
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

async fn feed(mut input: OwnedWritePty, mut queue: mpsc::UnboundedReceiver<Input>) {
    while let Some(one) = queue.recv().await {
        match one {
            Input::Bytes(held) => {
                if input.write_all(held.as_ref()).await.is_err() {
                    return;
                }
            }
            // A terminal that is gone has no size.
            Input::Resized(size) => drop(input.resize(size)),
        }
    }
}
