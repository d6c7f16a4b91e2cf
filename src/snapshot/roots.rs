//! Chooses the directories that a snapshot is made of and the place of each in its tree.
//!
//! Pure: paths in, layout out. Never looks at a file system; whoever asks has resolved the
//! paths, so two spellings of a directory are known to be one.

use std::path::{Path, PathBuf};

use super::mapping::Layout;

/// A local directory as somebody spelled it, and what it is once links are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub given: PathBuf,
    pub real: PathBuf,
}

/// Everything that may have to be in the snapshot.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub rootdir: Place,
    pub cwd: Place,
    /// The project's entries of `sys.path`, in order.
    pub sys_path: Vec<Place>,
    /// Further directories: those of test files named on the command line, and what settings add.
    pub further: Vec<Place>,
    /// Directories of extra files: only the files that were named are taken from these.
    pub extra: Vec<PathBuf>,
    /// The user's home directory, which is never taken as a whole for the sake of `sys.path`.
    pub home: Option<PathBuf>,
    /// The top of the repository that the root directory belongs to.
    pub repository: Option<PathBuf>,
}

/// One directory of the snapshot, disjoint from all others of its coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub path: PathBuf,
    /// Wished directories inside it, which have to be there even if its ignore rules drop them.
    pub members: Vec<PathBuf>,
}

/// The directories to walk, and where things go.
#[derive(Clone, Debug)]
pub struct Plan {
    pub roots: Vec<Root>,
    pub layout: Layout,
    /// Wishes that were not granted, because they hold far more than a project.
    pub too_broad: Vec<PathBuf>,
}

/// Plans the minimal set of disjoint directories; the one with the root directory comes first.
pub fn plan(wishes: &Wishes) -> Plan {
    let mut too_broad = Vec::new();
    let mut wanted = vec![&wishes.rootdir];
    for place in wishes.sys_path.iter().chain(&wishes.further) {
        match wishes.is_broad(&place.real) && place.real != wishes.rootdir.real {
            true if !too_broad.contains(&place.real) => too_broad.push(place.real.clone()),
            true => {}
            false => wanted.push(place),
        }
    }
    if wishes.takes_working_directory() {
        wanted.push(&wishes.cwd);
    }

    let mut roots: Vec<Root> = Vec::new();
    for place in &wanted {
        let covering = wanted.iter().map(|other| &other.real).filter(|other| place.real.starts_with(other));
        let Some(outermost) = covering.min_by_key(|path| path.components().count()) else {
            continue;
        };
        let root = match roots.iter_mut().find(|root| root.path == *outermost) {
            Some(root) => root,
            None => {
                roots.push(Root { path: outermost.clone(), members: Vec::new() });
                roots.last_mut().expect("one was just pushed")
            }
        };
        if place.real != root.path && !root.members.contains(&place.real) {
            root.members.push(place.real.clone());
        }
    }

    let mut directories: Vec<&Path> = roots.iter().map(|root| root.path.as_path()).collect();
    for extra in &wishes.extra {
        if !directories.iter().any(|directory| extra.starts_with(directory)) {
            directories.push(extra);
        }
    }
    let bare: &[&Path] = match directories.iter().any(|directory| wishes.cwd.real.starts_with(directory)) {
        true => &[],
        false => &[&wishes.cwd.real],
    };
    let mut layout = Layout::new(&directories, bare);
    for place in wanted.iter().copied().chain([&wishes.cwd]) {
        layout.add_spelling(&place.given, &place.real);
    }
    Plan { roots, layout, too_broad }
}

impl Wishes {
    /// The file system's root, the home directory, and what holds the home directory.
    fn is_broad(&self, path: &Path) -> bool {
        path.parent().is_none() || self.home.as_ref().is_some_and(|home| home.starts_with(path))
    }

    /// The working directory comes along unless it merely holds the project: a directory full of
    /// projects, say. It is there as an empty directory then.
    fn takes_working_directory(&self) -> bool {
        let cwd = &self.cwd.real;
        let above = self.rootdir.real.starts_with(cwd) && self.rootdir.real != *cwd;
        let in_repository = self.repository.as_ref().is_some_and(|top| cwd.starts_with(top));
        !self.is_broad(cwd) && (!above || in_repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place { given: path.into(), real: path.into() }
    }

    fn wishes(rootdir: &str) -> Wishes {
        Wishes {
            rootdir: place(rootdir),
            cwd: place(rootdir),
            sys_path: Vec::new(),
            further: Vec::new(),
            extra: Vec::new(),
            home: Some("/home/me".into()),
            repository: None,
        }
    }

    fn roots(wishes: &Wishes) -> Vec<String> {
        plan(wishes).roots.iter().map(|root| root.path.display().to_string()).collect()
    }

    #[test]
    fn entries_inside_a_root_belong_to_it() {
        let mut wishes = wishes("/home/me/proj");
        wishes.sys_path = vec![place("/home/me/proj/src"), place("/home/me/proj"), place("/opt/lib/python")];
        wishes.further = vec![place("/opt/lib/python/tests"), place("/home/me/proj2")];
        let plan = plan(&wishes);
        assert_eq!(
            plan.roots,
            [
                Root { path: "/home/me/proj".into(), members: vec!["/home/me/proj/src".into()] },
                Root { path: "/opt/lib/python".into(), members: vec!["/opt/lib/python/tests".into()] },
                Root { path: "/home/me/proj2".into(), members: vec![] },
            ]
        );
        assert!(plan.too_broad.is_empty());
    }

    #[test]
    fn a_directory_above_the_root_directory_takes_its_place() {
        let mut wishes = wishes("/home/me/proj/tests");
        wishes.sys_path = vec![place("/srv/x"), place("/home/me/proj")];
        assert_eq!(roots(&wishes), ["/home/me/proj", "/srv/x"]);
        assert_eq!(plan(&wishes).roots[0].members, [PathBuf::from("/home/me/proj/tests")]);
    }

    #[test]
    fn home_and_what_holds_it_are_not_taken_for_an_import() {
        let mut wishes = wishes("/home/me/proj");
        wishes.sys_path = ["/home/me", "/home", "/", "/home/me"].map(place).to_vec();
        assert_eq!(roots(&wishes), ["/home/me/proj"]);
        assert_eq!(plan(&wishes).too_broad, ["/home/me", "/home", "/"].map(PathBuf::from));
        let deliberate = self::wishes("/home/me");
        assert_eq!(roots(&deliberate), ["/home/me"]);
    }

    #[test]
    fn a_working_directory_that_only_holds_the_project_is_left_out() {
        let mut wishes = wishes("/home/me/work/proj");
        wishes.cwd = place("/home/me/work");
        assert_eq!(roots(&wishes), ["/home/me/work/proj"]);
        wishes.repository = Some("/home/me/work".into());
        assert_eq!(roots(&wishes), ["/home/me/work"]);
        wishes.cwd = place("/home/me/elsewhere");
        assert_eq!(roots(&wishes), ["/home/me/work/proj", "/home/me/elsewhere"]);
    }
}
