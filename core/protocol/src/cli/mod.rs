//! The command line, the same from Python and from Node.

mod arguments;
mod bench;
mod doctor;
mod keys;
mod models;
mod output;
mod serve;

use std::io::Write;

use outcrop::api::{Error, ErrorKind, Result};

use crate::cli::arguments::{Command, Given};
use crate::cli::output::Output;
use outcrop::{Session, SessionOptions};

const HELP: &str = "\
Models and knowledge bases in your own process.

usage: outcrop COMMAND [options]

commands:
  models               the models that the home knows
  models info MODEL    size, architecture, quantisation, and whether it fits this machine's memory
  models register ID FILE  declares a model under an id of your own: FILE is its declaration, in JSON
  models alias NAME MODEL  lets a Bedrock id, profile or ARN stand for a model
  bench MODEL          how fast a model is: load, prefill of 512 tokens, decode after 128 tokens,
                       8 sequences at once; of an embedding or reranking model, texts a second
  serve                answers Bedrock's API, OpenAI's and Anthropic's over HTTP, until it is stopped
  keys create          makes a key for callers over HTTP; its secrets are shown this once
  keys list            the keys of the home
  keys delete ID       takes a key away
  doctor               the NVIDIA driver and the GPUs, or why none can be used

MODEL is a catalogue id, an ARN, a folder, a .gguf file or hf:org/name[@revision].

options:
  --home DIR     the home folder (default: $OUTCROP_HOME, else ~/.outcrop)
  --offline      never open a connection
  --json         JSON lines instead of a table
  --help, -h     this text
  --version, -V  the version

options of serve:
  --host HOST          where to listen (default: 127.0.0.1)
  --port PORT          the port; 0 lets the system choose (default: 8080)
  --cert FILE --key FILE   speak TLS by these PEM files
  --insecure-loopback  answer everybody on this machine, without keys
  --allow-plaintext    let others reach the host without TLS
  --shutdown-time TIME how long running answers have when it is stopped (default: 30s)

options of keys create:
  --name NAME          who uses it; the audit log names them (default: default)
  --expires TIME       90s, 15m, 12h or 30d (default: never)

exit codes: 0 done, 1 it failed, 2 wrong usage, 130 interrupted
";

/// Runs the command line `arguments`, without the program's name; gives the exit code.
///
/// What is asked for goes to standard output, errors to standard error as one line each. `options`
/// are those of the session that it opens; the command line's own go before them.
pub async fn run(arguments: Vec<String>, options: SessionOptions) -> i32 {
    let given = match arguments::parse(&arguments) {
        Ok(given) => given,
        Err(message) => {
            complain(&format!("{message}\nTry: outcrop --help"));
            return 2;
        }
    };
    let mut output = Output::new(given.is_json);
    let ended = dispatch(given, options, &mut output).await;
    match ended.and_then(|()| output.finish()) {
        Ok(()) => 0,
        // Whoever read it has enough, as `head` does.
        Err(error)
            if output.reader_is_gone() && error.kind() == ErrorKind::InternalServerException =>
        {
            0
        }
        Err(error) => {
            complain(&format!("{}: {}", error.kind().name(), error.message()));
            1
        }
    }
}

async fn dispatch(given: Given, mut options: SessionOptions, output: &mut Output) -> Result<()> {
    let command = match given.command {
        Command::Help => return output.text(HELP),
        Command::Doctor => return doctor::run(output),
        Command::Version => {
            return output.text(concat!("outcrop ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        other => other,
    };
    if let Some(home) = given.home {
        options.home = Some(home.into());
    }
    options.offline |= given.is_offline;
    let session = Session::open(options)?;
    let ended = match command {
        Command::Models => models::list(&session, output),
        Command::Info(model) => models::info(&session, &model, output).await,
        Command::Register { id, file } => models::register(&session, &id, &file).await,
        Command::Alias { name, target } => session.alias(&name, Some(&target)).await.map(drop),
        Command::Bench(model) => bench::run(&session, &model, output).await,
        Command::Serve(options) => serve::run(&session, *options, output).await,
        Command::CreateKey { name, expires } => keys::create(&session, &name, expires, output),
        Command::ListKeys => keys::list(&session, output),
        Command::DeleteKey(id) => session.access_keys().delete(&id),
        Command::Help | Command::Version | Command::Doctor => Ok(()),
    };
    session.close();
    ended
}

/// Tells an error on standard error; where that is closed there is nobody to tell.
fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "outcrop: {message}");
}

fn unwritable(error: std::io::Error) -> Error {
    Error::internal(format!("standard output: {error}")).with_source(error)
}
