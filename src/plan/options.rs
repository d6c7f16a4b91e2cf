//! The table of options: one row each, whichever way it is given.

/// One option of a run. `--cd-NAME` to pytest, `--NAME` to cloudist's own commands, `CLOUDIST_NAME` in the environment, `NAME` in `[tool.cloudist]`.
#[derive(Debug)]
pub struct OptionInfo {
    pub name: &'static str,
    /// May be given more than once; a list in `[tool.cloudist]`, shell words in the environment.
    pub repeatable: bool,
}

/// Every option that can be set from all three places.
pub const OPTIONS: &[OptionInfo] = &[
    one("mode"),
    one("tasks-per-worker-target"),
    one("num-workers"),
    one("cpu-per-worker"),
    one("memory-per-worker"),
    one("interrupt-prob"),
    many("extra-files"),
    one("init-command"),
    one("provider"),
    many("hosts"),
    one("local-machines"),
    one("python"),
    one("collect"),
    one("snapshot-limit"),
];

const fn one(name: &'static str) -> OptionInfo {
    OptionInfo { name, repeatable: false }
}

const fn many(name: &'static str) -> OptionInfo {
    OptionInfo { name, repeatable: true }
}

impl OptionInfo {
    pub fn find(name: &str) -> Option<&'static OptionInfo> {
        OPTIONS.iter().find(|option| option.name == name)
    }

    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("CLOUDIST_{}", self.name.to_uppercase().replace('-', "_"))
    }
}
