//! The manifests of a project's last snapshots, kept here so that a machine that has one of them is told the
//! difference only.
//!
//! Named by their hash and believed for nothing else; without them everything works, with more bytes on the wire.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::digest::Digest;

/// How many are kept of one project.
const KEPT: usize = 16;

/// One project's manifests.
#[derive(Clone, Debug)]
pub struct Remembered {
    directory: PathBuf,
}

impl Remembered {
    pub fn of_project(cache_dir: &Path, key: &str) -> Self {
        Self { directory: cache_dir.join("manifests").join(key) }
    }

    pub fn load(&self, id: &Digest) -> Option<Vec<u8>> {
        fs::read(self.path(id)).ok().filter(|bytes| Digest::of(bytes) == *id)
    }

    pub fn save(&self, id: &Digest, manifest: &[u8]) -> io::Result<()> {
        if let Ok(known) = File::open(self.path(id))
            && known.metadata()?.len() == manifest.len() as u64
        {
            return known.set_modified(SystemTime::now());
        }
        fs::create_dir_all(&self.directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(manifest)?;
        file.persist(self.path(id)).map_err(|error| error.error)?;
        keep_newest(&self.directory, KEPT)
    }

    fn path(&self, id: &Digest) -> PathBuf {
        self.directory.join(id.to_string())
    }
}

/// Removes all but so many files of a directory.
pub(super) fn keep_newest(directory: &Path, kept: usize) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)?.flatten() {
        if let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) {
            found.push((modified, entry.path()));
        }
    }
    found.sort();
    let surplus = found.len().saturating_sub(kept);
    for (_, path) in &found[..surplus] {
        // Another run may have been quicker.
        fs::remove_file(path).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let remembered = Remembered::of_project(directory.path(), "abcd");
        let ids: Vec<_> = (0..20_u8).map(|number| Digest::of(&[number])).collect();
        for (number, id) in ids.iter().enumerate() {
            remembered.save(id, &[number as u8]).unwrap();
        }
        assert_eq!(remembered.load(&ids[19]), Some(vec![19]));
        assert_eq!(fs::read_dir(&remembered.directory).unwrap().count(), KEPT);
        fs::write(remembered.path(&ids[19]), [7]).unwrap();
        assert_eq!(remembered.load(&ids[19]), None);
    }
}
