//! A running answer of a server: read on a thread that may block, ended from outside.

use std::time::Instant;

use outcrop_api::{BoxFuture, Error, ErrorKind, EventStream, Result, StreamEvent};
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use ureq::Agent;

use super::answer::{Answer, Chunk};
use super::connection::Connection;
use super::server_events::ServerEvents;

/// Events that may wait for a slow reader before the connection waits too.
const WAITING: usize = 64;

/// What the reading thread sends.
enum Sent {
    /// The server has begun to answer.
    Begun,
    Event(StreamEvent),
}

/// The events of a server's answer. Dropping it closes the connection.
pub(super) struct RemoteStream {
    sent: Receiver<Result<Sent>>,
    deadline: Option<Instant>,
    is_over: bool,
    _open: Open,
}

/// An open request, which ends with this.
pub(super) struct Open(pub Agent);

impl Drop for Open {
    fn drop(&mut self) {
        // Wakes the thread that waits for the server, and closes its connection.
        self.0.clone().shutdown();
    }
}

/// Asks the server and waits until it begins to answer.
///
/// # Errors
/// What the server or the way to it says; `ModelTimeoutException` at the deadline.
pub(super) async fn open(
    connection: Connection,
    body: Value,
    deadline: Option<Instant>,
) -> Result<RemoteStream> {
    let (sender, sent) = channel(WAITING);
    let open = Open(connection.agent());
    let agent = open.0.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&connection, &agent, &body, &sender) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    let mut stream = RemoteStream {
        sent,
        deadline,
        is_over: false,
        _open: open,
    };
    match stream.receive().await {
        Some(Ok(_)) => Ok(stream),
        Some(Err(error)) => Err(error),
        None => Err(Error::internal("the remote answer ended before it began")),
    }
}

/// Reads the answer until its end, or until nobody listens.
fn read(
    connection: &Connection,
    agent: &Agent,
    body: &Value,
    sender: &Sender<Result<Sent>>,
) -> Result<()> {
    let response = connection.post(agent, "chat/completions", body)?;
    if sender.blocking_send(Ok(Sent::Begun)).is_err() {
        return Ok(());
    }
    let mut events = ServerEvents::new(response.into_body().into_reader());
    let mut answer = Answer::default();
    let ended = |why: String| {
        Error::new(
            ErrorKind::ModelStreamErrorException,
            connection.unexpected(why).message(),
        )
    };
    while let Some(data) = events.next().map_err(|error| connection.broken(&error))? {
        if data.trim() == "[DONE]" {
            break;
        }
        let chunk: Chunk = serde_json::from_str(&data)
            .map_err(|error| ended(format!("expected a chunk of an answer: {error}")))?;
        if let Some(error) = &chunk.error {
            return Err(connection.failed(error));
        }
        for event in answer.push(chunk).map_err(ended)? {
            if sender.blocking_send(Ok(Sent::Event(event))).is_err() {
                return Ok(());
            }
        }
    }
    for event in answer.finish().map_err(ended)? {
        let _ = sender.blocking_send(Ok(Sent::Event(event)));
    }
    Ok(())
}

impl RemoteStream {
    async fn receive(&mut self) -> Option<Result<Sent>> {
        let Some(deadline) = self.deadline else {
            return self.sent.recv().await;
        };
        match tokio::time::timeout_at(deadline.into(), self.sent.recv()).await {
            Ok(sent) => sent,
            Err(_) => Some(Err(Error::new(
                ErrorKind::ModelTimeoutException,
                "deadline_ms: the server took longer than the request allows",
            ))),
        }
    }

    async fn step(&mut self) -> Option<Result<StreamEvent>> {
        while !self.is_over {
            match self.receive().await? {
                Ok(Sent::Begun) => {}
                Ok(Sent::Event(event)) => return Some(Ok(event)),
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl EventStream for RemoteStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>> {
        Box::pin(self.step())
    }
}
