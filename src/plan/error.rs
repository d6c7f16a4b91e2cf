//! What is wrong with settings, and what to do about it.

use super::settings::Mode;

#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    #[error("{origin}: {value:?} is not {expected}")]
    Value { origin: String, value: String, expected: String },
    #[error("{origin} needs one value, not {given}")]
    Many { origin: String, given: usize },
    #[error("{path}: [tool.cloudist] has no setting {key:?}; it knows {known}")]
    UnknownKey { path: String, key: String, known: String },
    #[error("{origin}: a list of texts, a text or a number is expected here")]
    Type { origin: String },
    #[error("{origin}: unbalanced quotes in {value:?}")]
    Quotes { origin: String, value: String },
    #[error("provider `hosts` needs the machines' addresses")]
    NoHosts,
    #[error("{python} and {environment} contradict each other: an environment has its own interpreter")]
    TwoInterpreters { python: String, environment: String },
    #[error("mode `{mode}` has no chunks, and tasks-per-worker-target asks for some")]
    NoChunks { mode: Mode },
    #[error("speculate tries single tests elsewhere, and {together}")]
    StaysTogether { together: String },
    #[error("in mode `each` every worker runs all tests, so their number can't follow from a target")]
    NothingToChoose,
}

impl SettingError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::NoHosts => "name them: --cd-hosts user@host1,host2:2222".into(),
            Self::TwoInterpreters { .. } => "leave one out, or say --cd-env none for one run".into(),
            Self::NoChunks { .. } => "leave --cd-tasks-per-worker-target out, or take mode `test` or `file`".into(),
            Self::StaysTogether { .. } => "leave --cd-speculate out, or take mode `test` without chunks".into(),
            Self::NothingToChoose => "say how many workers there are to be: --cd-num-workers 2".into(),
            Self::UnknownKey { .. } => "settings are named as the options are, without `--cd-`".into(),
            _ => "`cloudist pytest --help` tells what each option takes".into(),
        }
    }
}
