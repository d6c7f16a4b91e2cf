//! Bounds a snapshot's size, and says what makes it large.
//!
//! Pure: sizes in, verdict out. Never leaves anything out by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// How large a snapshot may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub bytes: u64,
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 2 << 30, files: 200_000 }
    }
}

/// A snapshot beyond its limits.
#[derive(Debug, PartialEq, Eq)]
pub struct Excess {
    pub found: Weight,
    pub limits: Limits,
    /// The ten heaviest files and directories, none inside another, the heaviest first.
    pub heaviest: Vec<(PathBuf, Weight)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    pub bytes: u64,
    pub files: u64,
}

/// Checks files and their sizes, all below the given tops.
pub fn check<'a>(
    limits: Limits,
    tops: &[&Path],
    files: impl Iterator<Item = (&'a Path, u64)> + Clone,
) -> Result<(), Excess> {
    let found = files.clone().fold(Weight::default(), |sum, (_, bytes)| sum.plus(bytes));
    let too_many = found.files > limits.files;
    if found.bytes <= limits.bytes && !too_many {
        return Ok(());
    }
    let measure = |weight: &Weight| if too_many { weight.files } else { weight.bytes };
    Err(Excess { found, limits, heaviest: heaviest(tops, files, measure) })
}

/// Descends from each top as long as a single entry makes up most of a directory, then ranks what
/// lies side by side there.
fn heaviest<'a>(
    tops: &[&Path],
    files: impl Iterator<Item = (&'a Path, u64)>,
    measure: impl Fn(&Weight) -> u64,
) -> Vec<(PathBuf, Weight)> {
    let mut weights: BTreeMap<&Path, Weight> = BTreeMap::new();
    for (path, bytes) in files {
        for above in path.ancestors() {
            let weight = weights.entry(above).or_default();
            *weight = weight.plus(bytes);
            if tops.contains(&above) {
                break;
            }
        }
    }
    let mut children: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for path in weights.keys().filter(|path| !tops.contains(path)) {
        children.entry(path.parent().unwrap_or(path)).or_default().push(path);
    }
    let mut ranked: Vec<&Path> = Vec::new();
    let mut open: Vec<&Path> = tops.to_vec();
    while let Some(directory) = open.pop() {
        let total = weights.get(directory).map_or(0, &measure);
        for child in children.get(directory).into_iter().flatten() {
            let dominates = measure(&weights[child]) * 10 >= total * 7;
            match dominates && children.contains_key(child) {
                true => open.push(child),
                false => ranked.push(child),
            }
        }
    }
    ranked.sort_by_key(|path| (std::cmp::Reverse(measure(&weights[path])), *path));
    ranked.truncate(10);
    ranked.into_iter().map(|path| (path.to_path_buf(), weights[path])).collect()
}

impl Weight {
    fn plus(self, bytes: u64) -> Self {
        Self { bytes: self.bytes + bytes, files: self.files + 1 }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.files {
            1 => write!(f, "{}", Bytes(self.bytes)),
            files => write!(f, "{} in {files} files", Bytes(self.bytes)),
        }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { bytes, files } = self.limits;
        write!(f, "it has {}, and the limit is {} in {files} files. The largest are:", self.found, Bytes(bytes))?;
        self.heaviest.iter().try_for_each(|(path, weight)| write!(f, "\n  {}  {weight}", path.display()))
    }
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match UNITS.iter().find(|(_, shift)| self.0 >> shift > 0) {
            Some((unit, shift)) => write!(f, "{:.1} {unit}", self.0 as f64 / f64::from(1 << shift)),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, u64); 5] = [
        ("/p/data/big/a.bin", 3 << 20),
        ("/p/data/big/b.bin", 2 << 20),
        ("/p/data/c.bin", 1000),
        ("/p/src/m.py", 10),
        ("/p/t.py", 5),
    ];

    fn excess(limits: Limits) -> Excess {
        let files = FILES.iter().map(|(path, bytes)| (Path::new(*path), *bytes));
        check(limits, &[Path::new("/p")], files).unwrap_err()
    }

    #[test]
    fn within_the_limits() {
        let files = FILES.iter().map(|(path, bytes)| (Path::new(*path), *bytes));
        assert_eq!(check(Limits { bytes: 5_243_895, files: 5 }, &[Path::new("/p")], files), Ok(()));
    }

    #[test]
    fn the_largest_entries_are_told_where_they_lie() {
        let text = excess(Limits { bytes: 1 << 20, files: 10 }).to_string();
        let expected = "it has 5.0 MiB in 5 files, and the limit is 1.0 MiB in 10 files. The largest are:
  /p/data/big/a.bin  3.0 MiB
  /p/data/big/b.bin  2.0 MiB
  /p/data/c.bin  1000 bytes
  /p/src  10 bytes
  /p/t.py  5 bytes";
        assert_eq!(text, expected);
    }

    #[test]
    fn too_many_files_are_ranked_by_their_number() {
        let excess = excess(Limits { bytes: 1 << 40, files: 2 });
        let names: Vec<_> =
            excess.heaviest.iter().map(|(path, weight)| (path.to_str().unwrap(), weight.files)).collect();
        assert_eq!(names, [("/p/data", 3), ("/p/src", 1), ("/p/t.py", 1)]);
    }
}
