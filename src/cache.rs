//! Where cloudist keeps things on this computer: what it can make again, and what it cannot.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The directory of this user: `CLOUDIST_CACHE_DIR`, else `cloudist` below `XDG_CACHE_HOME` or `~/.cache`.
pub fn directory() -> io::Result<PathBuf> {
    of_user("CLOUDIST_CACHE_DIR", "XDG_CACHE_HOME", ".cache")
}

/// For what cannot be made again: `CLOUDIST_STATE_DIR`, else `cloudist` below `XDG_STATE_HOME` or `~/.local/state`.
pub fn state_directory() -> io::Result<PathBuf> {
    of_user("CLOUDIST_STATE_DIR", "XDG_STATE_HOME", ".local/state")
}

fn of_user(own: &str, shared: &str, below_home: &str) -> io::Result<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = named(own) {
        return std::path::absolute(own);
    }
    // The specification says that a relative XDG directory is to be ignored.
    named(shared)
        .filter(|path| path.is_absolute())
        .or_else(|| named("HOME").map(|home| home.join(below_home)))
        .map(|base| base.join("cloudist"))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("neither HOME nor {own} is set")))
}

/// Replaces a file whole: other runs may look at it now.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut temporary = tempfile::NamedTempFile::new_in(parent)?;
    temporary.write_all(content)?;
    temporary.persist(path)?;
    Ok(())
}
