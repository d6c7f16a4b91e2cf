//! Hashes files on all threads it is given, and makes sure that they held still meanwhile.
//!
//! Streams: no file is ever in memory as a whole. Follows no link.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::digest::{ContentHasher, Digest, PIECE};
use super::error::SnapshotError;
use super::found::FileStat;

/// How long to wait before a file that changed while it was read is read again.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(250)];

const BUFFER: usize = 256 << 10;

/// From this size on a file is hashed by all threads together.
const SHARED: u64 = 8 << 20;

/// As many bytes of small contents are kept as they are read: they are probably sent next.
const HELD: usize = 32 << 20;
const SMALL: u64 = 64 << 10;

/// What a look at all of a file gives: the name of its content and the content itself, if that is kept; or nothing if the
/// file is of another size.
type Read = Option<(Digest, Option<Bytes>)>;

/// What was found out about a file.
#[derive(Clone, Debug)]
pub struct Hashed {
    pub digest: Digest,
    /// What it looked like before and after it was read.
    pub stat: FileStat,
    /// The content, if it is small and there was room for it.
    pub held: Option<Bytes>,
}

/// Hashes each file, of which there are the sizes too; nothing for one that has vanished. Results are in the order of the
/// files.
pub fn hash_all(files: &[(&Path, u64)], threads: usize) -> Result<Vec<Option<Hashed>>, SnapshotError> {
    let mut results = vec![None; files.len()];
    let is_shared = |size: u64| threads > 1 && size >= SHARED;
    let alone = || files.iter().enumerate().filter(|(_, (_, size))| !is_shared(*size));
    let alone: Vec<_> = alone().map(|(index, (path, _))| (index, *path)).collect();
    let (next, room) = (AtomicUsize::new(0), AtomicUsize::new(HELD));
    let work = || -> Result<Vec<(usize, Option<Hashed>)>, SnapshotError> {
        let mut buffer = vec![0; BUFFER];
        let mut done = Vec::new();
        while let Some((index, path)) = alone.get(next.fetch_add(1, Ordering::Relaxed)) {
            let hashed = hash_stable(path, |file, size| streamed(file, size, &mut buffer, &room));
            if hashed.is_err() {
                next.store(alone.len(), Ordering::Relaxed);
            }
            done.push((*index, hashed?));
        }
        Ok(done)
    };
    let portions = on_threads(threads.clamp(1, alone.len().max(1)), work);
    for (index, hashed) in portions.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        results[index] = hashed;
    }
    for (index, (path, _)) in files.iter().enumerate().filter(|(_, (_, size))| is_shared(*size)) {
        results[index] = hash_stable(path, |file, size| shared(file, size, threads))?;
    }
    Ok(results)
}

/// What each thread answers, this one among them.
fn on_threads<T: Send>(threads: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(&work)).collect();
        let own = work();
        std::iter::once(own).chain(others.into_iter().map(join)).collect()
    })
}

/// Waits for a thread, and goes down with it.
pub fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Opens a file for reading. Never blocks on a pipe and never follows a link that took its place.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

#[expect(clippy::disallowed_methods, reason = "no event tells that another program has finished writing a file")]
fn hash_stable(
    path: &Path,
    mut hash: impl FnMut(&File, u64) -> io::Result<Read>,
) -> Result<Option<Hashed>, SnapshotError> {
    let unreadable = |source| SnapshotError::Unreadable { path: path.into(), source };
    for pause in PATIENCE.iter().map(Some).chain([None]) {
        match hash_once(path, &mut hash) {
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
fn hash_once(path: &Path, hash: &mut impl FnMut(&File, u64) -> io::Result<Read>) -> io::Result<Option<Hashed>> {
    let file = open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(None);
    }
    let before = FileStat::of(&before);
    let content = hash(&file, before.size)?;
    let after = FileStat::of(&file.metadata()?);
    Ok(content.filter(|_| before == after).map(|(digest, held)| Hashed { digest, stat: before, held }))
}

fn streamed(file: &File, size: u64, buffer: &mut [u8], room: &AtomicUsize) -> io::Result<Read> {
    let mut hasher = ContentHasher::default();
    let mut left = size;
    while left > 0 {
        // What is beyond the size shows when the file is looked at once more.
        let length = left.min(buffer.len() as u64) as usize;
        match file.read_exact_at(&mut buffer[..length], size - left) {
            Ok(()) if size <= SMALL => return Ok(Some((Digest::of(&buffer[..length]), hold(&buffer[..length], room)))),
            Ok(()) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        left -= length as u64;
    }
    Ok(Some((hasher.finish(), None)))
}

fn hold(content: &[u8], room: &AtomicUsize) -> Option<Bytes> {
    let taken = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(content.len()));
    taken.is_ok().then(|| Bytes::copy_from_slice(content))
}

/// The same, by several threads, each of which takes the next piece.
fn shared(file: &File, size: u64, threads: usize) -> io::Result<Read> {
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, Digest)>> {
        let mut buffer = vec![0; PIECE];
        let mut done = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            let offset = (piece * PIECE) as u64;
            if offset >= size {
                return Ok(done);
            }
            let piece_buffer = &mut buffer[..(size - offset).min(PIECE as u64) as usize];
            file.read_exact_at(piece_buffer, offset)?;
            done.push((piece, Digest::of(piece_buffer)));
        }
    };
    let portions = on_threads(threads, work).into_iter().collect::<io::Result<Vec<_>>>();
    let mut pieces = match portions {
        Ok(portions) => portions.concat(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    pieces.sort_unstable_by_key(|(piece, _)| *piece);
    let pieces: Vec<_> = pieces.into_iter().map(|(_, digest)| digest).collect();
    Ok(Some((Digest::of_pieces(&pieces), None)))
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
        let borrowed: Vec<_> = paths.iter().map(|path| (path.as_path(), 3)).collect();
        let hashed = hash_all(&borrowed, 3).unwrap();
        for (number, hashed) in hashed.iter().enumerate() {
            let expected = (number != 7).then(|| Digest::of(number.to_string().as_bytes()));
            assert_eq!(hashed.as_ref().map(|hashed| hashed.digest), expected);
            let held = hashed.as_ref().and_then(|hashed| hashed.held.as_deref());
            assert_eq!(held, expected.map(|_| number.to_string()).as_ref().map(String::as_bytes));
        }
    }

    #[test]
    fn a_file_that_never_holds_still_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("growing.log");
        const SIZE: u64 = 256 << 20;
        // Large enough that the other thread gets its turn, however busy the machine is.
        std::fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
        let stop = AtomicBool::new(false);
        let (alone, together) = thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = OpenOptions::new().append(true).open(&path).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    io::Write::write_all(&mut file, b"line\n").unwrap();
                }
            });
            let results = (hash_all(&[(&path, SIZE)], 1), hash_all(&[(&path, SIZE)], 2));
            stop.store(true, Ordering::Relaxed);
            results
        });
        for error in [alone.unwrap_err(), together.unwrap_err()] {
            assert!(error.to_string().contains("growing.log"), "{error}");
            assert!(matches!(error, SnapshotError::Changing { .. }));
        }
    }

    #[test]
    fn several_threads_arrive_at_the_same_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        for size in [SHARED as usize, SHARED as usize + 1, 11 * PIECE - 1] {
            let content: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
            std::fs::write(&path, &content).unwrap();
            for threads in [1, 2, 5] {
                let hashed = hash_all(&[(&path, size as u64)], threads).unwrap();
                assert_eq!(hashed[0].as_ref().unwrap().digest, Digest::of_content(&content));
            }
        }
    }

    #[test]
    fn a_link_that_took_a_files_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(hash_all(&[(&path, 11)], 1), Err(SnapshotError::Changing { .. })));
    }
}
