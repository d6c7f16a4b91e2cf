//! The environment variables that go to the machines: those that the guide lists, and what the user asks for.
//!
//! Reads this process's environment and nothing else. Nothing travels here that was not documented or asked for.

use std::{collections::BTreeMap, env};

use globset::Glob;

use super::failure::{Failure, exit_code};
use crate::{plan::Settings, run::Variables};

/// Variables that workers get from here where they are set, besides those that begin with `LC_`. The guide lists them.
const TRAVELLING: [&str; 14] = [
    "BUILD_NUMBER",
    "CI",
    "COLUMNS",
    "FORCE_COLOR",
    "LANG",
    "LANGUAGE",
    "NO_COLOR",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
    "PYTEST_PLUGINS",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONWARNINGS",
    "PY_COLORS",
    "TZ",
];

/// What says where things are on this very computer: a pattern doesn't mean it, only its full name does.
const HERE: [&str; 17] = [
    "HOME",
    "HOSTNAME",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "OLDPWD",
    "PATH",
    "PWD",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "SHELL",
    "SHLVL",
    "TMPDIR",
    "USER",
    "VIRTUAL_ENV",
    "XDG_RUNTIME_DIR",
    "_",
];

/// Families of the same kind.
const HERE_PREFIXES: [&str; 4] = ["CLOUDIST_", "CONDA_", "PYTEST_XDIST_", "SSH_"];

/// Plugins that play their part on this side only.
const LOCAL_PLUGINS: [&str; 4] = ["cloudist", "pytest_cloudist", "xdist", "no:xdist"];

/// What travels on a run with these settings.
pub fn variables(settings: &Settings) -> Result<Variables, Failure> {
    choose(settings, &here())
}

fn here() -> BTreeMap<String, String> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

fn choose(settings: &Settings, here: &BTreeMap<String, String>) -> Result<Variables, Failure> {
    let mut asked = BTreeMap::new();
    for pattern in &settings.passenv {
        let glob = Glob::new(pattern).map_err(|error| {
            Failure::new(exit_code::SETTINGS, format!("passenv: {pattern:?} is not a pattern: {}", error.kind()))
                .with_help("name the variables to pass on, with * for any text: --cd-passenv 'DJANGO_*'")
        })?;
        let glob = glob.compile_matcher();
        let wanted = |name: &str| name == pattern || (glob.is_match(name) && !stays(name));
        asked.extend(here.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (name.clone(), value.clone())));
    }
    asked.extend(settings.setenv.clone());
    let documented = here
        .iter()
        .filter(|(name, _)| name.starts_with("LC_") || TRAVELLING.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()));
    let mut workers: BTreeMap<String, String> = documented.collect();
    workers.extend(asked.clone());
    if let Some(plugins) = workers.get_mut("PYTEST_PLUGINS") {
        let kept: Vec<&str> = plugins.split(',').filter(|name| !LOCAL_PLUGINS.contains(name)).collect();
        *plugins = kept.join(",");
    }
    Ok(Variables { workers, asked })
}

fn stays(name: &str) -> bool {
    HERE.contains(&name) || HERE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Flags, Sources};

    fn chosen(flags: &[(&str, &str)], here: &[(&str, &str)]) -> Variables {
        let mut by_name = Flags::new();
        for (name, value) in flags {
            by_name.entry((*name).into()).or_default().push((*value).into());
        }
        let settings = Settings::merge(&Sources { flags: by_name, ..Sources::default() }).unwrap();
        choose(&settings, &map(here)).unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn only_the_documented_travel_unasked() {
        let variables =
            chosen(&[], &[("TZ", "UTC"), ("LC_ALL", "C"), ("AWS_SECRET_ACCESS_KEY", "s"), ("PATH", "/bin")]);
        assert_eq!(variables.workers, map(&[("TZ", "UTC"), ("LC_ALL", "C")]));
        assert_eq!(variables.asked, map(&[]));
    }

    #[test]
    fn patterns_pass_what_is_set_but_nothing_of_this_computer() {
        let here = [("DJANGO_A", "1"), ("DJANGO_B", "2"), ("HOME", "/h"), ("SSH_AUTH_SOCK", "/s"), ("OTHER", "3")];
        assert_eq!(chosen(&[("passenv", "DJANGO_*")], &here).asked, map(&[("DJANGO_A", "1"), ("DJANGO_B", "2")]));
        assert_eq!(chosen(&[("passenv", "*")], &here).asked.len(), 3);
        assert_eq!(chosen(&[("passenv", "HOME"), ("passenv", "MISSING")], &here).asked, map(&[("HOME", "/h")]));
    }

    #[test]
    fn what_is_set_wins() {
        let flags = [("passenv", "A"), ("setenv", "A=mine"), ("setenv", "TZ=Asia/Tokyo"), ("setenv", "EMPTY=")];
        let variables = chosen(&flags, &[("A", "theirs"), ("TZ", "UTC")]);
        assert_eq!(variables.asked, map(&[("A", "mine"), ("TZ", "Asia/Tokyo"), ("EMPTY", "")]));
        assert_eq!(variables.workers, variables.asked);
    }

    #[test]
    fn plugins_of_this_side_stay_here() {
        let variables = chosen(&[], &[("PYTEST_PLUGINS", "pytest_cloudist,mine")]);
        assert_eq!(variables.workers["PYTEST_PLUGINS"], "mine");
    }
}
