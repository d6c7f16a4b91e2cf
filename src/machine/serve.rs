//! A prepared machine at work: commands out, messages in.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    Command, Event, MachineError, Teller,
    link::{Incoming, Link, Outgoing},
    prepare::Ground,
    supply,
};
use crate::protocol::runner::{FileSpec, ToRunner};

/// Serves until it is told to finish or the machine is lost. Answers how long the machine is to stay then, if it was told.
pub async fn serve(
    link: &mut Link,
    ground: &Ground,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    teller: &Teller,
) -> Result<Option<Duration>, MachineError> {
    let Link { outgoing, incoming, .. } = link;
    // Two loops side by side: a machine that is slow to take commands is listened to all the same.
    tokio::select! {
        told = obey(outgoing, ground, commands) => told,
        Err(lost) = listen(incoming, teller) => Err(lost),
    }
}

async fn obey(
    outgoing: &mut Outgoing,
    ground: &Ground,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) -> Result<Option<Duration>, MachineError> {
    let mut stays = None;
    while let Some(command) = commands.recv().await {
        match command {
            Command::Finish => break,
            Command::Stay(time) => stays = Some(time),
            other => obey_one(outgoing, ground, other).await?,
        }
    }
    Ok(stays)
}

pub async fn obey_one(outgoing: &mut Outgoing, ground: &Ground, command: Command) -> Result<(), MachineError> {
    let (message, blob) = match command {
        Command::Stdin { id, data, eof } => (ToRunner::Stdin { id, eof }, data),
        other => match translate(other, ground) {
            Some(message) => (message, Bytes::new()),
            None => return Ok(()),
        },
    };
    outgoing.send_with(&message, blob).await
}

async fn listen(incoming: &mut Incoming, teller: &Teller) -> Result<std::convert::Infallible, MachineError> {
    loop {
        let (message, blob) = incoming.next().await?;
        teller
            .tell(match supply::about_seeding(message) {
                Ok(contents) => Event::Contents(contents),
                Err(message) => Event::Message(message, blob),
            })
            .await;
    }
}

/// The command in the machine's own paths.
fn translate(command: Command, ground: &Ground) -> Option<ToRunner> {
    Some(match command {
        Command::Start { workers, count } => ToRunner::Start {
            workers: workers.iter().map(|worker| worker.0).collect(),
            count,
            session: Box::new(ground.session()?),
        },
        Command::Spawn(worker) => ToRunner::Spawn { worker: worker.0 },
        Command::Run { worker, file, spec, tests, execute } => {
            ToRunner::Run { worker: worker.0, file: file.0, spec: remote_spec(&spec, ground), tests, execute }
        }
        Command::Recall { worker, count } => ToRunner::Recall { worker: worker.0, count },
        Command::Close { worker, interrupt } => ToRunner::Close { worker: worker.0, interrupt },
        Command::Abort { grace } => ToRunner::Abort { grace },
        Command::Exec { id, argv, env, stdin } => ToRunner::Exec {
            id,
            argv,
            cwd: ground.cwd.clone(),
            env: with_python_path(env, ground),
            python: ground.python.clone(),
            stdin,
            account: stdin,
        },
        Command::Signal { id, signal } => ToRunner::Signal { id, signal: signal.name() },
        Command::Fetch { id, globs } => ToRunner::Fetch { id, globs, cwd: ground.cwd.clone() },
        Command::Seed(order) => supply::seed_message(*order, &ground.preparation.id),
        Command::Stdin { .. } | Command::Take(_) | Command::Stay(_) | Command::Finish => return None,
    })
}

fn remote_spec(spec: &FileSpec, ground: &Ground) -> FileSpec {
    // A file outside the snapshot belongs to the interpreter's own packages: it is looked for in the same place there.
    let remote = |path: &String| ground.mapping.to_remote(path.as_ref()).unwrap_or_else(|| path.clone());
    FileSpec {
        path: remote(&spec.path),
        chain: spec.chain.iter().map(remote).collect(),
        select: spec.select.clone(),
        initial: spec.initial,
        since: spec.since.clone(),
    }
}

/// Commands find the project's code the way the local interpreter does.
fn with_python_path(mut env: Value, ground: &Ground) -> Value {
    let sys_path = ground.sys_path();
    if let Value::Object(map) = &mut env
        && !sys_path.is_empty()
    {
        map.insert("PYTHONPATH".into(), sys_path.join(":").into());
    }
    env
}
