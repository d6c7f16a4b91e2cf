//! What a large content is made of: chunks whose bounds follow from the content, so that an edit changes few of them.
//!
//! Recipes are kept for contents that a machine has; the next version is then described by what it shares with them. A
//! chunk's hash is for finding, not for trusting: what a machine makes of chunks has to have the right hash.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use fastcdc::v2020::FastCDC;
use xxhash_rust::xxh3::xxh3_128;

use super::digest::Digest;
use super::source::Source;
use super::splice::{Difference, Splice};

/// From this size on a content is worth a recipe.
pub const LARGE: u64 = 8 << 20;

const LEAST: usize = 16 << 10;
const AVERAGE: usize = 64 << 10;
const MOST: usize = 256 << 10;

/// How many recipes are kept.
pub const KEPT: usize = 64;

const HEADER: &[u8] = b"cloudist-recipe 1\n";

/// The chunks of a content in order: length and hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    chunks: Vec<(u32, u128)>,
}

/// Cuts a content that comes piece by piece.
#[derive(Default)]
pub struct Chunker {
    pending: Vec<u8>,
    recipe: Recipe,
}

impl Chunker {
    pub fn feed(&mut self, data: &[u8]) {
        self.pending.extend_from_slice(data);
        // A chunk is certain once what follows can't change its end any more.
        self.cut(MOST);
    }

    pub fn finish(mut self) -> Recipe {
        self.cut(1);
        self.recipe
    }

    fn cut(&mut self, certain: usize) {
        let mut done = 0;
        for chunk in FastCDC::new(&self.pending, LEAST, AVERAGE, MOST) {
            if self.pending.len() - chunk.offset < certain {
                break;
            }
            done = chunk.offset + chunk.length;
            self.recipe.chunks.push((chunk.length as u32, xxh3_128(&self.pending[chunk.offset..done])));
        }
        self.pending.drain(..done);
    }
}

impl Recipe {
    /// Reads a file from where it stands.
    pub fn of(mut file: &File) -> io::Result<Self> {
        let mut chunker = Chunker::default();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(chunker.finish()),
                length => chunker.feed(&buffer[..length]),
            }
        }
    }

    pub fn size(&self) -> u64 {
        self.chunks.iter().map(|(length, _)| u64::from(*length)).sum()
    }

    /// How it is made of another one; the bytes are left where they are.
    pub fn differences(&self, old: &Self) -> Vec<Splice> {
        let mut places = HashMap::new();
        let mut at = 0;
        for (length, hash) in &old.chunks {
            places.entry((*length, *hash)).or_insert(at);
            at += u64::from(*length);
        }
        let mut difference = Difference::default();
        for (length, hash) in &self.chunks {
            match places.get(&(*length, *hash)) {
                Some(start) => difference.copy(*start, u64::from(*length)),
                None => difference.count(u64::from(*length)),
            }
        }
        difference.steps
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for (length, hash) in &self.chunks {
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&hash.to_be_bytes());
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (chunks, rest) = bytes.strip_prefix(HEADER)?.as_chunks::<20>();
        let chunk = |chunk: &[u8; 20]| {
            let (length, hash) = chunk.split_first_chunk::<4>()?;
            Some((u32::from_be_bytes(*length), u128::from_be_bytes(hash.try_into().ok()?)))
        };
        let chunks = chunks.iter().map(chunk).collect::<Option<_>>()?;
        rest.is_empty().then_some(Self { chunks })
    }
}

/// Where recipes are kept, by the hash of their content.
#[derive(Clone, Debug)]
pub struct Recipes {
    directory: PathBuf,
}

impl Recipes {
    pub fn new(cache_dir: &Path) -> Self {
        Self { directory: cache_dir.join("recipes") }
    }

    pub fn load(&self, content: &Digest) -> Option<Recipe> {
        Recipe::parse(&fs::read(self.path(content)).ok()?)
    }

    /// Makes the recipe of a content, unless it is known.
    pub fn record(&self, content: &Digest, source: &Source) -> io::Result<()> {
        if let Ok(known) = File::open(self.path(content)) {
            return known.set_modified(SystemTime::now());
        }
        let (mut file, mut check) = source.open().map_err(io::Error::other)?;
        let mut chunker = Chunker::default();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                length => {
                    check.take(&buffer[..length]);
                    chunker.feed(&buffer[..length]);
                }
            }
        }
        if !check.agrees(&file, *content)? {
            return Err(io::Error::other(source.changed()));
        }
        self.save(content, &chunker.finish())
    }

    pub fn save(&self, content: &Digest, recipe: &Recipe) -> io::Result<()> {
        if let Ok(known) = File::open(self.path(content)) {
            return known.set_modified(SystemTime::now());
        }
        fs::create_dir_all(&self.directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&recipe.encode())?;
        file.persist(self.path(content)).map_err(|error| error.error)?;
        super::remembered::keep_newest(&self.directory, KEPT)
    }

    fn path(&self, content: &Digest) -> PathBuf {
        self.directory.join(content.to_string())
    }
}

/// Reads the new bytes of a content that is sent in terms of another one.
pub struct Patching {
    pub old: Digest,
    file: File,
    steps: std::collections::VecDeque<Splice>,
    offset: u64,
}

impl Patching {
    pub fn new(file: File, old: Digest, steps: Vec<Splice>) -> Self {
        Self { old, file, steps: steps.into(), offset: 0 }
    }

    pub fn inserted(&self) -> u64 {
        self.steps.iter().map(|step| if let Splice::Insert(length) = step { *length } else { 0 }).sum()
    }

    /// The offset of the next piece, its steps, and the bytes for them, which are no more than `limit`.
    pub fn next(&mut self, limit: u64) -> io::Result<Option<(u64, Vec<Splice>, Bytes)>> {
        let offset = self.offset;
        let (mut steps, mut data) = (Vec::new(), Vec::new());
        while let Some(step) = self.steps.pop_front() {
            let length = match step {
                Splice::Copy { length, .. } => {
                    steps.push(step);
                    length
                }
                Splice::Insert(length) => {
                    let room = limit - data.len() as u64;
                    let now = length.min(room);
                    if now < length {
                        self.steps.push_front(Splice::Insert(length - now));
                    }
                    if now == 0 {
                        break;
                    }
                    let start = data.len();
                    data.resize(start + now as usize, 0);
                    self.file.read_exact_at(&mut data[start..], self.offset)?;
                    steps.push(Splice::Insert(now));
                    now
                }
            };
            self.offset += length;
        }
        Ok((!steps.is_empty()).then(|| (offset, steps, data.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn recipe(content: &[u8], piece: usize) -> Recipe {
        let mut chunker = Chunker::default();
        content.chunks(piece).for_each(|piece| chunker.feed(piece));
        chunker.finish()
    }

    #[test]
    fn chunks_do_not_depend_on_the_pieces() {
        let content = noise(3_000_000, 1);
        let whole = recipe(&content, content.len());
        assert_eq!(whole.size(), 3_000_000);
        for piece in [1000, 65_536, 1_000_001] {
            assert_eq!(recipe(&content, piece), whole);
        }
        assert_eq!(Recipe::parse(&whole.encode()), Some(whole));
        assert_eq!(Recipe::parse(b"junk"), None);
    }

    #[test]
    fn an_insertion_costs_a_chunk_or_two() {
        let old = noise(4_000_000, 2);
        let new = [&old[..2_000_000], b"inserted", &old[2_000_000..]].concat();
        let steps = recipe(&new, 1 << 20).differences(&recipe(&old, 1 << 20));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        fs::write(&path, &new).unwrap();
        let mut patching = Patching::new(File::open(&path).unwrap(), Digest::of(&old), steps);
        assert!(patching.inserted() < 3 * MOST as u64);
        let mut made = Vec::<u8>::new();
        while let Some((offset, steps, data)) = patching.next(50_000).unwrap() {
            assert_eq!(offset, made.len() as u64);
            assert!(data.len() <= 50_000);
            let mut data = &data[..];
            for step in steps {
                match step {
                    Splice::Copy { start, length } => made.extend(&old[start as usize..(start + length) as usize]),
                    Splice::Insert(length) => made.extend(data.split_off(..length as usize).unwrap()),
                }
            }
        }
        assert!(made == new);
    }
}
