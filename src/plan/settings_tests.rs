//! What settings come to, and how bad ones are refused.

use super::*;

fn sources(flags: &[(&str, &str)], variables: &[(&str, &str)], toml: &str) -> Sources {
    let mut by_name = Flags::new();
    for (name, value) in flags {
        by_name.entry((*name).into()).or_default().push((*value).into());
    }
    Sources {
        flag_prefix: "--cd-",
        flags: by_name,
        variables: variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        file: Some(ConfigFile { path: "/p/pyproject.toml".into(), table: toml.parse().unwrap() }),
    }
}

fn error(flags: &[(&str, &str)], variables: &[(&str, &str)], toml: &str) -> String {
    Settings::merge(&sources(flags, variables, toml)).unwrap_err().to_string()
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let toml = "num-workers = 3\ncpu-per-worker = 0.5\nextra-files = ['a', 'b']";
    let variables = [("CLOUDIST_NUM_WORKERS", "4"), ("CLOUDIST_EXTRA_FILES", "'x y' z")];
    let merged = Settings::merge(&sources(&[("num-workers", "5")], &variables, toml)).unwrap();
    assert_eq!(merged.num_workers, 5);
    assert_eq!(merged.extra_files, ["x y", "z"]);
    assert_eq!(merged.cpu_per_worker, 0.5);
    let merged = Settings::merge(&sources(&[], &[], toml)).unwrap();
    assert_eq!((merged.num_workers, merged.extra_files), (3, vec!["a".into(), "b".into()]));
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let merged = Settings::merge(&Sources::default()).unwrap();
    assert_eq!(merged.num_workers, 2);
    assert_eq!(merged.cpu_per_worker, 1.0);
    assert_eq!(merged.memory_per_worker, ByteSize::gib(2));
    assert_eq!(merged.interrupt_prob, 80);
    assert_eq!(merged.tasks_per_worker_target, None);
}

#[test]
fn a_number_of_workers_wins_over_a_target() {
    let merged = |flags: &[(&str, &str)], toml| Settings::merge(&sources(flags, &[], toml)).unwrap();
    assert_eq!(merged(&[], "").target, None);
    assert_eq!(merged(&[("num-workers", "auto")], "num-workers = 8").target, Some(Duration::from_secs(300)));
    assert_eq!(merged(&[("target", "90")], "").target, Some(Duration::from_secs(90)));
    let named = merged(&[("num-workers", "3")], "target = '5m'");
    assert_eq!((named.num_workers, named.target), (3, None));
}

#[test]
fn an_interrupt_probability_of_zero_is_a_value_like_any_other() {
    assert_eq!(Settings::merge(&sources(&[("interrupt-prob", "0")], &[], "")).unwrap().interrupt_prob, 0);
}

#[test]
fn memory_is_gibibytes_unless_it_has_a_unit() {
    let memory = |text| Settings::merge(&sources(&[("memory-per-worker", text)], &[], "")).unwrap().memory_per_worker;
    assert_eq!(memory("1.5"), ByteSize::mib(1536));
    assert_eq!(memory("512MiB"), ByteSize::mib(512));
}

#[test]
fn hosts_are_enough_to_choose_their_provider() {
    let merged = Settings::merge(&sources(&[("hosts", "a,b:22"), ("hosts", "c")], &[], "")).unwrap();
    assert_eq!(merged.provider, Some(ProviderKind::Hosts));
    assert_eq!(merged.hosts, ["a", "b:22", "c"]);
}

#[test]
fn a_flag_is_set_by_any_word_for_yes() {
    let private = |flags: &[(&str, &str)], toml| Settings::merge(&sources(flags, &[], toml)).unwrap().ec2.private_ip;
    assert!(private(&[("private-ip", "true")], "") && private(&[], "private-ip = true"));
    assert!(!private(&[], "") && !private(&[], "private-ip = false"));
}

#[test]
fn dollars_and_durations() {
    let merged = Settings::merge(&sources(&[("budget", "$0.50"), ("lease", "1h")], &[], "disk = 40")).unwrap();
    assert_eq!(merged.ec2.budget, Some(0.5));
    assert_eq!(merged.ec2.lease, Duration::from_secs(3600));
    assert_eq!(merged.ec2.disk, ByteSize::gib(40));
    assert!(error(&[("lease", "1")], &[], "").starts_with("--cd-lease: \"1\" is not a duration"));
}

#[test]
fn variables_are_assignments() {
    let merged = Settings::merge(&sources(&[], &[("CLOUDIST_SETENV", "A=1 'B=x y=z'")], "passenv = ['C', 'D*']"));
    let merged = merged.unwrap();
    assert_eq!(merged.setenv, [("A", "1"), ("B", "x y=z")].map(|(n, v)| (n.into(), v.into())).into());
    assert_eq!(merged.passenv, ["C", "D*"]);
    for bad in ["A", "=1", "A B=1", "PYTHONPATH=/x"] {
        assert!(error(&[("setenv", bad)], &[], "").starts_with(&format!("--cd-setenv: {bad:?} is not NAME=VALUE")));
    }
}

#[test]
fn an_interpreter_that_is_named_has_what_it_has() {
    let choice = |flags: &[(&str, &str)]| Settings::merge(&sources(flags, &[], "env = 'uv'")).unwrap().environment;
    let named = Settings::merge(&sources(&[("python", "/opt/py")], &[], "")).unwrap();
    assert_eq!(named.environment, EnvironmentChoice::None);
    assert_eq!(choice(&[]), EnvironmentChoice::Uv);
    assert_eq!(choice(&[("python", "/opt/py"), ("env", "none")]), EnvironmentChoice::None);
    assert_eq!(choice(&[("python", "/opt/py"), ("provider", "local")]), EnvironmentChoice::Uv);
    assert_eq!(
        error(&[("python", "/opt/py")], &[], "env = 'uv'"),
        "--cd-python and /p/pyproject.toml: [tool.cloudist] env contradict each other: an environment has its own interpreter"
    );
}

#[test]
fn errors_name_the_place_and_what_is_expected() {
    assert_eq!(
        error(&[("num-workers", "0")], &[], ""),
        "--cd-num-workers: \"0\" is not `auto` or a whole number from 1 to 10000"
    );
    assert_eq!(
        error(&[], &[("CLOUDIST_PROVIDER", "gcp")], ""),
        "CLOUDIST_PROVIDER: \"gcp\" is not `ec2`, `hosts` or `local`"
    );
    assert_eq!(
        error(&[], &[], "interrupt-prob = 101"),
        "/p/pyproject.toml: [tool.cloudist] interrupt-prob: \"101\" is not a percentage from 0 to 100"
    );
    assert!(
        error(&[], &[], "workers = 2").starts_with("/p/pyproject.toml: [tool.cloudist] has no setting \"workers\"")
    );
    assert_eq!(error(&[("provider", "hosts")], &[], ""), "provider `hosts` needs the machines' addresses");
}
