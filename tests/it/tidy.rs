//! The rules of the house, held by reading the sources.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What each room may name. Whatever isn't listed is above it, or none of its business.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("text", &[]),
    ("templates", &[]),
    ("plan", &["templates"]),
    ("protocol", &["model"]),
    ("scheduler", &["model"]),
    ("cache", &[]),
    ("ssh", &["text"]),
    ("snapshot", &[]),
    ("registry", &["cache", "ssh"]),
    ("environment", &["cache", "plan", "snapshot", "templates"]),
    ("provider", &["cache", "model", "plan", "ssh", "templates", "text"]),
    ("history", &["cache", "model"]),
    ("report", &["model", "templates"]),
    ("view", &["model", "text"]),
    ("machine", &["environment", "model", "protocol", "provider", "snapshot", "ssh", "templates", "text"]),
    (
        "run",
        &[
            "cache",
            "environment",
            "history",
            "machine",
            "model",
            "plan",
            "protocol",
            "provider",
            "registry",
            "scheduler",
            "snapshot",
            "ssh",
            "text",
        ],
    ),
    (
        "frontend",
        &[
            "cache",
            "environment",
            "history",
            "machine",
            "model",
            "plan",
            "protocol",
            "provider",
            "registry",
            "report",
            "run",
            "snapshot",
            "ssh",
            "templates",
            "text",
            "view",
        ],
    ),
];

/// Rooms that only compute: no files, no network, no clock, no environment.
const PURE: [&str; 7] = ["model", "plan", "protocol", "report", "scheduler", "text", "view"];

const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "Instant::now",
    "SystemTime",
    "tokio::net",
    "tokio::time",
    "rand::",
];

/// Beyond this a file holds more than one thing.
const LONGEST_FILE: usize = 450;

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

impl Source {
    /// The part that is shipped: what follows the first test module is not.
    fn shipped(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }

    fn is_test(&self) -> bool {
        self.path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !["target", ".git", "__pycache__", ".venv", "cloudist-demo"].iter().any(|name| path.ends_with(name)) {
                files_below(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut paths = Vec::new();
    files_below(&src, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let below = path.strip_prefix(&src).unwrap();
            let first = below.components().next().unwrap().as_os_str().to_string_lossy();
            let room = first.trim_end_matches(".rs").to_owned();
            Source { text: fs::read_to_string(&path).unwrap(), room, path }
        })
        .collect()
}

fn complain(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The rooms that a text names: `crate::room`, and `crate::{room, …}` over several lines.
fn named_rooms(text: &str) -> Vec<&str> {
    let mut named = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => named.push(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut expected = true;
                for (at, letter) in list.char_indices() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => expected = true,
                        letter if expected && letter.is_alphabetic() => {
                            named.push(word(&list[at..]));
                            expected = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    named
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}

#[test]
fn imports_point_down() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !["lib", "main"].contains(&source.room.as_str())) {
        let Some(allowed) = allowed.get(source.room.as_str()) else {
            faults.push(format!("{}: the room {} is not in the plan of the house", source.path.display(), source.room));
            continue;
        };
        for named in named_rooms(source.shipped()) {
            if named != source.room && !allowed.contains(&named) {
                faults.push(format!("{}: {} may not name {named}", source.path.display(), source.room));
            }
        }
    }
    complain(faults);
}

#[test]
fn pure_rooms_stay_pure() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.room.as_str()) && !source.is_test()) {
        for impure in IMPURE {
            if source.shipped().contains(impure) {
                faults.push(format!("{}: {impure}", source.path.display()));
            }
        }
    }
    complain(faults);
}

#[test]
fn only_the_frontend_prints() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.room != "frontend" && !source.is_test()) {
        for printing in ["println!", "eprintln!", "print!(", "dbg!"] {
            if source.shipped().contains(printing) {
                faults.push(format!("{}: {printing}", source.path.display()));
            }
        }
    }
    complain(faults);
}

#[test]
fn every_file_says_what_it_is_for_and_stays_small() {
    let mut faults = Vec::new();
    for source in sources() {
        if !source.is_test() && !source.text.starts_with("//!") {
            faults.push(format!("{}: does not begin with what it is for", source.path.display()));
        }
        let lines = source.text.lines().count();
        if lines > LONGEST_FILE && !source.is_test() {
            faults.push(format!("{}: {lines} lines", source.path.display()));
        }
    }
    complain(faults);
}

#[test]
fn names_say_something() {
    let vague = ["utils", "util", "helpers", "helper", "manager", "common", "misc"];
    let faults = sources()
        .iter()
        .filter(|source| source.path.file_stem().is_some_and(|name| vague.contains(&&*name.to_string_lossy())))
        .map(|source| source.path.display().to_string())
        .collect();
    complain(faults);
}

#[test]
fn nothing_is_left_to_do() {
    let marks = ["TO", "FIX", "XX"].map(|mark| {
        format!(
            "{mark}{}",
            if mark == "TO" {
                "DO"
            } else if mark == "FIX" {
                "ME"
            } else {
                "X"
            }
        )
    });
    let mut paths = Vec::new();
    for dir in ["src", "templates", "tests", "docs"] {
        files_below(&root().join(dir), &mut paths);
    }
    let mut faults = Vec::new();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        faults
            .extend(marks.iter().filter(|mark| text.contains(*mark)).map(|mark| format!("{}: {mark}", path.display())));
    }
    complain(faults);
}

#[test]
fn the_guide_tells_every_option_and_exit_status() {
    let guide = fs::read_to_string(root().join("docs/guide.md")).unwrap();
    let mut faults: Vec<String> = cloudist::plan::OPTIONS
        .iter()
        .filter(|option| option.name != "mode" && !guide.contains(&format!("`--cd-{}", option.name)))
        .map(|option| format!("the guide does not tell --cd-{}", option.name))
        .collect();
    for code in 90..=98 {
        if !guide.contains(&format!("| {code} |")) {
            faults.push(format!("the guide does not tell exit status {code}"));
        }
    }
    complain(faults);
}

#[test]
fn every_python_module_is_carried() {
    use cloudist::templates::{ENVIRONMENT_MODULES, PLUGIN, RUNNER_MODULES, WORKER_MODULES};
    let listed = |name: &str| {
        let mut modules = [RUNNER_MODULES, ENVIRONMENT_MODULES, WORKER_MODULES].into_iter().flatten();
        ["__init__", "lane", "steward"].contains(&name)
            || modules.any(|(module, _)| *module == name)
            || PLUGIN.iter().any(|file| file.path.ends_with(&format!("{name}.py")))
    };
    let mut paths = Vec::new();
    for dir in ["remote", "pytest_cloudist"] {
        files_below(&root().join("templates").join(dir), &mut paths);
    }
    let modules = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "py"));
    let names = modules.filter_map(|path| path.file_stem()).map(|name| name.to_string_lossy().into_owned());
    complain(names.filter(|name| name != "runner" && !listed(name)).collect());
}

#[test]
fn the_documents_lead_somewhere() {
    let mut paths = vec![root().join("README.md")];
    files_below(&root().join("docs"), &mut paths);
    let mut faults = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(path).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !path.parent().unwrap().join(target).exists() {
                faults.push(format!("{}: {target}", path.display()));
            }
        }
    }
    complain(faults);
}
