//! The home directories of embedded machines, which outlive the runs so that what was stored there is found again.
//!
//! A home belongs to one machine at a time, by a lock that is held while the machine lives.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A home that is ours while this value lives.
#[derive(Debug)]
pub(super) struct Home {
    pub path: PathBuf,
    _lock: File,
}

impl Home {
    /// Takes the first home of the pool that nobody else has.
    pub(super) fn claim(pool: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(pool)?;
        for number in 0_u32.. {
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(pool.join(format!("{number}.lock")))?;
            match lock.try_lock() {
                Ok(()) => {
                    let path = pool.join(number.to_string());
                    DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
                    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700))?;
                    return Ok(Self { path: path.canonicalize()?, _lock: lock });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::ErrorKind::QuotaExceeded.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_machines_get_two_homes_and_a_free_one_is_used_again() {
        let pool = tempfile::tempdir().expect("a directory");
        let pool = pool.path().join("new/pool");
        let first = Home::claim(&pool).expect("a home");
        let second = Home::claim(&pool).expect("a home");
        assert_ne!(first.path, second.path);
        let freed = first.path.clone();
        drop(first);
        assert_eq!(Home::claim(&pool).expect("a home").path, freed);
        let mode = std::fs::metadata(&freed).expect("the home").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
