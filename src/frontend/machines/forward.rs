//! `cloudist forward`: a port here that leads to a port on a machine, for debuggers and notebooks.
//!
//! Listens on the loopback address alone.

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{args::ForwardArgs, connect, find, look};
use crate::{
    frontend::failure::{Failure, exit_code},
    ssh::{Child, Session},
    text,
};

const HOST: &str = "127.0.0.1";
const PIECE: usize = 64 << 10;

pub async fn forward(args: ForwardArgs) -> Result<u8, Failure> {
    let (here, there) = ports(&args.ports).ok_or_else(|| {
        Failure::new(exit_code::SETTINGS, format!("{:?} is no port, and no two ports", args.ports))
            .with_help("write PORT, or HERE:THERE, where 0 stands for any free port here")
    })?;
    let runs = look()?;
    let place = find(&runs, args.machine.as_deref())?;
    let listener = TcpListener::bind((HOST, here)).await.map_err(|error| {
        Failure::new(exit_code::SETTINGS, format!("failed to listen on port {here}: {error}"))
            .with_help(format!("take another port here: `cloudist forward 0:{there}` finds one"))
    })?;
    let here = listener.local_addr().map_or(here, |address| address.port());
    let session = connect(place).await?;
    println!("{HOST}:{here} leads to port {there} of {}", place.machine.name);
    let failed = |error| Failure::new(exit_code::INTERNAL, format!("failed to watch for signals: {error}"));
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
    let mut connections = JoinSet::new();
    let closed = session.closed();
    tokio::pin!(closed);
    let result = loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(lead(session.clone(), stream, there).boxed());
            },
            Some(_) = connections.join_next() => {}
            why = &mut closed => {
                let message = format!("the connection to {} ended: {}", place.machine.name, text::chain(&why));
                break Err(Failure::new(exit_code::NO_MACHINE, message));
            }
            _ = interrupted.recv() => break Ok(exit_code::INTERRUPTED),
            _ = terminated.recv() => break Ok(exit_code::TERMINATED),
        }
    };
    connections.shutdown().await;
    session.disconnect().await;
    result
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok();
    match text.split_once(':') {
        Some((here, there)) => Some((port(here)?, port(there).filter(|port| *port > 0)?)),
        None => port(text).filter(|port| *port > 0).map(|port| (port, port)),
    }
}

/// One connection, until both directions have ended or one has broken.
async fn lead(session: Session, stream: TcpStream, port: u16) {
    let Child { stdin: mut there, mut stdout, stderr, process } = match session.dial(HOST, port).await {
        Ok(child) => child,
        // Said before whoever connected sees the end.
        Err(error) => return eprintln!("cloudist: port {port} there: {}", text::chain(&error)),
    };
    drop(stderr);
    stream.set_nodelay(true).ok();
    let (mut read, mut write) = stream.into_split();
    let out = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            let bytes: Bytes = match read.read_buf(&mut buffer).await {
                Ok(1..) => buffer.split().freeze(),
                Ok(0) | Err(_) => break,
            };
            if there.write(bytes).await.is_err() {
                break;
            }
        }
        drop(there);
    };
    let back = async {
        while let Some(bytes) = stdout.next().await {
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // What was sent before it ends still arrives.
        write.shutdown().await.ok();
    };
    tokio::join!(out, back);
    drop(process);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_two_numbers() {
        assert_eq!(ports("5678"), Some((5678, 5678)));
        assert_eq!(ports("0:80"), Some((0, 80)));
        assert_eq!([ports("0"), ports("1:0"), ports("a"), ports("1:2:3"), ports("70000")], [None; 5]);
    }
}
