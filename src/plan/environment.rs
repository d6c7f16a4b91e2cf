//! The word that chooses the environment of the machines.

/// What decides the Python environment of the machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentChoice {
    /// What is installed here.
    Auto,
    /// The project's uv.lock or pylock.toml.
    Uv,
    /// As `Auto`, made by the machine's own venv and pip.
    Pip,
    Conda,
    /// The machine is left as it is.
    None,
    /// A file here, or an interpreter or environment there.
    Path(String),
}

impl From<String> for EnvironmentChoice {
    fn from(word: String) -> Self {
        match word.as_str() {
            "auto" => Self::Auto,
            "uv" => Self::Uv,
            "pip" => Self::Pip,
            "conda" => Self::Conda,
            "none" => Self::None,
            _ => Self::Path(word),
        }
    }
}
