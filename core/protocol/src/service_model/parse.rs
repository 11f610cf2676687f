//! Reads the text form of the service models.

use std::collections::HashMap;

use super::{
    Kind, Limits, Member, OperationModel, Pattern, Place, ServiceModel, Shape, ShapeId, Structure,
    TimestampForm,
};

/// The services that `text` tells of, or the line that is not understood.
pub(super) fn services(text: &'static str) -> Result<Vec<ServiceModel>, &'static str> {
    let lines: Vec<&'static str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    lines
        .chunk_by(|_, next| !next.starts_with("service "))
        .map(service)
        .collect()
}

fn service(lines: &[&'static str]) -> Result<ServiceModel, &'static str> {
    let (head, rest) = lines.split_first().ok_or("no service")?;
    let mut words = head.split(' ').skip(1);
    let (Some(name), Some(api_version)) = (words.next(), words.next()) else {
        return Err(head);
    };
    // A line that is indented belongs to the one before it.
    let blocks: Vec<&[&'static str]> = rest.chunk_by(|_, next| next.starts_with("  ")).collect();
    let (operations, shapes): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .partition(|block| block[0].starts_with("operation "));
    let names = Names(
        shapes
            .iter()
            .enumerate()
            .filter_map(|(at, block)| Some((block[0].split(' ').nth(1)?, ShapeId(at))))
            .collect(),
    );
    Ok(ServiceModel {
        name,
        api_version,
        operations: operations
            .into_iter()
            .map(|block| names.operation(block).ok_or(block[0]))
            .collect::<Result<_, _>>()?,
        shapes: shapes
            .into_iter()
            .map(|block| names.shape(block).ok_or(block[0]))
            .collect::<Result<_, _>>()?,
    })
}

/// The shapes of one service by name.
struct Names(HashMap<&'static str, ShapeId>);

impl Names {
    fn id(&self, name: &str) -> Option<ShapeId> {
        self.0.get(name).copied()
    }

    fn operation(&self, block: &[&'static str]) -> Option<OperationModel> {
        let mut words = block[0].split(' ').skip(1);
        let (name, method, status, uri) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let of = |key: &str| {
            let line = block[1..]
                .iter()
                .find_map(|line| line.trim_start().strip_prefix(key));
            line.map(str::trim)
        };
        Some(OperationModel {
            name,
            method,
            status: status.parse().ok()?,
            uri,
            input: self.id(of("input ")?)?,
            output: self.id(of("output ")?)?,
            errors: of("errors ")?
                .split(' ')
                .map(|error| self.id(error))
                .collect::<Option<_>>()?,
        })
    }

    fn shape(&self, block: &[&'static str]) -> Option<Shape> {
        let line = block[0];
        let (facts, pattern) = match line.split_once(" ~") {
            Some((facts, pattern)) => (facts, Some(pattern)),
            None => (line, None),
        };
        let mut words = facts.split(' ');
        let (kind, name) = (words.next()?, words.next()?);
        let words: Vec<&'static str> = words.collect();
        let limits = limits(&words);
        let kind = match kind {
            "structure" => Kind::Structure(self.structure(&words, &block[1..])?),
            "list" => Kind::List(self.id(words.first()?)?, limits),
            "map" => Kind::Map(self.id(words.first()?)?, self.id(words.get(1)?)?, limits),
            "enum" => Kind::Enum(words.last()?.split('|').collect()),
            "string" => Kind::String(limits, pattern.map(Pattern::new)),
            "integer" => Kind::Integer(limits),
            "long" => Kind::Long(limits),
            "float" | "double" => Kind::Float(limits),
            "boolean" => Kind::Boolean,
            "blob" => Kind::Blob(limits),
            "timestamp" if words.ends_with(&["iso8601"]) => Kind::Timestamp(TimestampForm::Rfc3339),
            "timestamp" => Kind::Timestamp(TimestampForm::EpochSeconds),
            "document" => Kind::Document,
            _ => return None,
        };
        let sensitive = words.contains(&"sensitive");
        Some(Shape {
            name,
            sensitive,
            kind,
        })
    }

    fn structure(&self, words: &[&'static str], lines: &[&'static str]) -> Option<Structure> {
        let after = |flag: &str| {
            let at = words.iter().position(|word| *word == flag)?;
            words.get(at + 1).copied()
        };
        Some(Structure {
            members: lines
                .iter()
                .map(|line| self.member(line.trim_start()))
                .collect::<Option<_>>()?,
            union: words.contains(&"union"),
            event_stream: words.contains(&"eventstream"),
            error: after("error").and_then(|status| status.parse().ok()),
            payload: after("payload"),
        })
    }

    fn member(&self, line: &'static str) -> Option<Member> {
        let words: Vec<&'static str> = line.split(' ').collect();
        let name = words.first()?;
        let place = match (words.get(2), words.get(3)) {
            (Some(&"uri"), Some(name)) => Place::Uri(name),
            (Some(&"query"), Some(name)) => Place::Query(name),
            (Some(&"header"), Some(name)) => Place::Header(name),
            _ => Place::Body,
        };
        Some(Member {
            name: name.trim_end_matches('*'),
            shape: self.id(words.get(1)?)?,
            required: name.ends_with('*'),
            place,
            idempotency_token: words.last() == Some(&"token"),
        })
    }
}

fn limits(words: &[&str]) -> Limits {
    let range = words.iter().find_map(|word| word.split_once(".."));
    let (min, max) = range.unwrap_or_default();
    Limits {
        min: min.parse().ok(),
        max: max.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::{Kind, Place, services};

    #[test]
    fn the_embedded_file_tells_of_all_operations() {
        let counts: Vec<_> = services()
            .iter()
            .map(|service| (service.name, service.operations.len()))
            .collect();
        let expected = [
            ("bedrock", 108),
            ("bedrock-runtime", 11),
            ("bedrock-agent", 86),
            ("bedrock-agent-runtime", 35),
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error() {
        assert!(super::services("service a 2026-01-01\nlist Names Nothing").is_err());
        assert!(super::services("service a 2026-01-01\nsomething Names").is_err());
    }

    #[test]
    fn constraints_and_places_are_read() {
        let runtime = &services()[1];
        let name = runtime
            .shapes()
            .iter()
            .find(|shape| shape.name == "ToolName");
        let Some(Kind::String(limits, Some(pattern))) = name.map(|shape| &shape.kind) else {
            panic!("ToolName is a string with a pattern");
        };
        assert_eq!((limits.min, limits.max), (Some(1.0), Some(64.0)));
        assert_eq!(pattern.source(), "[a-zA-Z0-9_-]+");
        let invoke = runtime.operation("InvokeModel").unwrap();
        let input = runtime.structure(invoke.input);
        assert_eq!(input.payload, Some("body"));
        let accept = input.member("accept").unwrap();
        assert_eq!(accept.place, Place::Header("Accept"));
        assert!(input.member("modelId").unwrap().required);
    }
}
