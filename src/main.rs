//! The `cloudist` command.

use std::process::ExitCode;

use clap::Parser;
use cloudist::frontend::{Cli, main as run};

fn main() -> ExitCode {
    run(Cli::parse())
}
