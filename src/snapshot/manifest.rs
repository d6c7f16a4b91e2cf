//! The manifest: which paths a snapshot has and what is at each, in one canonical byte form.
//!
//! Pure. The same set of entries always gives the same bytes, and so the same snapshot id.
//! Never touches a file system: `scan` finds what goes in, the machine's store reads it.

use std::collections::BTreeMap;

use super::digest::Digest;

const HEADER: &[u8] = b"cloudist-manifest 2\n";

/// A path inside a snapshot: raw bytes, parts joined by `/`, no part empty, `.` or `..`.
pub type SnapshotPath = Vec<u8>;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File {
        digest: Digest,
        size: u64,
        mode: Mode,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// A directory with nothing below it; all others follow from the paths.
    EmptyDirectory,
}

/// The only part of a file's permissions that a snapshot keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Executable,
}

/// Why bytes or entries are not a manifest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestError {
    #[error("failed to read the manifest: it is of another version")]
    Version,
    #[error("failed to read the manifest: record {record} is malformed")]
    Malformed { record: usize },
    #[error("failed to read the manifest: record {record} is out of order")]
    Unordered { record: usize },
    #[error("the path {path:?} can not be part of a snapshot")]
    Path { path: String },
    #[error("the symbolic link {path:?} has a target that no file system takes")]
    Target { path: String },
    #[error("the path {path:?} is both a directory with entries and something else")]
    Conflict { path: String },
}

/// All entries of a snapshot, sorted by raw path bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: BTreeMap<SnapshotPath, Node>,
}

impl Manifest {
    /// Checks the entries against each other. An empty directory that turns out to have
    /// entries is dropped, any other conflict is an error.
    pub fn new(entries: impl IntoIterator<Item = (SnapshotPath, Node)>) -> Result<Self, ManifestError> {
        let mut entries: BTreeMap<_, _> = entries.into_iter().collect();
        let mut occupied = Vec::new();
        let mut beside: &[u8] = &[];
        for (path, node) in &entries {
            check(path, node)?;
            let mut below = path.as_slice();
            // What lies in one directory has the same ones above it.
            if parent(below).is_some_and(|parent| parent == beside) {
                continue;
            }
            beside = parent(below).unwrap_or_default();
            while let Some(parent) = parent(below) {
                match entries.get(parent) {
                    None => {}
                    Some(Node::EmptyDirectory) => occupied.push(parent.to_vec()),
                    Some(_) => return Err(ManifestError::Conflict { path: shown(parent) }),
                }
                below = parent;
            }
        }
        for path in occupied {
            entries.remove(&path);
        }
        Ok(Self { entries })
    }

    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&[u8], &Node)> {
        self.entries.iter().map(|(path, node)| (path.as_slice(), node))
    }

    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.entries.get(path)
    }

    /// The canonical bytes: the header line, then one record an entry in order of its path.
    ///
    /// ```text
    /// f <size> <sha256> <path> NUL          a file, mode 0644
    /// x <size> <sha256> <path> NUL          a file, mode 0755
    /// l <path> NUL <target> NUL             a symbolic link
    /// d <path> NUL                          an empty directory
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER.len() + self.entries.len() * 128);
        bytes.extend_from_slice(HEADER);
        for (path, node) in &self.entries {
            match node {
                Node::File { digest, size, mode } => {
                    bytes.push(match mode {
                        Mode::Plain => b'f',
                        Mode::Executable => b'x',
                    });
                    bytes.push(b' ');
                    bytes.extend_from_slice(size.to_string().as_bytes());
                    bytes.push(b' ');
                    bytes.extend_from_slice(&digest.hex());
                    bytes.push(b' ');
                    bytes.extend_from_slice(path);
                }
                Node::Symlink { target } => {
                    bytes.extend_from_slice(b"l ");
                    bytes.extend_from_slice(path);
                    bytes.push(0);
                    bytes.extend_from_slice(target);
                }
                Node::EmptyDirectory => {
                    bytes.extend_from_slice(b"d ");
                    bytes.extend_from_slice(path);
                }
            }
            bytes.push(0);
        }
        bytes
    }

    /// Reads canonical bytes; bytes that `encode` would not have written are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let body = bytes.strip_prefix(HEADER).ok_or(ManifestError::Version)?;
        let mut fields = body.split(|byte| *byte == 0);
        let mut entries = BTreeMap::new();
        let mut count = 0;
        loop {
            let malformed = ManifestError::Malformed { record: count };
            let Some(record) = fields.next() else {
                return Err(malformed);
            };
            if record.is_empty() {
                if fields.next().is_some() {
                    return Err(malformed);
                }
                break;
            }
            let (path, node) = parse_record(record, &mut fields).ok_or(malformed)?;
            if entries.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(ManifestError::Unordered { record: count });
            }
            entries.insert(path, node);
            count += 1;
        }
        let manifest = Self::new(entries)?;
        match manifest.entries.len() == count {
            true => Ok(manifest),
            false => Err(ManifestError::Malformed { record: count }),
        }
    }

    /// The snapshot's id: the SHA-256 of the canonical bytes.
    pub fn id(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// Content and size of each file, in the order of the paths: messages name files by their number in it.
    pub fn files(&self) -> Vec<(Digest, u64)> {
        let files = self.entries.values().filter_map(|node| match node {
            Node::File { digest, size, .. } => Some((*digest, *size)),
            _ => None,
        });
        files.collect()
    }

    /// The files whose contents another snapshot lacks, each content once: number, size, and what the other one has in
    /// the file's place.
    pub fn lacking<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = (u32, u64, Option<Digest>)> + 'a {
        let mut seen: std::collections::HashSet<_> = old.files().into_iter().map(|(digest, _)| digest).collect();
        let files = self.entries.iter().filter_map(|(path, node)| match node {
            Node::File { digest, size, .. } => Some((path, *digest, *size)),
            _ => None,
        });
        files.enumerate().filter(move |(_, (_, digest, _))| seen.insert(*digest)).map(|(number, (path, _, size))| {
            let before = old.entries.get(path).and_then(|node| match node {
                Node::File { digest, .. } => Some(*digest),
                _ => None,
            });
            (number as u32, size, before)
        })
    }
}

fn parse_record<'a>(record: &[u8], rest: &mut impl Iterator<Item = &'a [u8]>) -> Option<(SnapshotPath, Node)> {
    let (kind, body) = record.split_first_chunk::<2>()?;
    let file = |mode| {
        let mut parts = body.splitn(3, |byte| *byte == b' ');
        let size = number(parts.next()?)?;
        let digest = Digest::from_hex(parts.next()?)?;
        Some((parts.next()?.to_vec(), Node::File { digest, size, mode }))
    };
    match kind {
        b"f " => file(Mode::Plain),
        b"x " => file(Mode::Executable),
        b"l " => Some((body.to_vec(), Node::Symlink { target: rest.next()?.to_vec() })),
        b"d " => Some((body.to_vec(), Node::EmptyDirectory)),
        _ => None,
    }
}

/// A decimal number as `encode` writes it: digits alone, no zero in front.
fn number(text: &[u8]) -> Option<u64> {
    let canonical = text.iter().all(u8::is_ascii_digit) && (text == b"0" || text.first() != Some(&b'0'));
    canonical.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn check(path: &[u8], node: &Node) -> Result<(), ManifestError> {
    let acceptable = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    if !path.split(|byte| *byte == b'/').all(acceptable) {
        return Err(ManifestError::Path { path: shown(path) });
    }
    match node {
        Node::Symlink { target } if target.is_empty() || target.contains(&0) => {
            Err(ManifestError::Target { path: shown(path) })
        }
        _ => Ok(()),
    }
}

fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|byte| *byte == b'/').map(|slash| &path[..slash])
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
