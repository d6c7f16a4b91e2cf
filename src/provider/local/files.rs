//! File transfer on an embedded machine: the `sftp` subsystem over its file system.
//!
//! Names that don't begin with a slash lie below the machine's home. Whoever is let in may touch what this user may.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use russh_sftp::protocol::{Attrs, Data, File as Listed, FileAttributes, Handle, Name, OpenFlags, Status, StatusCode};
use russh_sftp::server::{self, Handler, StatusReply};
use tokio::fs::{self, File, ReadDir};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, duplex, split};
use tokio::sync::mpsc;

use super::exec::copy;
use crate::ssh::{Backlog, Held};

/// The most of a file in one answer.
const PIECE: u32 = 128 << 10;
/// Names in one answer.
const NAMES: usize = 100;

/// Between the server of files and the channel.
const BETWEEN: usize = 256 << 10;

/// Serves one client in a task of its own, until the client has said all.
pub(super) fn serve(channel: Channel<Msg>, home: PathBuf, backlog: Arc<Backlog>) {
    tokio::spawn(async move {
        let (here, there) = duplex(BETWEEN);
        server::run(there, Files { home, open: HashMap::new(), opened: 0 }).await;
        let (read, write) = channel.split();
        let (said, mut heard) = split(here);
        let (sender, mut queue) = mpsc::unbounded_channel::<Held>();
        // Queued: a session that waited for the disk could not send its answers.
        let taken = take(read, sender, &backlog);
        let fed = async {
            while let Some(held) = queue.recv().await {
                if heard.write_all(held.as_ref()).await.is_err() {
                    break;
                }
            }
            let _ = heard.shutdown().await;
        };
        tokio::join!(taken, fed, async {
            copy(said, &write, &backlog, None).await;
            // Clients take a server that goes without a status for one that broke down.
            let _ = write.exit_status(0).await;
            let _ = write.eof().await;
            let _ = write.close().await;
        });
    });
}

async fn take(mut read: ChannelReadHalf, queue: mpsc::UnboundedSender<Held>, backlog: &Arc<Backlog>) {
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => drop(queue.send(backlog.hold(data))),
            ChannelMsg::Eof | ChannelMsg::Close => return,
            _ => {}
        }
    }
}

struct Files {
    home: PathBuf,
    open: HashMap<String, Open>,
    opened: u64,
}

enum Open {
    File(File),
    Directory(ReadDir),
}

/// What went wrong, as the client is told.
struct Refused(StatusReply);

impl From<Refused> for StatusReply {
    fn from(refused: Refused) -> Self {
        refused.0
    }
}

impl From<StatusCode> for Refused {
    fn from(code: StatusCode) -> Self {
        Refused(code.into())
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound => StatusCode::NoSuchFile,
            io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
            _ => StatusCode::Failure,
        };
        Refused(code.with_message(error.to_string()))
    }
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn keep(&mut self, id: u32, open: Open) -> Handle {
        self.opened += 1;
        let handle = self.opened.to_string();
        self.open.insert(handle.clone(), open);
        Handle { id, handle }
    }

    fn file(&mut self, handle: &str) -> Result<&mut File, Refused> {
        match self.open.get_mut(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(StatusCode::Failure.with_message("this is no open file").into_refused()),
        }
    }
}

trait IntoRefused {
    fn into_refused(self) -> Refused;
}

impl IntoRefused for StatusReply {
    fn into_refused(self) -> Refused {
        Refused(self)
    }
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: "ok".into(), language_tag: "en".into() }
}

fn attributes(metadata: &std::fs::Metadata) -> FileAttributes {
    FileAttributes {
        size: Some(metadata.size()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: u32::try_from(metadata.atime()).ok(),
        mtime: u32::try_from(metadata.mtime()).ok(),
        ..FileAttributes::empty()
    }
}

async fn set(path: &Path, attributes: &FileAttributes) -> io::Result<()> {
    if let Some(mode) = attributes.permissions {
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777)).await?;
    }
    if let Some(size) = attributes.size {
        File::options().write(true).open(path).await?.set_len(size).await?;
    }
    if let (Some(accessed), Some(modified)) = (attributes.atime, attributes.mtime) {
        let file = File::open(path).await?.into_std().await;
        set_times(&file, accessed, modified)?;
    }
    Ok(())
}

fn set_times(file: &std::fs::File, accessed: u32, modified: u32) -> io::Result<()> {
    let time = |seconds: u32| std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(seconds));
    file.set_times(std::fs::FileTimes::new().set_accessed(time(accessed)).set_modified(time(modified)))
}

fn single(id: u32, path: &Path) -> Name {
    Name { id, files: vec![Listed::dummy(path.to_string_lossy())] }
}

impl Handler for Files {
    type Error = Refused;

    fn unimplemented(&self) -> Refused {
        StatusCode::OpUnsupported.into()
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, Refused> {
        let mut options = File::options();
        let has = |flag| flags.contains(flag);
        options.read(has(OpenFlags::READ)).write(has(OpenFlags::WRITE)).append(has(OpenFlags::APPEND));
        options.truncate(has(OpenFlags::TRUNCATE));
        options.create(has(OpenFlags::CREATE)).create_new(has(OpenFlags::EXCLUDE));
        options.mode(attributes.permissions.unwrap_or(0o666) & 0o7777);
        let file = options.open(self.path(&filename)).await?;
        Ok(self.keep(id, Open::File(file)))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Refused> {
        if let Some(Open::File(mut file)) = self.open.remove(&handle) {
            // What was written may still be on its way to the disk.
            file.flush().await?;
        }
        Ok(done(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, Refused> {
        let file = self.file(&handle)?;
        file.seek(SeekFrom::Start(offset)).await?;
        let mut data = Vec::new();
        file.take(u64::from(len.min(PIECE))).read_to_end(&mut data).await?;
        if data.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Data { id, data }) }
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Result<Status, Refused> {
        let file = self.file(&handle)?;
        file.seek(SeekFrom::Start(offset)).await?;
        file.write_all(&data).await?;
        file.flush().await?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Refused> {
        Ok(Attrs { id, attrs: attributes(&fs::symlink_metadata(self.path(&path)).await?) })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Refused> {
        Ok(Attrs { id, attrs: attributes(&fs::metadata(self.path(&path)).await?) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Refused> {
        Ok(Attrs { id, attrs: attributes(&self.file(&handle)?.metadata().await?) })
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Refused> {
        set(&self.path(&path), &attrs).await?;
        Ok(done(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attrs: FileAttributes) -> Result<Status, Refused> {
        let file = self.file(&handle)?;
        if let Some(mode) = attrs.permissions {
            file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777)).await?;
        }
        if let Some(size) = attrs.size {
            file.set_len(size).await?;
        }
        if let (Some(accessed), Some(modified)) = (attrs.atime, attrs.mtime) {
            set_times(&file.try_clone().await?.into_std().await, accessed, modified)?;
        }
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Refused> {
        let directory = fs::read_dir(self.path(&path)).await?;
        Ok(self.keep(id, Open::Directory(directory)))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Refused> {
        let Some(Open::Directory(directory)) = self.open.get_mut(&handle) else {
            return Err(StatusCode::Failure.into());
        };
        let mut files = Vec::new();
        while files.len() < NAMES
            && let Some(entry) = directory.next_entry().await?
        {
            // One that goes away meanwhile is not there.
            if let Ok(metadata) = fs::symlink_metadata(entry.path()).await {
                files.push(Listed::new(entry.file_name().to_string_lossy(), attributes(&metadata)));
            }
        }
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Refused> {
        fs::remove_file(self.path(&filename)).await?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Refused> {
        let mode = attrs.permissions.unwrap_or(0o777) & 0o7777;
        fs::DirBuilder::new().mode(mode).create(self.path(&path)).await?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Refused> {
        fs::remove_dir(self.path(&path)).await?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Refused> {
        let path = self.path(&path);
        // What isn't there yet has a name all the same.
        let real = match fs::canonicalize(&path).await {
            Ok(real) => real,
            Err(_) => match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => fs::canonicalize(parent).await?.join(name),
                _ => path,
            },
        };
        Ok(single(id, &real))
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, Refused> {
        let to = self.path(&to);
        if fs::symlink_metadata(&to).await.is_ok() {
            return Err(StatusCode::Failure.with_message("there is a file of that name").into_refused());
        }
        fs::rename(self.path(&from), to).await?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Refused> {
        Ok(single(id, &fs::read_link(self.path(&path)).await?))
    }

    /// OpenSSH has the two the other way round than the draft, and so does everybody since.
    async fn symlink(&mut self, id: u32, target: String, link: String) -> Result<Status, Refused> {
        fs::symlink(target, self.path(&link)).await?;
        Ok(done(id))
    }
}
