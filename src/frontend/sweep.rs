//! `cloudist sweep`: lists what runs left behind on EC2, and removes it when it may.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use futures_util::FutureExt;

use super::{
    bridge, config,
    failure::{Failure, exit_code},
    plan::failure,
    pytest,
};
use crate::{
    plan::Flags,
    provider::ec2::{
        Place, State,
        sweep::{Blind, Reach, Remains, Whose, find},
    },
    text,
};

/// Something was found and is still there, as was wished.
const LEFT: u8 = 1;

pub const EXAMPLES: &str = "\
Examples:
  cloudist sweep                       what this user left, from this computer
  cloudist sweep --dry-run             list it only
  cloudist sweep --all --all-regions   everybody's that is overdue, wherever it is
  cloudist sweep --yes                 ask nothing, for instance at the end of a CI job

Exit status: 0 if nothing is left; 1 if something was listed and not removed, because of --dry-run,
the answer, or because there was no terminal to ask on and no --yes; 90 if a setting is wrong; 91
if something could not be looked at or removed.";

#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Also what others rented in this account, if its lease is over
    #[arg(long)]
    pub all: bool,
    /// Also machines that were kept for the next run (--cd-keep) and whose time is not over
    #[arg(long)]
    pub kept: bool,
    /// Remove it without asking
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// List it and remove nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// The AWS region whose tags are looked at [default: that of the settings, else of the AWS configuration]
    #[arg(long, alias = "cd-region", value_name = "REGION")]
    pub region: Option<String>,
    /// Look at the tags of every region that the account may use
    #[arg(long)]
    pub all_regions: bool,
    /// The profile of the AWS configuration [default: that of the settings, else AWS_PROFILE, else its default]
    #[arg(long, alias = "cd-profile", value_name = "NAME")]
    pub profile: Option<String>,
}

pub fn sweep(args: &SweepArgs) -> Result<u8, Failure> {
    let mut flags = Flags::new();
    flags.extend(args.region.clone().map(|region| ("region".into(), vec![region])));
    flags.extend(args.profile.clone().map(|profile| ("profile".into(), vec![profile])));
    let settings = config::settings(flags, "--", &pytest::current_dir()?)?.ec2;
    let place = Place { region: settings.region, profile: settings.profile };
    bridge::runtime()?.block_on(search_and_remove(args, &place).boxed_local())
}

async fn search_and_remove(args: &SweepArgs, place: &Place) -> Result<u8, Failure> {
    let whose = if args.all { Whose::All } else { Whose::Own };
    let reach = if args.all_regions { Reach::EveryRegion } else { Reach::OneRegion };
    let findings = find(place, whose, reach).await.map_err(failure)?;
    for remains in &findings.remains {
        println!("{}", described(remains));
    }
    let (stays, remains): (Vec<_>, Vec<_>) =
        findings.remains.into_iter().partition(|remains| remains.kept && !args.kept);
    if !stays.is_empty() {
        eprintln!("cloudist: what is kept for the next run stays; --kept removes it too");
    }
    let mut worst = 0;
    for Blind { subject, error } in findings.blind {
        let failure = failure(error);
        complain(&format!("cannot look at {subject}: {}", failure.message), failure.help.as_deref());
        worst = worst.max(failure.exit_code);
    }
    if remains.is_empty() {
        if worst == 0 && stays.is_empty() {
            println!("nothing is left over");
        }
        return Ok(worst);
    }
    if !may_remove(args, &remains)? {
        return Ok(worst.max(LEFT));
    }
    for remains in remains {
        worst = worst.max(remove(remains).await);
    }
    Ok(worst)
}

async fn remove(remains: Remains) -> u8 {
    let run = remains.run.clone();
    match remains.remove().await {
        Ok(cleared) => {
            let machines = cleared.instances.len();
            println!("run {run}: removed {} and {} other things", text::counted(machines, "machine"), cleared.others);
            0
        }
        Err(error) => {
            let help = error.help();
            complain(&format!("run {run} was not removed as a whole: {}", text::chain(&error)), Some(&help));
            exit_code::NO_MACHINE
        }
    }
}

/// Whether to go on. Mere records need no question: nobody misses them.
fn may_remove(args: &SweepArgs, remains: &[Remains]) -> Result<bool, Failure> {
    if args.dry_run {
        return Ok(false);
    }
    if args.yes || remains.iter().all(Remains::is_empty) {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        eprintln!("cloudist: nothing was removed, as there is no terminal to ask on");
        eprintln!("help: --yes removes it without a question");
        return Ok(false);
    }
    eprint!("Remove all of this? [y/N] ");
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
    read.map_err(|error| Failure::new(exit_code::INTERNAL, format!("failed to read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn complain(message: &str, help: Option<&str>) {
    eprintln!("error: {message}");
    if let Some(help) = help {
        eprintln!("help: {help}");
    }
}

fn described(remains: &Remains) -> String {
    let how = match (remains.kept, remains.is_on_record()) {
        (true, _) => "kept for the next run",
        (false, true) => "on record here",
        (false, false) => "its lease is over",
    };
    let mut lines = vec![format!("run {} in {}, rented by {}, {how}", remains.run, remains.region, remains.owner)];
    for seen in remains.instances() {
        let state = match seen.state {
            State::Coming => "starting",
            State::Running => "running",
            State::Going => "ending",
            State::Gone => "gone",
        };
        lines.push(format!("  machine {} ({}, {}) {state}", seen.id, seen.instance_type, seen.zone));
    }
    let found = &remains.belongings;
    let others = [("fleet", &found.fleets), ("launch template", &found.templates), ("security group", &found.groups)];
    for (kind, ids) in others {
        lines.extend(ids.iter().map(|id| format!("  {kind} {id}")));
    }
    if remains.is_empty() {
        lines.push("  nothing but the record".into());
    }
    lines.join("\n")
}
