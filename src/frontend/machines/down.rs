//! `cloudist down`: ends machines that stayed after their run.
//!
//! Machines of a run that goes on are the run's to end.

use tokio::time::timeout;

use super::{
    args::DownArgs,
    broken, connect, find, look, pdb,
    remote::{self, Begin},
};
use crate::{
    frontend::failure::{Failure, exit_code},
    provider::{ProviderError, ec2::leaving},
    registry::{self, Live, Place},
    run::RunError,
};

/// An embedded machine ends within this, with all it runs.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

pub async fn down(args: DownArgs) -> Result<u8, Failure> {
    let runs = look()?;
    let places: Vec<Place> = match (&args.machine, args.all) {
        (Some(name), _) => vec![find(&runs, Some(name))?],
        (None, true) => runs.iter().filter(|live| !live.running).flat_map(Live::places).collect(),
        (None, false) => {
            let kept: Vec<Place> = runs.iter().filter(|live| !live.running).flat_map(Live::places).collect();
            match kept.as_slice() {
                [_] => kept,
                [] => Vec::new(),
                several => {
                    let message = format!("{} machines were kept: say which", several.len());
                    return Err(Failure::new(exit_code::NO_MACHINE, message).with_help("--all ends them all"));
                }
            }
        }
    };
    if places.is_empty() {
        eprintln!("no machine was kept");
    }
    for place in places {
        end(place).await?;
        println!("{} has ended", place.machine.name);
    }
    Ok(0)
}

async fn end(place: Place<'_>) -> Result<(), Failure> {
    let Place { live, machine } = place;
    if live.running {
        let message = format!("{} belongs to run {}, which goes on", machine.name, live.info.run);
        return Err(Failure::new(exit_code::NO_MACHINE, message)
            .with_help(format!("end the run, for instance with `kill {}`", live.info.pid)));
    }
    match live.info.provider.as_str() {
        "ec2" => {
            let ended = leaving::end(&machine.name).await;
            ended.map_err(|error| Failure::from(RunError::from(ProviderError::from(error))))?;
        }
        // It is the parent of what it runs, and its key says that it is the one that is meant. One that can't be reached
        // has ended.
        "local" => {
            if let Ok(session) = connect(place).await {
                // Held until then: a command that nobody wants any more is ended.
                let _child = session.exec("kill -s TERM $PPID").await;
                timeout(PATIENCE, session.closed()).await.map_err(|_| {
                    let message = format!("{} did not end within {} s", machine.name, PATIENCE.as_secs());
                    Failure::new(exit_code::NO_MACHINE, message)
                })?;
            }
        }
        // A host was there before, and stays. What was left there is the next run's again.
        _ => {
            if let Some(ground) = &machine.ground {
                let session = connect(place).await?;
                let held = pdb::letting_go(ground);
                let let_go = remote::line(&live.info, machine, &Begin::Command { words: &held, announced: false });
                let [kept, diary] = ["kept", pdb::DIARY].map(|name| remote::quoted(ground.beside(name)));
                let script = format!("rm -f {kept}; [ ! -d {diary} ] || {let_go}");
                let line = format!("exec /bin/sh -c {}", remote::quoted(script));
                let said = session.exec(&line).await.map_err(broken)?.output().await;
                session.disconnect().await;
                said.map_err(broken)?;
            }
        }
    }
    registry::forget(place);
    Ok(())
}
