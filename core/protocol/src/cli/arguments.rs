//! The command line's arguments.

use crate::server::ServerOptions;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Version,
    Models,
    Info(String),
    Register {
        id: String,
        /// The file of its declaration.
        file: String,
    },
    Alias {
        name: String,
        target: String,
    },
    Bench(String),
    Doctor,
    Serve(Box<ServerOptions>),
    CreateKey {
        name: String,
        /// Seconds that it is good for.
        expires: Option<u64>,
    },
    ListKeys,
    DeleteKey(String),
}

/// A command with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub command: Command,
    pub home: Option<String>,
    pub is_offline: bool,
    pub is_json: bool,
}

/// The options of single commands, with the command's words and whether a value follows.
const OPTIONS: &[(&str, &str, bool)] = &[
    ("--host", "serve", true),
    ("--port", "serve", true),
    ("--cert", "serve", true),
    ("--key", "serve", true),
    ("--insecure-loopback", "serve", false),
    ("--allow-plaintext", "serve", false),
    ("--shutdown-time", "serve", true),
    ("--name", "keys create", true),
    ("--expires", "keys create", true),
];

/// The options of single commands that were given, with their values.
type Options<'a> = Vec<(&'static str, &'static str, &'a str)>;

const EXPECTED: &str = "expected a command: models, bench, serve, keys or doctor";
const DEFAULT_PORT: u16 = 8080;

/// Reads `arguments`; the error says what is wrong, for people.
pub(super) fn parse(arguments: &[String]) -> Result<Given, String> {
    let mut words: Vec<&str> = Vec::new();
    let mut options: Options<'_> = Vec::new();
    let mut given = Given {
        command: Command::Help,
        home: None,
        is_offline: false,
        is_json: false,
    };
    let mut asked = None;
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        let (name, joined) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (argument, None),
        };
        match name {
            "--help" | "-h" => asked = Some(Command::Help),
            "--version" | "-V" => asked = Some(Command::Version),
            "--offline" => given.is_offline = true,
            "--json" => given.is_json = true,
            "--home" => {
                let home = joined.or_else(|| rest.next());
                let home = home.ok_or("--home: expected a folder after it")?;
                given.home = Some(home.to_string());
            }
            "--" => words.extend(rest.by_ref()),
            _ => match OPTIONS.iter().find(|option| option.0 == name) {
                Some((name, command, true)) => {
                    let value = joined.or_else(|| rest.next());
                    let value = value.ok_or(format!("{name}: expected a value after it"))?;
                    options.push((name, command, value));
                }
                Some((name, command, false)) if joined.is_none() => {
                    options.push((name, command, ""));
                }
                _ if argument.starts_with('-') && argument.len() > 1 => {
                    return Err(format!("{argument}: there is no such option"));
                }
                _ => words.push(argument),
            },
        }
    }
    given.command = match asked {
        Some(asked) => asked,
        None => command(&words, &options)?,
    };
    Ok(given)
}

fn command(words: &[&str], options: &Options<'_>) -> Result<Command, String> {
    let said = words.join(" ");
    if let Some((name, command, _)) = options.iter().find(|option| option.1 != said) {
        return Err(format!("{name}: is an option of {command}"));
    }
    match words {
        [] => Err(EXPECTED.to_string()),
        ["models"] => Ok(Command::Models),
        ["models", "info", model] => Ok(Command::Info((*model).to_string())),
        ["models", "info", ..] => Err(one_model("models info", &words[2..])),
        ["models", "register", id, file] => Ok(Command::Register {
            id: (*id).to_string(),
            file: (*file).to_string(),
        }),
        ["models", "register", ..] => Err("models register: expected ID FILE".to_string()),
        ["models", "alias", name, target] => Ok(Command::Alias {
            name: (*name).to_string(),
            target: (*target).to_string(),
        }),
        ["models", "alias", ..] => Err("models alias: expected NAME MODEL".to_string()),
        ["models", other, ..] => Err(format!(
            "models {other}: expected info MODEL, register ID FILE, alias NAME MODEL, or nothing more"
        )),
        ["bench", model] => Ok(Command::Bench((*model).to_string())),
        ["bench", ..] => Err(one_model("bench", &words[1..])),
        ["doctor"] => Ok(Command::Doctor),
        ["doctor", other, ..] => Err(format!("doctor {other}: expected nothing more")),
        ["serve"] => serve(options),
        ["serve", other, ..] => Err(format!("serve {other}: expected nothing more")),
        ["keys", "create"] => create_key(options),
        ["keys", "list"] => Ok(Command::ListKeys),
        ["keys", "delete", id] => Ok(Command::DeleteKey((*id).to_string())),
        ["keys", ..] => Err("keys: expected create, list or delete ID".to_string()),
        [other, ..] => Err(format!("{other}: {EXPECTED}")),
    }
}

fn value<'a>(options: &Options<'a>, name: &str) -> Option<&'a str> {
    let given = options.iter().rfind(|option| option.0 == name);
    given.map(|(_, _, value)| *value)
}

fn serve(options: &Options<'_>) -> Result<Command, String> {
    let mut asked = ServerOptions {
        host: value(options, "--host").map(String::from),
        port: DEFAULT_PORT,
        insecure_loopback: value(options, "--insecure-loopback").is_some(),
        allow_plaintext: value(options, "--allow-plaintext").is_some(),
        ..ServerOptions::default()
    };
    if let Some(port) = value(options, "--port") {
        let wrong = |_| format!("--port: expected a number up to 65535, got {port}");
        asked.port = port.parse().map_err(wrong)?;
    }
    if let Some(time) = value(options, "--shutdown-time") {
        asked.limits.shutdown = std::time::Duration::from_secs(seconds("--shutdown-time", time)?);
    }
    asked.tls = match (value(options, "--cert"), value(options, "--key")) {
        (Some(chain), Some(key)) => Some((chain.into(), key.into())),
        (None, None) => None,
        (Some(_), None) => return Err("--cert: expected --key beside it".to_string()),
        (None, Some(_)) => return Err("--key: expected --cert beside it".to_string()),
    };
    Ok(Command::Serve(Box::new(asked)))
}

fn create_key(options: &Options<'_>) -> Result<Command, String> {
    let expires = value(options, "--expires");
    Ok(Command::CreateKey {
        name: value(options, "--name").unwrap_or("default").to_string(),
        expires: expires.map(|time| seconds("--expires", time)).transpose()?,
    })
}

/// The seconds of a time such as `90s`, `15m`, `12h` or `30d`.
fn seconds(option: &str, text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let time = number
        .zip(unit)
        .and_then(|(number, unit)| number.checked_mul(unit));
    time.ok_or(format!(
        "{option}: expected a time such as 90s, 15m, 12h or 30d, got {text}"
    ))
}

fn one_model(command: &str, words: &[&str]) -> String {
    match words {
        [] => format!("{command}: expected a model"),
        _ => format!("{command}: expected one model, got {}", words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn parsed(line: &str) -> Result<Given, String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        parse(&words)
    }

    #[test]
    fn options_stand_anywhere() {
        let given = parsed("bench --json m --home=h --offline").unwrap();
        assert_eq!(given.command, Command::Bench("m".into()));
        assert!(given.is_json && given.is_offline);
        assert_eq!(given.home.as_deref(), Some("h"));
        assert_eq!(
            parsed("--home x models").unwrap().home.as_deref(),
            Some("x")
        );
        assert_eq!(
            parsed("models info -- -m").unwrap().command,
            Command::Info("-m".into())
        );
        assert_eq!(parsed("bench --help").unwrap().command, Command::Help);
        assert_eq!(parsed("-V").unwrap().command, Command::Version);
    }

    #[test]
    fn commands_have_options_of_their_own() {
        let Command::Serve(serve) = parsed("serve --port=0 --host ::1 --shutdown-time 2m")
            .unwrap()
            .command
        else {
            panic!("serve");
        };
        assert_eq!((serve.port, serve.host.as_deref()), (0, Some("::1")));
        assert_eq!(serve.limits.shutdown.as_secs(), 120);
        assert_eq!(
            parsed("keys create --name ci --expires 30d")
                .unwrap()
                .command,
            Command::CreateKey {
                name: "ci".into(),
                expires: Some(2_592_000)
            }
        );
        let delete = Command::DeleteKey("AKIA1".into());
        assert_eq!(parsed("keys delete AKIA1").unwrap().command, delete);
    }

    #[test]
    fn wrong_usage_is_named() {
        for (line, message) in [
            (
                "",
                "expected a command: models, bench, serve, keys or doctor",
            ),
            ("run", "run: expected a command"),
            ("bench", "bench: expected a model"),
            ("bench a b", "bench: expected one model, got a b"),
            ("models show", "models show: expected info MODEL"),
            ("models info", "models info: expected a model"),
            ("models register x", "models register: expected ID FILE"),
            ("models alias x", "models alias: expected NAME MODEL"),
            ("models --fast", "--fast: there is no such option"),
            ("models --home", "--home: expected a folder"),
            ("models --port 1", "--port: is an option of serve"),
            ("serve --port x", "--port: expected a number"),
            ("serve --cert x", "--cert: expected --key"),
            (
                "serve --insecure-loopback=1",
                "--insecure-loopback=1: there is no such option",
            ),
            ("keys", "keys: expected create"),
            ("keys create --expires 3", "--expires: expected a time"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
