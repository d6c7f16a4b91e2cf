//! The command line of the commands that touch machines, with their manual pages.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum MachinesCommand {
    /// Show the machines of this user's runs, and what each does now
    ///
    /// Lists every machine of a run that goes on here, and those that were kept: the run, where the machine comes from, its type and zone,
    /// its age, how long its lease lasts when nobody speaks to it or how long it was kept for, its workers, what it has cost, and the test or
    /// command that each worker is at, as of the last second. Asks no machine; what a killed run left on record is cleared away.
    #[command(after_long_help = PS_EXAMPLES)]
    Ps(PsArgs),
    /// Open a shell on a machine, in the project's directory with its environment
    ///
    /// A second SSH connection beside the run's, with the same pinned keys. The shell is in the snapshot's directory and has the run's variables,
    /// PYTHONPATH, and the environment's interpreter first on its PATH; CLOUDIST_MACHINE and CLOUDIST_RUN say where it is. It follows the
    /// size of the terminal; `~.` at the beginning of a line parts. Without a terminal, stdin is a script for sh.
    #[command(after_long_help = SSH_EXAMPLES)]
    Ssh(SshArgs),
    /// Run a command on a machine, in the project's directory with its environment
    ///
    /// Like a command typed into `cloudist ssh`, with stdin, stdout and stderr as they are here, byte for byte. Ctrl-C reaches the command and all
    /// that it started; the third time it is killed. A COMMAND of one word with spaces in it is given to the shell there.
    #[command(after_long_help = EXEC_EXAMPLES)]
    Exec(ExecArgs),
    /// Show what machines and workers said during a run
    ///
    /// The steps of each machine, what its init command and the making of its environment printed, what workers wrote past pytest's capture (stderr, the
    /// last words of a crash), and each test's outcome. SUBJECT is a machine, a worker (gw3) or a part of a test's node id: then what its worker said while
    /// it ran. Kept for the latest 20 runs.
    #[command(after_long_help = LOGS_EXAMPLES)]
    Logs(LogsArgs),
    /// Step into a test that failed, or an import, on the machine that was kept for it
    ///
    /// After a run with --cd-keep-on-failure: runs the test again there, in the same snapshot and environment, in a process that runs before it what its worker
    /// ran before it, in the same order, so that a failure that depends on the order comes back. pytest's debugger comes up in the frame in
    /// which the test fails. After a run with --cd-hold-failures it comes up in the very process that failed, and nothing has to run again; while
    /// such a run goes on, too. A file that could not be imported is imported again. TEST is a part of its node id, or its number in the list that is shown where several failed.
    #[command(after_long_help = PDB_EXAMPLES)]
    Pdb(PdbArgs),
    /// Find the earlier tests that make a test fail
    ///
    /// After a run with --cd-keep-on-failure, on the machine that was kept: runs the test after fewer and fewer of the tests that its worker ran
    /// before it, each time in a new process, until none of those left can be left out.
    #[command(after_long_help = BISECT_EXAMPLES)]
    Bisect(BisectArgs),
    /// Copy files between here and a machine
    ///
    /// One of the two is MACHINE:PATH. A path there that does not begin with a slash lies in the project's directory. Copies into a directory that exists,
    /// and over a file that does. Links are followed.
    #[command(after_long_help = CP_EXAMPLES)]
    Cp(CpArgs),
    /// Lead a port here to a port on a machine, for debuggers and notebooks
    ///
    /// Listens on 127.0.0.1 alone and leads each connection to 127.0.0.1 of the machine, until Ctrl-C.
    #[command(after_long_help = FORWARD_EXAMPLES)]
    Forward(ForwardArgs),
    /// Make the machines known to ssh, scp, rsync and editors, as cloudist-NAME
    ///
    /// Prints blocks for an ssh configuration, one for each machine, with its key and the host key that it must prove. --install has your ~/.ssh/config
    /// include those of all runs from now on: machines appear there as they are leased, and go when they end. Where two runs have machines
    /// of one name, cloudist-NAME.RUN says which is meant.
    #[command(after_long_help = SSH_CONFIG_EXAMPLES)]
    SshConfig(SshConfigArgs),
    /// End machines that were kept after their run
    ///
    /// Ends a machine that --cd-keep-on-failure kept, before its time is over; of a host nothing but the record. Machines of a run that goes on are left to it.
    #[command(after_long_help = DOWN_EXAMPLES)]
    Down(DownArgs),
}

const PS_EXAMPLES: &str = "\
Examples:
  cloudist ps
  cloudist ps --json | jq -r '.[] | select(.running) | .machine'

Exit status: 0, also if there is no machine.";

const SSH_EXAMPLES: &str = "\
Examples:
  cloudist ssh                  the only machine
  cloudist ssh local-0          that machine, of the latest run that has one
  cloudist ssh local-0@RUN      of that run
  cloudist ssh gw3              the machine that this worker is on

Exit status: that of the shell, or 128 plus the number of the signal that ended it; 91 if there is
no such machine or it can't be reached.";

const EXEC_EXAMPLES: &str = "\
Examples:
  cloudist exec local-0 -- python -m pytest -x tests/test_a.py
  cloudist exec gw3 -- 'ps aux | grep python'
  cloudist exec -t i-0123 -- python -m pdb script.py

Exit status: that of COMMAND, or 128 plus the number of the signal that ended it; 91 if there is
no such machine or it can't be reached.";

const LOGS_EXAMPLES: &str = "\
Examples:
  cloudist logs                          all of the latest run
  cloudist logs -f local-0               one machine, on and on until its run is over
  cloudist logs gw3                      one worker
  cloudist logs test_login               what was said while tests of that name ran
  cloudist logs -f test_login            the same while it runs

Exit status: 0; 91 if nothing was written down about SUBJECT.";

const PDB_EXAMPLES: &str = "\
Examples:
  cloudist pytest --keep-on-failure
  cloudist pdb                           the test that failed
  cloudist pdb test_login                the one of that name
  cloudist pdb tests/test_x.py           a file that could not be imported, where its import fails
  cloudist pdb --trace --alone 2         the second, from its first line, without what ran before it

Exit status: 1 if the test failed again; 0 if it passed; 2 if the debugger was left with `q`; 91 if there is
no machine on which it failed, it can't be reached, or the test can't be run there any more.";

const BISECT_EXAMPLES: &str = "\
Examples:
  cloudist pytest --keep-on-failure
  cloudist bisect test_login

Exit status: 0 if it was found on which tests the failure depends, also if on none; 1 if the test passes after
the tests that ran before it too; 91 if there is no machine on which it failed, or it can't be reached.";

const CP_EXAMPLES: &str = "\
Examples:
  cloudist cp local-0:failure.png .
  cloudist cp -r local-0:.hypothesis found
  cloudist cp fixture.json local-0:tests/data/

Exit status: 0; 90 if neither is on a machine, or both are; 91 if the machine can't be reached; 93
if something could not be copied.";

const FORWARD_EXAMPLES: &str = "\
Examples:
  cloudist forward 5678 local-0          debugpy
  cloudist forward 8889:8888 local-0     a notebook, on port 8889 here
  cloudist forward 0:8000 local-0        on any free port here, which is printed

Exit status: 130 after Ctrl-C; 90 if the port here can't be had; 91 if the machine can't be reached.";

const SSH_CONFIG_EXAMPLES: &str = "\
Examples:
  cloudist ssh-config --install && ssh cloudist-local-0
  scp cloudist-local-0:/tmp/core .
  cloudist ssh-config > machines && rsync -e 'ssh -F machines' -a cloudist-local-0:out/ out/

Exit status: 0; 91 if there is no such machine.";

const DOWN_EXAMPLES: &str = "\
Examples:
  cloudist down             the only machine that was kept
  cloudist down i-0123
  cloudist down --all

Exit status: 0; 91 if there is no such machine, its run goes on, or it can't be ended.";

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SshArgs {
    /// The machine, or a worker on it [default: the only one]
    #[arg(value_name = "MACHINE")]
    pub machine: Option<String>,
    /// Lend the machine your ssh-agent while the shell is open
    #[arg(short = 'A', long)]
    pub agent: bool,
}

#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The machine, or a worker on it [default: the only one]
    #[arg(value_name = "MACHINE")]
    pub machine: Option<String>,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    pub tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// A machine, a worker (gw3) or a part of a test's node id [default: everything]
    #[arg(value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Go on until the run is over
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// The run [default: the latest]
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
}

#[derive(Debug, Args)]
pub struct PdbArgs {
    /// A part of the test's node id, or its number in the list [default: the only one that failed]
    #[arg(value_name = "TEST")]
    pub test: Option<String>,
    /// Run it again although it is held (--cd-hold-failures)
    #[arg(long)]
    pub again: bool,
    /// Leave out the tests that ran before it
    #[arg(long)]
    pub alone: bool,
    /// Stop at the test's first line, not where it fails
    #[arg(long)]
    pub trace: bool,
}

#[derive(Debug, Args)]
pub struct BisectArgs {
    /// A part of the test's node id, or its number in the list [default: the only one that failed]
    #[arg(value_name = "TEST")]
    pub test: Option<String>,
}

#[derive(Debug, Args)]
pub struct CpArgs {
    /// Copy directories with all that is in them
    #[arg(short = 'r', long)]
    pub recursive: bool,
    /// A path here, or MACHINE:PATH
    #[arg(value_name = "FROM")]
    pub from: String,
    /// A path here, or MACHINE:PATH
    #[arg(value_name = "TO")]
    pub to: String,
}

#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// The port on both sides, or HERE:THERE
    #[arg(value_name = "PORT")]
    pub ports: String,
    /// The machine, or a worker on it [default: the only one]
    #[arg(value_name = "MACHINE")]
    pub machine: Option<String>,
}

#[derive(Debug, Args)]
pub struct SshConfigArgs {
    /// The machine [default: all]
    #[arg(value_name = "MACHINE", conflicts_with_all = ["install", "remove"])]
    pub machine: Option<String>,
    /// Have ~/.ssh/config include the machines of all runs, those to come too
    #[arg(long)]
    pub install: bool,
    /// Take that out again
    #[arg(long, conflicts_with = "install")]
    pub remove: bool,
}

#[derive(Debug, Args)]
pub struct DownArgs {
    /// The machine [default: the only one that was kept]
    #[arg(value_name = "MACHINE", conflicts_with = "all")]
    pub machine: Option<String>,
    /// All that were kept
    #[arg(long)]
    pub all: bool,
}
