//! Snapshots of small projects that are made for the purpose.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::scan::take;
use super::*;

/// A directory `base` with a project in `base/home/proj`.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let disk = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir_all(disk.project()).unwrap();
        disk
    }

    fn base(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    fn project(&self) -> PathBuf {
        self.base().join("home/proj")
    }

    fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.project().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn files(&self, paths: &[&str]) -> &Self {
        paths.iter().for_each(|path| {
            self.write(path, *path);
        });
        self
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) -> &Self {
        let path = self.project().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    fn request(&self) -> Request {
        Request {
            rootdir: self.project(),
            cwd: self.project(),
            sys_path: Vec::new(),
            directories: Vec::new(),
            files: Vec::new(),
            home: Some(self.base().join("home")),
            cache_dir: None,
            kept_back: Vec::new(),
            limits: Limits::default(),
            threads: 2,
        }
    }

    fn paths(&self) -> Vec<String> {
        paths(&take(&self.request()).unwrap())
    }
}

fn paths(snapshot: &Snapshot) -> Vec<String> {
    snapshot.manifest.entries().map(|(path, _)| path.escape_ascii().to_string()).collect()
}

fn links(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let entries = snapshot.manifest.entries();
    let links = entries.filter_map(|(path, node)| match node {
        Node::Symlink { target } => Some((path.escape_ascii().to_string(), target.escape_ascii().to_string())),
        _ => None,
    });
    links.collect()
}

fn content(snapshot: &Snapshot, path: &str) -> Vec<u8> {
    match snapshot.manifest.get(path.as_bytes()) {
        Some(Node::File { digest, .. }) => fs::read(&snapshot.sources[digest].path).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn a_project_without_a_repository() {
    let disk = Disk::new();
    disk.files(&[
        "t.py",
        ".hidden",
        "pkg/m.py",
        "pkg/ignored.log",
        "deep/a/b/c.txt",
        "with space\nand newline",
        "\u{fc}.py",
    ]);
    disk.write(OsStr::from_bytes(b"\xff\xfe"), "").write(".gitignore", "*.log\n").write("empty", "");
    fs::create_dir(disk.project().join("hollow")).unwrap();
    let expected = [
        "0/proj/.gitignore",
        "0/proj/.hidden",
        "0/proj/deep/a/b/c.txt",
        "0/proj/empty",
        "0/proj/hollow",
        "0/proj/pkg/m.py",
        "0/proj/t.py",
        r"0/proj/with space\nand newline",
        r"0/proj/\xc3\xbc.py",
        r"0/proj/\xff\xfe",
    ];
    assert_eq!(disk.paths(), expected);
}

#[test]
fn caches_environments_and_repositories_are_left_out() {
    let disk = Disk::new();
    disk.files(&[
        "t.py",
        ".git/config",
        ".hg/x",
        ".svn/x",
        "a/__pycache__/t.pyc",
        "old.pyc",
        ".tox/x",
        ".nox/x",
        ".hypothesis/x",
        ".pytest_cache/x",
        "env/pyvenv.cfg",
        "env/bin/python",
        "target/debug",
        "fake/CACHEDIR.TAG",
        "sub/.git",
        "node_modules/kept.js",
    ]);
    disk.write("target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# more\n");
    assert_eq!(
        disk.paths(),
        ["0/proj/a", "0/proj/fake/CACHEDIR.TAG", "0/proj/node_modules/kept.js", "0/proj/sub", "0/proj/t.py"]
    );
}

#[test]
fn what_is_kept_back_is_left_out_unless_the_project_is_in_it() {
    let disk = Disk::new();
    disk.files(&["t.py", "state/key", "state/logs/x", "stated/x"]);
    let project = disk.request().rootdir;
    let paths = |kept_back: Vec<PathBuf>, files: Vec<String>| {
        paths(&take(&Request { kept_back, files, ..disk.request() }).unwrap())
    };
    let state = vec![project.join("state"), project.join("none")];
    assert_eq!(paths(state.clone(), vec![]), ["0/proj/stated/x", "0/proj/t.py"]);
    assert_eq!(paths(state, vec!["state/key".into()]), ["0/proj/stated/x", "0/proj/t.py"]);
    assert_eq!(paths(vec![project], vec![]).len(), 4);
}

#[test]
fn gits_rules_hold() {
    let disk = Disk::new();
    disk.files(&[
        "a.log",
        "b.log",
        "build/x",
        "sub/build/y",
        "sub/c.tmp",
        "secret",
        "private/k",
        "t.py",
        ".ignore",
        "generated.py",
    ]);
    disk.write(".git/info/exclude", "secret\n").write(".gitignore", "*.log\n!b.log\n/build\ngenerated.py\n");
    disk.write("sub/.gitignore", "*.tmp\n")
        .write(".cloudistignore", "private/\n!generated.py\n")
        .write(".ignore", "t.py\n");
    assert_eq!(
        disk.paths(),
        [
            "0/proj/.cloudistignore",
            "0/proj/.gitignore",
            "0/proj/.ignore",
            "0/proj/b.log",
            "0/proj/generated.py",
            "0/proj/sub/.gitignore",
            "0/proj/sub/build/y",
            "0/proj/t.py",
        ]
    );
}

#[test]
fn what_git_tracks_is_not_ignored() {
    let disk = Disk::new();
    disk.files(&[
        "t.py",
        "data/kept.bin",
        "data/other.bin",
        "data/secret.bin",
        "old/gone.bin",
        "env/pyvenv.cfg",
        "env/e.bin",
    ]);
    disk.write(".gitignore", "*.bin\n/data\n").write("data/.cloudistignore", "secret.bin\n");
    disk.link("linked", "data");
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "init.defaultBranch=main"]).args(arguments).current_dir(disk.project());
        assert!(git.output().unwrap().status.success(), "{arguments:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "-f", "data/kept.bin", "data/secret.bin", "old/gone.bin", "env/e.bin", "t.py"]);
    fs::remove_file(disk.project().join("old/gone.bin")).unwrap();
    let expected = ["0/proj/.gitignore", "0/proj/data/kept.bin", "0/proj/linked", "0/proj/old", "0/proj/t.py"];
    assert_eq!(disk.paths(), expected);
    git(&["update-index", "--index-version", "4"]);
    assert_eq!(disk.paths(), expected);
    let sub = Request { rootdir: disk.project().join("data"), cwd: disk.project().join("data"), ..disk.request() };
    assert_eq!(paths(&take(&sub).unwrap()), ["0/data/.cloudistignore", "0/data/kept.bin"]);
}

#[test]
fn rules_above_the_project_hold_in_a_repository_alone() {
    let disk = Disk::new();
    disk.files(&["t.py", "sub/x.log"]).write("../.gitignore", "*\n");
    assert_eq!(disk.paths(), ["0/proj/sub/x.log", "0/proj/t.py"]);
    fs::create_dir(disk.base().join("home/.git")).unwrap();
    assert_eq!(disk.paths(), ["0/proj/sub/x.log", "0/proj/t.py"], "a home that is a repository");

    disk.write(".git/config", "").write(".gitignore", "*.log\n");
    let request = Request { rootdir: disk.project().join("sub"), cwd: disk.project().join("sub"), ..disk.request() };
    assert_eq!(paths(&take(&request).unwrap()), ["0/sub"]);
}

#[test]
fn only_the_executable_bit_of_a_mode_is_kept() {
    let disk = Disk::new();
    disk.files(&["plain", "script"]);
    fs::set_permissions(disk.project().join("plain"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(disk.project().join("script"), fs::Permissions::from_mode(0o700)).unwrap();
    let snapshot = take(&disk.request()).unwrap();
    let mode = |path: &str| match snapshot.manifest.get(path.as_bytes()) {
        Some(Node::File { mode, .. }) => *mode,
        other => panic!("{other:?}"),
    };
    assert_eq!((mode("0/proj/plain"), mode("0/proj/script")), (Mode::Plain, Mode::Executable));
}

#[test]
fn the_id_follows_the_content_alone() {
    let (one, two) = (Disk::new(), Disk::new());
    one.files(&["a", "b/c"]);
    two.files(&["b/c", "a"]);
    let id = |disk: &Disk| take(&disk.request()).unwrap().manifest.id();
    assert_eq!(id(&one), id(&two));
    two.write("a", "other");
    assert_ne!(id(&one), id(&two));
}

#[test]
fn directories_of_imports_and_of_tests_come_along() {
    let disk = Disk::new();
    disk.files(&["t.py", "src/m.py", "../lib/util.py", "../../opt/tests/test_x.py", "../loose.zip"]);
    let mut request = disk.request();
    let home = disk.base().join("home");
    request.sys_path = ["proj", "proj/src", "lib", "missing", "loose.zip", ""].map(|path| home.join(path)).to_vec();
    request.directories = vec![disk.base().join("opt/tests")];
    let snapshot = take(&request).unwrap();
    let mapping = Mapping::new(snapshot.layout.clone(), "/m/tree");
    let remote = |path: PathBuf| mapping.to_remote(&path).unwrap();
    for path in ["proj/t.py", "proj/src/m.py", "lib/util.py", "loose.zip"] {
        let place = remote(home.join(path)).strip_prefix("/m/tree/").unwrap().to_owned();
        assert!(paths(&snapshot).contains(&place), "{place}");
    }
    assert_eq!(paths(&snapshot).len(), 5);
    assert_eq!(snapshot.warnings, [Warning::TooBroad { path: home.clone() }]);
    let apart = |path: &Path| {
        remote(path.join("home/proj")).replace("home/proj", "")
            == remote(path.join("opt/tests")).replace("opt/tests", "")
    };
    assert!(apart(&disk.base()), "near directories keep their relative position");
}

#[test]
fn an_import_directory_comes_along_even_if_it_is_ignored() {
    let disk = Disk::new();
    disk.files(&["t.py", "gen/a_pb2.py", "gen/__pycache__/x", "venv/pyvenv.cfg", "venv/src/pkg/m.py", "only/b.py"]);
    disk.write(".gitignore", "/gen\n/only/*\n");
    let mut request = disk.request();
    request.sys_path = ["gen", "venv/src/pkg", "only"].map(|path| disk.project().join(path)).to_vec();
    assert_eq!(
        paths(&take(&request).unwrap()),
        ["0/proj/.gitignore", "0/proj/gen/a_pb2.py", "0/proj/only/b.py", "0/proj/t.py", "0/proj/venv/src/pkg/m.py"]
    );
}

#[test]
fn a_project_reached_through_a_link_is_known_by_both_names() {
    let disk = Disk::new();
    disk.files(&["t.py"]);
    let alias = disk.base().join("alias");
    symlink(disk.project(), &alias).unwrap();
    let snapshot = take(&Request { rootdir: alias.clone(), cwd: alias.clone(), ..disk.request() }).unwrap();
    let mapping = Mapping::new(snapshot.layout, "/m");
    assert_eq!(mapping.to_remote(&alias.join("t.py")).as_deref(), Some("/m/0/proj/t.py"));
    assert_eq!(mapping.to_remote(&disk.project().join("t.py")).as_deref(), Some("/m/0/proj/t.py"));
    assert_eq!(mapping.to_local()[0], ("/m/0/proj".into(), alias.display().to_string()));
}

#[test]
fn the_working_directory_is_there_even_when_it_is_not_sent() {
    let disk = Disk::new();
    disk.files(&["t.py", "../other/x.py"]);
    let snapshot = take(&Request { cwd: disk.base().join("home"), ..disk.request() }).unwrap();
    let mapping = Mapping::new(snapshot.layout.clone(), "/m");
    assert_eq!(paths(&snapshot), ["0/home/proj/t.py"]);
    assert_eq!(mapping.to_remote(&disk.base().join("home")).as_deref(), Some("/m/0/home"));
    assert_eq!(mapping.to_remote(&disk.base().join("home/other/x.py")), None);
}

#[test]
fn links_lead_where_they_led() {
    let disk = Disk::new();
    disk.files(&["a.py", "sub/b.py", "../lib/c.py", "../../out/file.txt", "../../out/dir/x"]);
    let (project, base) = (disk.project(), disk.base());
    disk.link("relative", "sub/b.py")
        .link("sub/up", "../a.py")
        .link("dangling", "nowhere")
        .link("absent", "/no/such/file");
    disk.link("absolute", project.join("sub/b.py")).link("directory", project.join("sub")).link("lib", "../lib");
    disk.link("to-file", base.join("out/file.txt"))
        .link("near-file", "../../out/file.txt")
        .link("to-dir", base.join("out/dir"));
    disk.link("self", ".");
    let mut request = disk.request();
    request.sys_path = vec![disk.base().join("home/lib")];
    let snapshot = take(&request).unwrap();
    let outside = base.join("out/dir");
    let expected = [
        ("absent", "/no/such/file"),
        ("absolute", "sub/b.py"),
        ("dangling", "nowhere"),
        ("directory", "sub"),
        ("lib", "../lib"),
        ("relative", "sub/b.py"),
        ("self", "."),
        ("sub/up", "../a.py"),
        ("to-dir", outside.to_str().unwrap()),
    ];
    let expected = expected.map(|(link, target)| (format!("0/proj/{link}"), target.to_owned()));
    assert_eq!(links(&snapshot), BTreeMap::from(expected));
    assert_eq!(content(&snapshot, "0/proj/to-file"), b"../../out/file.txt");
    assert_eq!(content(&snapshot, "0/proj/near-file"), b"../../out/file.txt");
    assert_eq!(snapshot.warnings, [Warning::LeavesSnapshot { link: project.join("to-dir"), target: outside.clone() }]);
}

#[test]
fn a_link_to_extra_files_leads_to_where_they_are_sent() {
    let disk = Disk::new();
    disk.files(&["t.py", "../../out/data/x.csv", "../../out/other"]);
    disk.link("data", disk.base().join("out/data"));
    let mut request = disk.request();
    request.files = vec!["data".into()];
    let snapshot = take(&request).unwrap();
    let link = &links(&snapshot)["0/home/proj/data"];
    assert_eq!((link.as_str(), snapshot.warnings.len()), ("../../out/data", 0));
    assert_eq!(content(&snapshot, "0/out/data/x.csv"), b"../../out/data/x.csv");
    assert_eq!(paths(&snapshot).len(), 3);
}

fn with_files(disk: &Disk, globs: &[&str]) -> Result<Vec<String>, SnapshotError> {
    let files = globs.iter().map(|glob| glob.to_string()).collect();
    take(&Request { files, ..disk.request() }).map(|snapshot| paths(&snapshot))
}

#[test]
fn extra_files_override_ignore_rules() {
    let disk = Disk::new();
    disk.files(&[
        "t.py",
        "d/a.bin",
        "d/b.txt",
        "d/e/c.bin",
        "d/__pycache__/x.pyc",
        ".git/HEAD",
        "venv/pyvenv.cfg",
        "venv/v.bin",
        "odd[1].bin",
    ]);
    disk.write(".gitignore", "*.bin\nd/\n");
    let base = ["0/proj/.gitignore", "0/proj/t.py"];
    let extra = |globs: &[&str]| {
        let found = with_files(&disk, globs).unwrap();
        found.into_iter().filter(|path| !base.contains(&path.as_str())).collect::<Vec<_>>()
    };
    assert!(extra(&[]).is_empty());
    assert_eq!(extra(&["d"]), ["0/proj/d/a.bin", "0/proj/d/b.txt", "0/proj/d/e/c.bin"]);
    assert_eq!(extra(&["d/"]).len(), 3);
    assert_eq!(extra(&["d/*.bin"]), ["0/proj/d/a.bin"]);
    assert_eq!(extra(&["d/**/*.bin"]), ["0/proj/d/a.bin", "0/proj/d/e/c.bin"]);
    assert_eq!(extra(&["d/*"]), ["0/proj/d/a.bin", "0/proj/d/b.txt", "0/proj/d/e/c.bin"]);
    assert_eq!(extra(&["**/{a,c}.bin"]), ["0/proj/d/a.bin", "0/proj/d/e/c.bin"]);
    assert_eq!(extra(&["**/*.bin"]), ["0/proj/d/a.bin", "0/proj/d/e/c.bin", "0/proj/odd[1].bin"]);
    assert_eq!(extra(&["odd[1].bin"]), ["0/proj/odd[1].bin"]);
    assert_eq!(extra(&[".git"]), ["0/proj/.git/HEAD"]);
    assert_eq!(extra(&["venv/*.bin"]), ["0/proj/venv/v.bin"]);
    let absolute = disk.project().join("d/e").display().to_string();
    assert_eq!(extra(&[&absolute, "d/b.txt"]), ["0/proj/d/b.txt", "0/proj/d/e/c.bin"]);
}

#[test]
fn extra_files_outside_the_project_keep_their_relative_position() {
    let disk = Disk::new();
    disk.files(&["t.py", "../shared/data.json", "../shared/not-this.json", "../other.txt"]);
    let found = with_files(&disk, &["../shared/data.json"]).unwrap();
    assert_eq!(found, ["0/proj/t.py", "0/shared/data.json"]);
    let found = with_files(&disk, &["../*.txt"]).unwrap();
    assert_eq!(found, ["0/other.txt", "0/proj/t.py"].map(|path| path.replace("0/", "0/home/")));
}

#[test]
fn patterns_that_match_nothing_are_named() {
    let disk = Disk::new();
    disk.files(&["t.py"]);
    for glob in ["missing", "*.bin", "missing/*.bin", "**/x", "../no/such"] {
        let error = with_files(&disk, &["t.py", glob]).unwrap_err();
        assert!(matches!(&error, SnapshotError::NoMatch { glob: named, .. } if named == glob), "{error}");
        assert!(error.help().contains("relative to"));
    }
    for glob in ["", "a[", "*/../x"] {
        let error = with_files(&disk, &[glob]).unwrap_err();
        assert!(matches!(&error, SnapshotError::BadGlob { .. }), "{glob}: {error}");
    }
}

#[test]
fn sockets_and_pipes_are_left_out_with_a_warning() {
    let disk = Disk::new();
    disk.files(&["t.py"]);
    let socket = disk.project().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let snapshot = take(&disk.request()).unwrap();
    assert_eq!(paths(&snapshot), ["0/proj/t.py"]);
    assert_eq!(snapshot.warnings, [Warning::Special { path: socket }]);
}

#[test]
fn what_can_not_be_read_is_named_unless_it_is_ignored() {
    if rustix::process::geteuid().is_root() {
        eprintln!("root can read everything");
        return;
    }
    for kind in ["file", "directory"] {
        let disk = Disk::new();
        disk.files(&["t.py", "locked/x"]);
        let locked = match kind {
            "file" => disk.project().join("locked/x"),
            _ => disk.project().join("locked"),
        };
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
        let error = take(&disk.request()).unwrap_err();
        assert!(matches!(&error, SnapshotError::Unreadable { path, .. } if *path == locked), "{error}");
        assert!(error.help().contains(".cloudistignore"));
        disk.write(".cloudistignore", "locked\n");
        assert_eq!(disk.paths(), ["0/proj/.cloudistignore", "0/proj/t.py"]);
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_root_directory_that_is_not_there_is_named() {
    let disk = Disk::new();
    let missing = disk.project().join("none");
    let error = take(&Request { rootdir: missing.clone(), ..disk.request() }).unwrap_err();
    assert!(matches!(&error, SnapshotError::NoDirectory { path, .. } if *path == missing), "{error}");
}

#[test]
fn a_snapshot_beyond_its_limits_says_what_makes_it_large() {
    let disk = Disk::new();
    disk.files(&["t.py"]).write("data/big.bin", vec![1; 5000]);
    let error = take(&Request { limits: Limits { bytes: 4000, files: 100 }, ..disk.request() }).unwrap_err();
    let text = error.to_string();
    let big = disk.project().join("data/big.bin").display().to_string();
    assert!(text.contains(&format!("The largest are:\n  {big}  4.9 KiB\n")), "{text}");
    assert!(error.help().contains(".cloudistignore"));
    let error = take(&Request { limits: Limits { bytes: 1 << 30, files: 1 }, ..disk.request() }).unwrap_err();
    assert!(error.to_string().contains("in 2 files, and the limit is 1.0 GiB in 1 files"), "{error}");
}

fn age(path: &Path) {
    let past = SystemTime::now() - Duration::from_secs(100);
    fs::File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
}

#[test]
fn the_stat_cache_never_hides_an_edit() {
    let disk = Disk::new();
    let cache = tempfile::tempdir().unwrap();
    let request = Request { cache_dir: Some(cache.path().into()), ..disk.request() };
    let id = || take(&request).unwrap().manifest.id();
    let mut seen = Vec::new();
    for content in ["one", "two", "six", "one"] {
        disk.write("a.py", content);
        age(&disk.project().join("a.py"));
        seen.push(id());
        assert_eq!(seen.last(), Some(&id()));
    }
    assert_eq!(seen[0], seen[3]);
    assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[2] != seen[0]);
}

#[test]
fn a_cache_that_can_not_be_written_is_a_warning() {
    let disk = Disk::new();
    disk.files(&["cache"]);
    // Something has to have settled for the cache to be written, so a file from the system serves.
    let request =
        Request { cache_dir: Some(disk.project().join("cache")), files: vec!["/etc/passwd".into()], ..disk.request() };
    let warnings = take(&request).unwrap().warnings;
    assert!(matches!(warnings[..], [Warning::CacheUnwritable { .. }]), "{warnings:?}");
}
