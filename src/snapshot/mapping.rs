//! Where local paths lie in a snapshot's tree, and the way back.
//!
//! Directories that are near each other keep their relative position, so `../shared` works on the
//! machine as it does locally. Pure: never asks a file system, never resolves a link.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::digest::Digest;
use super::manifest::SnapshotPath;

/// Paths of a snapshot: `<number>/<path below the anchor of that number>`.
///
/// An anchor is a local directory that holds one or more of the snapshot's directories. A
/// directory alone is anchored at its parent, so its own name is kept: `0/myproject/…`.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    directories: Vec<PathBuf>,
    /// Directories that are only there to be stood in; what they hold is not part of the snapshot.
    bare: Vec<PathBuf>,
    anchors: Vec<PathBuf>,
    spellings: Vec<Spelling>,
}

#[derive(Clone, Debug)]
struct Spelling {
    given: PathBuf,
    real: PathBuf,
}

/// A layout inside a tree that stands on a machine.
#[derive(Clone, Debug)]
pub struct Mapping {
    layout: Layout,
    tree: String,
}

impl Layout {
    /// Lays out directories that are resolved and absolute; number 0 goes to the first.
    pub(super) fn new(directories: &[&Path], bare: &[&Path]) -> Self {
        let mut anchors: Vec<PathBuf> = Vec::new();
        for directory in directories.iter().chain(bare) {
            let mut anchor = directory.parent().unwrap_or(directory).to_path_buf();
            let mut position = anchors.len();
            while let Some((found, common)) = neighbour(&anchors, &anchor) {
                anchors.remove(found);
                position = position.min(found);
                anchor = common;
            }
            anchors.insert(position, anchor);
        }
        let owned = |paths: &[&Path]| paths.iter().map(|path| path.to_path_buf()).collect();
        Self { directories: owned(directories), bare: owned(bare), anchors, spellings: Vec::new() }
    }

    /// Lets a directory be named the way the user does, through a symbolic link for instance.
    pub(super) fn add_spelling(&mut self, given: &Path, real: &Path) {
        if given != real && !self.spellings.iter().any(|spelling| spelling.given == given) {
            self.spellings.push(Spelling { given: given.into(), real: real.into() });
        }
    }

    /// What names the project's trees on a machine: the same as long as the snapshot's directories stay where they are.
    pub fn key(&self) -> String {
        let mut text = Vec::new();
        for anchor in &self.anchors {
            text.extend_from_slice(anchor.as_os_str().as_bytes());
            text.push(0);
        }
        for directory in &self.directories {
            text.push(0);
            text.extend_from_slice(directory.as_os_str().as_bytes());
        }
        Digest::of(&text).to_string()[..16].to_owned()
    }

    /// The place of a local path: inside one of the directories, or above one and below its anchor.
    pub fn place(&self, local: &Path) -> Option<SnapshotPath> {
        let local = self.resolve(local)?;
        let inside = self.directories.iter().any(|directory| local.starts_with(directory));
        let above = || self.directories.iter().chain(&self.bare).any(|directory| directory.starts_with(&local));
        if !inside && !above() {
            return None;
        }
        let holding = self
            .anchors
            .iter()
            .enumerate()
            .filter_map(|(number, anchor)| Some((number, local.strip_prefix(anchor).ok()?)));
        let (number, below) = holding.min_by_key(|(_, below)| below.components().count())?;
        let mut path = number.to_string().into_bytes();
        for part in below.components() {
            path.push(b'/');
            path.extend_from_slice(part.as_os_str().as_bytes());
        }
        Some(path)
    }

    pub(super) fn places(&self) -> Places<'_> {
        Places { layout: self, beside: None }
    }

    /// Replaces the longest known spelling by what it stands for; `.` and `..` are taken out.
    fn resolve(&self, local: &Path) -> Option<PathBuf> {
        let local = lexically_clean(local)?;
        let spelled = self.spellings.iter().filter(|spelling| local.starts_with(&spelling.given));
        let longest = spelled.max_by_key(|spelling| spelling.given.components().count());
        Some(match longest.map(|spelling| (spelling, local.strip_prefix(&spelling.given))) {
            Some((spelling, Ok(below))) => lexically_clean(&spelling.real.join(below))?,
            _ => local,
        })
    }
}

/// The places of many files, one after the other: those in one directory lie side by side.
pub(super) struct Places<'a> {
    layout: &'a Layout,
    beside: Option<(PathBuf, SnapshotPath)>,
}

impl Places<'_> {
    /// The same as `Layout::place`, for the resolved path of what is no directory.
    pub fn of_file(&mut self, path: &Path) -> Option<SnapshotPath> {
        let (parent, name) = (path.parent()?, path.file_name()?.as_bytes());
        if let Some((directory, place)) = &self.beside
            && directory.as_os_str() == parent.as_os_str()
        {
            return Some([place, name].concat());
        }
        let place = self.layout.place(path)?;
        self.beside = place.strip_suffix(name).map(|directory| (parent.to_path_buf(), directory.to_vec()));
        Some(place)
    }
}

impl Mapping {
    /// The layout in the tree whose absolute path on the machine is `tree`.
    pub fn new(layout: Layout, tree: &str) -> Self {
        Self { layout, tree: tree.trim_end_matches('/').to_owned() }
    }

    /// The machine's path for a local one. None if the path is not in the snapshot, or if its name
    /// is not UTF-8 and so can not be part of a message.
    pub fn to_remote(&self, local: &Path) -> Option<String> {
        let path = String::from_utf8(self.layout.place(local)?).ok()?;
        Some(format!("{}/{path}", self.tree))
    }

    /// `(remote prefix, local prefix)`, the longest remote prefix first. A local prefix of `/` is
    /// given as the empty string, so that replacing one by the other always leaves a valid path.
    pub fn to_local(&self) -> Vec<(String, String)> {
        let spelled = self.layout.spellings.iter().map(|spelling| spelling.given.as_path());
        let anchors = self.layout.anchors.iter().enumerate();
        let mut pairs: Vec<(String, String)> = spelled
            .filter_map(|given| Some((self.to_remote(given)?, prefix(given)?)))
            .chain(anchors.filter_map(|(number, anchor)| Some((format!("{}/{number}", self.tree), prefix(anchor)?))))
            .collect();
        pairs.sort_by(|(left, _), (right, _)| right.len().cmp(&left.len()).then(left.cmp(right)));
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        pairs
    }
}

/// An anchor that shares enough of its path with this one to be laid out together with it.
fn neighbour(anchors: &[PathBuf], anchor: &Path) -> Option<(usize, PathBuf)> {
    anchors.iter().enumerate().find_map(|(position, other)| {
        let common: PathBuf = anchor
            .components()
            .zip(other.components())
            .take_while(|(left, right)| left == right)
            .map(|(part, _)| part)
            .collect();
        let names = common.components().filter(|part| matches!(part, Component::Normal(_))).count();
        (names >= 2 || common == anchor || common == *other).then_some((position, common))
    })
}

fn lexically_clean(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(part),
        }
    }
    clean.is_absolute().then_some(clean)
}

fn prefix(local: &Path) -> Option<String> {
    match local.to_str()? {
        "/" => Some(String::new()),
        text => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(directories: &[&str]) -> Layout {
        Layout::new(&directories.iter().map(Path::new).collect::<Vec<_>>(), &[])
    }

    fn placed(layout: &Layout, path: &str) -> Option<String> {
        layout.place(Path::new(path)).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn a_directory_keeps_its_name() {
        let layout = layout(&["/home/me/proj", "/opt/lib"]);
        assert_eq!(placed(&layout, "/home/me/proj").as_deref(), Some("0/proj"));
        assert_eq!(placed(&layout, "/home/me/proj/a b/t.py").as_deref(), Some("0/proj/a b/t.py"));
        assert_eq!(placed(&layout, "/opt/lib/x").as_deref(), Some("1/lib/x"));
        assert_eq!(placed(&layout, "/home/me").as_deref(), Some("0"));
        for outside in ["/home/me/proj2", "/home/me/project/x", "/srv", "relative/x"] {
            assert_eq!(placed(&layout, outside), None, "{outside}");
        }
    }

    #[test]
    fn neighbours_keep_their_relative_position() {
        let layout = layout(&["/home/me/work/proj", "/srv/data", "/home/me/shared"]);
        assert_eq!(placed(&layout, "/home/me/work/proj/t.py").as_deref(), Some("0/work/proj/t.py"));
        assert_eq!(placed(&layout, "/home/me/work/proj/../../shared/x").as_deref(), Some("0/shared/x"));
        assert_eq!(placed(&layout, "/srv/data").as_deref(), Some("1/data"));
    }

    #[test]
    fn directories_of_extra_files_may_hold_a_root() {
        let layout = layout(&["/data/proj", "/data"]);
        assert_eq!(placed(&layout, "/data/proj/x").as_deref(), Some("0/data/proj/x"));
        assert_eq!(placed(&layout, "/data/x.csv").as_deref(), Some("0/data/x.csv"));
    }

    #[test]
    fn a_bare_directory_is_there_without_what_it_holds() {
        let layout = Layout::new(&[Path::new("/home/me/work/proj")], &[Path::new("/home/me")]);
        assert_eq!(placed(&layout, "/home/me").as_deref(), Some("0/me"));
        assert_eq!(placed(&layout, "/home/me/work/proj/x").as_deref(), Some("0/me/work/proj/x"));
        assert_eq!(placed(&layout, "/home/me/other"), None);
    }

    #[test]
    fn files_side_by_side_have_the_places_they_would_have_alone() {
        let mut layout = Layout::new(&[Path::new("/home/me/proj"), Path::new("/data")], &[Path::new("/home/me")]);
        layout.add_spelling(Path::new("/home/me/link"), Path::new("/data"));
        let files =
            ["/data/a", "/data/b", "/data/c/a", "/home/me/a", "/home/me/b", "/home/me/proj/a", "/home/me/proj/b"];
        let mut places = layout.places();
        for file in files.map(Path::new) {
            assert_eq!(places.of_file(file), layout.place(file), "{}", file.display());
        }
    }

    #[test]
    fn the_file_system_root_can_be_an_anchor() {
        let layout = layout(&["/app", "/opt/lib"]);
        assert_eq!(placed(&layout, "/app/x").as_deref(), Some("0/app/x"));
        assert_eq!(placed(&layout, "/opt/lib").as_deref(), Some("0/opt/lib"));
        assert_eq!(Mapping::new(layout, "/t").to_local(), [("/t/0".into(), String::new())]);
        assert_eq!(placed(&self::layout(&["/"]), "/etc/x").as_deref(), Some("0/etc/x"));
    }

    #[test]
    fn the_users_spelling_works_both_ways() {
        let mut layout = layout(&["/data/proj", "/opt/lib/x"]);
        layout.add_spelling(Path::new("/home/me/p"), Path::new("/data/proj"));
        let mapping = Mapping::new(layout, "/r/trees/ab/");
        for local in ["/home/me/p/t.py", "/data/proj/t.py", "/home/me/p/../p/./t.py"] {
            assert_eq!(mapping.to_remote(Path::new(local)).as_deref(), Some("/r/trees/ab/0/proj/t.py"));
        }
        let pairs = mapping.to_local();
        let expected =
            [("/r/trees/ab/0/proj", "/home/me/p"), ("/r/trees/ab/0", "/data"), ("/r/trees/ab/1", "/opt/lib")];
        assert_eq!(pairs, expected.map(|(remote, local)| (remote.to_owned(), local.to_owned())));
    }
}
