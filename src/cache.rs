//! Where cloudist keeps what it can make again.

use std::{env, io, path::PathBuf};

/// The directory of this user: `CLOUDIST_CACHE_DIR`, else `cloudist` below `XDG_CACHE_HOME` or `~/.cache`.
pub fn directory() -> io::Result<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = named("CLOUDIST_CACHE_DIR") {
        return std::path::absolute(own);
    }
    // The specification says that a relative XDG_CACHE_HOME is to be ignored.
    named("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| named("HOME").map(|home| home.join(".cache")))
        .map(|base| base.join("cloudist"))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "neither HOME nor CLOUDIST_CACHE_DIR is set"))
}
