//! `cloudist ssh-config`: the machines in OpenSSH's words, printed or made known to ssh for good.

use std::{
    collections::BTreeSet,
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{args::SshConfigArgs, channel, find, look, unreadable};
use crate::{
    cache,
    frontend::failure::{Failure, exit_code},
    registry::{self, Live, Place},
};

const BEGIN: &str = "# cloudist: the machines of its runs\n";
const END: &str = "# cloudist: end\n\n";

pub fn ssh_config(args: &SshConfigArgs) -> Result<u8, Failure> {
    if args.install || args.remove {
        let path = user_configuration()?;
        let changed = change(&path, args.install).map_err(|error| {
            Failure::new(exit_code::INTERNAL, format!("failed to change {}: {error}", path.display()))
        })?;
        let what = match (args.install, changed) {
            (true, true) => "now includes the machines of all runs, as cloudist-NAME",
            (true, false) => "includes them already",
            (false, true) => "no longer includes them",
            (false, false) => "does not include them",
        };
        eprintln!("{} {what}", path.display());
        return Ok(0);
    }
    let runs = look()?;
    let places: Vec<Place> = match &args.machine {
        Some(name) => vec![find(&runs, Some(name))?],
        None => runs.iter().flat_map(Live::places).collect(),
    };
    let mut taken = BTreeSet::new();
    for Place { live, machine } in places {
        // The latest run's is the one that is meant by the short name.
        let short = taken.insert(machine.name.clone());
        let block = registry::ssh_config_block(&live.directory, &live.info.run, machine, short);
        channel::show(&mut io::stdout(), block.as_bytes())?;
    }
    Ok(0)
}

fn user_configuration() -> Result<PathBuf, Failure> {
    env::home_dir().map(|home| home.join(".ssh/config")).ok_or_else(|| {
        Failure::new(exit_code::SETTINGS, "it is not known where your ssh configuration lies").with_help("set HOME")
    })
}

/// Adds or takes away the marked lines. They come first: what other `Host *` blocks say would win else.
fn change(path: &Path, install: bool) -> io::Result<bool> {
    let include = registry::ssh_config_include().map_err(|error| io::Error::other(unreadable(error).message))?;
    let old = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let without = without(&old);
    let new = if install { format!("{BEGIN}{include}\n{END}{without}") } else { without };
    if new == old {
        return Ok(false);
    }
    // A configuration that is a link elsewhere stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = fs::metadata(&path).map_or(0o600, |there| there.permissions().mode());
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700))?;
    }
    cache::write_whole(&path, new.as_bytes())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777))?;
    Ok(true)
}

fn without(text: &str) -> String {
    let marked = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    marked.map_or_else(|| text.to_owned(), |(before, after)| format!("{before}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_wrote_stays_as_it_was() {
        let text = "Host a\n  Port 1\n";
        let with = format!("{BEGIN}Include x\n{END}{text}");
        assert_eq!(without(&with), text);
        assert_eq!(without(text), text);
        assert_eq!(without(&format!("{BEGIN}cut off")), format!("{BEGIN}cut off"));
    }
}
