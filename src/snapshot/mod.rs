//! The snapshot: a content-addressed picture of the project's code, and its way to a machine.
//!
//! `manifest`, `mapping`, `roots`, `limits` and `digest` are pure; `scan` reads the local disk and
//! `parcels` puts contents into parcels. Nothing here talks to a machine: `templates/remote/store.py` is there.

mod digest;
mod error;
mod extra;
mod found;
mod hashing;
mod limits;
mod links;
mod manifest;
mod mapping;
mod parcels;
mod recipe;
mod remembered;
mod roots;
mod rules;
mod scan;
mod source;
mod splice;
mod stat_cache;
mod tracked;
mod walk;

pub use digest::{Digest, MalformedDigest};
pub use error::{SnapshotError, Warning};
pub use limits::{Excess, Limits, Weight};
pub use manifest::{Manifest, ManifestError, Mode, Node, SnapshotPath};
pub use mapping::{Layout, Mapping};
pub use parcels::{Parcel, Parcels, SMALL_EDIT, Wanted, compress, compress_well};
pub use recipe::{LARGE, Recipes};
pub use remembered::Remembered;
pub use rules::IGNORE_FILE;
pub use scan::{Request, Snapshot, Sources, take};
pub use source::Source;
pub use splice::{Difference, Splice};

#[cfg(test)]
mod scan_tests;
