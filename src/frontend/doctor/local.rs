//! The checks of this computer. Asks nobody else.

use std::{env, fs, io, path::Path};

use super::check::{Check, Report};
use crate::{
    cache,
    frontend::{failure::Failure, interpreter},
    plan::Settings,
    provider::ec2,
};

pub fn version() -> Check {
    let place = env::current_exe().map(|path| format!(" ({})", path.display())).unwrap_or_default();
    Check::ok("cloudist", format!("{}{place}", env!("CARGO_PKG_VERSION")))
}

pub fn settings(settings: &Result<Settings, Failure>) -> Check {
    match settings {
        Ok(settings) => {
            let noun = if settings.num_workers == 1 { "worker" } else { "workers" };
            Check::ok("settings", format!("{} {noun}", settings.num_workers))
        }
        Err(failure) => Check::failed("settings", failure),
    }
}

/// Where the record of what is rented is kept.
pub fn state() -> Check {
    let directory = ec2::records_directory();
    match try_writing(&directory) {
        Ok(()) => Check::ok("state", format!("{} can be written", directory.display())),
        Err(error) => Check::fail(
            "state",
            format!("{} can't be written: {error}", directory.display()),
            "set CLOUDIST_STATE_DIR to a directory that can be: nothing is rented without a record of it",
        ),
    }
}

pub fn cache() -> Check {
    let written = cache::directory().and_then(|directory| try_writing(&directory).map(|()| directory));
    match written {
        Ok(directory) => Check::ok("cache", format!("{} can be written", directory.display())),
        Err(error) => Check::fail(
            "cache",
            format!("the cache directory can't be written: {error}"),
            "set CLOUDIST_CACHE_DIR to a directory that can be",
        ),
    }
}

/// Records of runs that ended without giving everything back.
pub fn left_over() -> Option<Check> {
    let help = "`cloudist sweep` lists and removes it, with the credentials of the account";
    match ec2::sweep::on_record() {
        Ok(0) => None,
        Ok(count) => Some(Check::warn("left over", format!("{count} records of runs that rented from EC2"), help)),
        Err(error) => Some(Check::refused("left over", &error)),
    }
}

fn try_writing(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory).map(|_| ())
}

/// The local interpreter, what it knows of the project, and its pytest.
pub fn python(report: &mut Report, named: Option<&Path>, dir: &Path) {
    let python = match interpreter::find(named) {
        Ok(python) => python,
        Err(failure) => return report.add(Check::failed("python", &failure)),
    };
    match interpreter::probe(&python, dir) {
        Ok(_) => report.add(Check::ok("python", python.display().to_string())),
        Err(failure) => {
            let help = "name the project's interpreter with --local-python, or activate its virtual environment";
            return report.add(Check::failed("python", &failure.with_help(help)));
        }
    }
    report.add(match interpreter::pytest_version(&python) {
        Some(version) => Check::ok("pytest", version),
        None => Check::warn(
            "pytest",
            format!("{} has no pytest", python.display()),
            "install it there, or name an interpreter that has it with --local-python; `cloudist ssh-run` needs none",
        ),
    });
}
