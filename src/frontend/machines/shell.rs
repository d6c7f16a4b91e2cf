//! `cloudist ssh`: a shell in the project's directory on a machine, on a terminal if there is one here.
//!
//! The terminal here passes on every key. `~.` at the beginning of a line parts, as with ssh.

use std::{
    env,
    io::{self, IsTerminal},
    path::PathBuf,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    args::SshArgs,
    broken, channel, connect, find, look,
    remote::{self, Begin},
    status, stdin,
};
use crate::{
    frontend::failure::{Failure, exit_code},
    ssh::{Child, Session, Terminal},
};

pub async fn shell(args: SshArgs) -> Result<u8, Failure> {
    let runs = look()?;
    let place = find(&runs, args.machine.as_deref())?;
    let agent = if args.agent { Some(agent_socket()?) } else { None };
    let session = connect(place).await?;
    let result = if io::stdin().is_terminal() {
        let line = remote::line(&place.live.info, place.machine, &Begin::Shell);
        on_terminal(&session, &line, agent).await
    } else {
        // What is on stdin is a script.
        let words = ["sh".to_owned()];
        let begin = Begin::Command { words: &words, announced: true };
        match session.exec(&remote::line(&place.live.info, place.machine, &begin)).await {
            Ok(child) => channel::join(&session, child).await,
            Err(error) => Err(broken(error)),
        }
    };
    session.disconnect().await;
    result
}

fn agent_socket() -> Result<PathBuf, Failure> {
    env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from).ok_or_else(|| {
        Failure::new(exit_code::SETTINGS, "there is no ssh-agent to lend")
            .with_help("start one with `eval $(ssh-agent)`, or leave out --agent")
    })
}

/// The terminal here, which gets its own ways back when this value goes.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn size() -> (u32, u32) {
    let size = tcgetwinsize(io::stdin()).or_else(|_| tcgetwinsize(io::stdout()));
    size.map_or((80, 24), |size| (u32::from(size.ws_col), u32::from(size.ws_row)))
}

/// Runs a command on a terminal there that is joined to the one here.
pub async fn on_terminal(session: &Session, line: &str, agent: Option<PathBuf>) -> Result<u8, Failure> {
    let watch = |kind| {
        signal(kind).map_err(|error| Failure::new(exit_code::INTERNAL, format!("failed to watch for signals: {error}")))
    };
    let (mut resized, mut terminated, mut hung_up) =
        (watch(SignalKind::window_change())?, watch(SignalKind::terminate())?, watch(SignalKind::hangup())?);
    let (columns, rows) = size();
    let kind = env::var("TERM").ok().filter(|kind| !kind.is_empty()).unwrap_or_else(|| "dumb".into());
    let terminal = Terminal { kind, columns, rows };
    let Child { stdin: mut there, mut stdout, stderr, mut process } =
        session.exec_on_terminal(line, &terminal, agent).await.map_err(broken)?;
    drop(stderr);
    let _raw = Raw::enter();
    let mut here = stdin();
    let mut keys = Keys::new();
    let mut open = true;
    loop {
        tokio::select! {
            bytes = stdout.next() => match bytes {
                Some(bytes) => channel::show(&mut io::stdout(), &bytes)?,
                None => return process.wait().await.map(|ended| status(&ended)).map_err(broken),
            },
            bytes = here.recv(), if open => match bytes {
                Some(bytes) if keys.parts(&bytes) => return Ok(exit_code::NO_MACHINE),
                Some(bytes) => open = there.write(bytes).await.is_ok(),
                None => open = false,
            },
            _ = resized.recv() => {
                let (columns, rows) = size();
                // A shell that is gone is noticed by its output's end.
                process.resize(columns, rows).await.ok();
            }
            _ = terminated.recv() => return Ok(exit_code::TERMINATED),
            _ = hung_up.recv() => return Ok(129),
        }
    }
}

/// Looks out for `~.` at the beginning of a line.
struct Keys {
    line_begins: bool,
    tilde: bool,
}

impl Keys {
    fn new() -> Self {
        Self { line_begins: true, tilde: false }
    }

    fn parts(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.tilde && byte == b'.' {
                return true;
            }
            self.tilde = self.line_begins && byte == b'~';
            self.line_begins = matches!(byte, b'\r' | b'\n');
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_and_a_dot_part_only_at_the_beginning_of_a_line() {
        assert!(Keys::new().parts(b"~."));
        assert!(Keys::new().parts(b"ls\r~."));
        assert!(!Keys::new().parts(b"cd ~."));
        assert!(!Keys::new().parts(b"~/.profile"));
        let mut keys = Keys::new();
        assert!(!keys.parts(b"~") && keys.parts(b"."));
    }
}
