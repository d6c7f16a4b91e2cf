//! The table of options: one row each, whichever way it is given.
//!
//! The rows themselves are data that the pytest plugin reads too: templates/pytest_cloudist/options.json.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::templates;

/// One option of a run. `--cd-NAME` to pytest, `--NAME` to cloudist's own commands, `CLOUDIST_NAME` in the environment, `NAME` in `[tool.cloudist]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionInfo {
    pub name: String,
    pub metavar: String,
    pub scope: Scope,
    /// Where `--help` lists it.
    pub heading: String,
    #[serde(default)]
    pub kind: Kind,
    /// The value of one that was named without any.
    #[serde(default)]
    pub bare: Option<String>,
    pub help: String,
    /// What holds without it, in words.
    #[serde(default)]
    pub default: Option<String>,
}

/// Which commands take the option.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All that run something on machines.
    Run,
    /// Those whose runs are written down: of pytest and of commands.
    Recorded,
    /// Those that run pytest.
    Pytest,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    One,
    /// May be given more than once; a list in `[tool.cloudist]`, shell words in the environment.
    Many,
    /// Takes no value on a command line; elsewhere `true` or `false`.
    Flag,
    /// Takes a value after an equals sign, or none; elsewhere also `true` or `false`.
    Optional,
}

/// Every option that can be set from all three places.
pub static OPTIONS: LazyLock<Vec<OptionInfo>> =
    LazyLock::new(|| serde_json::from_str(templates::OPTIONS).expect("the table of options is well formed"));

impl OptionInfo {
    pub fn find(name: &str) -> Option<&'static OptionInfo> {
        OPTIONS.iter().find(|option| option.name == name)
    }

    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("CLOUDIST_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// What it means, and what holds without it.
    pub fn explanation(&self) -> String {
        match &self.default {
            Some(default) => format!("{} [default: {default}]", self.help),
            None => self.help.clone(),
        }
    }
}
