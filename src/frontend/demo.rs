//! `cloudist demo`: everything at work, on this machine alone.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    args::DemoArgs,
    failure::{Failure, exit_code},
    interpreter,
};
use crate::templates;

/// The pytest that the sample project is tested with.
const PYTEST: &str = "pytest>=8,<10";

/// pytest's status when tests failed; the sample suite has one that does.
const TESTS_FAILED: i32 = 1;

pub fn demo(args: &DemoArgs) -> Result<u8, Failure> {
    let dir = &args.dir;
    println!("1. A sample project with a real suite, in {}", dir.display());
    write_project(dir)?;
    let python = dir.join(".venv/bin/python");
    println!("2. A virtual environment with pytest, in {}", dir.join(".venv").display());
    make_environment(dir, &python)?;
    println!("3. Its suite on {} workers of local machines, over SSH\n", args.num_workers);
    let own = env::current_exe()
        .map_err(|error| Failure::new(exit_code::INTERNAL, format!("cloudist does not know its own path: {error}")))?;
    let python =
        fs::canonicalize(dir).map(|dir| dir.join(".venv/bin/python")).map_err(|error| unwritable(dir, &error))?;
    let workers = args.num_workers.to_string();
    let status = Command::new(&own)
        .args(["pytest", "--provider", "local", "--local-machines", "2", "--num-workers", &workers, "--local-python"])
        .arg(&python)
        .args(["--", "-v"])
        .current_dir(dir)
        .status()
        .map_err(|error| Failure::new(exit_code::INTERNAL, format!("cloudist can't start itself: {error}")))?;
    match status.code() {
        Some(TESTS_FAILED) => {
            print_next_steps(dir, &own);
            Ok(0)
        }
        code => Err(Failure::new(
            code.and_then(|code| u8::try_from(code).ok()).filter(|&code| code > 0).unwrap_or(exit_code::INTERNAL),
            "the sample suite did not end as it should: one test fails, all others pass",
        )),
    }
}

fn write_project(dir: &Path) -> Result<(), Failure> {
    for file in templates::DEMO {
        let path = dir.join(file.path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, file.text));
        written.map_err(|error| unwritable(&path, &error))?;
    }
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(exit_code::SETTINGS, format!("failed to write {}: {error}", path.display()))
        .with_help("name a directory that can be written with --dir")
}

fn make_environment(dir: &Path, python: &Path) -> Result<(), Failure> {
    if interpreter::has_pytest(python) {
        return Ok(());
    }
    let base = interpreter::find(None)?;
    step(
        Command::new(&base).args(["-m", "venv", "--clear"]).arg(dir.join(".venv")),
        "make a virtual environment",
        "Debian and Ubuntu have the module in the package python3-venv",
    )?;
    step(
        Command::new(python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYTEST]),
        "install pytest",
        "pip needs a package index that it can reach; its own lines above say more",
    )
}

fn step(command: &mut Command, what: &str, help: &str) -> Result<(), Failure> {
    let failed =
        |detail: String| Failure::new(exit_code::ENVIRONMENT, format!("failed to {what}: {detail}")).with_help(help);
    let status = command.stdin(Stdio::null()).status().map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(format!("python ended with {status}"))) }
}

fn print_next_steps(dir: &Path, own: &Path) {
    let place = own.parent().unwrap_or(Path::new(".")).display();
    println!(
        "
One test failed, as it is meant to. What happened: two local machines were started, each serving SSH; the
project went there as a hashed snapshot; workers imported and ran the tests; every result came back as it happened.

Next:
  cd {dir} && . .venv/bin/activate
  export PATH={place}:$PATH
  cloudist pytest -- -k money                # any pytest arguments after --
  cloudist pytest --hold-failures; cloudist pdb        # step into the test that failed
  cloudist init                              # from then on: pytest --cloudist=test
  cloudist ssh-run -n 2 -- python -c 'import ledger'   # any command, on every worker
  cloudist pytest --hosts user@machine       # the same on machines that you have
  cloudist --help",
        dir = dir.display(),
    );
}
