//! What the local interpreter is and what is installed in it; remembered as long as its directories stay as they are.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

use super::EnvironmentError;
use crate::{cache, snapshot::Digest, templates};

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Description {
    pub implementation: String,
    pub version: String,
    pub platform: String,
    pub prefix: PathBuf,
    pub conda: bool,
    /// Where packages are installed.
    pub directories: Vec<PathBuf>,
    pub distributions: Vec<Distribution>,
    /// The index that pip asks when it is told of none.
    pub index: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Distribution {
    /// Normalised.
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub installer: String,
    /// Where it came from, if not from an index.
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub editable: bool,
    /// What has to be brought from here: metadata of an editable install, all files of one that came from a local path.
    #[serde(default)]
    pub carry: Vec<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    listing: String,
    description: Description,
}

/// Asks the interpreter, unless nothing has changed since it was asked.
pub fn describe(python: &Path) -> Result<Description, EnvironmentError> {
    let identity = format!("{}\n{}", python.display(), templates::DISTRIBUTIONS);
    let place = cache::directory()
        .ok()
        .map(|dir| dir.join("environments").join(format!("{}.json", Digest::of(identity.as_bytes()))));
    if let Some(remembered) = place.as_ref().and_then(|place| recall(place))
        && listing(python, &remembered.description) == remembered.listing
    {
        return Ok(remembered.description);
    }
    let description = ask(python)?;
    if let Some(place) = place {
        let remembered = Remembered { listing: listing(python, &description), description: description.clone() };
        let text = serde_json::to_vec(&remembered).expect("a description makes JSON");
        // Without a cache the interpreter is asked each time, which is slower and just as right.
        cache::write_whole(&place, &text).ok();
    }
    Ok(description)
}

fn recall(place: &Path) -> Option<Remembered> {
    serde_json::from_slice(&fs::read(place).ok()?).ok()
}

fn ask(python: &Path) -> Result<Description, EnvironmentError> {
    let failed = |detail: String| EnvironmentError::Describe { python: python.into(), detail };
    let output = Command::new(python)
        .args(["-c", templates::DISTRIBUTIONS, "--index"])
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(said.trim().lines().last().unwrap_or_default().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// Names and times of what is installed: an installer changes at least one of them.
fn listing(python: &Path, description: &Description) -> String {
    let mut lines = vec![stamp(python), stamp(&description.prefix.join("pyvenv.cfg"))];
    for directory in &description.directories {
        lines.push(stamp(directory));
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if [".dist-info", ".egg-info", ".egg-link", ".pth"].iter().any(|end| name.ends_with(end)) {
                lines.push(stamp(&entry.path()));
            }
        }
    }
    for carried in description.distributions.iter().flat_map(|distribution| &distribution.carry) {
        lines.push(stamp(carried));
    }
    lines.sort();
    Digest::of(lines.join("\n").as_bytes()).to_string()
}

fn stamp(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(metadata) => {
            format!("{} {} {} {}", path.display(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
        }
        Err(_) => format!("{} -", path.display()),
    }
}
