//! `cloudist cp`: copies files and directories between here and a machine, by SFTP.
//!
//! Paths there that don't begin with a slash lie in the project's directory. Links are followed; times are not kept.

use std::{
    future::Future,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    pin::Pin,
};

use russh_sftp::client::SftpSession;
use russh_sftp::protocol::FileAttributes;
use tokio::{
    fs,
    io::{AsyncReadExt, AsyncWriteExt},
};

use super::{args::CpArgs, broken, connect, look};
use crate::{
    frontend::failure::{Failure, exit_code},
    registry::{Live, Place},
};

const PIECE: usize = 256 << 10;

type Copying<'a> = Pin<Box<dyn Future<Output = Result<u64, String>> + 'a>>;

pub async fn cp(args: CpArgs) -> Result<u8, Failure> {
    let runs = look()?;
    let (from, to) = (there(&runs, &args.from), there(&runs, &args.to));
    let place = match (from, to) {
        (Some((place, _)), None) | (None, Some((place, _))) => place,
        _ => {
            return Err(Failure::new(
                exit_code::SETTINGS,
                "one of the two paths has to be on a machine, the other here",
            )
            .with_help("write MACHINE:PATH for one of them; `cloudist ps` names the machines"));
        }
    };
    let session = connect(place).await?;
    let stream = session.subsystem("sftp").await.map_err(broken)?;
    let copied = match SftpSession::new(stream).await {
        Err(error) => Err(format!("file transfer with {} did not begin: {error}", place.machine.name)),
        Ok(sftp) => match (from, to) {
            (Some((place, path)), _) => {
                let source = remote(place, path);
                let target = PathBuf::from(&args.to);
                let target = if target.is_dir() { target.join(last(&source)) } else { target };
                fetch(&sftp, source, target, args.recursive).await
            }
            (None, Some((place, path))) => {
                let source = PathBuf::from(&args.from);
                let target = remote(place, path);
                let into = sftp.metadata(&target).await.is_ok_and(|there| there.is_dir());
                let name = source.file_name().unwrap_or_default().to_string_lossy();
                let target = if into { join(&target, &name) } else { target };
                send(&sftp, source, target, args.recursive).await
            }
            (None, None) => Ok(0),
        },
    };
    session.disconnect().await;
    copied.map(|_| 0).map_err(|message| Failure::new(exit_code::SYNC, message))
}

/// The machine and the path there that are meant, if the text begins with a machine's name and a colon.
fn there<'a, 'b>(runs: &'a [Live], text: &'b str) -> Option<(Place<'a>, &'b str)> {
    let named = |place: Place<'a>| {
        let names = [place.full_name(), place.machine.name.clone()];
        let path = names.iter().find_map(|name| text.strip_prefix(name.as_str())?.strip_prefix(':'))?;
        Some((place, path))
    };
    runs.iter().flat_map(Live::places).find_map(named)
}

fn remote(place: Place<'_>, path: &str) -> String {
    match &place.machine.ground {
        Some(ground) if path.is_empty() => ground.cwd.clone(),
        Some(ground) if !path.starts_with('/') => join(&ground.cwd, path),
        _ if path.is_empty() => ".".to_owned(),
        _ => path.to_owned(),
    }
}

fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

fn fetch(sftp: &SftpSession, from: String, to: PathBuf, recursive: bool) -> Copying<'_> {
    Box::pin(async move {
        let there = |error: &dyn std::fmt::Display| format!("{from} on the machine: {error}");
        let here = |error: std::io::Error| format!("{}: {error}", to.display());
        let metadata = sftp.metadata(&from).await.map_err(|error| there(&error))?;
        if metadata.is_dir() {
            if !recursive {
                return Err(format!("{from} is a directory: --recursive copies it"));
            }
            fs::create_dir_all(&to).await.map_err(here)?;
            let mut count = 0;
            for entry in sftp.read_dir(&from).await.map_err(|error| there(&error))? {
                let name = entry.file_name();
                // A name is one, whoever says it.
                if name.contains('/') || name == ".." || name == "." {
                    continue;
                }
                count += fetch(sftp, join(&from, &name), to.join(&name), true).await?;
            }
            return Ok(count);
        }
        let mut source = sftp.open(&from).await.map_err(|error| there(&error))?;
        let mut target = fs::File::create(&to).await.map_err(here)?;
        let mut buffer = vec![0; PIECE];
        loop {
            match source.read(&mut buffer).await.map_err(|error| there(&error))? {
                0 => break,
                length => target.write_all(&buffer[..length]).await.map_err(here)?,
            }
        }
        target.flush().await.map_err(here)?;
        if let Some(mode) = metadata.permissions {
            target.set_permissions(std::fs::Permissions::from_mode(mode & 0o777)).await.map_err(here)?;
        }
        Ok(1)
    })
}

fn send(sftp: &SftpSession, from: PathBuf, to: String, recursive: bool) -> Copying<'_> {
    Box::pin(async move {
        let there = |error: &dyn std::fmt::Display| format!("{to} on the machine: {error}");
        let here = |error: std::io::Error| format!("{}: {error}", from.display());
        let metadata = fs::metadata(&from).await.map_err(here)?;
        if metadata.is_dir() {
            return if recursive {
                send_directory(sftp, &from, &to).await
            } else {
                Err(format!("{} is a directory: --recursive copies it", from.display()))
            };
        }
        let mut source = fs::File::open(&from).await.map_err(here)?;
        let mut target = sftp.create(&to).await.map_err(|error| there(&error))?;
        let mut buffer = vec![0; PIECE];
        loop {
            match source.read(&mut buffer).await.map_err(here)? {
                0 => break,
                length => target.write_all(&buffer[..length]).await.map_err(|error| there(&error))?,
            }
        }
        target.shutdown().await.map_err(|error| there(&error))?;
        let mode = metadata.permissions().mode() & 0o777;
        let attributes = FileAttributes { permissions: Some(mode), ..FileAttributes::empty() };
        sftp.set_metadata(&to, attributes).await.map_err(|error| there(&error))?;
        Ok(1)
    })
}

async fn send_directory(sftp: &SftpSession, from: &Path, to: &str) -> Result<u64, String> {
    if sftp.metadata(to).await.is_err() {
        sftp.create_dir(to).await.map_err(|error| format!("{to} on the machine: {error}"))?;
    }
    let here = |error: std::io::Error| format!("{}: {error}", from.display());
    let mut entries = fs::read_dir(from).await.map_err(here)?;
    let mut count = 0;
    while let Some(entry) = entries.next_entry().await.map_err(here)? {
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| format!("{}: its name is not UTF-8", entry.path().display()))?;
        count += send(sftp, entry.path(), join(to, name), true).await?;
    }
    Ok(count)
}
