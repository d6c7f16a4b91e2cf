//! The snapshot: a content-addressed picture of the project's code, and its way to a machine.
//!
//! `manifest`, `mapping`, `roots`, `limits` and `digest` are pure; `scan` reads the local disk and
//! `sync` cuts contents into pieces. Nothing here talks to a machine: `templates/store.py` is there.

mod digest;
mod error;
mod extra;
mod found;
mod hashing;
mod limits;
mod links;
mod manifest;
mod mapping;
mod roots;
mod rules;
mod scan;
mod stat_cache;
mod sync;
mod tracked;
mod walk;

pub use digest::{Digest, MalformedDigest};
pub use error::{SnapshotError, Warning};
pub use limits::{Excess, Limits, Weight};
pub use manifest::{Difference, Manifest, ManifestError, Mode, Node, SnapshotPath};
pub use mapping::{Layout, Mapping};
pub use rules::IGNORE_FILE;
pub use scan::{Request, Snapshot, Sources, take};
pub use sync::{PIECE, Piece, Pieces, compress};

#[cfg(test)]
mod scan_tests;
