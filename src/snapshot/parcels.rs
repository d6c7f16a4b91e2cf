//! Puts the contents that a machine lacks into parcels for the wire: many small ones in one, a large one in many.
//!
//! Reads files, so it blocks; knows no frame and no connection. No content is ever completed of a file that has
//! changed, as far as that shows; the machine hashes what arrives.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};

use bytes::Bytes;
use flate2::write::ZlibEncoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

use super::digest::{Digest, PIECE};
use super::error::SnapshotError;
use super::manifest::Manifest;
use super::recipe::{LARGE, Patching, Recipe, Recipes};
use super::scan::Sources;
use super::source::{Check, Source};
use super::splice::Splice;

/// How much goes into one parcel; a content that is larger gets several. Whole pieces can be hashed as they arrive.
pub const PARCEL: usize = PIECE;

/// What goes of an edit that nobody asked for is no more than this.
pub const SMALL_EDIT: u64 = 1 << 20;

/// The first parcel is small, so that the machine has something to do early.
const FIRST_PARCEL: usize = 64 << 10;

/// Below this many bytes compression saves nothing that anybody would notice.
const WORTH_COMPRESSING: usize = 256;

/// A content that is to be sent: the number of a file that has it, and how much of it has arrived already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub file: u32,
    pub arrived: u64,
    /// Another content that the machine has in its place.
    pub old: Option<Digest>,
    /// Nobody has asked for it: it goes as a small edit of the old one, or not at all.
    pub unasked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parcel {
    /// Contents of these files, one after the other.
    Pack { files: Vec<u32>, compressed: bool, data: Bytes },
    /// A piece of one content.
    Part { file: u32, offset: u64, compressed: bool, data: Bytes },
    /// A piece of one content in terms of another one.
    Patch { file: u32, offset: u64, old: Digest, steps: Vec<Splice>, data: Bytes },
}

/// The wanted contents, parcel by parcel. Ends after the first error.
pub struct Parcels {
    small: VecDeque<Content>,
    large: VecDeque<Content>,
    /// The last parcel held small ones.
    packed: bool,
    current: Option<Reading>,
    patching: Option<(Patching, Content)>,
    limit: usize,
    engine: Compress,
    recipes: Option<Recipes>,
}

struct Content {
    wanted: Wanted,
    digest: Digest,
    size: u64,
    source: Source,
}

impl Parcels {
    /// Fails if the machine asks for a content that the snapshot does not have.
    pub fn new(
        manifest: &Manifest,
        sources: &Sources,
        wanted: impl IntoIterator<Item = Wanted>,
        recipes: Option<Recipes>,
    ) -> Result<Self, SnapshotError> {
        let files = manifest.files();
        let waiting = wanted.into_iter().map(|wanted| {
            let (digest, size) = *files.get(wanted.file as usize).ok_or(SnapshotError::UnknownFile(wanted.file))?;
            let source = sources.get(&digest).ok_or(SnapshotError::UnknownFile(wanted.file))?.clone();
            Ok(Content { wanted, digest, size, source })
        });
        let waiting = waiting.collect::<Result<Vec<Content>, SnapshotError>>()?;
        let (small, large): (Vec<_>, _) = waiting.into_iter().partition(|content| content.size <= PARCEL as u64);
        Ok(Self {
            small: small.into(),
            large: large.into(),
            packed: false,
            current: None,
            patching: None,
            limit: FIRST_PARCEL,
            engine: new_engine(),
            recipes,
        })
    }

    /// The next parcel, compressed if that is wished and saves something.
    pub fn next(&mut self, compress: bool) -> Option<Result<Parcel, SnapshotError>> {
        let next = self.advance(compress);
        if next.is_err() {
            self.small.clear();
            self.large.clear();
            self.patching = None;
            self.current = None;
        }
        next.transpose()
    }

    /// Small contents are work for the machine, large ones for the wire: in turn, so that the one goes on beside the other.
    fn advance(&mut self, compress: bool) -> Result<Option<Parcel>, SnapshotError> {
        if (self.packed || self.small.is_empty())
            && let Some(parcel) = self.part(compress)?
        {
            self.packed = false;
            return Ok(Some(parcel));
        }
        self.packed = !self.small.is_empty();
        if self.packed { self.pack(compress).map(Some) } else { Ok(None) }
    }

    /// The next of a large content.
    fn part(&mut self, compress: bool) -> Result<Option<Parcel>, SnapshotError> {
        if let Some((mut patching, content)) = self.patching.take() {
            let piece = patching.next(PARCEL as u64).map_err(|error| content.source.unreadable(error))?;
            if let Some((offset, steps, data)) = piece {
                let (file, old) = (content.wanted.file, patching.old);
                self.patching = Some((patching, content));
                return Ok(Some(Parcel::Patch { file, offset, old, steps, data }));
            }
        }
        if self.current.is_none() {
            let Some(content) = self.large.pop_front() else { return Ok(None) };
            let patching = self.patch(&content)?;
            if patching.is_some() || content.wanted.unasked {
                self.patching = patching.map(|patching| (patching, content));
                return self.part(compress);
            }
            self.current = Some(Reading::start(content)?);
        }
        let Some(mut reading) = self.current.take() else { return Ok(None) };
        let parcel = reading.next_part(&mut self.engine, compress)?;
        if reading.offset < reading.content.size {
            self.current = Some(reading);
        }
        Ok(Some(parcel))
    }

    /// As many small contents as fit.
    fn pack(&mut self, compress: bool) -> Result<Parcel, SnapshotError> {
        let (mut files, mut data) = (Vec::new(), Vec::with_capacity(self.limit));
        while let Some(next) = self.small.front()
            && (files.is_empty() || data.len() + next.size as usize <= self.limit)
        {
            let Content { wanted, digest, size, source } = self.small.pop_front().expect("there is a front");
            match &source.held {
                Some(content) => data.extend_from_slice(content),
                None => {
                    let start = data.len();
                    let (file, _) = source.open()?;
                    file.take(size + 1).read_to_end(&mut data).map_err(|error| source.unreadable(error))?;
                    if (data.len() - start) as u64 != size || Digest::of(&data[start..]) != digest {
                        return Err(source.changed());
                    }
                }
            }
            files.push(wanted.file);
        }
        self.limit = (self.limit * 4).min(PARCEL);
        let (compressed, data) = packed(&mut self.engine, data, compress);
        Ok(Parcel::Pack { files, compressed, data })
    }

    /// A large content in terms of the one that the machine has, if it is known what that was made of.
    fn patch(&self, content: &Content) -> Result<Option<Patching>, SnapshotError> {
        let Content { wanted, digest, size, source } = content;
        let (Some(recipes), Some(old), true) = (&self.recipes, wanted.old, *size >= LARGE && wanted.arrived == 0)
        else {
            return Ok(None);
        };
        let Some(before) = recipes.load(&old) else { return Ok(None) };
        let (file, _) = source.open()?;
        let after = Recipe::of(&file).map_err(|error| source.unreadable(error))?;
        if after.size() != *size {
            return Err(source.changed());
        }
        recipes.save(digest, &after).ok();
        let patching = Patching::new(file, old, after.differences(&before));
        let most = if wanted.unasked { SMALL_EDIT } else { size / 2 };
        Ok((patching.inserted() <= most).then_some(patching))
    }
}

impl fmt::Debug for Parcels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcels").field("waiting", &(self.small.len() + self.large.len())).finish()
    }
}

/// Compresses a manifest, or what else a machine waits for: a better level would take longer than sending what it saves.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    compress_at(bytes, Compression::fast())
}

/// Compresses what goes to all machines and is the same for all.
pub fn compress_well(bytes: &[u8]) -> Vec<u8> {
    compress_at(bytes, Compression::default())
}

fn compress_at(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2), level);
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

fn packed(engine: &mut Compress, data: Vec<u8>, compress: bool) -> (bool, Bytes) {
    let smaller = (compress && data.len() >= WORTH_COMPRESSING).then(|| compress_if_smaller(engine, &data)).flatten();
    (smaller.is_some(), Bytes::from(smaller.unwrap_or(data)))
}

/// Nothing unless an eighth is saved.
fn compress_if_smaller(engine: &mut Compress, data: &[u8]) -> Option<Vec<u8>> {
    let mut smaller = Vec::with_capacity(data.len() - data.len() / 8);
    let status = engine.compress_vec(data, &mut smaller, FlushCompress::Finish);
    if matches!(status, Ok(Status::StreamEnd)) {
        engine.reset();
        return Some(smaller);
    }
    // An engine that was stopped in the middle can't be used again: zlib-rs refers to what it has forgotten.
    *engine = new_engine();
    None
}

fn new_engine() -> Compress {
    Compress::new(Compression::fast(), true)
}

struct Reading {
    content: Content,
    offset: u64,
    file: File,
    check: Check,
    /// Turns false with the first piece that did not get smaller: the rest won't either.
    compressible: bool,
}

impl Reading {
    /// What has arrived already is not sent, and read only if all has to be hashed once more.
    fn start(content: Content) -> Result<Self, SnapshotError> {
        let (file, check) = content.source.open()?;
        let arrived = content.wanted.arrived.min(content.size.saturating_sub(1));
        let offset = if matches!(check, Check::Hash(_)) { 0 } else { arrived };
        let mut reading = Self { content, offset, file, check, compressible: true };
        while reading.offset < arrived {
            reading.read((arrived - reading.offset).min(PARCEL as u64))?;
        }
        Ok(reading)
    }

    fn read(&mut self, length: u64) -> Result<Vec<u8>, SnapshotError> {
        let length = length as usize;
        let mut data = Vec::with_capacity(length);
        while data.len() < length {
            let offset = self.offset + data.len() as u64;
            match pread(&self.file, spare_capacity(&mut data), offset) {
                Ok(0) => return Err(self.content.source.changed()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(self.content.source.unreadable(error.into())),
            }
        }
        data.truncate(length);
        self.check.take(&data);
        self.offset += length as u64;
        Ok(data)
    }

    /// The next piece; the last one only if the file is still the one that was hashed.
    fn next_part(&mut self, engine: &mut Compress, compress: bool) -> Result<Parcel, SnapshotError> {
        let offset = self.offset;
        let data = self.read((self.content.size - offset).min(PARCEL as u64))?;
        if self.offset == self.content.size {
            let check = std::mem::replace(&mut self.check, Check::Hash(Box::default()));
            let agrees = check.agrees(&self.file, self.content.digest);
            if !agrees.map_err(|error| self.content.source.unreadable(error))? {
                return Err(self.content.source.changed());
            }
        }
        let tried = compress && self.compressible;
        let (compressed, data) = packed(engine, data, tried);
        self.compressible = compressed || !tried;
        Ok(Parcel::Part { file: self.content.wanted.file, offset, compressed, data })
    }
}

#[cfg(test)]
#[path = "parcels_tests.rs"]
mod tests;
