//! The Python environment of a machine: asked for before the snapshot goes out, settled once that is in place.
//!
//! Brings what the machine says that it can't fetch. Decides nothing about what belongs into an environment.

use bytes::Bytes;
use tokio::{fs, io::AsyncReadExt, sync::mpsc};

use super::{
    Command, Event, MachineError, Stage, Teller,
    link::Link,
    modules::{self, Bundle},
    supply,
};
use crate::{
    environment::{self, Description, File, Request},
    protocol::runner::{EnvironmentNeed, FromRunner, ToRunner},
    snapshot::{self, Digest},
    text,
};

/// Bytes of a file in one message.
const PIECE: usize = 1 << 20;

/// Asks for the environment. Its answer comes whenever it does; [`settle`] waits for it.
pub async fn ask(link: &mut Link, request: &Request) -> Result<(), MachineError> {
    modules::bring(&mut link.outgoing, Bundle::Environment).await?;
    let body = Bytes::from(snapshot::compress(&request.encode()));
    link.outgoing.send_with(&ToRunner::Environment, body).await
}

/// Waits until the environment is there; answers its interpreter, if it has one of its own.
///
/// Others may be served from `snapshot` meanwhile: building takes longer than handing on.
pub async fn settle(
    link: &mut Link,
    request: &Request,
    (snapshot, orders): (&Digest, &mut mpsc::UnboundedReceiver<Command>),
    teller: &Teller,
) -> Result<Option<String>, MachineError> {
    let machine = link.machine().to_owned();
    let failed = |detail: String| MachineError::Environment { machine: machine.clone(), detail, log: String::new() };
    let mut brought: Option<(Request, Vec<File>)> = None;
    loop {
        let (message, blob) = tokio::select! {
            message = link.incoming.next_of_environment() => message?,
            Some(order) = orders.recv() => {
                supply::obey(order, &mut link.outgoing, snapshot).await?;
                continue;
            }
        };
        match message {
            FromRunner::EnvOutput => teller.tell(Event::InitOutput(blob)).await,
            FromRunner::EnvNeed(EnvironmentNeed::Wheelhouse { machine: tags }) => {
                let files = environment::collect(request, &tags)
                    .await
                    .map_err(|error| failed(format!("it can't fetch packages, and {}", text::chain(&error))))?;
                let with_files = request.with_files(files.clone());
                ask(link, &with_files).await?;
                brought = Some((with_files, files));
            }
            FromRunner::EnvNeed(EnvironmentNeed::Files { lacking }) => {
                let Some((with_files, files)) = &brought else {
                    return Err(failed("it asked for files that were never offered".into()));
                };
                for file in files.iter().filter(|file| lacking.iter().any(|other| other.sha256 == file.sha256)) {
                    bring(link, file).await?;
                }
                ask(link, with_files).await?;
            }
            FromRunner::EnvDone { status: 0, python, .. } => {
                if let Ok(Some(there)) = serde_json::from_slice::<Option<Description>>(&blob) {
                    report(&machine, request, &there, teller).await?;
                }
                return Ok(python);
            }
            FromRunner::EnvDone { tail, log, .. } => {
                return Err(MachineError::Environment { machine, detail: tail, log });
            }
            FromRunner::Error { message, .. } => return Err(failed(message)),
            other => match supply::about_seeding(other) {
                Ok(contents) => teller.tell(Event::Contents(contents)).await,
                Err(other) => return Err(failed(format!("its runner sent {other:?} out of turn"))),
            },
        }
    }
}

/// Names what differs, before any test runs.
async fn report(machine: &str, request: &Request, there: &Description, teller: &Teller) -> Result<(), MachineError> {
    let differences = request.differences(there);
    if differences.is_empty() {
        return Ok(());
    }
    let detail = differences.join("; ");
    if request.strict {
        return Err(MachineError::Differs { machine: machine.into(), detail });
    }
    teller.tell(Event::Differs(detail)).await;
    Ok(())
}

async fn bring(link: &mut Link, file: &File) -> Result<(), MachineError> {
    let unreadable = |error: std::io::Error| MachineError::Environment {
        machine: String::new(),
        detail: format!("failed to read {}: {error}", file.path.display()),
        log: String::new(),
    };
    let mut source = fs::File::open(&file.path).await.map_err(unreadable)?;
    let mut offset = 0;
    while offset < file.size {
        let mut piece = vec![0; PIECE.min((file.size - offset) as usize)];
        source.read_exact(&mut piece).await.map_err(unreadable)?;
        let header =
            ToRunner::EnvFile { name: file.name.clone(), sha256: file.sha256.clone(), size: file.size, offset };
        offset += piece.len() as u64;
        link.outgoing.send_with(&header, piece.into()).await?;
    }
    Ok(())
}

/// The stage, for those who follow.
pub async fn enter(link: &mut Link, teller: &Teller) {
    link.enter(Stage::Environment);
    teller.tell(Event::Entered(Stage::Environment)).await;
}
