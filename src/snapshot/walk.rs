//! Walks directories, with or without the project's ignore rules.
//!
//! Follows no link and reads no content. What can't be read is an error, unless it is ignored.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ignore::{DirEntry, WalkBuilder, WalkState};

use super::error::SnapshotError;
use super::found::{FileStat, Findings, Found};
use super::rules;

/// Which files below a directory are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignoring {
    /// Git's rules and `.cloudistignore`, also those of the directories above it.
    InRepository,
    /// The same, but nothing above the directory has a say.
    Own,
    /// No ignore files at all; `rules` still hold for directories inside.
    Nothing,
}

/// Stops long before a walk that went astray has seen the whole disk.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub entries: usize,
    pub depth: Option<usize>,
    pub threads: usize,
}

/// Everything below a directory, and the directory itself.
pub fn walk(top: &Path, ignoring: Ignoring, bounds: Bounds) -> Result<Findings, SnapshotError> {
    let mut builder = WalkBuilder::new(top);
    builder
        .standard_filters(false)
        .require_git(false)
        .follow_links(false)
        .max_depth(bounds.depth)
        .threads(bounds.threads)
        .current_dir(top)
        .filter_entry(|entry| entry.depth() == 0 || !is_left_out(entry));
    if ignoring != Ignoring::Nothing {
        builder.git_ignore(true).git_exclude(true).git_global(true);
        builder.add_custom_ignore_filename(rules::IGNORE_FILE);
        builder.parents(ignoring == Ignoring::InRepository);
    }

    let collected = Mutex::new(Collected::default());
    builder.build_parallel().run(|| {
        let mut batch = Batch { found: Vec::new(), collected: &collected };
        Box::new(move |entry| {
            let looked = entry.map_err(walk_error(top)).and_then(look);
            batch.add(looked, bounds.entries)
        })
    });
    let collected = collected.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    match collected.failure {
        Some(failure) => Err(failure),
        None => Ok(collected.found.into_iter().collect()),
    }
}

/// What is at one path, without following it. Nothing, if it has vanished.
pub fn look_at(path: &Path) -> Result<Option<Found>, SnapshotError> {
    let unreadable = |source| SnapshotError::Unreadable { path: path.into(), source };
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let kind = metadata.file_type();
    Ok(Some(if kind.is_file() {
        Found::File { source: path.into(), stat: FileStat::of(&metadata) }
    } else if kind.is_symlink() {
        Found::Symlink { target: path.read_link().map_err(unreadable)? }
    } else if kind.is_dir() {
        Found::Directory
    } else {
        Found::Special
    }))
}

type Look = Result<Option<(PathBuf, Found)>, SnapshotError>;

#[derive(Default)]
struct Collected {
    found: Vec<(PathBuf, Found)>,
    failure: Option<SnapshotError>,
}

/// What one thread has found; handed over in portions, so that threads rarely meet.
struct Batch<'a> {
    found: Vec<(PathBuf, Found)>,
    collected: &'a Mutex<Collected>,
}

impl Batch<'_> {
    const PORTION: usize = 1024;

    fn add(&mut self, looked: Look, bound: usize) -> WalkState {
        match looked {
            Ok(Some(found)) => self.found.push(found),
            Ok(None) => {}
            Err(failure) => {
                self.share().failure.get_or_insert(failure);
                return WalkState::Quit;
            }
        }
        if self.found.len() >= Self::PORTION && self.share().found.len() > bound {
            return WalkState::Quit;
        }
        WalkState::Continue
    }

    fn share(&mut self) -> std::sync::MutexGuard<'_, Collected> {
        let mut collected = self.collected.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        collected.found.append(&mut self.found);
        collected
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        drop(self.share());
    }
}

fn look(entry: DirEntry) -> Look {
    let found = look_at(entry.path())?;
    Ok(found.map(|found| (entry.into_path(), found)))
}

fn is_left_out(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Some(kind) if kind.is_dir() => rules::leaves_out_directory(entry.path()),
        _ => rules::leaves_out_file(entry.file_name()),
    }
}

fn walk_error(top: &Path) -> impl Fn(ignore::Error) -> SnapshotError {
    move |error| {
        let path = path_in(&error).unwrap_or(top).to_path_buf();
        match error.io_error().map(|inner| (inner.kind(), inner.raw_os_error())) {
            Some((_, Some(number))) => {
                SnapshotError::Unreadable { path, source: std::io::Error::from_raw_os_error(number) }
            }
            _ => SnapshotError::Walk { path, source: error },
        }
    }
}

fn path_in(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_in(err),
        _ => None,
    }
}
