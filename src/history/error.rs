//! What can be wrong with the history.
//!
//! Says which file, and whether it is damaged; what follows from that is the caller's.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history has no place")]
    Nowhere { source: io::Error },
    #[error("the directory of the history {path} can't be used")]
    Directory { path: PathBuf, source: io::Error },
    #[error("failed to lock the history {path}")]
    Lock { path: PathBuf, source: io::Error },
    #[error("failed to {doing} the history {path}")]
    Database { doing: &'static str, path: PathBuf, source: rusqlite::Error },
    #[error(
        "the history {path} is of version {found}, made by a newer cloudist; this one knows versions up to {known}"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("failed to set the damaged history {path} aside")]
    SetAside { path: PathBuf, source: io::Error },
    #[error("{name} holds no durations as pytest-split keeps them")]
    Durations { name: String, source: serde_json::Error },
}

impl HistoryError {
    /// Whether the file is not, or no longer, a history.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_damage(source),
            _ => false,
        }
    }
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}
