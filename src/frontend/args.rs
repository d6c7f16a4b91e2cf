//! The command line. What each option means is said here, once, for `--help`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::{
    bake,
    history::{HistoryArgs, ListArgs},
    machines::args::MachinesCommand,
    manuals::{CompletionsArgs, ManArgs},
    replay::{self, ReplayArgs},
    report::{self, ReportArgs},
    rerun::{self, RerunArgs},
    ssh_run,
    sweep::{self, SweepArgs},
};
use crate::plan::{Flags, Kind, OPTIONS, OptionInfo, Scope};

/// Runs a pytest suite or any command on many machines over SSH as if they were your own.
#[derive(Debug, Parser)]
#[command(name = "cloudist", version, after_long_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  cloudist demo                              see it work, on this machine alone
  cloudist pytest -- -x tests/unit           a suite, on two workers
  cloudist pytest -n 64 --provider ec2       the same on machines rented for it
  cloudist pytest -n 16 --hosts a,b,c        the same on three machines that you have
  cloudist init && pytest --cloudist=test    from pytest itself
  cloudist ssh-run -n 4 -- make bench        any command, on every worker
  cloudist doctor                            what a run needs, here and on EC2
  cloudist ps                                machines of runs that go on, and what they do
  cloudist ssh gw3                           a shell on the machine of that worker

Settings:
  Every option of a run may also stand in [tool.cloudist] of pyproject.toml (num-workers = 8) or in
  the environment (CLOUDIST_NUM_WORKERS=8). Options win over the environment, that over the file.

Exit status:
  Test runs end with pytest's own status (0 to 5), ssh-run with that of the command. cloudist's own:
  90 a setting is wrong          91 no machine could be had or kept
  92 no snapshot could be taken  93 it could not be brought to a machine
  94 the init command failed     95 the machines lack python, pytest or the like
  96 tests without an outcome    97 a fault of cloudist
  130 interrupted                143 terminated
  2 stands for a command line that can't be understood.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it at work: a sample suite on local machines, through the whole SSH path
    ///
    /// Writes a small project with a real suite, makes a virtual environment with pytest for it, starts local machines, runs the
    /// suite on them, one failing test included, and says what to type next.
    #[command(
        after_long_help = "Exit status: 0 if the suite ended as it is meant to, with one failure; else as `cloudist --help` tells."
    )]
    Demo(DemoArgs),
    /// Make `pytest --cloudist` work in this project
    ///
    /// Adds a short marked block to the conftest.py of the project's root directory, or creates that file. The block does nothing
    /// unless cloudist is asked for, and where cloudist is not installed it is silent. Running it again changes nothing.
    #[command(
        after_long_help = "Exit status: 0, also when there was nothing to change; 90 for a block that was damaged by hand."
    )]
    Init(InitArgs),
    /// Run a suite with no change to the project
    ///
    /// Starts pytest here, which finds the test files and shows the results, and workers on the machines, which import and run the tests.
    /// Arguments after `--` are pytest's. Output, reports and exit status are those of plain pytest.
    #[command(after_long_help = PYTEST_EXAMPLES)]
    Pytest(PytestArgs),
    /// Run the tests of an earlier run again
    #[command(after_long_help = rerun::EXAMPLES)]
    Rerun(RerunArgs),
    /// Run any command on every worker
    ///
    /// Brings the project to the machines, runs the init command, then COMMAND in the project's directory on every worker, with
    /// CLOUDIST_WORKER_INDEX (from 0) and CLOUDIST_NUM_WORKERS set. With one worker its output arrives byte for byte and it gets this
    /// command's stdin; with several, each line is prefixed by the worker's number and stdin is empty. A COMMAND of one word with
    /// spaces in it is given to the shell there.
    #[command(after_long_help = ssh_run::EXAMPLES)]
    SshRun(SshRunArgs),
    /// Make a machine image with the environment in place, for runs on EC2
    ///
    /// Rents a machine, has it make the environment that a run with the same options would get, takes away what is this run's alone (keys,
    /// the state of cloud-init, credentials), and has EC2 make an image of it. Runs whose machines are to have the same environment on the same
    /// --image start from it by themselves and install nothing. None of the project's files are in it. It stays until it is removed, and its disk
    /// costs something each month.
    #[command(after_long_help = bake::EXAMPLES)]
    Bake(BakeArgs),
    /// Show what a run would rent from EC2, and for how much
    ///
    /// A dry run: looks at the machine types, prices and interruptions of the region and prints, the cheapest for each worker first, in which
    /// pools (a type in a zone) a run with the same options would look for machines, which it would most likely launch, and what that
    /// costs an hour. Nothing is launched or made. What could not be found out is said on stderr.
    #[command(after_long_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Find and remove what runs left behind on EC2
    ///
    /// A run removes what it made, and machines that nobody speaks to end by themselves; what is left when a run was killed (a security group, a
    /// launch template, machines within their lease) is found by the records on this computer, and by the tags of things whose lease
    /// is over. It is listed, and removed after a question. Runs that are alive are not touched.
    #[command(after_long_help = sweep::EXAMPLES)]
    Sweep(SweepArgs),
    /// Make a report of an earlier run: a timeline, failures, what bounded it and what to change
    ///
    /// The events of the last runs of pytest and of ssh-run are kept (--keep-events). From those of RUN this writes report.html, one file that needs no network;
    /// trace.json for Perfetto or chrome://tracing; and events.jsonl, a line for each thing that happened, with its time.
    #[command(after_long_help = report::EXAMPLES)]
    Report(ReportArgs),
    /// Print an earlier run again, exactly as it was printed
    ///
    /// What runs of pytest and of ssh-run print is kept with their events: the first and the last 8 MiB of it. Each stream is printed on its own again.
    /// What went to a terminal has its colours only on one that wants them (NO_COLOR, FORCE_COLOR and PY_COLORS are heeded).
    #[command(after_long_help = replay::EXAMPLES)]
    Replay(ReplayArgs),
    /// Check what a run needs, here and on EC2, and say what to do
    ///
    /// Looks at this computer first: settings, directories, the interpreter and pytest. Where AWS credentials are set up, then at the account: whose
    /// they are, the region, this computer's clock, the network, the market, what EC2 would let a run do (by dry runs), quotas, and what
    /// runs have left behind. Each check is a line with ok, warn or fail, and, if it isn't ok, with what helps. Nothing is made or changed.
    #[command(after_long_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print the policy that an AWS user or role needs for runs on EC2
    ///
    /// As JSON, with the fewest permissions that runs, `sweep`, `plan` and `doctor` need: everything may be looked at; things may be made only with
    /// the tag of a run; only things with such a tag may be changed or removed. Asks nobody. Disks that the account encrypts with a key of its own
    /// need that key's permissions besides.
    #[command(after_long_help = IAM_POLICY_EXAMPLES)]
    IamPolicy(IamPolicyArgs),
    #[command(flatten)]
    Machines(MachinesCommand),
    /// Print what a shell needs to complete this command line
    ///
    /// For bash, zsh, fish, elvish or powershell. Where it belongs is the shell's to say; for bash, for instance,
    /// ~/.local/share/bash-completion/completions/cloudist.
    #[command(after_long_help = "Exit status: 0.")]
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands
    ///
    /// With DIR, a page for each command is written there; `man -l DIR/cloudist-ssh.1` shows one.
    #[command(after_long_help = "Exit status: 0; 97 if it can't be written.")]
    Man(ManArgs),
    /// List the runs of this project, or exchange durations with pytest-split
    ///
    /// Runs are kept with the outcomes and durations of their tests, which later runs are planned by. The project is the one of the
    /// working directory, known by its root.
    #[command(args_conflicts_with_subcommands = true, after_long_help = HISTORY_EXAMPLES)]
    History(HistoryArgs),
    /// List the tests that take longest
    #[command(after_long_help = "Exit status: 0; 90 if the history can't be used.")]
    Slowest(ListArgs),
    /// List the tests that ended now well, now badly
    ///
    /// Of the last 50 runs: how often a test failed, how often it passed only when a plugin ran it again, and how often it ended otherwise
    /// than the time before.
    #[command(after_long_help = "Exit status: 0; 90 if the history can't be used.")]
    Flaky(ListArgs),
    /// Print the directory that holds the pytest plugin
    PluginPath,
    /// Serve a pytest plugin that started this process; speaks docs/protocol.md on stdin and stdout
    #[command(hide = true)]
    Bridge,
    /// Be an embedded machine; speaks SSH on a loopback port until stdin ends
    #[command(hide = true)]
    Machine,
}

const PYTEST_EXAMPLES: &str = "\
Examples:
  cloudist pytest                                  the whole suite on two workers
  cloudist pytest -n 8 -- -x --maxfail=3 -k api    eight workers, pytest's own options
  cloudist pytest --mode file -- tests/db          a file's tests stay together
  cloudist pytest --hosts ci@h1,h2:2222 --init-command 'pip install -r requirements.txt'

Exit status: pytest's own (0 to 5); 90 to 97 as `cloudist --help` tells.";

const PLAN_EXAMPLES: &str = "\
Examples:
  cloudist plan -n 64                                  64 workers on spot machines
  cloudist plan -n 64 --interrupt-prob 0               on machines that are not taken away
  cloudist plan -n 8 --cpu-per-worker 4 --region eu-north-1
  cloudist plan -n 64 --json | jq .launch.dollars_per_hour

Exit status: 0 if there are machines that would do; 90 if a setting is wrong, or no machine could
be had with such settings; 91 if EC2 can't be asked.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  cloudist doctor                            what runs in this directory need
  cloudist doctor -n 64 --region eu-north-1  for such a run
  cloudist doctor --provider local           this computer alone
  cloudist doctor --json | jq '.[] | select(.verdict != \"ok\")'

Exit status: 0 if no check failed, warnings aside; else 91.";

const HISTORY_EXAMPLES: &str = "\
Examples:
  cloudist history                       the last runs of this project
  cloudist history import                durations from .test_durations
  cloudist history export -              durations for pytest-split, on stdout
  cloudist slowest -n 5 --json

Exit status: 0; 90 if the history, or the file, can't be used.";

const IAM_POLICY_EXAMPLES: &str = "\
Examples:
  cloudist iam-policy > policy.json
  aws iam create-policy --policy-name cloudist --policy-document file://policy.json
  aws iam attach-user-policy --user-name me --policy-arn arn:aws:iam::ACCOUNT:policy/cloudist

Exit status: 0.";

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where to put the sample project
    #[arg(long, value_name = "DIR", default_value = "cloudist-demo")]
    pub dir: PathBuf,
    /// How many workers
    #[arg(short = 'n', long, value_name = "N", default_value_t = 4)]
    pub num_workers: u32,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The project's root directory [default: the nearest one upwards with a pytest configuration, else this one]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Take the block out again
    #[arg(long)]
    pub remove: bool,
}

#[derive(Debug, Args)]
pub struct PytestArgs {
    #[command(flatten)]
    pub run: PytestOptions,
    /// The local interpreter whose project and paths are used [default: that of the active virtual environment, else python3]
    #[arg(long, value_name = "PATH", help_heading = "Project")]
    pub local_python: Option<PathBuf>,
    /// Arguments for pytest
    #[arg(last = true, value_name = "PYTEST ARGS")]
    pub pytest: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub struct SshRunArgs {
    #[command(flatten)]
    pub run: CommandOptions,
    /// The local interpreter whose project and paths are used [default: that of the active virtual environment, else python3]
    #[arg(long, value_name = "PATH", help_heading = "Project")]
    pub local_python: Option<PathBuf>,
    /// Bring back the files that match, relative to the project's directory there; `**` crosses directories. May be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Results")]
    pub fetch: Vec<String>,
    /// Where fetched files go, into a folder `worker-N` each
    #[arg(long, value_name = "DIR", default_value = "cloudist-fetched", help_heading = "Results")]
    pub fetch_to: PathBuf,
    /// Tell on stderr, for each machine, how long it took to get ready and what the snapshot cost on the wire
    #[arg(long, help_heading = "Results")]
    pub timings: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BakeArgs {
    #[command(flatten)]
    pub run: RunOptions,
    /// The local interpreter whose environment is taken [default: that of the active virtual environment, else python3]
    #[arg(long, value_name = "PATH", help_heading = "Project")]
    pub local_python: Option<PathBuf>,
    /// List the images that there are, and make none
    #[arg(long, conflicts_with = "remove")]
    pub list: bool,
    /// Remove these images and the disks in them
    #[arg(long, value_name = "IMAGE", num_args = 0..)]
    pub remove: Option<Vec<String>>,
    /// With --remove: all images
    #[arg(long, requires = "remove")]
    pub all: bool,
    /// With --list: print one JSON document instead of a table
    #[arg(long, requires = "list")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub run: RunOptions,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub run: RunOptions,
    /// The local interpreter whose project and paths are used [default: that of the active virtual environment, else python3]
    #[arg(long, value_name = "PATH", help_heading = "Project")]
    pub local_python: Option<PathBuf>,
    /// Print one JSON document instead of lines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct IamPolicyArgs {
    /// Where the account is: aws, or aws-cn or aws-us-gov for the regions of their own
    #[arg(long, value_enum, hide_possible_values = true, default_value = "aws")]
    pub partition: PartitionName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PartitionName {
    Aws,
    AwsCn,
    AwsUsGov,
}

/// The options of the table that every run takes, as they were given; each also under pytest's name for it (`--cd-…`).
#[derive(Clone, Debug, Default)]
pub struct RunOptions(pub Flags);

/// Those of runs of commands.
#[derive(Clone, Debug, Default)]
pub struct CommandOptions(pub Flags);

/// Those of runs of pytest.
#[derive(Clone, Debug, Default)]
pub struct PytestOptions(pub Flags);

impl PytestOptions {
    fn takes(_: &OptionInfo) -> bool {
        true
    }
}

impl CommandOptions {
    fn takes(option: &OptionInfo) -> bool {
        option.scope != Scope::Pytest
    }
}

impl RunOptions {
    fn takes(option: &OptionInfo) -> bool {
        option.scope == Scope::Run
    }
}

macro_rules! options_from_the_table {
    ($type:ident) => {
        impl Args for $type {
            fn augment_args(command: clap::Command) -> clap::Command {
                OPTIONS
                    .iter()
                    .filter(|option| Self::takes(option))
                    .fold(command, |command, option| command.arg(arg(option)))
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(
                    OPTIONS
                        .iter()
                        .filter(|option| Self::takes(option))
                        .filter_map(|option| given(option, matches))
                        .collect(),
                ))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

options_from_the_table!(RunOptions);
options_from_the_table!(CommandOptions);
options_from_the_table!(PytestOptions);

fn arg(option: &'static OptionInfo) -> Arg {
    let alias = if option.name == "mode" { "cloudist".to_owned() } else { format!("cd-{}", option.name) };
    let arg = Arg::new(option.name.as_str()).long(option.name.as_str()).alias(alias).help(option.explanation());
    let arg = if option.heading.is_empty() { arg } else { arg.help_heading(option.heading.as_str()) };
    let arg = if option.name == "num-workers" { arg.short('n') } else { arg };
    match option.kind {
        Kind::Flag => arg.action(ArgAction::SetTrue),
        Kind::One => {
            arg.action(ArgAction::Set).overrides_with(option.name.as_str()).value_name(option.metavar.as_str())
        }
        Kind::Optional => arg
            .action(ArgAction::Set)
            .overrides_with(option.name.as_str())
            .value_name(option.metavar.as_str())
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value(option.bare.clone().unwrap_or_default()),
        Kind::Many => arg.action(ArgAction::Append).value_name(option.metavar.as_str()),
    }
}

fn given(option: &OptionInfo, matches: &ArgMatches) -> Option<(String, Vec<String>)> {
    let values: Vec<String> = match option.kind {
        Kind::Flag => matches.get_flag(&option.name).then(|| "true".to_owned()).into_iter().collect(),
        Kind::One | Kind::Optional | Kind::Many => {
            matches.get_many::<String>(&option.name).into_iter().flatten().cloned().collect()
        }
    };
    (!values.is_empty()).then(|| (option.name.clone(), values))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_may_be_spelled_as_pytest_spells_it() {
        let cli = Cli::parse_from(["cloudist", "pytest", "--cd-num-workers", "3", "--cd-hosts=a", "--", "-x"]);
        let Command::Pytest(args) = cli.command else { panic!("not pytest") };
        assert_eq!(args.run.0["num-workers"], ["3"]);
        assert_eq!(args.run.0["hosts"], ["a"]);
        assert_eq!(args.pytest, ["-x"]);
    }
}
