//! The Python side, carried inside the binary.

/// A file to be written somewhere, by its relative path.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    pub path: &'static str,
    pub text: &'static str,
}

/// The runner's own source: what the bootstrap executes.
pub const RUNNER: &str = include_str!("../templates/runner.py");

/// Modules that follow the runner in its `hello`.
pub const RUNNER_MODULES: &[(&str, &str)] = &[
    ("commands", include_str!("../templates/commands.py")),
    ("pool", include_str!("../templates/pool.py")),
    ("processes", include_str!("../templates/processes.py")),
    ("queues", include_str!("../templates/queues.py")),
    ("services", include_str!("../templates/services.py")),
    ("store", include_str!("../templates/store.py")),
    ("worker", include_str!("../templates/worker.py")),
    ("worker_channel", include_str!("../templates/worker_channel.py")),
    ("worker_collection", include_str!("../templates/worker_collection.py")),
    ("worker_options", include_str!("../templates/worker_options.py")),
    ("worker_paths", include_str!("../templates/worker_paths.py")),
    ("worker_process", include_str!("../templates/worker_process.py")),
    ("worker_reports", include_str!("../templates/worker_reports.py")),
    ("worker_session", include_str!("../templates/worker_session.py")),
    ("worker_teardown", include_str!("../templates/worker_teardown.py")),
    ("worker_tests", include_str!("../templates/worker_tests.py")),
    ("workers", include_str!("../templates/workers.py")),
    ("zygote", include_str!("../templates/zygote.py")),
];

/// The local pytest plugin, importable from the directory that holds it.
pub const PLUGIN: &[Template] = &[
    Template { path: "cloudist_bridge.py", text: include_str!("../templates/cloudist_bridge.py") },
    Template { path: "cloudist_collect.py", text: include_str!("../templates/cloudist_collect.py") },
    Template { path: "cloudist_controller.py", text: include_str!("../templates/cloudist_controller.py") },
    Template { path: "cloudist_coverage.py", text: include_str!("../templates/cloudist_coverage.py") },
    Template { path: "cloudist_hello.py", text: include_str!("../templates/cloudist_hello.py") },
    Template { path: "cloudist_lastfailed.py", text: include_str!("../templates/cloudist_lastfailed.py") },
    Template { path: "cloudist_replay.py", text: include_str!("../templates/cloudist_replay.py") },
    Template { path: "cloudist_reports.py", text: include_str!("../templates/cloudist_reports.py") },
    Template { path: "cloudist_terminal.py", text: include_str!("../templates/cloudist_terminal.py") },
    Template { path: "pytest_cloudist.py", text: include_str!("../templates/pytest_cloudist.py") },
];

/// The block that `cloudist init` puts into a conftest.py.
pub const CONFTEST: &str = include_str!("../templates/conftest.py");

/// Prints what the local interpreter knows about the project's paths.
pub const INTERPRETER_PROBE: &str = include_str!("../templates/interpreter_probe.py");

macro_rules! demo {
    ($($path:literal),+ $(,)?) => {
        &[$(Template { path: $path, text: include_str!(concat!("../templates/demo/", $path)) }),+]
    };
}

/// The sample project of `cloudist demo`.
pub const DEMO: &[Template] = demo![
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
