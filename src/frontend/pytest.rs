//! `cloudist pytest`: starts the local pytest, and the machines beside it.

use std::{
    env, fs, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    thread,
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use futures_util::FutureExt;
use signal_hook::{
    consts::SIGINT,
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
    low_level::siginfo::Cause,
};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::timeout,
};

use super::{
    args::PytestArgs,
    bridge::{self, EarlyFleet, Served},
    config,
    failure::{Failure, exit_code},
    interpreter,
    line::Line,
    recording,
    screen::{Screen, Writers},
};
use crate::{cache, plan::Mode, run::Watch, templates};

/// Descriptors of the bridge in the child.
const BRIDGE_READ: i32 = 198;
const BRIDGE_WRITE: i32 = 199;

pub fn pytest(args: PytestArgs) -> Result<u8, Failure> {
    let mut screen = Screen::default();
    let result = bridge::runtime()?.block_on(bridge::to_the_end(run(args, &mut screen)));
    screen.close();
    result
}

async fn run(args: PytestArgs, screen: &mut Screen) -> Result<u8, Failure> {
    let cwd = current_dir()?;
    let flags = args.run.0.clone();
    let settings = config::settings(flags.clone(), "--", &cwd)?;
    let python = interpreter::find(args.local_python.as_deref())?;
    let mut command = tokio::process::Command::new(&python);
    command.args(["-m", "pytest"]);
    if settings.mode == Mode::No {
        let mut child = command.args(&args.pytest).spawn().map_err(|error| not_started(&python, error))?;
        let status = follow(&mut child, &Watch::default()).await?;
        return Ok(code(status));
    }
    let plugin = plugin_directory().map_err(|error| {
        Failure::new(exit_code::INTERNAL, format!("failed to put the pytest plugin into the cache: {error}"))
            .with_help("set CLOUDIST_CACHE_DIR to a directory that can be written")
    })?;
    let (to_child, child_read, from_child, child_write) = bridge_pipes()?;
    command
        .args(["-p", "pytest_cloudist"])
        .arg(format!("--cloudist={}", settings.mode))
        .args(settings.failed_first.then_some("--cd-failed-first"))
        .args(&args.pytest)
        .env("PYTHONPATH", python_path(&plugin))
        .env("CLOUDIST_PLUGIN_DIR", &plugin)
        .env("CLOUDIST_BIN", env::current_exe().unwrap_or_else(|_| "cloudist".into()))
        .env("CLOUDIST_BRIDGE", format!("{BRIDGE_READ},{BRIDGE_WRITE}"))
        .stdin(Stdio::inherit());
    command
        .as_std_mut()
        .fd_mappings(vec![
            FdMapping { parent_fd: child_read, child_fd: BRIDGE_READ },
            FdMapping { parent_fd: child_write, child_fd: BRIDGE_WRITE },
        ])
        .expect("the two descriptors differ");
    screen.take(&settings, Writers::ThisAndBelow);
    let mut child = command.spawn().map_err(|error| not_started(&python, error))?;
    // The child's ends live in the command; here they would keep the bridge open for ever.
    drop(command);

    // Machines start while pytest does.
    let mut fleet = match bridge::launch(&settings, &python) {
        Ok(fleet) => fleet,
        Err(failure) => {
            child.kill().await.ok();
            return Err(failure);
        }
    };
    fleet.watched_by(screen.watch());
    recording::begin(&mut fleet, &settings, &[]);
    let line = Line::open(from_child, to_child)?;
    let watch = screen.watch();
    let served = bridge::serve(line, Some(EarlyFleet { fleet, settings, flags }), screen).boxed_local();
    let (served, status) = tokio::join!(served, follow(&mut child, &watch));
    let status = status?;
    if served == Served::Nothing && !status.success() && !interpreter::has_pytest(&python) {
        return Err(Failure::new(exit_code::ENVIRONMENT, format!("{} has no pytest", python.display()))
            .with_help("activate the project's virtual environment, or name its interpreter with --local-python"));
    }
    Ok(code(status))
}

/// Waits for pytest's end and passes signals on to it. What it says to them is to be seen.
async fn follow(child: &mut Child, watch: &Watch) -> Result<ExitStatus, Failure> {
    let failed = |error: io::Error| Failure::new(exit_code::INTERNAL, format!("failed to follow pytest: {error}"));
    let mut interrupts = interrupts().map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(failed),
            Some(reach) = interrupts.recv() => {
                watch.end();
                if reach == Reach::Us {
                    pass_on(child, rustix::process::Signal::INT);
                }
            }
            _ = async { tokio::select! { _ = terminations.recv() => {}, _ = hangups.recv() => {} } } => {
                watch.end();
                pass_on(child, rustix::process::Signal::TERM);
                if timeout(Duration::from_secs(20), child.wait()).await.is_err() {
                    child.kill().await.map_err(failed)?;
                }
            }
        }
    }
}

/// Whom an interrupt has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Ctrl-C on a terminal: its whole foreground group, which pytest is in too.
    PytestToo,
    /// Somebody has sent it to this process.
    Us,
}

/// Interrupts as they come. Who sends them is told to nobody but a signal's own handler.
fn interrupts() -> io::Result<mpsc::UnboundedReceiver<Reach>> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT])?;
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::Builder::new().name("interrupts".into()).spawn(move || {
        for origin in &mut signals {
            let reach = match origin.cause {
                Cause::Sent(_) => Reach::Us,
                Cause::Kernel => Reach::PytestToo,
                _ if terminal_signals_child() => Reach::PytestToo,
                _ => Reach::Us,
            };
            if sender.send(reach).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Whether this process is in the foreground of a terminal.
fn terminal_signals_child() -> bool {
    let own = rustix::process::getpgrp();
    fs::File::open("/dev/tty")
        .ok()
        .and_then(|tty| rustix::termios::tcgetpgrp(&tty).ok())
        .is_some_and(|foreground| foreground == own)
}

fn pass_on(child: &Child, signal: rustix::process::Signal) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, signal).ok();
    }
}

/// As a shell has it: 128 and the signal's number for a child that was killed.
fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128 + signal as u8,
        (None, None) => exit_code::INTERNAL,
    }
}

fn not_started(python: &Path, error: io::Error) -> Failure {
    Failure::new(exit_code::ENVIRONMENT, format!("failed to start {}: {error}", python.display()))
        .with_help("name the project's interpreter with --local-python")
}

pub fn current_dir() -> Result<PathBuf, Failure> {
    env::current_dir()
        .map_err(|error| Failure::new(exit_code::INTERNAL, format!("the working directory can't be read: {error}")))
}

type Pipes = (OwnedFd, OwnedFd, OwnedFd, OwnedFd);

/// A pipe each way; no other child inherits any end.
fn bridge_pipes() -> Result<Pipes, Failure> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    pipe()
        .and_then(|(child_read, to_child)| {
            let (from_child, child_write) = pipe()?;
            Ok((to_child, child_read, from_child, child_write))
        })
        .map_err(|error| Failure::new(exit_code::INTERNAL, format!("failed to make pipes: {error}")))
}

fn python_path(plugin: &Path) -> std::ffi::OsString {
    let mut path = plugin.as_os_str().to_owned();
    if let Some(given) = env::var_os("PYTHONPATH").filter(|given| !given.is_empty()) {
        path.push(":");
        path.push(given);
    }
    path
}

/// The directory with the plugin of this very version, written if it isn't there.
pub fn plugin_directory() -> io::Result<PathBuf> {
    let digest =
        crate::snapshot::Digest::of(&templates::PLUGIN.iter().flat_map(|file| file.text.bytes()).collect::<Vec<_>>());
    let dir = cache::directory()?.join("plugin").join(&digest.to_string()[..16]);
    for file in templates::PLUGIN {
        let path = dir.join(file.path);
        if !fs::read(&path).is_ok_and(|text| text == file.text.as_bytes()) {
            cache::write_whole(&path, file.text.as_bytes())
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        }
    }
    Ok(dir)
}

pub fn print_plugin_path() -> Result<u8, Failure> {
    let dir = plugin_directory()
        .map_err(|error| Failure::new(exit_code::INTERNAL, format!("failed to write the pytest plugin: {error}")))?;
    println!("{}", dir.display());
    Ok(0)
}
