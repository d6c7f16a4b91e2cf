//! Which work goes together: the parcels in which tests and files are handed out.
//!
//! Arithmetic on numbers alone; who gets a parcel is decided elsewhere.

use std::num::NonZeroU32;

use crate::model::FileId;

use super::config::{Config, Mode};

/// A group of tests that stays together: a file, or a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ParcelId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// Single tests may leave their parcel.
    Divisible,
    /// A parcel is handed out, and taken back, as a whole.
    Whole,
}

/// The size of a chunk is known once the number of files, or of tests, is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grouping {
    ByFile(Parting),
    FileChunks {
        chunks: u32,
        size: Option<NonZeroU32>,
    },
    TestChunks {
        chunks: u32,
        size: Option<NonZeroU32>,
    },
    /// As each test's bundle says.
    Bundles,
    /// By file, for a worker that has them all to itself.
    Copies,
}

impl Grouping {
    pub fn new(config: &Config) -> Self {
        let chunks = config.chunks_per_worker.map(|each| each.get().saturating_mul(config.planned_workers.max(1)));
        match (config.mode, chunks) {
            (Mode::Test, None) => Grouping::ByFile(Parting::Divisible),
            (Mode::File, None) => Grouping::ByFile(Parting::Whole),
            (Mode::Test, Some(chunks)) => Grouping::TestChunks { chunks, size: None },
            (Mode::File, Some(chunks)) => Grouping::FileChunks { chunks, size: None },
            (Mode::Bundle, _) => Grouping::Bundles,
            (Mode::Each, _) => Grouping::Copies,
        }
    }

    pub fn parting(self) -> Parting {
        match self {
            Grouping::ByFile(parting) => parting,
            Grouping::Copies => Parting::Divisible,
            Grouping::FileChunks { .. } | Grouping::TestChunks { .. } | Grouping::Bundles => Parting::Whole,
        }
    }

    /// Whether it is known to which parcel a test belongs as soon as its file is collected.
    pub fn is_known_early(self) -> bool {
        !matches!(self, Grouping::TestChunks { .. })
    }

    /// Whether the rest of a parcel that was begun may go to another worker than its beginning.
    pub fn splits_begun(self) -> bool {
        matches!(self, Grouping::ByFile(Parting::Divisible) | Grouping::TestChunks { .. } | Grouping::Copies)
    }

    pub fn files_known(&mut self, files: u32) {
        if let Grouping::FileChunks { chunks, size } = self {
            *size = NonZeroU32::new(files.div_ceil(*chunks).max(1));
        }
    }

    pub fn tests_known(&mut self, tests: u32) {
        if let Grouping::TestChunks { chunks, size } = self {
            *size = NonZeroU32::new(tests.div_ceil(*chunks).max(1));
        }
    }

    /// The files, from `file` on, that are handed out with it for their first collection; none while that isn't known.
    pub fn collected_with(self, file: FileId) -> Option<std::ops::RangeInclusive<FileId>> {
        match self {
            Grouping::FileChunks { size: None, .. } => None,
            Grouping::FileChunks { size: Some(size), .. } => {
                let last = (file.0 / size).saturating_mul(size.get()).saturating_add(size.get() - 1);
                Some(file..=FileId(last))
            }
            Grouping::ByFile(_) | Grouping::TestChunks { .. } | Grouping::Bundles | Grouping::Copies => {
                Some(file..=file)
            }
        }
    }

    /// The parcel of a test, whose number over all files is `ordinal`.
    pub fn parcel(self, file: FileId, ordinal: u32, bundle: Option<u32>) -> ParcelId {
        match self {
            Grouping::Bundles => bundle.map_or(ParcelId(file.0), ParcelId),
            Grouping::FileChunks { size: Some(size), .. } => ParcelId(file.0 / size),
            Grouping::TestChunks { size: Some(size), .. } => ParcelId(ordinal / size),
            _ => ParcelId(file.0),
        }
    }
}
