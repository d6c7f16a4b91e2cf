//! What is said to a shell on a machine: enter the project's directory, take on its environment, then do something.
//!
//! Texts alone. The login shell may be any: it is handed one word to give to `sh`.

use crate::registry::{MachineInfo, RunInfo};

/// Names the process of a command, between two of these, before anything that it says.
pub const MARK: char = '\u{1e}';

/// The signals that end commands, by number.
const SIGNALS: [(&str, u8); 13] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("ABRT", 6),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
];

pub fn signal_number(name: &str) -> Option<u8> {
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// What begins in the project's directory: a shell, or a command whose process is named on stderr first.
pub enum Begin<'a> {
    /// On a terminal.
    Shell,
    Command {
        words: &'a [String],
        announced: bool,
    },
}

/// The line for the login shell.
pub fn line(run: &RunInfo, machine: &MachineInfo, begin: &Begin<'_>) -> String {
    let mut steps = Vec::new();
    let mut arguments: Vec<&str> = Vec::new();
    if let Begin::Command { announced: true, .. } = begin {
        steps.push(r#"printf "\036%s\036" "$$" >&2"#.to_owned());
    }
    for (name, value) in &run.env {
        steps.push(format!("export {name}={}", quoted(value)));
    }
    if let Some(ground) = &machine.ground {
        let cwd = quoted(&ground.cwd);
        steps.push(format!("cd -- {cwd} || exit 125"));
        if !ground.sys_path.is_empty() {
            steps.push(format!("export PYTHONPATH={}", quoted(ground.sys_path.join(":"))));
        }
        steps.extend(activation(&ground.python));
    }
    steps.push(format!("export CLOUDIST_MACHINE={} CLOUDIST_RUN={}", quoted(&machine.name), quoted(&run.run)));
    match begin {
        Begin::Shell => steps.push(r#"exec "${SHELL:-/bin/sh}" -i"#.to_owned()),
        Begin::Command { words, .. } => {
            arguments.extend(words.iter().map(String::as_str));
            // The status that shells have for it, whatever this one would say.
            steps.push(r#"command -v -- "$1" >/dev/null || { echo "cloudist: $1: not found" >&2; exit 127; }"#.into());
            steps.push(r#"exec "$@""#.to_owned());
        }
    }
    let script = steps.join("; ");
    let words = ["/bin/sh", "-c", &script, "cloudist"].into_iter().chain(arguments).map(quoted);
    format!("exec {}", words.collect::<Vec<_>>().join(" "))
}

/// The interpreter's directory first, and its virtual environment named, if it lies in one.
fn activation(python: &str) -> Vec<String> {
    // One that is found by its name needs nothing.
    let Some((bin, _)) = python.rsplit_once('/') else { return Vec::new() };
    let bin = if bin.starts_with('/') || bin.is_empty() { quoted(bin) } else { format!("\"$PWD\"/{}", quoted(bin)) };
    vec![
        format!(r#"CLOUDIST_BIN_THERE={bin}"#),
        r#"export PATH="$CLOUDIST_BIN_THERE:$PATH""#.to_owned(),
        r#"if [ -f "$CLOUDIST_BIN_THERE/../pyvenv.cfg" ]; then export VIRTUAL_ENV="${CLOUDIST_BIN_THERE%/*}"; fi"#
            .to_owned(),
        "unset CLOUDIST_BIN_THERE".to_owned(),
    ]
}

/// Sends a signal to all of a command that was started from [`line()`].
pub fn kill(process: u32, signal: &str) -> String {
    format!("exec /bin/sh -c {}", quoted(format!("kill -s {signal} -- -{process}")))
}

/// One word of a shell. A NUL, which no shell can take, is left out.
pub fn quoted(word: impl AsRef<str>) -> String {
    let word = word.as_ref().replace('\0', "");
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, process::Command};

    use super::*;
    use crate::registry::{Expects, GroundInfo, Reach, Way, Who};

    fn machine(cwd: &str, python: &str) -> MachineInfo {
        MachineInfo {
            name: "it's".into(),
            number: 0,
            reach: Reach {
                label: String::new(),
                way: Way::ProxyCommand(String::new()),
                user: String::new(),
                who: Who::Key("key".into()),
                expects: Expects::Pinned(String::new()),
            },
            workers: 1,
            since: 0,
            ground: Some(GroundInfo {
                tree: cwd.into(),
                cwd: cwd.into(),
                python: python.into(),
                sys_path: vec!["/a b".into(), "/c".into()],
            }),
            rented: None,
            kept_until: None,
        }
    }

    #[test]
    fn a_command_gets_its_words_its_directory_and_its_variables() {
        let directory = tempfile::tempdir().expect("a directory");
        let cwd = directory.path().join("it's here");
        std::fs::create_dir_all(cwd.join("venv/bin")).expect("made");
        std::fs::write(cwd.join("venv/pyvenv.cfg"), "").expect("written");
        let cwd = cwd.canonicalize().expect("there").to_string_lossy().into_owned();
        let run = RunInfo {
            run: "r".into(),
            provider: "local".into(),
            project: "/".into(),
            began: 0,
            pid: 1,
            env: BTreeMap::from([("QUOTE".to_owned(), "a 'b' $c".to_owned())]),
        };
        let script = r#"pwd; echo "$QUOTE|$PYTHONPATH|$VIRTUAL_ENV|$CLOUDIST_MACHINE|$1"; echo "${PATH%%:*}""#;
        let words = ["sh", "-c", script, "x", "it's $HOME"].map(str::to_owned);
        let line = line(&run, &machine(&cwd, "venv/bin/python"), &Begin::Command { words: &words, announced: true });
        let output = Command::new("sh").arg("-c").arg(line).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = format!("{cwd}\na 'b' $c|/a b:/c|{cwd}/venv|it's|it's $HOME\n{cwd}/venv/bin\n");
        assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
        let named = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(named.starts_with(MARK) && named.ends_with(MARK), "{named:?}");
    }
}
