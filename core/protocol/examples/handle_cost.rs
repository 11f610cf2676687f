//! Prints what one call costs in `handle`, beside what its parts cost, with a model that answers at once.
//!
//! `cargo run --release -p outcrop-protocol --example handle_cost`

use std::time::Instant;

use outcrop::governance::Caller;
use outcrop::operations::{Operation, Service};
use outcrop::{Error, Result, Session, SessionOptions};
use outcrop_protocol::service_model::service;
use outcrop_protocol::{Body, HttpRequest, handle, validate};
use serde_json::{Value, json};

const CALLS: usize = 5_000;
const MODEL: &str = "acme.scripted-v1";

fn main() -> Result<()> {
    let home = std::env::temp_dir().join(format!("outcrop-handle-cost-{}", std::process::id()));
    let options = SessionOptions {
        home: Some(home.clone()),
        offline: true,
        ..SessionOptions::default()
    };
    let session = Session::open(options)?;
    let measured = outcrop::runtime()?.block_on(measure(&session));
    session.close();
    // The home was made for this run alone.
    let _ = std::fs::remove_dir_all(home);
    measured
}

async fn measure(session: &Session) -> Result<()> {
    let script = json!({"script": [{"answer": "Hello."}]});
    session.register_model(MODEL, script, true, None).await?;
    let members = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}],
        "system": [{"text": "Be kind."}], "inferenceConfig": {"maxTokens": 100, "temperature": 0.5}});
    let request = |path: &str, body: &Value| HttpRequest {
        method: "POST".to_string(),
        path: path.to_string(),
        body: body.to_string().into_bytes(),
        ..HttpRequest::default()
    };
    let mut input = members.clone();
    input["modelId"] = MODEL.into();

    let refused = request("/model/acme.scripted-v1/converse", &json!({"messages": 1}));
    let converse = request("/model/acme.scripted-v1/converse", &members);
    let stream = request("/model/acme.scripted-v1/converse-stream", &members);
    report("a call that the wire refuses", || {
        answer(session, refused.clone())
    })
    .await;
    report("Converse over the wire", || {
        answer(session, converse.clone())
    })
    .await;
    report("ConverseStream over the wire, read to its end", || {
        answer(session, stream.clone())
    })
    .await;
    let row = Operation::find(Service::BedrockRuntime, "Converse")
        .ok_or_else(|| Error::internal("Converse is not in the table"))?;
    report("Converse at the desk, without the wire", || async {
        let called = session
            .call(Caller::in_process(), row, input.clone(), Vec::new())
            .await;
        drop(called.answer);
    })
    .await;
    report("the check of a request's shape", || async {
        let runtime = service("bedrock-runtime");
        let operation = runtime.and_then(|service| service.operation("Converse"));
        if let (Some(service), Some(operation), Value::Object(input)) = (runtime, operation, &input)
        {
            let _ = validate(service, operation.input, input);
        }
    })
    .await;
    Ok(())
}

async fn answer(session: &Session, request: HttpRequest) {
    let response = handle(session, Caller::in_process(), request).await;
    if let Body::Chunks(mut chunks) = response.body {
        while chunks.next().await.is_some() {}
    }
}

/// The 10th and the 50th hundredth of what calls take.
async fn report<F: Future<Output = ()>>(what: &str, call: impl Fn() -> F) {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        call().await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times[CALLS * share / 100].as_nanos() as f64 / 1000.0;
    println!(
        "{what}: {:.1} µs (10th of 100), {:.1} µs (median)",
        at(10),
        at(50)
    );
}
