//! The commands that touch machines of runs from outside: find the machine that is meant, reach it, and look around.
//!
//! Everything goes over an SSH connection of its own, never over that of the run.

pub mod args;
mod channel;
mod cp;
mod down;
mod exec;
mod forward;
mod growth;
mod logs;
mod pdb;
mod ps;
mod remote;
mod shell;
mod ssh_config;

use std::{
    future::Future,
    io::{self, Read},
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{sync::mpsc, task};

use self::args::MachinesCommand;
use super::{
    bridge,
    failure::{Failure, exit_code},
};
use crate::{
    registry::{self, Live, Place, RegistryError},
    ssh::{self, ChildError, ConnectError, Session},
    text,
};

pub fn main(command: MachinesCommand) -> Result<u8, Failure> {
    match command {
        MachinesCommand::Ps(args) => ps::ps(&args),
        MachinesCommand::Ssh(args) => block_on(shell::shell(args)),
        MachinesCommand::Exec(args) => block_on(exec::exec(args)),
        MachinesCommand::Logs(args) => logs::logs(&args),
        MachinesCommand::Pdb(args) => block_on(pdb::pdb(args)),
        MachinesCommand::Bisect(args) => block_on(pdb::bisect(args)),
        MachinesCommand::Cp(args) => block_on(cp::cp(args)),
        MachinesCommand::Forward(args) => block_on(forward::forward(args)),
        MachinesCommand::SshConfig(args) => ssh_config::ssh_config(&args),
        MachinesCommand::Down(args) => block_on(down::down(args)),
    }
}

fn block_on(command: impl Future<Output = Result<u8, Failure>> + 'static) -> Result<u8, Failure> {
    let runtime = bridge::runtime()?;
    let result = runtime.block_on(command.boxed_local());
    // A read of the terminal can't be cancelled; it must not keep the process alive.
    runtime.shutdown_background();
    result
}

fn look() -> Result<Vec<Live>, Failure> {
    registry::look().map_err(unreadable)
}

fn unreadable(error: RegistryError) -> Failure {
    Failure::new(exit_code::INTERNAL, text::chain(&error))
        .with_help("CLOUDIST_STATE_DIR names the directory that is looked into")
}

/// The machine that is meant: by its name, by a worker on it, or the only one. Of several the latest run's.
fn find<'a>(runs: &'a [Live], name: Option<&str>) -> Result<Place<'a>, Failure> {
    let all: Vec<Place> = runs.iter().flat_map(Live::places).collect();
    if let Some(name) = name {
        let by_name = all.iter().find(|place| place.is_called(name));
        let by_worker = || all.iter().find(|place| place.live.workers_of(place.machine).any(|one| one.worker == name));
        return by_name.or_else(by_worker).copied().ok_or_else(|| none_called(name, &all));
    }
    match all.as_slice() {
        [only] => Ok(*only),
        [] => Err(none_called("", &all)),
        several => Err(Failure::new(exit_code::NO_MACHINE, format!("there are {} machines: say which", several.len()))
            .with_help(format!("one of {}", names(several)))),
    }
}

fn none_called(name: &str, all: &[Place]) -> Failure {
    if all.is_empty() {
        let help = "machines are there while a run goes on, and after it with --cd-keep-on-failure";
        return Failure::new(exit_code::NO_MACHINE, "there is no machine").with_help(help);
    }
    Failure::new(exit_code::NO_MACHINE, format!("there is no machine called {name:?}"))
        .with_help(format!("there are {}", names(all)))
}

fn names(places: &[Place]) -> String {
    const MANY: usize = 8;
    let short = |place: &Place| places.iter().filter(|other| other.machine.name == place.machine.name).count() == 1;
    let called = |place: &Place| if short(place) { place.machine.name.clone() } else { place.full_name() };
    let mut names: Vec<String> = places.iter().take(MANY).map(called).collect();
    names.extend((places.len() > MANY).then(|| "others (`cloudist ps`)".to_owned()));
    names.join(", ")
}

/// Connects a second time to a machine.
async fn connect(place: Place<'_>) -> Result<Session, Failure> {
    let endpoint = place.machine.reach.endpoint().map_err(unreadable)?;
    Session::connect(&endpoint)
        .await
        .map_err(|error: ConnectError| Failure::new(exit_code::NO_MACHINE, text::chain(&error)).with_help(error.help()))
}

fn broken(error: ChildError) -> Failure {
    let help = error.help();
    Failure::new(exit_code::NO_MACHINE, text::chain(&error)).with_help(help)
}

/// The exit status that stands for how a command ended there.
fn status(status: &ssh::ExitStatus) -> u8 {
    match status {
        ssh::ExitStatus::Code(code) => u8::try_from(*code).unwrap_or(u8::MAX),
        ssh::ExitStatus::Signal(name) => remote::signal_number(name).map_or(u8::MAX, |number| 128 + number),
    }
}

/// Reads stdin on a thread of its own: a terminal can't be read in any other way.
fn stdin() -> mpsc::Receiver<Bytes> {
    const WAITING: usize = 16;
    const PIECE: usize = 64 << 10;
    let (sender, receiver) = mpsc::channel(WAITING);
    task::spawn_blocking(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; PIECE];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                        return;
                    }
                }
            }
        }
    });
    receiver
}
