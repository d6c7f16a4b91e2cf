//! `cloudist pdb` and `cloudist bisect`: into a test that failed, or an import, on the machine that was kept for it.
//!
//! Finds the failure that is meant and the machine that remembers it; what happens there is said by `worker_guest.py` and `again.py`.

use std::io::{self, IsTerminal};

use super::{
    args::{BisectArgs, PdbArgs},
    exec, look,
};
use crate::{
    frontend::failure::{Failure, exit_code},
    registry::{GroundInfo, Live, Place},
    text,
};

/// Reads its own source from what the run has left on the machine.
const BOOT: &str = r#"import sys;exec(compile(open(sys.argv[1]+"/guest.py").read(),"<cloudist guest>","exec"))"#;
/// What a machine remembers of its workers lies there, beside the project.
pub const DIARY: &str = "diary";
/// So many are listed.
const MANY: usize = 20;

/// A test that failed, or a file that could not be imported, on a machine that is there.
struct Failed<'a> {
    place: Place<'a>,
    ground: &'a GroundInfo,
    worker: &'a str,
    nodeid: &'a str,
}

pub async fn pdb(args: PdbArgs) -> Result<u8, Failure> {
    let mut options = Vec::new();
    options.extend(args.again.then(|| "--again".to_owned()));
    options.extend(args.alone.then(|| "--alone".to_owned()));
    options.extend(args.trace.then(|| "--trace".to_owned()));
    enter(args.test.as_deref(), &options, io::stdin().is_terminal()).await
}

pub async fn bisect(args: BisectArgs) -> Result<u8, Failure> {
    enter(args.test.as_deref(), &["--bisect".to_owned()], false).await
}

async fn enter(test: Option<&str>, options: &[String], terminal: bool) -> Result<u8, Failure> {
    let runs = look()?;
    let failed = choose(&runs, test)?;
    let mut words = words(failed.ground);
    words.extend(options.iter().cloned());
    words.extend([format!("--worker={}", failed.worker), format!("--test={}", failed.nodeid)]);
    exec::run(failed.place, &words, terminal).await
}

/// What begins `worker_guest.py` on a machine.
fn words(ground: &GroundInfo) -> Vec<String> {
    vec![ground.python.clone(), "-c".into(), BOOT.into(), ground.beside(DIARY)]
}

/// What lets go of the tests that are held on a machine.
pub fn letting_go(ground: &GroundInfo) -> Vec<String> {
    let mut words = words(ground);
    words.push("--release".into());
    words
}

/// Of the latest run that has any on machines that are there.
fn choose<'a>(runs: &'a [Live], test: Option<&str>) -> Result<Failed<'a>, Failure> {
    let mut all = runs.iter().map(failures).find(|failures| !failures.is_empty()).unwrap_or_default();
    if all.is_empty() {
        let help = "run it with --cd-keep-on-failure: then the machine stays, and what ran before the failure is known";
        return Err(Failure::new(exit_code::NO_MACHINE, "no machine is there on which a test failed").with_help(help));
    }
    let chosen = match test {
        None => (all.len() == 1).then_some(0),
        Some(test) => one_called(&all, test),
    };
    match chosen {
        Some(position) => Ok(all.swap_remove(position)),
        None => Err(unclear(&all, test)),
    }
}

/// Each test once, where it failed last.
fn failures(live: &Live) -> Vec<Failed<'_>> {
    let mut found: Vec<Failed> = Vec::new();
    for place in live.places() {
        let Some(ground) = &place.machine.ground else { continue };
        for info in live.workers_of(place.machine) {
            for nodeid in &info.failures {
                found.retain(|failed| failed.nodeid != nodeid);
                found.push(Failed { place, ground, worker: &info.worker, nodeid });
            }
        }
    }
    found
}

/// By its number in the list, its name, or a part of that which no other has.
fn one_called(all: &[Failed], test: &str) -> Option<usize> {
    if let Ok(number) = test.parse::<usize>() {
        return number.checked_sub(1).filter(|&position| position < all.len());
    }
    if let Some(position) = all.iter().position(|failed| failed.nodeid == test) {
        return Some(position);
    }
    let mut with_it = all.iter().enumerate().filter(|(_, failed)| failed.nodeid.contains(test));
    with_it.next().filter(|_| with_it.next().is_none()).map(|(position, _)| position)
}

fn unclear(all: &[Failed], test: Option<&str>) -> Failure {
    // A file that could not be imported is called like its tests, up to their own names.
    let files = all.iter().filter(|failed| !failed.nodeid.contains("::")).count();
    let counts = [(all.len() - files, "test"), (files, "file")].into_iter().filter(|(count, _)| *count > 0);
    let tests = counts.map(|(count, noun)| text::counted(count, noun)).collect::<Vec<_>>().join(" and ");
    let mut message = match test {
        Some(test) => format!("of the {tests} that failed and can be gone into, not exactly one is called {test:?}"),
        None => format!("{tests} failed: say which, by a part of its name or its number"),
    };
    for (position, failed) in all.iter().enumerate().take(MANY) {
        message.push_str(&format!("\n  {:>3}  {}", position + 1, failed.nodeid));
    }
    if all.len() > MANY {
        message.push_str(&format!("\n       and {} more", all.len() - MANY));
    }
    Failure::new(exit_code::NO_MACHINE, message)
}
