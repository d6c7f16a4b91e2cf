//! The commands as a user types them, and the one place where errors become exit codes.

mod announce;
mod args;
mod bake;
mod bridge;
mod config;
mod demo;
mod doctor;
mod failure;
mod history;
mod iam_policy;
mod init;
mod interpreter;
mod kept;
mod line;
mod machines;
mod manuals;
mod plan;
mod plan_table;
mod pytest;
mod recording;
mod remains;
mod remember;
mod replay;
mod report;
mod rerun;
mod screen;
mod ssh_run;
mod sweep;
mod table;
mod team;
mod travel;

pub use args::Cli;
pub use failure::Failure;

use args::Command;
use std::process::ExitCode;

/// Does what the command line says.
pub fn main(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Demo(args) => demo::demo(&args),
        Command::Init(args) => init::init(&args),
        Command::Pytest(args) => pytest::pytest(args),
        Command::Rerun(args) => rerun::rerun(args),
        Command::SshRun(args) => ssh_run::ssh_run(args),
        Command::Bake(args) => bake::bake(args),
        Command::Plan(args) => plan::plan(args),
        Command::Replay(args) => replay::replay(&args),
        Command::Report(args) => report::report(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::IamPolicy(args) => iam_policy::print(&args),
        Command::Machines(command) => machines::main(command),
        Command::Completions(args) => manuals::completions(&args),
        Command::Man(args) => manuals::man(&args),
        Command::History(args) => history::history(&args),
        Command::Slowest(args) => history::slowest(&args),
        Command::Flaky(args) => history::flaky(&args),
        Command::PluginPath => pytest::print_plugin_path(),
        Command::Bridge => bridge::bridge(),
        Command::Machine => crate::provider::local::serve()
            .map_err(|error| {
                Failure::new(
                    failure::exit_code::INTERNAL,
                    format!("a local machine broke down: {}", crate::text::chain(&error)),
                )
            })
            .map(|()| 0),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{}", failure.text());
            ExitCode::from(failure.exit_code)
        }
    }
}
