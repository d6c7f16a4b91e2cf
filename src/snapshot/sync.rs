//! Cuts the contents that a machine lacks into pieces for the wire.
//!
//! Reads files, so it blocks; knows no frame and no connection. No content is ever completed
//! whose bytes don't have the hash that the manifest promised.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::write::ZlibEncoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::error::SnapshotError;
use super::hashing;
use super::manifest::Manifest;
use super::scan::Sources;

/// How much of a content goes into one piece.
pub const PIECE: usize = 1 << 20;

/// Below this many bytes the frame costs more than compression could save.
const WORTH_COMPRESSING: usize = 256;

/// The body of a `blob` message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub digest: Digest,
    /// Of the whole content.
    pub size: u64,
    pub offset: u64,
    pub compressed: bool,
    pub data: Bytes,
}

/// The missing contents, piece by piece. Ends after the first error.
pub struct Pieces {
    waiting: VecDeque<(Digest, u64, PathBuf)>,
    current: Option<Reading>,
    engine: Compress,
}

impl Pieces {
    /// Fails if the machine asks for a content that the snapshot does not have.
    pub fn new(manifest: &Manifest, sources: &Sources, missing: &[Digest]) -> Result<Self, SnapshotError> {
        let sizes: std::collections::HashMap<_, _> = manifest.contents().into_iter().collect();
        let waiting = missing.iter().map(|digest| match (sizes.get(digest), sources.get(digest)) {
            (Some(size), Some(path)) => Ok((*digest, *size, path.clone())),
            _ => Err(SnapshotError::UnknownContent { digest: *digest }),
        });
        let engine = Compress::new(Compression::fast(), true);
        Ok(Self { waiting: waiting.collect::<Result<_, _>>()?, current: None, engine })
    }

    /// How many bytes are still to be read, before compression.
    pub fn remaining(&self) -> u64 {
        let waiting: u64 = self.waiting.iter().map(|(_, size, _)| size).sum();
        waiting + self.current.as_ref().map_or(0, |reading| reading.size - reading.offset)
    }

    fn advance(&mut self) -> Result<Option<Piece>, SnapshotError> {
        let mut reading = match self.current.take() {
            Some(reading) => reading,
            None => match self.waiting.pop_front() {
                Some((digest, size, path)) => Reading::start(digest, size, path)?,
                None => return Ok(None),
            },
        };
        let piece = reading.next_piece(&mut self.engine)?;
        if reading.offset < reading.size {
            self.current = Some(reading);
        }
        Ok(Some(piece))
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.waiting.clear();
        }
        next.transpose()
    }
}

/// Compresses the manifest for the `snapshot` message.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("waiting", &self.waiting.len()).field("remaining", &self.remaining()).finish()
    }
}

/// Nothing unless an eighth is saved.
fn compress_if_smaller(engine: &mut Compress, data: &[u8]) -> Option<Vec<u8>> {
    let mut smaller = Vec::with_capacity(data.len() - data.len() / 8);
    engine.reset();
    let status = engine.compress_vec(data, &mut smaller, FlushCompress::Finish);
    matches!(status, Ok(Status::StreamEnd)).then_some(smaller)
}

struct Reading {
    digest: Digest,
    size: u64,
    offset: u64,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    /// Turns false with the first piece that did not get smaller: the rest won't either.
    compressible: bool,
}

impl Reading {
    fn start(digest: Digest, size: u64, path: PathBuf) -> Result<Self, SnapshotError> {
        let file = hashing::open(&path).map_err(|error| read_error(&path, error))?;
        Ok(Self { digest, size, offset: 0, path, file, hasher: Sha256::new(), compressible: true })
    }

    /// The next piece; the last one only if everything had the right hash.
    fn next_piece(&mut self, engine: &mut Compress) -> Result<Piece, SnapshotError> {
        let changed = || SnapshotError::Changed { path: self.path.clone() };
        let length = (self.size - self.offset).min(PIECE as u64);
        let mut data = Vec::with_capacity(length as usize);
        let read = (&self.file).take(length).read_to_end(&mut data);
        if read.map_err(|error| read_error(&self.path, error))? as u64 != length {
            return Err(changed());
        }
        self.hasher.update(&data);
        let offset = self.offset;
        self.offset += length;
        if self.offset == self.size && Digest::finish(self.hasher.clone()) != self.digest {
            return Err(changed());
        }
        let smaller = (self.compressible && data.len() >= WORTH_COMPRESSING)
            .then(|| compress_if_smaller(engine, &data))
            .flatten();
        self.compressible = smaller.is_some();
        let compressed = smaller.is_some();
        let data = Bytes::from(smaller.unwrap_or(data));
        Ok(Piece { digest: self.digest, size: self.size, offset, compressed, data })
    }
}

fn read_error(path: &Path, error: io::Error) -> SnapshotError {
    match error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP) {
        true => SnapshotError::Changed { path: path.into() },
        false => SnapshotError::Unreadable { path: path.into(), source: error },
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
