//! The one place where errors become exit codes and `help:` lines.

use crate::{
    machine::{MachineError, Stage},
    provider::ProviderError,
    run::RunError,
    text,
};

/// What a user gets to see when a run could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub help: Option<String>,
    pub exit_code: u8,
}

/// Exit codes of cloudist's own. pytest's (0 to 5) and those of commands pass through.
pub mod exit_code {
    pub const SETTINGS: u8 = 90;
    pub const NO_MACHINE: u8 = 91;
    pub const SNAPSHOT: u8 = 92;
    pub const SYNC: u8 = 93;
    pub const INIT: u8 = 94;
    pub const ENVIRONMENT: u8 = 95;
    pub const UNFINISHED: u8 = 96;
    pub const INTERNAL: u8 = 97;
    pub const DIFFERS: u8 = 98;
    pub const INTERRUPTED: u8 = 130;
    /// As if SIGPIPE had ended it.
    pub const BROKEN_PIPE: u8 = 141;
    pub const TERMINATED: u8 = 143;
}

impl Failure {
    pub fn new(exit_code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, exit_code }
    }

    /// As the user is told of it.
    pub fn text(&self) -> String {
        let help = self.help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
        format!("error: {}{help}", self.message)
    }

    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self { message: text::chain(&error), help: help(&error), exit_code: code(&error) }
    }
}

fn code(error: &RunError) -> u8 {
    match error {
        RunError::Settings(_) => exit_code::SETTINGS,
        RunError::Provider(ProviderError::Hosts(error)) if error.is_misspelled() => exit_code::SETTINGS,
        RunError::Provider(ProviderError::Ec2(error)) if error.is_a_wrong_setting() => exit_code::SETTINGS,
        RunError::Provider(_) | RunError::BudgetSpent | RunError::NothingLeased => exit_code::NO_MACHINE,
        RunError::Snapshot(_) => exit_code::SNAPSHOT,
        RunError::NoMachines { source: MachineError::Differs { .. } } => exit_code::DIFFERS,
        RunError::NoMachines { source } => match source.stage() {
            Stage::Connect | Stage::Serve => exit_code::NO_MACHINE,
            Stage::Boot | Stage::Environment => exit_code::ENVIRONMENT,
            Stage::Sync => exit_code::SYNC,
            Stage::Init => exit_code::INIT,
        },
        RunError::Environment(_)
        | RunError::Workers { .. }
        | RunError::Interpreter { .. }
        | RunError::Command { .. } => exit_code::ENVIRONMENT,
        RunError::Unfinished { .. } => exit_code::UNFINISHED,
        RunError::Start { .. } | RunError::Write { .. } | RunError::Bridge { .. } | RunError::Internal(_) => {
            exit_code::INTERNAL
        }
    }
}

fn help(error: &RunError) -> Option<String> {
    match error {
        RunError::Settings(error) => Some(error.help()),
        RunError::Provider(error) => Some(error.help()),
        RunError::Snapshot(error) => Some(error.help().into()),
        RunError::Environment(error) => error.help().map(str::to_owned),
        RunError::NoMachines { source } => source.help(),
        RunError::Workers { kind, .. } if kind == "pytest-missing" => {
            Some("name an interpreter that has pytest with --cd-python, or install it with --cd-init-command".into())
        }
        RunError::Workers { kind, .. } if kind == "python-missing" => {
            Some("name an interpreter that exists on the machines with --cd-python".into())
        }
        RunError::Workers { .. } => Some(
            "the session starts well here but not there: look for a package or a file that the machines do not have \
             (files that .gitignore leaves out travel only with --cd-extra-files)"
                .into(),
        ),
        RunError::Internal(_) => Some("this is a fault of cloudist: please report it with the lines above".into()),
        RunError::BudgetSpent => Some("raise --cd-budget, or ask for fewer workers".into()),
        RunError::NothingLeased
        | RunError::Interpreter { .. }
        | RunError::Command { .. }
        | RunError::Unfinished { .. }
        | RunError::Bridge { .. }
        | RunError::Start { .. }
        | RunError::Write { .. } => None,
    }
}
