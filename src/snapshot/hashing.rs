//! Hashes files on all threads it is given, and makes sure that they held still meanwhile.
//!
//! Streams: no file is ever in memory as a whole. Follows no link.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::error::SnapshotError;
use super::found::FileStat;

/// How long to wait before a file that changed while it was read is read again.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(250)];

const BUFFER: usize = 256 << 10;

/// A content, and what the file looked like before and after it was read.
pub type Hashed = (Digest, FileStat);

/// Hashes each file; nothing for one that has vanished. Results are in the order of the files.
pub fn hash_all(files: &[&Path], threads: usize) -> Result<Vec<Option<Hashed>>, SnapshotError> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Option<Hashed>)>, SnapshotError> {
        let mut buffer = vec![0; BUFFER];
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = files.get(index) else {
                return Ok(done);
            };
            let hashed = hash_stable(path, &mut buffer);
            if hashed.is_err() {
                next.store(files.len(), Ordering::Relaxed);
            }
            done.push((index, hashed?));
        }
    };
    let threads = threads.clamp(1, files.len().max(1));
    let portions = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = others.into_iter().map(|other| match other.join() {
            Ok(portion) => portion,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let joined: Vec<_> = joined.collect();
        std::iter::once(own).chain(joined).collect::<Result<Vec<_>, _>>()
    })?;
    let mut results = vec![None; files.len()];
    for (index, hashed) in portions.into_iter().flatten() {
        results[index] = hashed;
    }
    Ok(results)
}

/// Opens a file for reading. Never blocks on a pipe and never follows a link that took its place.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

#[expect(clippy::disallowed_methods, reason = "no event tells that another program has finished writing a file")]
fn hash_stable(path: &Path, buffer: &mut [u8]) -> Result<Option<Hashed>, SnapshotError> {
    let unreadable = |source| SnapshotError::Unreadable { path: path.into(), source };
    for pause in PATIENCE.iter().map(Some).chain([None]) {
        match hash_once(path, buffer) {
            Ok(Some(hashed)) => return Ok(Some(hashed)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {}
            Err(error) => return Err(unreadable(error)),
        }
        if let Some(pause) = pause {
            thread::sleep(*pause);
        }
    }
    Err(SnapshotError::Changing { path: path.into() })
}

/// None if the file changed while it was read, or if it isn't a file any more.
fn hash_once(path: &Path, buffer: &mut [u8]) -> io::Result<Option<Hashed>> {
    let mut file = open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(None);
    }
    let before = FileStat::of(&before);
    let mut hasher = Sha256::new();
    let mut length = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                length += read as u64;
                if length > before.size {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let after = FileStat::of(&file.metadata()?);
    let still = before == after && length == before.size;
    Ok(still.then(|| (Digest::finish(hasher), before)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn contents_in_the_order_of_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..300).map(|number| directory.path().join(number.to_string())).collect();
        for (number, path) in paths.iter().enumerate().filter(|(number, _)| *number != 7) {
            std::fs::write(path, number.to_string()).unwrap();
        }
        let borrowed: Vec<_> = paths.iter().map(|path| path.as_path()).collect();
        let hashed = hash_all(&borrowed, 3).unwrap();
        for (number, hashed) in hashed.iter().enumerate() {
            let expected = (number != 7).then(|| Digest::of(number.to_string().as_bytes()));
            assert_eq!(hashed.as_ref().map(|(digest, _)| *digest), expected);
        }
    }

    #[test]
    fn a_file_that_never_holds_still_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("growing.log");
        // Large enough that the other thread gets its turn, however busy the machine is.
        std::fs::File::create(&path).unwrap().set_len(256 << 20).unwrap();
        let stop = AtomicBool::new(false);
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = OpenOptions::new().append(true).open(&path).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    io::Write::write_all(&mut file, b"line\n").unwrap();
                }
            });
            let result = hash_all(&[&path], 1);
            stop.store(true, Ordering::Relaxed);
            result
        })
        .unwrap_err();
        assert!(error.to_string().contains("growing.log"), "{error}");
        assert!(matches!(error, SnapshotError::Changing { .. }));
    }

    #[test]
    fn a_link_that_took_a_files_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(hash_all(&[&path], 1), Err(SnapshotError::Changing { .. })));
    }
}
