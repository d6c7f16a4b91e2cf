//! Waits until files of a directory have grown, or there may be other news.
//!
//! Where the system tells of it, at once; elsewhere by looking again and again.

use std::path::Path;

pub use system::Growth;

impl Growth {
    /// Before the files are read: what is written from now on ends the next wait.
    pub fn of(directory: &Path) -> Self {
        Self::begin(directory)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::{os::fd::OwnedFd, path::Path};

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        fs::inotify::{CreateFlags, WatchFlags, add_watch, init},
        io::read,
    };

    /// A run that was killed ends without writing.
    const LONGEST: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

    pub struct Growth(Option<OwnedFd>);

    impl Growth {
        pub(super) fn begin(directory: &Path) -> Self {
            let watched = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).and_then(|watched| {
                add_watch(&watched, directory, WatchFlags::MODIFY | WatchFlags::CREATE)?;
                Ok(watched)
            });
            Self(watched.ok())
        }

        pub fn wait(&self) {
            let mut on: Vec<PollFd> = self.0.iter().map(|watched| PollFd::new(watched, PollFlags::IN)).collect();
            // Whatever it was that ended the wait, the files are looked at again.
            let _ = poll(&mut on, Some(&LONGEST));
            if let Some(watched) = &self.0 {
                let mut told = [0; 4096];
                while matches!(read(watched, &mut told), Ok(1..)) {}
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;

    use rustix::event::{Timespec, poll};

    const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

    pub struct Growth;

    impl Growth {
        pub(super) fn begin(_directory: &Path) -> Self {
            Self
        }

        pub fn wait(&self) {
            // With nothing to wait for, it lasts as long as it may.
            let _ = poll(&mut [], Some(&PAUSE));
        }
    }
}
