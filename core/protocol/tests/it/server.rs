//! The server over real sockets: who is answered, what is borne, and how things end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use outcrop::{Session, SessionOptions, runtime};
use outcrop_protocol::server::{Limits, Server, ServerOptions};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A server in a home of its own, with one key and two scripted models.
struct Served {
    session: Session,
    address: String,
    token: String,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<tokio::task::JoinHandle<()>>,
    _home: tempfile::TempDir,
}

const MODEL: &str = "acme.scripted-v1";
const SLOW: &str = "acme.slow-v1";
const WIDE: &str = "acme.wide-v1";

fn options() -> ServerOptions {
    ServerOptions {
        limits: Limits {
            body_bytes: 100_000,
            body_pause: Duration::from_millis(300),
            idle: Duration::from_millis(600),
            reader_pause: Duration::from_millis(400),
            shutdown: Duration::from_secs(5),
            ..Limits::default()
        },
        ..ServerOptions::default()
    }
}

fn serve(options: ServerOptions) -> Served {
    let home = tempfile::tempdir().unwrap();
    let session = Session::open(SessionOptions {
        home: Some(home.path().to_path_buf()),
        ..SessionOptions::default()
    })
    .unwrap();
    let runtime = runtime().unwrap();
    let slow: Vec<String> = (0..200).map(|at| format!("word{at} ")).collect();
    let wide: Vec<String> = (0..3000).map(|_| "x".repeat(4096)).collect();
    for (id, script) in [
        (MODEL, json!([{"answer": {"text": ["Hello", " there"]}}])),
        (
            SLOW,
            json!([{"answer": {"text": slow, "delta_delay_ms": 5}}]),
        ),
        (WIDE, json!([{"answer": {"text": wide}}])),
    ] {
        let registered = session.register_model(id, json!({ "script": script }), false, None);
        runtime.block_on(registered).unwrap();
    }
    let token = session
        .access_keys()
        .create("ada", None)
        .unwrap()
        .bearer_token;
    let server = runtime
        .block_on(Server::bind(session.clone(), options))
        .unwrap();
    let address = server.url().trim_start_matches("http://").to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = runtime.spawn(server.run(async {
        let _ = stopped.await;
    }));
    Served {
        session,
        address,
        token,
        stop: Some(stop),
        ended: Some(ended),
        _home: home,
    }
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Sends bytes and reads what comes until the connection is closed.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may close before all is written.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn request(&self, path: &str, headers: &str, body: &str) -> Vec<u8> {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        )
        .into_bytes()
    }

    fn authorized(&self, path: &str, body: &Value) -> Vec<u8> {
        let header = format!("Authorization: Bearer {}\r\n", self.token);
        self.request(path, &header, &body.to_string())
    }

    fn is_healthy(&self) -> bool {
        let answer =
            self.exchange(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"status":"ok"}"#)
    }

    /// The records of the calls that came by the server: the test's own preparations are not of them.
    fn calls(&self) -> Vec<Value> {
        let calls = self.session.desk().trail().calls().unwrap().into_iter();
        calls
            .filter(|call| call["sourceIPAddress"] != "in-process")
            .collect()
    }

    /// Waits until so many calls are in the audit log, and gives their outcomes.
    fn outcomes(&self, calls: usize) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let events = self.calls();
            if events.len() >= calls || begun.elapsed() > Duration::from_secs(10) {
                let outcome = |event: &Value| event["additionalEventData"]["outcome"].clone();
                let outcomes = events
                    .iter()
                    .map(|event| outcome(event).as_str().unwrap().into());
                return outcomes.collect();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(ended) = self.ended.take() {
            let _ = runtime().unwrap().block_on(ended);
        }
        self.session.close();
    }
}

fn body() -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]})
}

fn converse(model: &str) -> String {
    format!("/model/{model}/converse")
}

#[test]
fn without_a_key_there_is_no_answer() {
    let served = serve(options());
    assert!(served.is_healthy());
    let refused = |path: &str, headers: &str| {
        let answer = served.exchange(&served.request(path, headers, &body().to_string()));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        (head.to_lowercase(), body)
    };
    for (headers, name) in [
        ("", "missingauthenticationtokenexception"),
        (
            "Authorization: Basic eA==\r\n",
            "missingauthenticationtokenexception",
        ),
        ("Authorization: Bearer x\r\n", "accessdeniedexception"),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/r/bedrock/aws4_request, \
             SignedHeaders=host, Signature=00\r\nX-Amz-Date: 20260101T000000Z\r\n",
            "unrecognizedclientexception",
        ),
    ] {
        let (head, body) = refused(&converse(MODEL), headers);
        assert!(head.starts_with("http/1.1 403"), "{head}");
        assert!(
            head.contains(&format!("x-amzn-errortype: {name}:")),
            "{head}"
        );
        assert!(head.contains("x-amzn-requestid: "), "{head}");
        assert!(body["message"].is_string());
    }
    let (head, body) = refused("/v1/chat/completions", "");
    assert!(head.starts_with("http/1.1 401"), "{head}");
    assert_eq!(body["error"]["code"], "invalid_api_key");
    let (head, body) = refused("/v1/messages", "x-api-key: x\r\n");
    assert!(head.starts_with("http/1.1 401"), "{head}");
    assert_eq!(body["error"]["type"], "authentication_error");
    assert!(served.outcomes(0).is_empty(), "the desk was reached");
}

#[test]
fn a_key_is_answered_until_it_is_deleted() {
    let served = serve(options());
    let answer = served.exchange(&served.authorized(&converse(MODEL), &body()));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("Hello there"), "{answer}");
    let event = &served.calls()[0];
    assert_eq!(
        event["userIdentity"]["arn"],
        "arn:aws:iam::000000000000:user/ada"
    );
    assert_eq!(event["sourceIPAddress"], "127.0.0.1");
    let keys = served.session.access_keys();
    keys.delete(&keys.list().unwrap()[0].access_key_id).unwrap();
    let answer = served.exchange(&served.authorized(&converse(MODEL), &body()));
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn what_is_too_much_or_too_slow_is_told_so() {
    let served = serve(options());
    let large = "x".repeat(100_001);
    let answer = served.exchange(&served.authorized(&converse(MODEL), &json!({ "x": large })));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(
        answer.contains("RequestEntityTooLargeException"),
        "{answer}"
    );

    let many: String = (0..200).map(|at| format!("x-{at}: 1\r\n")).collect();
    let answer = served.exchange(&served.request(&converse(MODEL), &many, "{}"));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = format!("x-long: {}\r\n", "y".repeat(70_000));
    let answer = served.exchange(&served.request(&converse(MODEL), &long, "{}"));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let mut paused = served.authorized(&converse(MODEL), &body());
    paused.truncate(paused.len() - 5);
    let answer = served.exchange(&paused);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");

    let begun = Instant::now();
    for half in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: ",
    ] {
        assert_eq!(served.exchange(half.as_bytes()), "", "{half:?}");
    }
    // Each is closed when it was idle for too long.
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    assert!(served.is_healthy());
}

#[test]
fn a_caller_that_goes_stops_the_work() {
    let served = serve(options());
    let path = format!("/model/{SLOW}/converse-stream");
    let mut stream = served.connect();
    stream
        .write_all(&served.authorized(&path, &body()))
        .unwrap();
    let mut begun = [0; 512];
    let read = stream.read(&mut begun).unwrap();
    let text = String::from_utf8_lossy(&begun[..read]).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("messageStart"),
        "{text}"
    );
    let left = Instant::now();
    drop(stream);
    assert_eq!(served.outcomes(1), ["Cancelled"]);
    assert!(
        left.elapsed() < Duration::from_millis(500),
        "{:?}",
        left.elapsed()
    );

    // The same before the first byte of the answer.
    let mut stream = served.connect();
    stream
        .write_all(&served.authorized(&converse(SLOW), &body()))
        .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    drop(stream);
    assert_eq!(served.outcomes(2), ["Cancelled", "Cancelled"]);
}

#[test]
fn a_reader_that_stands_still_is_let_go() {
    let served = serve(options());
    let path = format!("/model/{WIDE}/converse-stream");
    let mut stream = served.connect();
    stream
        .write_all(&served.authorized(&path, &body()))
        .unwrap();
    assert_eq!(served.outcomes(1), ["Cancelled"]);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 12_000_000, "{}", rest.len());
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "a broken answer must not look whole"
    );
    assert!(served.is_healthy());
}

#[test]
fn running_answers_end_when_the_server_is_stopped() {
    let mut served = serve(options());
    let path = format!("/model/{SLOW}/converse-stream");
    let mut stream = served.connect();
    stream
        .write_all(&served.authorized(&path, &body()))
        .unwrap();
    let mut first = [0; 64];
    stream.read_exact(&mut first).unwrap();
    drop(served.stop.take());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the answer is whole");
    assert!(String::from_utf8_lossy(&rest).contains("word199 "));
    let ended = served.ended.take().unwrap();
    runtime().unwrap().block_on(ended).unwrap();
    assert!(TcpStream::connect(&served.address).is_err());
}

#[test]
fn nonsense_is_refused_and_borne() {
    let served = serve(options());
    let sound = served.request(
        &converse(MODEL),
        "Authorization: Bearer outcrop-x\r\n",
        "{}",
    );
    let mut state = 7_u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for round in 0..120 {
        let mut bytes = match round % 4 {
            0 => (0..next() % 300).map(|_| next() as u8).collect(),
            // Frames of HTTP/2 behind its preface.
            1 => {
                let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
                frames.extend((0..next() % 200).map(|_| next() as u8));
                frames
            }
            _ => sound.clone(),
        };
        for _ in 0..=next() % 6 {
            if !bytes.is_empty() {
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = next() as u8,
                    1 => bytes.insert(at, next() as u8),
                    _ => drop(bytes.remove(at)),
                }
            }
        }
        let mut stream = served.connect();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{bytes:?}: {answer}");
    }
    assert!(served.is_healthy());
    assert!(served.outcomes(0).is_empty(), "the desk was reached");
}

#[test]
fn a_wider_reach_than_meant_is_refused() {
    let served = serve(options());
    let bind = |options: ServerOptions| {
        let bound = Server::bind(served.session.clone(), options);
        runtime().unwrap().block_on(bound).map(|_| ())
    };
    let wide = ServerOptions {
        host: Some("0.0.0.0".into()),
        ..ServerOptions::default()
    };
    let error = bind(wide.clone()).unwrap_err();
    assert!(error.message().contains("--cert and --key"), "{error}");
    let open = ServerOptions {
        insecure_loopback: true,
        ..wide.clone()
    };
    assert!(
        bind(open)
            .unwrap_err()
            .message()
            .starts_with("--insecure-loopback")
    );
    let plain = ServerOptions {
        allow_plaintext: true,
        ..wide
    };
    bind(plain.clone()).unwrap();
    let keys = served.session.access_keys();
    keys.delete(&keys.list().unwrap()[0].access_key_id).unwrap();
    assert!(
        bind(plain)
            .unwrap_err()
            .message()
            .contains("outcrop keys create")
    );
}

#[test]
fn without_keys_only_this_machine_is_answered() {
    let served = serve(ServerOptions {
        insecure_loopback: true,
        ..options()
    });
    let path = converse(MODEL);
    let answer = served.exchange(&served.request(&path, "", &body().to_string()));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let origin = "Origin: https://example.com\r\n";
    let answer = served.exchange(&served.request(&path, origin, &body().to_string()));
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let rebound =
        b"POST /x HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert!(served.exchange(rebound).starts_with("HTTP/1.1 403"));
}
