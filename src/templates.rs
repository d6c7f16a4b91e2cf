//! The Python side, carried inside the binary.

/// A file to be written somewhere, by its relative path.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    pub path: &'static str,
    pub text: &'static str,
}

/// The runner's own source: what the bootstrap executes.
pub const RUNNER: &str = include_str!("../templates/remote/runner.py");

/// What a rented machine has beside its runner.
pub const STEWARD: &str = include_str!("../templates/remote/steward.py");

/// What ends a rented machine when its lease is over; cloud-init runs it at boot.
pub const LEASE_GUARD: &str = include_str!("../templates/lease_guard.sh");

/// What a machine does before it becomes an image.
pub const BAKE_CLEANUP: &str = include_str!("../templates/bake_cleanup.sh");

/// The table of options.
pub const OPTIONS: &str = include_str!("../templates/pytest_cloudist/options.json");

/// What hands a further channel over to the runner.
pub const LANE: &str = include_str!("../templates/remote/lane.py");

macro_rules! modules {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../templates/remote/", $name, ".py")))),+]
    };
}

/// A module of the runner: its name and its source.
pub type Module = (&'static str, &'static str);

/// Modules that follow the runner in its `hello`.
pub const RUNNER_MODULES: &[Module] = modules![
    "attic",
    "commands",
    "compiled",
    "digests",
    "disk",
    "faults",
    "fetching",
    "lanes",
    "manifest",
    "processes",
    "seed_tree",
    "seeding",
    "services",
    "slots",
    "store",
    "trees",
    "uploads",
    "writer",
];

/// Those that make environments.
pub const ENVIRONMENT_MODULES: &[Module] = modules![
    "distributions",
    "environment",
    "environment_build",
    "environment_desk",
    "environment_index",
    "environment_install",
    "environment_system",
    "environment_tool",
];

/// Those that run tests, and run them again.
pub const WORKER_MODULES: &[Module] = modules![
    "again",
    "again_bisect",
    "again_debug",
    "again_options",
    "again_past",
    "again_screen",
    "again_worker",
    "deadlines",
    "diary",
    "pool",
    "queues",
    "worker",
    "worker_channel",
    "worker_collection",
    "worker_fresh",
    "worker_garbage",
    "worker_groups",
    "worker_guest",
    "worker_hold",
    "worker_options",
    "worker_paths",
    "worker_preload",
    "worker_process",
    "worker_reports",
    "worker_retries",
    "worker_session",
    "worker_shortcuts",
    "worker_standby",
    "worker_teardown",
    "worker_tests",
    "worker_visits",
    "worker_watch",
    "worker_watch_format",
    "workers",
    "zygote",
];

macro_rules! files {
    ($directory:literal: $($path:literal),+ $(,)?) => {
        &[$(Template { path: $path, text: include_str!(concat!("../templates/", $directory, $path)) }),+]
    };
}

/// The local pytest plugin, importable from the directory that holds it.
pub const PLUGIN: &[Template] = files!["":
    "pytest_cloudist/__init__.py",
    "pytest_cloudist/bridge.py",
    "pytest_cloudist/collect.py",
    "pytest_cloudist/controller.py",
    "pytest_cloudist/coverage.py",
    "pytest_cloudist/each.py",
    "pytest_cloudist/flaky.py",
    "pytest_cloudist/hangs.py",
    "pytest_cloudist/hello.py",
    "pytest_cloudist/hooks.py",
    "pytest_cloudist/lastfailed.py",
    "pytest_cloudist/newfirst.py",
    "pytest_cloudist/stepwise.py",
    "pytest_cloudist/options.json",
    "pytest_cloudist/options.py",
    "pytest_cloudist/progress.py",
    "pytest_cloudist/replay.py",
    "pytest_cloudist/reports.py",
    "pytest_cloudist/screen.py",
    "pytest_cloudist/terminal.py",
    "pytest_cloudist/transcript.py",
];

/// The block that `cloudist init` puts into a conftest.py.
pub const CONFTEST: &str = include_str!("../templates/conftest.py");

/// The page of a run's report, and what is put into it.
pub const REPORT_PAGE: &str = include_str!("../templates/report/report.html");
pub const REPORT_STYLE: &str = include_str!("../templates/report/report.css");
pub const REPORT_SCRIPT: &str = include_str!("../templates/report/report.js");

/// Prints what the local interpreter knows about the project's paths.
pub const INTERPRETER_PROBE: &str = include_str!("../templates/interpreter_probe.py");

/// Prints what an interpreter is and what is installed in it.
pub const DISTRIBUTIONS: &str = include_str!("../templates/remote/distributions.py");

/// Collects, here, the wheels for a machine that can fetch none.
pub const WHEELHOUSE: &str = include_str!("../templates/wheelhouse.py");

/// The sample project of `cloudist demo`.
pub const DEMO: &[Template] = files!["demo/":
    "pyproject.toml",
    "ledger/__init__.py",
    "ledger/accounts.py",
    "ledger/interest.py",
    "ledger/money.py",
    "tests/conftest.py",
    "tests/test_accounts.py",
    "tests/test_interest.py",
    "tests/test_money.py",
    "tests/test_rates.py",
];
