//! Finds what the environment and the project say about a run.

use std::{
    collections::BTreeMap,
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    failure::{Failure, exit_code},
    team,
};
use crate::{
    plan::{ConfigFile, Flags, ProviderKind, Settings, Sources},
    provider::ec2,
};

/// Merges the settings that hold for a run in `dir`.
pub fn settings(flags: Flags, flag_prefix: &'static str, dir: &Path) -> Result<Settings, Failure> {
    let sources = Sources { flag_prefix, flags, variables: variables(), file: config_file(dir)? };
    let mut settings = Settings::merge(&sources).map_err(crate::run::RunError::from)?;
    settings.provider.get_or_insert_with(provider_at_hand);
    team::choose(&mut settings, dir);
    Ok(settings)
}

/// EC2 where it could be used, else this machine.
fn provider_at_hand() -> ProviderKind {
    if ec2::credentials_in_sight() { ProviderKind::Ec2 } else { ProviderKind::Local }
}

fn variables() -> BTreeMap<String, String> {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("CLOUDIST_"))
        .collect()
}

/// The nearest pyproject.toml upwards that has a `[tool.cloudist]`.
fn config_file(dir: &Path) -> Result<Option<ConfigFile>, Failure> {
    for directory in dir.ancestors() {
        let path = directory.join("pyproject.toml");
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(file) = parse(path, &text)? {
                    return Ok(Some(file));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => {
                let message = format!("failed to read {}: {error}", path.display());
                return Err(Failure::new(exit_code::SETTINGS, message));
            }
        }
    }
    Ok(None)
}

fn parse(path: PathBuf, text: &str) -> Result<Option<ConfigFile>, Failure> {
    let document: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::new(exit_code::SETTINGS, format!("{} is not valid TOML: {error}", path.display()))
    })?;
    match document.get("tool").and_then(|tool| tool.get("cloudist")) {
        None => Ok(None),
        Some(toml::Value::Table(table)) => Ok(Some(ConfigFile { table: table.clone(), path })),
        Some(_) => {
            Err(Failure::new(exit_code::SETTINGS, format!("{}: tool.cloudist has to be a table", path.display())))
        }
    }
}
