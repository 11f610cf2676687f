//! The command line's arguments.

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Version,
    Models,
    Info(String),
    Bench(String),
}

/// A command with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub command: Command,
    pub home: Option<String>,
    pub is_offline: bool,
    pub is_json: bool,
}

/// Reads `arguments`; the error says what is wrong, for people.
pub(super) fn parse(arguments: &[String]) -> Result<Given, String> {
    let mut words: Vec<&str> = Vec::new();
    let mut given = Given {
        command: Command::Help,
        home: None,
        is_offline: false,
        is_json: false,
    };
    let mut asked = None;
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            "--help" | "-h" => asked = Some(Command::Help),
            "--version" | "-V" => asked = Some(Command::Version),
            "--offline" => given.is_offline = true,
            "--json" => given.is_json = true,
            "--home" => {
                let home = rest.next().ok_or("--home: expected a folder after it")?;
                given.home = Some(home.to_string());
            }
            "--" => words.extend(rest.by_ref()),
            other => match other.strip_prefix("--home=") {
                Some(home) => given.home = Some(home.to_string()),
                None if other.starts_with('-') && other.len() > 1 => {
                    return Err(format!("{other}: there is no such option"));
                }
                None => words.push(other),
            },
        }
    }
    if let Some(command) = asked {
        given.command = command;
        return Ok(given);
    }
    given.command = match words.as_slice() {
        [] => return Err("expected a command: models or bench".to_string()),
        ["models"] => Command::Models,
        ["models", "info", model] => Command::Info((*model).to_string()),
        ["models", "info", ..] => return Err(one_model("models info", &words[2..])),
        ["models", other, ..] => {
            return Err(format!(
                "models {other}: expected info MODEL, or nothing more"
            ));
        }
        ["bench", model] => Command::Bench((*model).to_string()),
        ["bench", ..] => return Err(one_model("bench", &words[1..])),
        [other, ..] => return Err(format!("{other}: expected a command: models or bench")),
    };
    Ok(given)
}

fn one_model(command: &str, words: &[&str]) -> String {
    match words {
        [] => format!("{command}: expected a model"),
        _ => format!("{command}: expected one model, got {}", words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
    fn wrong_usage_is_named() {
        for (line, message) in [
            ("", "expected a command: models or bench"),
            ("run", "run: expected a command"),
            ("bench", "bench: expected a model"),
            ("bench a b", "bench: expected one model, got a b"),
            ("models show", "models show: expected info MODEL"),
            ("models info", "models info: expected a model"),
            ("models --fast", "--fast: there is no such option"),
            ("models --home", "--home: expected a folder"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
