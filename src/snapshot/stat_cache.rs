//! Remembers hashes by what `stat` says, so that files nobody touched aren't read again.
//!
//! Safe against edits within one tick of a clock: a file that was touched shortly before the
//! snapshot is never remembered. A damaged or foreign cache is an empty one, never an error.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::digest::Digest;
use super::found::{FileStat, Timestamp};
use super::manifest::Mode;

const HEADER: &[u8] = b"cloudist-stat 2\n";

/// The coarsest clock of a file system that is still met, and some allowance for a server's clock.
const SETTLED: i128 = 3_000_000_000;

/// Hashes of one project's files.
#[derive(Debug, Default)]
pub struct StatCache {
    /// By what a path looks like, since comparing paths part by part takes time.
    known: HashMap<OsString, (FileStat, Digest)>,
}

impl StatCache {
    /// Where the hashes of the project in `rootdir` are kept.
    pub fn location(cache_dir: &Path, rootdir: &Path) -> PathBuf {
        let name = Digest::of(rootdir.as_os_str().as_bytes()).to_string();
        cache_dir.join("stat").join(&name[..16])
    }

    pub fn load(location: &Path) -> Self {
        let read = std::fs::read(location).ok();
        Self { known: read.and_then(|bytes| parse(&bytes)).unwrap_or_default() }
    }

    /// The hash, if the file is to all appearances the one that was hashed.
    pub fn get(&self, path: &Path, stat: &FileStat) -> Option<Digest> {
        self.known.get(path.as_os_str()).filter(|(known, _)| known == stat).map(|(_, digest)| *digest)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether these files are all there is in the cache, with these hashes.
    pub fn holds_exactly(&self, files: &[(&Path, FileStat, Digest)]) -> bool {
        self.len() == files.len() && files.iter().all(|(path, stat, digest)| self.get(path, stat) == Some(*digest))
    }

    /// Replaces the cache on disk. `started` is when the snapshot began: what was touched at that
    /// time or shortly before could be touched again and look the same.
    pub fn save(location: &Path, files: &[(&Path, FileStat, Digest)], started: Timestamp) -> io::Result<()> {
        let mut bytes = HEADER.to_vec();
        for (path, stat, digest) in files.iter().filter(|(_, stat, _)| is_settled(stat, started)) {
            let FileStat { size, modified, changed, inode, device, mode } = stat;
            let mode = matches!(mode, Mode::Executable) as u8;
            write!(bytes, "{size} {} {} {inode} {device} {mode} {digest} ", modified.0, changed.0)?;
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            bytes.push(0);
        }
        let directory = location.parent().unwrap_or(location);
        std::fs::create_dir_all(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&bytes)?;
        file.persist(location).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Whether a later edit is bound to change what `stat` says.
pub fn is_settled(stat: &FileStat, started: Timestamp) -> bool {
    stat.modified.max(stat.changed).0 + SETTLED < started.0
}

/// The time, as file systems count it.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_nanos() as i128)
}

/// About what a record takes up.
const RECORD: usize = 192;

fn parse(bytes: &[u8]) -> Option<HashMap<OsString, (FileStat, Digest)>> {
    let body = bytes.strip_prefix(HEADER)?;
    let mut known = HashMap::with_capacity(bytes.len() / RECORD);
    for record in body.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let mut parts = record.splitn(8, |byte| *byte == b' ');
        let mut number = || {
            let text = std::str::from_utf8(parts.next()?).ok()?;
            // The wider numbers are slow to read, and hardly ever needed.
            text.parse::<i64>().map(i128::from).or_else(|_| text.parse()).ok()
        };
        let stat = FileStat {
            size: number()?.try_into().ok()?,
            modified: Timestamp(number()?),
            changed: Timestamp(number()?),
            inode: number()?.try_into().ok()?,
            device: number()?.try_into().ok()?,
            mode: if number()? == 0 { Mode::Plain } else { Mode::Executable },
        };
        let digest = Digest::from_hex(parts.next()?)?;
        known.insert(OsString::from_vec(parts.next()?.to_vec()), (stat, digest));
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    fn stat(size: u64) -> FileStat {
        let (modified, changed) = (Timestamp(100 * SECOND + 1), Timestamp(101 * SECOND));
        FileStat { size, modified, changed, inode: u64::MAX, device: 3, mode: Mode::Executable }
    }

    #[test]
    fn remembers_what_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let location = StatCache::location(directory.path(), Path::new("/p"));
        let odd = PathBuf::from(OsString::from_vec(b"/p/a b\n\xff".to_vec()));
        let files = [(odd.as_path(), stat(7), Digest::of(b"7"))];
        StatCache::save(&location, &files, Timestamp(105 * SECOND)).unwrap();
        let cache = StatCache::load(&location);
        assert!(cache.holds_exactly(&files));
        assert_eq!(cache.get(&odd, &stat(7)), Some(Digest::of(b"7")));
        assert_eq!(cache.get(&odd, &stat(8)), None);
        StatCache::save(&location, &files, Timestamp(104 * SECOND)).unwrap();
        assert_eq!(StatCache::load(&location).get(&odd, &stat(7)), None);
    }

    #[test]
    fn damage_means_empty() {
        let directory = tempfile::tempdir().unwrap();
        let location = directory.path().join("cache");
        for content in [&b"junk"[..], b"cloudist-stat 1\n", b"cloudist-stat 2\n1 2 x\0", b"cloudist-stat 2\n1 2\0"] {
            std::fs::write(&location, content).unwrap();
            assert!(StatCache::load(&location).holds_exactly(&[]));
        }
    }
}
