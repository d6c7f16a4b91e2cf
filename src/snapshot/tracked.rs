//! Files that git tracks although its ignore rules name them: to git these are not ignored.
//!
//! Reads git's index and nothing else of a repository; never runs git. An index that it can't
//! read tracks nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::Gitignore;

use super::error::SnapshotError;
use super::found::Findings;
use super::rules;
use super::walk::look_at;

/// What the fields of an index entry in front of its name take up, flags included.
const FIXED: usize = 62;
const EXTENDED: u16 = 0x4000;

/// Adds the tracked files below a directory that a walk has left out for git's rules alone.
pub fn add(findings: &mut Findings, root: &Path, repository: &Path) -> Result<(), SnapshotError> {
    let index = index_of(repository).and_then(|path| fs::read(path).ok());
    for name in index.and_then(|index| names(&index)).unwrap_or_default() {
        let path = repository.join(OsStr::from_bytes(&name));
        if path.starts_with(root)
            && !findings.contains_key(&path)
            && !is_left_out(&path, root)
            && let Some(found) = look_at(&path)?
        {
            findings.insert(path, found);
        }
    }
    Ok(())
}

/// In a work tree of its own, `.git` is a file that names the directory.
fn index_of(repository: &Path) -> Option<PathBuf> {
    let git = repository.join(".git");
    if git.is_dir() {
        return Some(git.join("index"));
    }
    let pointer = fs::read(&git).ok()?;
    let named = pointer.strip_prefix(b"gitdir: ")?.trim_ascii_end();
    Some(repository.join(OsStr::from_bytes(named)).join("index"))
}

/// The paths in an index of version 2, 3 or 4, as git writes it for SHA-1 repositories.
fn names(index: &[u8]) -> Option<Vec<Vec<u8>>> {
    let word = |at: usize| Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?));
    let (version, count) = (word(4)?, word(8)?);
    if !index.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut at = 12;
    for _ in 0..count {
        let flags = u16::from_be_bytes(index.get(at + FIXED - 2..at + FIXED)?.try_into().ok()?);
        let start = at + FIXED + if flags & EXTENDED != 0 { 2 } else { 0 };
        let mut rest = index.get(start..)?;
        let mut name = Vec::new();
        if version == 4 {
            let stripped = offset(&mut rest)?;
            let previous = names.last().map_or(&[][..], Vec::as_slice);
            name.extend_from_slice(previous.get(..previous.len().checked_sub(stripped)?)?);
        }
        let length = rest.iter().position(|byte| *byte == 0)?;
        name.extend_from_slice(&rest[..length]);
        let end = index.len() - rest.len() + length;
        at = match version {
            4 => end + 1,
            _ => at + (end - at) / 8 * 8 + 8,
        };
        names.push(name);
    }
    Some(names)
}

/// Git's number of variable width, as in the offsets of its packs.
fn offset(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0_usize;
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value = value.checked_mul(128)?.checked_add(usize::from(first & 127))?;
        if first & 128 == 0 {
            return Some(value);
        }
        value = value.checked_add(1)?;
    }
}

/// Whether something other than git's rules keeps a path below a root out of the snapshot.
fn is_left_out(path: &Path, root: &Path) -> bool {
    let above: Vec<&Path> = path.ancestors().skip(1).take_while(|above| above.starts_with(root)).collect();
    let is_link_or_cache = |above: &&&Path| {
        let is_real = above.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        !is_real || rules::leaves_out_directory(above)
    };
    if path.file_name().is_none_or(rules::leaves_out_file)
        || above.iter().filter(|above| **above != root).any(|above| is_link_or_cache(&above))
    {
        return true;
    }
    let verdicts = above.iter().map(|above| above.join(rules::IGNORE_FILE)).filter(|file| file.is_file());
    let mut verdicts =
        verdicts.filter_map(|file| match Gitignore::new(&file).0.matched_path_or_any_parents(path, false) {
            Match::None => None,
            verdict => Some(verdict.is_ignore()),
        });
    verdicts.next().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index with these paths; version 4 leaves out what a path shares with the one before.
    fn index(version: u32, paths: &[&str]) -> Vec<u8> {
        let mut index = [b"DIRC".as_slice(), &version.to_be_bytes(), &(paths.len() as u32).to_be_bytes()].concat();
        let mut previous = "";
        for path in paths {
            let start = index.len();
            let extended = version == 3;
            index.extend([7; FIXED - 2]);
            index.extend((if extended { EXTENDED } else { 0 }).to_be_bytes());
            index.extend(extended.then_some([0, 0]).into_iter().flatten());
            if version == 4 {
                let shared = path.bytes().zip(previous.bytes()).take_while(|(left, right)| left == right).count();
                let stripped = previous.len() - shared;
                if stripped >= 128 {
                    index.push(128 | ((stripped >> 7) - 1) as u8);
                }
                index.push((stripped & 127) as u8);
                index.extend(path[shared..].bytes().chain([0]));
            } else {
                index.extend(path.bytes());
                let length = index.len() - start;
                index.extend(vec![0; 8 - length % 8]);
            }
            previous = path;
        }
        index.extend(b"TREE and a checksum");
        index
    }

    #[test]
    fn all_versions_of_the_index() {
        let long = "x/".repeat(100) + "file";
        let paths = ["a", "a b/c", "data/1234567", "data/12345678", &long, "z/\u{fc}"];
        for version in 2..=4 {
            let read = names(&index(version, &paths)).unwrap();
            assert_eq!(read, paths.map(|path| path.as_bytes().to_vec()), "{version}");
        }
        for damaged in [&index(5, &paths)[..], b"", b"DIRC", &index(2, &paths)[..100], &index(4, &paths)[..100]] {
            assert_eq!(names(damaged), None);
        }
    }
}
