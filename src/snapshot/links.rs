//! Decides what becomes of symbolic links when the project is laid out elsewhere.
//!
//! A link that works locally is to work on a machine; one that is broken stays broken. Links are
//! read and resolved here, never written.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::error::{SnapshotError, Warning};
use super::found::{Findings, Found};
use super::manifest::SnapshotPath;
use super::mapping::Layout;
use super::walk::look_at;

/// What to put in a link's place.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    Link {
        target: Vec<u8>,
    },
    /// The file that the link leads to, because it lies outside the snapshot.
    Copy {
        found: Found,
    },
}

/// Settles one link.
///
/// * Relative, and names a path in the snapshot: kept as it is.
/// * Leads to something in the snapshot by another way: made relative.
/// * Leads to a file outside: replaced by that file.
/// * Leads to a directory outside: kept, with a warning.
/// * Leads nowhere: kept.
pub fn settle(
    link: &Path,
    target: &Path,
    findings: &Findings,
    layout: &Layout,
    warnings: &mut Vec<Warning>,
) -> Result<Settled, SnapshotError> {
    let keep = || Settled::Link { target: target.as_os_str().as_bytes().to_vec() };
    let Some(place) = layout.place(link) else {
        return Ok(keep());
    };
    let beside = link.parent().unwrap_or(link).join(target);
    if target.is_relative() && stays_inside(&place, target) && layout.place(&beside).is_some() {
        return Ok(keep());
    }
    let real = match beside.canonicalize() {
        Ok(real) => real,
        Err(_) => return Ok(keep()),
    };
    let is_sent = || findings.range(real.clone()..).next().is_some_and(|(path, _)| path.starts_with(&real));
    if let Some(goal) = layout.place(&real)
        && is_sent()
    {
        return Ok(Settled::Link { target: relative(&place, &goal) });
    }
    match look_at(&real)? {
        Some(found @ Found::File { .. }) => Ok(Settled::Copy { found }),
        Some(Found::Directory) => {
            warnings.push(Warning::LeavesSnapshot { link: link.into(), target: real });
            Ok(keep())
        }
        _ => Ok(keep()),
    }
}

/// Whether a relative target, followed part by part, stays below the number that starts the place.
/// Relative positions there are the local ones.
fn stays_inside(place: &[u8], target: &Path) -> bool {
    let mut depth = place.iter().filter(|byte| **byte == b'/').count() as isize - 1;
    target.components().all(|part| {
        match part {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
        depth >= 0
    })
}

/// The way from the directory that holds one path to another path.
fn relative(from: &SnapshotPath, to: &SnapshotPath) -> Vec<u8> {
    let parts = |path: &SnapshotPath| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut from, to) = (parts(from), parts(to));
    from.pop();
    let shared = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
    let up = std::iter::repeat_n(b"..".to_vec(), from.len() - shared);
    let way: Vec<_> = up.chain(to[shared..].iter().cloned()).collect();
    match way.is_empty() {
        true => b".".to_vec(),
        false => way.join(&b'/'),
    }
}

/// Settles all links of the findings in place.
pub fn settle_all(findings: &mut Findings, layout: &Layout, warnings: &mut Vec<Warning>) -> Result<(), SnapshotError> {
    let mut settled = Vec::new();
    for (link, found) in &*findings {
        if let Found::Symlink { target } = found {
            let found = match settle(link, target, findings, layout, warnings)? {
                Settled::Copy { found } => found,
                Settled::Link { target } => {
                    Found::Symlink { target: PathBuf::from(std::ffi::OsStr::from_bytes(&target)) }
                }
            };
            settled.push((link.clone(), found));
        }
    }
    findings.extend(settled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_inside_a_place() {
        for (target, stays) in
            [("a", true), ("../x", true), ("../../x", true), ("../../../x", false), ("a/../../../../x", false)]
        {
            assert_eq!(stays_inside(b"0/p/sub/link", Path::new(target)), stays, "{target}");
        }
    }

    #[test]
    fn relative_ways() {
        let way = |from: &str, to: &str| String::from_utf8(relative(&from.into(), &to.into())).unwrap();
        assert_eq!(way("0/p/link", "0/p/a"), "a");
        assert_eq!(way("0/p/sub/link", "0/p/a/b"), "../a/b");
        assert_eq!(way("0/p/link", "1/lib"), "../../1/lib");
        assert_eq!(way("0/p/sub/link", "0/p/sub"), ".");
    }
}
