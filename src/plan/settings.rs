//! Merging: a flag wins over a variable, a variable over `[tool.cloudist]`, that over the default.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use bytesize::ByteSize;

use super::{
    ec2_settings::{Ec2Settings, Fallback},
    environment::EnvironmentChoice,
    error::SettingError,
    options::{Kind, OPTIONS, OptionInfo},
    values::{
        assignment, fraction, keyword, memory, module, patience, percent, positive, stay, truth, workers_or_auto,
    },
    workers::TARGET,
};

/// Options as they were given on a command line, by name.
pub type Flags = BTreeMap<String, Vec<String>>;

/// How the tests are dealt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Test by test; a file's tests may end up on several workers.
    Test,
    /// A file's tests stay together on one worker.
    File,
    /// The tests of a class, or those of a module outside of classes, stay together on one worker.
    Scope,
    /// Tests with the same group mark stay together on one worker.
    Group,
    /// All tests on every worker.
    Each,
    /// Not at all: plain pytest.
    No,
}

/// Whether tests may run before all files have been collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collect {
    /// `First` for small suites, `Stream` for large ones.
    Auto,
    First,
    Stream,
}

/// Where machines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    Ec2,
    Hosts,
    Local,
}

/// Whether machines have the snapshot's contents from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peers {
    #[default]
    Auto,
    Off,
}

/// Whether to show how far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Showing {
    Auto,
    Off,
}

/// What is shown of a run while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Line,
    Tui,
}

/// Everything that can be set about a run, checked and with its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub mode: Mode,
    pub tasks_per_worker_target: Option<u32>,
    pub num_workers: u32,
    /// When a run is to be over whose number of workers is still to be chosen; then `num_workers` is what holds if it can't be.
    pub target: Option<Duration>,
    pub cpu_per_worker: f64,
    pub memory_per_worker: ByteSize,
    /// Percent; 0 means machines that can't be interrupted.
    pub interrupt_prob: u32,
    pub extra_files: Vec<String>,
    pub init_command: Option<String>,
    /// Variables to set on the machines.
    pub setenv: BTreeMap<String, String>,
    /// Patterns of the names of variables to pass on from here.
    pub passenv: Vec<String>,
    /// `None` leaves the choice to whoever knows whether there are credentials.
    pub provider: Option<ProviderKind>,
    pub hosts: Vec<String>,
    /// How many embedded machines share the workers; `None` leaves the choice to the provider.
    pub local_machines: Option<u32>,
    /// The interpreter on the machines; `None` leaves the choice to the provider.
    pub python: Option<String>,
    pub environment: EnvironmentChoice,
    /// Whether an environment that differs is an error.
    pub environment_strict: bool,
    /// Packages of the machines' operating system.
    pub apt: Vec<String>,
    pub dnf: Vec<String>,
    pub collect: Collect,
    /// Whether the files in which something failed last go first.
    pub failed_first: bool,
    /// How long a test may take.
    pub timeout: Option<Duration>,
    /// Modules that are imported once on each machine.
    pub preload: Vec<String>,
    /// How often a test that fails runs again.
    pub retries: u32,
    /// Whether each test has a process of its own.
    pub fresh_process: bool,
    /// Whether a test that takes far longer than expected is tried a second time by a worker that has nothing to do.
    pub speculate: bool,
    pub snapshot_limit: ByteSize,
    pub peers: Peers,
    /// For how long machines stay on which something failed.
    pub keep_on_failure: Option<Duration>,
    /// For how long failed tests are held where they failed.
    pub hold_failures: Option<Duration>,
    pub progress: Showing,
    pub view: View,
    /// Where to write a report of the run.
    pub report: Option<PathBuf>,
    /// How many runs' events are kept.
    pub keep_events: u32,
    pub ec2: Ec2Settings,
}

/// The `[tool.cloudist]` table of one pyproject.toml.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    pub path: PathBuf,
    pub table: toml::Table,
}

/// The three places settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// How flags are spelled where they were given: `--cd-` for pytest's, `--` for cloudist's own.
    pub flag_prefix: &'static str,
    pub flags: Flags,
    pub variables: BTreeMap<String, String>,
    pub file: Option<ConfigFile>,
}

/// One option's texts together with the place they came from, for messages.
struct Given {
    origin: String,
    values: Vec<String>,
}

impl Settings {
    pub fn merge(sources: &Sources) -> Result<Self, SettingError> {
        if let Some(file) = &sources.file {
            file.refuse_unknown_keys()?;
        }
        let read = Reader { sources };
        let hosts: Vec<String> = read
            .list("hosts")?
            .iter()
            .flat_map(|entry| entry.split([',', ' ']))
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect();
        let provider = read
            .parsed("provider", "`ec2`, `hosts` or `local`", keyword)?
            .or((!hosts.is_empty()).then_some(ProviderKind::Hosts));
        if provider == Some(ProviderKind::Hosts) && hosts.is_empty() {
            return Err(SettingError::NoHosts);
        }
        let named = read.parsed("num-workers", "`auto` or a whole number from 1 to 10000", workers_or_auto)?;
        let target = read.parsed("target", "a duration above 0 (90, 90s, 5m)", patience)?;
        let target = match named {
            Some(Some(_)) => None,
            Some(None) => Some(target.unwrap_or(TARGET)),
            None => target,
        };
        let hold_failures = read.stay("hold-failures")?;
        let mode =
            read.parsed("mode", "`test`, `file`, `scope`, `group`, `each` or `no`", keyword)?.unwrap_or(Mode::Test);
        let tasks_per_worker_target = read.parsed("tasks-per-worker-target", "a whole number from 1", positive)?;
        if tasks_per_worker_target.is_some() && matches!(mode, Mode::Scope | Mode::Group | Mode::Each) {
            return Err(SettingError::NoChunks { mode });
        }
        let speculate = read.parsed("speculate", "`true` or `false`", truth)?.unwrap_or(false);
        let together = match (mode, tasks_per_worker_target) {
            (Mode::Test | Mode::No, None) => None,
            (Mode::Test | Mode::No, Some(_)) => Some("chunks stay on one worker".to_owned()),
            _ => Some(format!("mode `{mode}` keeps tests on one worker")),
        };
        if let Some(together) = together.filter(|_| speculate) {
            return Err(SettingError::StaysTogether { together });
        }
        if target.is_some() && mode == Mode::Each {
            return Err(SettingError::NothingToChoose);
        }
        Ok(Self {
            mode,
            tasks_per_worker_target,
            num_workers: named.flatten().unwrap_or(2),
            target,
            cpu_per_worker: read.parsed("cpu-per-worker", "a number of CPUs above 0", fraction)?.unwrap_or(1.0),
            memory_per_worker: read
                .parsed("memory-per-worker", "an amount of memory (a number of GiB, or with a unit: 512MiB)", memory)?
                .unwrap_or(ByteSize::gib(2)),
            interrupt_prob: read.parsed("interrupt-prob", "a percentage from 0 to 100", percent)?.unwrap_or(80),
            extra_files: read.list("extra-files")?,
            init_command: read.text("init-command")?.filter(|command| !command.trim().is_empty()),
            setenv: read.assignments("setenv")?,
            passenv: read.list("passenv")?,
            provider,
            hosts,
            local_machines: read.parsed("local-machines", "a whole number from 1", positive)?,
            environment: read.environment(provider)?,
            environment_strict: read.parsed("env-strict", "`true` or `false`", truth)?.unwrap_or(false),
            apt: read.list("apt")?,
            dnf: read.list("dnf")?,
            python: read.text("python")?,
            collect: read.parsed("collect", "`auto`, `first` or `stream`", keyword)?.unwrap_or(Collect::Auto),
            failed_first: read.parsed("failed-first", "`true` or `false`", truth)?.unwrap_or(false),
            preload: read.modules("preload")?,
            timeout: read.parsed("timeout", "a duration above 0 (30, 30s, 5m)", patience)?,
            retries: read.parsed("retries", "a whole number", keyword)?.unwrap_or(0),
            fresh_process: read.parsed("fresh-process", "`true` or `false`", truth)?.unwrap_or(false),
            speculate,
            snapshot_limit: read
                .parsed("snapshot-limit", "an amount of data with its unit (500MiB, 4GiB)", memory)?
                .unwrap_or(ByteSize::gib(2)),
            peers: read.parsed("peers", "`auto` or `off`", keyword)?.unwrap_or(Peers::Auto),
            // What is held needs its machine.
            keep_on_failure: read.stay("keep-on-failure")?.max(hold_failures),
            hold_failures,
            progress: read.parsed("progress", "`auto` or `off`", keyword)?.unwrap_or(Showing::Auto),
            view: read.parsed("view", "`line` or `tui`", keyword)?.unwrap_or(View::Line),
            report: read.text("report")?.filter(|directory| !directory.is_empty()).map(PathBuf::from),
            keep_events: read.parsed("keep-events", "a whole number", keyword)?.unwrap_or(20),
            ec2: Ec2Settings::read(&read)?,
        })
    }
}

pub(super) struct Reader<'a> {
    sources: &'a Sources,
}

impl Reader<'_> {
    fn given(&self, name: &str) -> Result<Option<Given>, SettingError> {
        let option = OptionInfo::find(name).expect("only options of the table are read");
        if let Some(values) = self.sources.flags.get(name) {
            let prefix =
                if name == "mode" { "--cloudist".into() } else { format!("{}{name}", self.sources.flag_prefix) };
            return Ok(Some(Given { origin: prefix, values: values.clone() }));
        }
        let variable = option.variable();
        if let Some(value) = self.sources.variables.get(&variable).filter(|value| !value.is_empty()) {
            let values = if option.kind == Kind::Many {
                shlex::split(value)
                    .ok_or_else(|| SettingError::Quotes { origin: variable.clone(), value: value.clone() })?
            } else {
                vec![value.clone()]
            };
            return Ok(Some(Given { origin: variable, values }));
        }
        let Some(file) = &self.sources.file else { return Ok(None) };
        let Some(value) = file.table.get(name) else { return Ok(None) };
        let origin = format!("{}: [tool.cloudist] {name}", file.path.display());
        let values = match value {
            toml::Value::Boolean(truth) if matches!(option.kind, Kind::Flag | Kind::Optional) => {
                Some(vec![truth.to_string()])
            }
            value => texts(value),
        };
        let values = values.ok_or_else(|| SettingError::Type { origin: origin.clone() })?;
        Ok(Some(Given { origin, values }))
    }

    /// Whoever names an interpreter there sees to what it has. The local one has what is here.
    fn environment(&self, provider: Option<ProviderKind>) -> Result<EnvironmentChoice, SettingError> {
        let python = self.given("python")?;
        let Some(word) = self.text("env")? else {
            return Ok(if python.is_some() { EnvironmentChoice::None } else { EnvironmentChoice::Auto });
        };
        let choice = EnvironmentChoice::from(word);
        match (python, self.given("env")?) {
            (Some(python), Some(environment))
                if choice != EnvironmentChoice::None && provider != Some(ProviderKind::Local) =>
            {
                Err(SettingError::TwoInterpreters { python: python.origin, environment: environment.origin })
            }
            _ => Ok(choice),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, SettingError> {
        Ok(self.given(name)?.map(|given| given.values).unwrap_or_default())
    }

    fn modules(&self, name: &str) -> Result<Vec<String>, SettingError> {
        let Some(given) = self.given(name)? else { return Ok(Vec::new()) };
        let texts = given.values.iter().flat_map(|text| text.split([',', ' '])).filter(|text| !text.is_empty());
        texts
            .map(|text| {
                module(text).ok_or_else(|| SettingError::Value {
                    origin: given.origin.clone(),
                    value: text.to_owned(),
                    expected: "the name of a module (numpy, django.db)".into(),
                })
            })
            .collect()
    }

    fn assignments(&self, name: &str) -> Result<BTreeMap<String, String>, SettingError> {
        let Some(given) = self.given(name)? else { return Ok(BTreeMap::new()) };
        given
            .values
            .into_iter()
            .map(|text| {
                assignment(&text).ok_or_else(|| SettingError::Value {
                    origin: given.origin.clone(),
                    value: text.clone(),
                    expected: "NAME=VALUE with the name of a variable that can be set".into(),
                })
            })
            .collect()
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, SettingError> {
        let Some(given) = self.given(name)? else { return Ok(None) };
        // As everywhere on command lines, the last one counts.
        match given.values.len() {
            0 => Err(SettingError::Many { origin: given.origin, given: 0 }),
            _ => Ok(given.values.into_iter().next_back()),
        }
    }

    fn stay(&self, name: &str) -> Result<Option<Duration>, SettingError> {
        Ok(self.parsed(name, "a duration of at least 5 seconds (90s, 30m, 1h)", stay)?.flatten())
    }

    pub(super) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingError> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        match parse(value.trim()) {
            Some(parsed) => Ok(Some(parsed)),
            None => {
                let origin = self.given(name)?.map(|given| given.origin).unwrap_or_default();
                Err(SettingError::Value { origin, value, expected: expected.into() })
            }
        }
    }
}

impl ConfigFile {
    fn refuse_unknown_keys(&self) -> Result<(), SettingError> {
        match self.table.keys().find(|key| OptionInfo::find(key).is_none()) {
            None => Ok(()),
            Some(key) => Err(SettingError::UnknownKey {
                path: self.path.display().to_string(),
                key: key.clone(),
                known: OPTIONS.iter().map(|option| option.name.as_str()).collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::Array(items) => {
            items.iter().map(texts).map(|texts| texts.filter(|texts| texts.len() == 1)?.pop()).collect()
        }
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

macro_rules! keywords {
    ($type:ty { $($word:literal => $value:expr),+ $(,)? }) => {
        impl FromStr for $type {
            type Err = ();

            fn from_str(word: &str) -> Result<Self, ()> {
                match word {
                    $($word => Ok($value),)+
                    _ => Err(()),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(value if *value == $value => $word,)+
                    _ => unreachable!("every value has its word"),
                })
            }
        }
    };
}

keywords!(Mode {
    "test" => Mode::Test,
    "file" => Mode::File,
    "scope" => Mode::Scope,
    "group" => Mode::Group,
    "each" => Mode::Each,
    "no" => Mode::No,
});
keywords!(Collect { "auto" => Collect::Auto, "first" => Collect::First, "stream" => Collect::Stream });
keywords!(Showing { "auto" => Showing::Auto, "off" => Showing::Off });
keywords!(View { "line" => View::Line, "tui" => View::Tui });
keywords!(Peers { "auto" => Peers::Auto, "off" => Peers::Off });
keywords!(Fallback { "none" => Fallback::None, "on-demand" => Fallback::OnDemand });
keywords!(ProviderKind { "ec2" => ProviderKind::Ec2, "hosts" => ProviderKind::Hosts, "local" => ProviderKind::Local });

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
