//! Extra files: what the user names beside the project, by path or by pattern.
//!
//! What is named overrides ignore rules; a directory stands for everything below it. Wildcards
//! don't enter directories that `rules` leaves out, unless the pattern names them.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::error::SnapshotError;
use super::found::{Findings, Found};
use super::walk::{Bounds, Ignoring, look_at, walk};

/// What the patterns matched, and the directories they were looked for in.
#[derive(Debug, Default)]
pub struct Extra {
    pub found: Findings,
    pub directories: Vec<PathBuf>,
}

/// Finds what patterns name; each has to match something.
pub fn find(globs: &[String], directory: &Path, bounds: Bounds) -> Result<Extra, SnapshotError> {
    let mut extra = Extra::default();
    for glob in globs {
        let pattern = Pattern::parse(glob, directory)?;
        let unmatched = || SnapshotError::NoMatch { glob: glob.clone(), directory: directory.into() };
        match &pattern.wildcards {
            None => {
                let named = resolve_all_but_name(&pattern.base).map_err(|_| unmatched())?;
                extra.take(&named, bounds)?;
            }
            Some(wildcards) => {
                let base = pattern.base.canonicalize().map_err(|_| unmatched())?;
                let within = Bounds { depth: pattern.depth, ..bounds };
                let candidates = walk(&base, Ignoring::Nothing, within)?.into_keys();
                let mut last: Option<PathBuf> = None;
                for path in candidates {
                    let covered = last.as_ref().is_some_and(|last| path.starts_with(last));
                    let matches = || path.strip_prefix(&base).is_ok_and(|below| wildcards.is_match(below));
                    if !covered && matches() {
                        extra.take(&path, bounds)?;
                        last = Some(path);
                    }
                }
                last.ok_or_else(unmatched)?;
                extra.directories.push(base);
            }
        }
    }
    Ok(extra)
}

impl Extra {
    /// Takes one file, all of a directory, or a link together with what it leads to.
    pub fn take(&mut self, path: &Path, bounds: Bounds) -> Result<(), SnapshotError> {
        match look_at(path)? {
            None => {}
            Some(Found::Directory) => {
                let everything = Bounds { depth: None, ..bounds };
                self.found.extend(walk(path, Ignoring::Nothing, everything)?);
                self.directories.push(path.into());
            }
            Some(found) => {
                let leads_on = matches!(found, Found::Symlink { .. });
                self.found.insert(path.into(), found);
                self.directories.extend(path.parent().map(Path::to_path_buf));
                if let (true, Ok(target)) = (leads_on, path.canonicalize())
                    && !self.found.contains_key(&target)
                {
                    self.take(&target, bounds)?;
                }
            }
        }
        Ok(())
    }
}

/// Resolves links on the way to a path, but leaves alone what is there.
fn resolve_all_but_name(path: &Path) -> std::io::Result<PathBuf> {
    path.symlink_metadata()?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => path.canonicalize(),
    }
}

/// A pattern, taken apart: the leading directories without wildcards, and the rest.
struct Pattern {
    base: PathBuf,
    wildcards: Option<GlobMatcher>,
    depth: Option<usize>,
}

impl Pattern {
    fn parse(glob: &str, directory: &Path) -> Result<Self, SnapshotError> {
        let bad = |reason: String| SnapshotError::BadGlob { glob: glob.into(), reason };
        if glob.is_empty() {
            return Err(bad("it is empty".into()));
        }
        let whole = directory.join(glob);
        if whole.symlink_metadata().is_ok() {
            return Ok(Self { base: whole, wildcards: None, depth: None });
        }
        let is_wild = |part: &Component| part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{', '\\']);
        let parts: Vec<Component> = Path::new(glob).components().collect();
        let literal = parts.iter().position(is_wild).unwrap_or(parts.len());
        let (literal, wild) = parts.split_at(literal);
        let base = directory.join(literal.iter().collect::<PathBuf>());
        if wild.is_empty() {
            return Ok(Self { base, wildcards: None, depth: None });
        }
        if wild.contains(&Component::ParentDir) {
            return Err(bad("\"..\" can not follow a wildcard".into()));
        }
        let text = wild.iter().collect::<PathBuf>().to_string_lossy().into_owned();
        let built = GlobBuilder::new(&text).literal_separator(true).build();
        let wildcards = built.map_err(|error| bad(error.kind().to_string()))?.compile_matcher();
        let depth = (!text.contains("**") && !text.contains('{')).then_some(wild.len());
        Ok(Self { base, wildcards: Some(wildcards), depth })
    }
}
