//! `cloudist completions` and `cloudist man`: what shells and `man` are to know of the command line, made from it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{
    args::Cli,
    failure::{Failure, exit_code},
};

const NAME: &str = "cloudist";

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for each command into this directory, instead of the main one to stdout
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    written("the completions", io::Write::write_all(&mut io::stdout(), &script))
}

pub fn man(args: &ManArgs) -> Result<u8, Failure> {
    let command = Cli::command();
    match &args.dir {
        None => {
            let page = page(command);
            written("the page", page.and_then(|page| io::Write::write_all(&mut io::stdout(), &page)))
        }
        Some(dir) => written(&dir.display().to_string(), write_pages(command, dir)),
    }
}

fn write_pages(mut command: Command, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // Fills in what subcommands take over from the whole.
    command.build();
    for one in command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help") {
        let name = format!("{NAME}-{}", one.get_name());
        fs::write(dir.join(format!("{name}.1")), page(one.clone().name(name))?)?;
    }
    fs::write(dir.join(format!("{NAME}.1")), page(command)?)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}

fn written(what: &str, result: io::Result<()>) -> Result<u8, Failure> {
    match result {
        Ok(()) => Ok(0),
        // Whoever read it has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit_code::BROKEN_PIPE),
        Err(error) => Err(Failure::new(exit_code::INTERNAL, format!("failed to write {what}: {error}"))),
    }
}
