//! Puts a terminal of our own between those who write and the user's, where that can be done.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, IsTerminal},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    stdio::{dup2_stderr, dup2_stdout, stderr, stdout},
    termios::{self, OptionalActions, OutputModes},
};
use tempfile::NamedTempFile;

use crate::view;

/// Who writes to the user's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// This process, and those that it starts.
    ThisAndBelow,
    /// The local pytest, above this process, whose stdout is something else.
    Above,
}

/// All that it takes to relay what is written.
pub struct Taken {
    /// The user's terminal.
    pub tty: File,
    /// Our end of the terminal that is written to.
    pub master: File,
    /// Its name for those who are to write to it.
    pub name: PathBuf,
    /// Where what is held back is kept.
    pub spool: NamedTempFile,
    pub before: Before,
}

/// What this process wrote to before.
pub struct Before {
    out: Option<OwnedFd>,
    err: OwnedFd,
}

impl Before {
    /// From now on it does so again.
    pub fn put_back(&self) {
        if let Some(out) = &self.out {
            dup2_stdout(out).ok();
        }
        dup2_stderr(&self.err).ok();
    }
}

/// From now on what is written comes out at our end. The answer tells why not.
pub fn take(writers: Writers) -> Result<Taken, String> {
    let out = (writers == Writers::ThisAndBelow).then(stdout);
    if !stderr().is_terminal() || out.is_some_and(|out| !out.is_terminal()) {
        return Err("stdout and stderr are not both terminals".into());
    }
    if let Some(out) = out
        && !is_same(out, stderr())
    {
        return Err("stdout and stderr are different terminals".into());
    }
    if let Some(reason) = refusal(stderr()) {
        return Err(reason);
    }
    stand_between(out).map_err(|error| format!("failed to make a terminal to write to: {error}"))
}

fn stand_between(out: Option<BorrowedFd<'_>>) -> io::Result<Taken> {
    let tty = way_to(stderr())?;
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let name = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())).to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(&name, flags, Mode::empty())?;
    // Bytes pass as they are: what ends a line is the user's terminal's business.
    let mut modes = termios::tcgetattr(&tty)?;
    modes.output_modes.remove(OutputModes::OPOST);
    termios::tcsetattr(&slave, OptionalActions::Now, &modes)?;
    termios::tcsetwinsize(&slave, termios::tcgetwinsize(&tty)?)?;
    let spool = NamedTempFile::new()?;
    let keep = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let before = Before { out: out.map(keep).transpose()?, err: keep(stderr())? };
    if before.out.is_some() {
        dup2_stdout(&slave)?;
    }
    dup2_stderr(&slave)?;
    Ok(Taken { tty, master: master.into(), name, spool, before })
}

/// A terminal that can be read as well, whichever way it was opened.
fn way_to(terminal: BorrowedFd<'_>) -> io::Result<File> {
    let name = termios::ttyname(terminal, Vec::new());
    let opened = name.map_err(io::Error::from).and_then(|name| {
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)
    });
    opened.or_else(|_| Ok(rustix::io::fcntl_dupfd_cloexec(terminal, 3)?.into()))
}

fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let device = |fd| rustix::fs::fstat(fd).map(|stat| stat.st_rdev).ok();
    device(one) == device(other)
}

/// Why a view can't be shown on a terminal, if it can't.
pub fn refusal(terminal: impl AsFd) -> Option<String> {
    match env::var("TERM") {
        Ok(term) if term != "dumb" && !term.is_empty() => {}
        _ => return Some("the terminal can't place text (TERM)".into()),
    }
    let (columns, rows) = view::LEAST;
    let size = termios::tcgetwinsize(&terminal).ok()?;
    if size.ws_col < columns || size.ws_row < rows {
        return Some(format!("the terminal has {}x{}, and {columns}x{rows} are needed", size.ws_col, size.ws_row));
    }
    // A terminal of another session has no foreground that would be ours to know.
    let foreground = termios::tcgetpgrp(&terminal).ok()?;
    (foreground != rustix::process::getpgrp()).then(|| "the run is in the background".into())
}
