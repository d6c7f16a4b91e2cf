//! Where a content can be read, and how to tell whether it is still the same.
//!
//! A file that nobody has touched for a while shows every later edit in what `stat` says: it need not be hashed again when
//! it is sent. Small contents that were just read are kept, so that they need not be read again.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use bytes::Bytes;

use super::digest::{ContentHasher, Digest, PIECE};
use super::error::SnapshotError;
use super::found::FileStat;
use super::hashing;

/// A local file that has a content.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: PathBuf,
    /// What the file looks like as long as it has this content. None if an edit need not show.
    pub settled: Option<FileStat>,
    /// The content, if it is small and was just read.
    pub held: Option<Bytes>,
}

/// How a content that is read once more is known to be the right one.
pub enum Check {
    /// The file looks as it did when it was hashed.
    Looks(FileStat),
    Hash(Box<ContentHasher>),
}

impl Source {
    pub fn open(&self) -> Result<(File, Check), SnapshotError> {
        let opened = hashing::open(&self.path).and_then(|file| Ok((FileStat::of(&file.metadata()?), file)));
        let (stat, file) = opened.map_err(|error| self.unreadable(error))?;
        let check = match self.settled {
            Some(settled) if settled == stat => Check::Looks(stat),
            Some(_) => return Err(self.changed()),
            None => Check::Hash(Box::default()),
        };
        Ok((file, check))
    }

    /// Whether the file still has this content, whatever it looks like.
    pub fn has(&self, digest: Digest) -> bool {
        let hash = || -> io::Result<Digest> {
            let (mut file, mut hasher, mut buffer) =
                (hashing::open(&self.path)?, ContentHasher::default(), vec![0; PIECE]);
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hasher.finish()),
                    length => hasher.update(&buffer[..length]),
                }
            }
        };
        hash().is_ok_and(|found| found == digest)
    }

    pub fn changed(&self) -> SnapshotError {
        SnapshotError::Changed { path: self.path.clone() }
    }

    pub fn unreadable(&self, error: io::Error) -> SnapshotError {
        match error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP) {
            true => self.changed(),
            false => SnapshotError::Unreadable { path: self.path.clone(), source: error },
        }
    }
}

impl Check {
    pub fn take(&mut self, data: &[u8]) {
        if let Self::Hash(hasher) = self {
            hasher.update(data);
        }
    }

    /// Whether all that was taken from the file is the content.
    pub fn agrees(self, file: &File, digest: Digest) -> io::Result<bool> {
        Ok(match self {
            Self::Looks(stat) => FileStat::of(&file.metadata()?) == stat,
            Self::Hash(hasher) => hasher.finish() == digest,
        })
    }
}
