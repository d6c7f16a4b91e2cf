//! Machines in the words of OpenSSH's configuration, so that ssh, scp, rsync and editors reach them with the expected keys.
//!
//! Each machine has a block in a file of its own beside its record, which one `Include` line with a pattern reads.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    MachineInfo, RegistryError, directory,
    reach::{Expects, Way, Who},
};
use crate::cache;

/// What the user's configuration is to include: the blocks of all machines there are and will be.
pub fn include() -> Result<String, RegistryError> {
    let pattern = directory()?.join("*/*.ssh_config");
    Ok(format!("Include {}", quoted(&pattern)))
}

pub(super) fn write(directory: &Path, run: &str, machine: &MachineInfo) -> io::Result<()> {
    if let Expects::Pinned(key) = &machine.reach.expects {
        let line = format!("{} {key}\n", alias(run, machine));
        cache::write_whole(&known_hosts(directory, machine.number), line.as_bytes())?;
    }
    let text = block(directory, run, machine, true);
    cache::write_whole(&file(directory, machine.number), text.as_bytes())
}

pub(super) fn remove(directory: &Path, number: u32) {
    fs::remove_file(file(directory, number)).ok();
    fs::remove_file(known_hosts(directory, number)).ok();
}

fn file(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("machine-{number}.ssh_config"))
}

fn known_hosts(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("machine-{number}.known_hosts"))
}

fn alias(run: &str, machine: &MachineInfo) -> String {
    format!("cloudist-{}.{run}", name(machine))
}

/// White space, and what patterns are made of, can't be in a host's name.
fn name(machine: &MachineInfo) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    machine.name.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect()
}

/// The block of one machine. Its short name may be another's too, and is left out if it is not wanted.
pub fn block(directory: &Path, run: &str, machine: &MachineInfo, short: bool) -> String {
    let reach = &machine.reach;
    let full = alias(run, machine);
    let names = if short { format!("cloudist-{} {full}", name(machine)) } else { full.clone() };
    let mut lines = vec![format!("Host {names}")];
    let mut say = |line: String| lines.push(format!("  {line}"));
    match &reach.way {
        Way::Tcp { host, port } => {
            say(format!("HostName {host}"));
            say(format!("Port {port}"));
            say("ProxyCommand none".into());
        }
        // It was made for this machine, so nothing in it is left to be filled in.
        Way::ProxyCommand(command) => say(format!("ProxyCommand {}", command.replace('%', "%%"))),
    }
    say(format!("User {}", reach.user));
    match &reach.who {
        Who::Key(path) => {
            say(format!("IdentityFile {}", quoted(path)));
            say("IdentitiesOnly yes".into());
            say("IdentityAgent none".into());
        }
        Who::Offer { agent, files, only_listed } => {
            files.iter().for_each(|path| say(format!("IdentityFile {}", quoted(path))));
            say(format!("IdentitiesOnly {}", if *only_listed { "yes" } else { "no" }));
            say(format!("IdentityAgent {}", agent.as_deref().map_or_else(|| "none".into(), quoted)));
        }
    }
    match &reach.expects {
        Expects::Pinned(_) => {
            say(format!("UserKnownHostsFile {}", quoted(known_hosts(directory, machine.number))));
            say(format!("HostKeyAlias {full}"));
        }
        Expects::KnownHosts { files, name, port } => {
            let files: Vec<String> = files.iter().map(quoted).collect();
            say(format!("UserKnownHostsFile {}", files.join(" ")));
            if port.is_none() {
                say(format!("HostKeyAlias {name}"));
            }
        }
    }
    for line in ["GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", "UpdateHostKeys no", "ForwardAgent no"]
    {
        say(line.into());
    }
    lines.join("\n") + "\n"
}

fn quoted(path: impl AsRef<Path>) -> String {
    format!("\"{}\"", path.as_ref().display())
}
