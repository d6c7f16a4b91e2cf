//! What never goes into a snapshot, whatever the ignore files say.
//!
//! Looks at names and at the tags that tools leave in their directories. Never at contents of
//! the project itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Git-style ignore files of the project that speak to cloudist alone.
pub const IGNORE_FILE: &str = ".cloudistignore";

const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Repositories' own data, byte code, and caches and environments that are made anew anywhere.
pub fn leaves_out_directory(path: &Path) -> bool {
    const NAMES: [&str; 10] = [
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".tox",
        ".nox",
        ".hypothesis",
    ];
    let name = path.file_name().unwrap_or_default();
    NAMES.iter().any(|known| name == *known) || path.join("pyvenv.cfg").is_file() || is_tagged_cache(path)
}

/// Byte code, and the file that stands for a repository in its work trees.
pub fn leaves_out_file(name: &OsStr) -> bool {
    name == ".git" || name.as_bytes().ends_with(b".pyc")
}

fn is_tagged_cache(directory: &Path) -> bool {
    let mut start = [0; CACHE_TAG.len()];
    let read = File::open(directory.join("CACHEDIR.TAG")).and_then(|mut tag| tag.read_exact(&mut start));
    read.is_ok() && start == CACHE_TAG
}
