//! A small server of OpenAI's form on loopback, which answers what a test tells it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// What the next request is answered with.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A whole answer.
    Whole(u16, String),
    /// Events with a pause before each; the end, or a break of the connection without one.
    Events(Vec<String>, Duration, bool),
    /// Nothing, ever.
    Silence,
}

/// What one request asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    /// Connections that the client closed before their answer was whole.
    closed: Vec<Instant>,
}

/// A running server. It ends with the process.
pub struct OpenAiServer {
    pub base_url: String,
    state: Arc<Mutex<State>>,
}

impl OpenAiServer {
    /// A server that gives every request `reply`.
    pub fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, reply) = (shared.clone(), reply.clone());
                thread::spawn(move || serve(stream, &reply, &state));
            }
        });
        Self { base_url, state }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// When a client closed its connection early, waiting up to two seconds for it.
    pub fn closed(&self) -> Option<Instant> {
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            if let Some(at) = self.state.lock().unwrap().closed.first() {
                return Some(*at);
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }
}

fn serve(mut out: TcpStream, reply: &Reply, state: &Mutex<State>) {
    let mut reader = BufReader::new(out.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or("/").to_string();
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_string());
        if name == "content-length" {
            length = value.parse().unwrap();
        }
        headers.push((name, value));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    state.lock().unwrap().asked.push(Asked {
        path,
        headers,
        body: serde_json::from_slice(&body).unwrap(),
    });
    let closed = || state.lock().unwrap().closed.push(Instant::now());
    match reply {
        Reply::Whole(status, text) => {
            let length = text.len();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{text}");
            let _ = out.write_all(head.as_bytes());
        }
        Reply::Silence => {
            let mut rest = [0];
            let _ = reader.read(&mut rest);
            closed();
        }
        Reply::Events(events, pause, is_whole) => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            let _ = out.write_all(head.as_bytes());
            for event in events {
                thread::sleep(*pause);
                out.set_nonblocking(true).unwrap();
                let mut rest = [0];
                let gone = matches!(out.peek(&mut rest), Ok(0));
                out.set_nonblocking(false).unwrap();
                let data = format!("data: {event}\n\n");
                let chunk = format!("{:x}\r\n{data}\r\n", data.len());
                if gone || out.write_all(chunk.as_bytes()).is_err() {
                    return closed();
                }
            }
            if *is_whole {
                let _ = out.write_all(b"0\r\n\r\n");
            }
        }
    }
}
