//! The Python interpreter on this side: which one, and what it knows of the project.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::failure::{Failure, exit_code};
use crate::templates;

/// Where an interpreter finds the project's code.
#[derive(Debug, Deserialize)]
pub struct Interpreter {
    pub sys_path: Vec<String>,
    pub roots: Vec<String>,
}

/// The interpreter to use: the one named, that of the active virtual environment, or the first on the PATH.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        // Links are kept: a virtual environment's interpreter is one.
        return if path.components().count() > 1 {
            Ok(absolute(path))
        } else {
            Ok(on_path(path).unwrap_or(path.into()))
        };
    }
    if let Some(environment) = env::var_os("VIRTUAL_ENV").or_else(|| env::var_os("CONDA_PREFIX")) {
        let path = Path::new(&environment).join("bin/python");
        if path.is_file() {
            return Ok(path);
        }
    }
    ["python3", "python"].iter().find_map(|name| on_path(Path::new(name))).ok_or_else(|| {
        Failure::new(exit_code::ENVIRONMENT, "there is no python3 on the PATH")
            .with_help("activate the project's virtual environment, or name its interpreter with --local-python")
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn on_path(name: &Path) -> Option<PathBuf> {
    let places = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&places).map(|place| place.join(name)).find(|path| path.is_file())
}

/// Asks the interpreter at `path` about the project in `dir`.
pub fn probe(path: &Path, dir: &Path) -> Result<Interpreter, Failure> {
    let failed = |detail: String| {
        Failure::new(exit_code::ENVIRONMENT, format!("failed to ask {} about its paths: {detail}", path.display()))
    };
    let output = Command::new(path)
        .args(["-c", templates::INTERPRETER_PROBE])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// Whether the interpreter can import pytest.
pub fn has_pytest(python: &Path) -> bool {
    pytest_version(python).is_some()
}

/// The version of the pytest that the interpreter can import.
pub fn pytest_version(python: &Path) -> Option<String> {
    let import = Command::new(python)
        .args(["-c", "import pytest; print(pytest.__version__)"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    import.status.success().then(|| String::from_utf8_lossy(&import.stdout).trim().to_owned())
}
