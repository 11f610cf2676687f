//! From an HTTP method and a path as it was sent to the operation and its labels.
//!
//! The path is split before it is decoded, so that a model id may hold `%2F`, and a slash at its end
//! tells `PrepareAgent` from `InvokeInlineAgent`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::service_model::{OperationModel, ServiceModel, services};

/// The operation that a request asks for.
#[derive(Debug)]
pub struct Route {
    /// The service that the operation belongs to.
    pub service: &'static ServiceModel,
    /// The operation.
    pub operation: &'static OperationModel,
    /// The labels of the path, decoded, by their names.
    pub labels: Vec<(&'static str, String)>,
}

/// Why a request leads to no operation.
#[derive(Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// Nothing is at that method and path.
    UnknownOperation,
    /// A label is not UTF-8 behind its percent signs.
    BadLabel(&'static str),
}

#[derive(Debug)]
struct Template {
    service: &'static ServiceModel,
    operation: &'static OperationModel,
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Text(&'static str),
    Label(&'static str),
}

/// The templates by method and number of segments, those with texts before those with labels.
static TEMPLATES: LazyLock<HashMap<(&'static str, usize), Vec<Template>>> = LazyLock::new(|| {
    let mut templates: HashMap<_, Vec<Template>> = HashMap::new();
    for service in services() {
        for operation in &service.operations {
            let segments: Vec<Segment> = operation.uri.split('/').skip(1).map(segment).collect();
            let key = (operation.method, segments.len());
            templates.entry(key).or_default().push(Template {
                service,
                operation,
                segments,
            });
        }
    }
    for group in templates.values_mut() {
        group.sort_by_key(|template| {
            let labels = template.segments.iter();
            labels
                .map(|it| matches!(it, Segment::Label(_)))
                .collect::<Vec<_>>()
        });
    }
    templates
});

fn segment(text: &'static str) -> Segment {
    match text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        Some(label) => Segment::Label(label),
        None => Segment::Text(text),
    }
}

/// The operation at `method` and `path`. `service` is the one that the host name tells of, where it
/// tells; it decides between services that share a path.
///
/// # Errors
/// [`NoRoute`] where no operation stands there.
pub fn route(method: &str, path: &str, service: Option<&str>) -> Result<Route, NoRoute> {
    let sent: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let templates: &HashMap<(&str, usize), Vec<Template>> = &TEMPLATES;
    let mut found: Vec<&Template> = match templates.get(&(method, sent.len())) {
        Some(group) => group
            .iter()
            .filter(|template| template.fits(&sent))
            .collect(),
        None => Vec::new(),
    };
    // Templates that differ in their texts are told apart by the order; services by name or ARN.
    if let Some(first) = found.first().copied() {
        found.retain(|template| template.same_path(first));
    }
    if found.len() > 1 {
        let service = service.unwrap_or_else(|| service_of_arn(sent.last().copied()));
        found.sort_by_key(|template| template.service.name != service);
    }
    let template = found.first().ok_or(NoRoute::UnknownOperation)?;
    Ok(Route {
        service: template.service,
        operation: template.operation,
        labels: template.labels(&sent)?,
    })
}

impl Template {
    fn fits(&self, sent: &[&str]) -> bool {
        self.segments
            .iter()
            .zip(sent)
            .all(|(segment, sent)| match segment {
                Segment::Text(text) => text == sent,
                Segment::Label(_) => !sent.is_empty(),
            })
    }

    fn same_path(&self, other: &Self) -> bool {
        let pairs = self.segments.iter().zip(&other.segments);
        pairs.into_iter().all(|pair| match pair {
            (Segment::Label(_), Segment::Label(_)) => true,
            (one, other) => one == other,
        })
    }

    fn labels(&self, sent: &[&str]) -> Result<Vec<(&'static str, String)>, NoRoute> {
        let labels = self.segments.iter().zip(sent);
        labels
            .filter_map(|(segment, sent)| match segment {
                Segment::Label(name) => Some((name, sent)),
                Segment::Text(_) => None,
            })
            .map(|(name, sent)| match percent_decode(sent, false) {
                Some(value) => Ok((*name, value)),
                None => Err(NoRoute::BadLabel(name)),
            })
            .collect()
    }
}

/// The service whose resource an ARN names: sessions belong to bedrock-agent-runtime, all else that
/// shares a path with it to bedrock-agent.
fn service_of_arn(arn: Option<&str>) -> &'static str {
    let arn = arn
        .and_then(|arn| percent_decode(arn, false))
        .unwrap_or_default();
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    match resource.split('/').next() {
        Some("session") => "bedrock-agent-runtime",
        _ => "bedrock-agent",
    }
}

/// `text` with its percent signs undone, and its plus signs too where it is part of a query; `None`
/// where that is not UTF-8. A percent sign that no two hexadecimal digits follow stands for itself.
pub fn percent_decode(text: &str, query: bool) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_string());
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|hex| hex.bytes().all(|it| it.is_ascii_hexdigit()));
        match (
            bytes[at],
            hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) if query => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn to(method: &str, path: &str) -> String {
        match route(method, path, None) {
            Ok(route) => format!(
                "{}.{} {:?}",
                route.service.name, route.operation.name, route.labels
            ),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn every_operation_is_found_at_its_own_path() {
        for service in services() {
            for operation in &service.operations {
                let path = operation.uri.replace('{', "a").replace('}', "%2Fb");
                let found = route(operation.method, &path, Some(service.name)).unwrap();
                assert_eq!(found.operation.name, operation.name, "{path}");
                assert_eq!(found.service.name, service.name, "{path}");
                assert!(found.labels.iter().all(|(_, value)| value.contains("/b")));
            }
        }
    }

    #[test]
    fn a_model_id_is_decoded_after_the_path_is_split() {
        let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Fa.b-v1%3A0";
        let expected = "bedrock-runtime.Converse \
            [(\"modelId\", \"arn:aws:bedrock:us-east-1::foundation-model/a.b-v1:0\")]";
        assert_eq!(to("POST", &format!("/model/{arn}/converse")), expected);
        assert_eq!(to("POST", "/model/a/b/converse"), "UnknownOperation");
    }

    #[test]
    fn the_slash_at_the_end_is_significant() {
        assert!(to("POST", "/agents/AGENT12345/").starts_with("bedrock-agent.PrepareAgent"));
        assert!(
            to("POST", "/agents/session-1").starts_with("bedrock-agent-runtime.InvokeInlineAgent")
        );
        assert_eq!(to("POST", "/model/a.b/converse/"), "UnknownOperation");
    }

    #[test]
    fn a_text_goes_before_a_label() {
        let path = "/flows/validate-definition";
        assert!(
            to("POST", path).contains("ValidateFlowDefinition"),
            "{}",
            to("POST", path)
        );
    }

    #[test]
    fn tags_go_to_the_service_of_their_resource() {
        let session = "/tags/arn%3Aaws%3Abedrock%3Alocal%3A000000000000%3Asession%2Fabc";
        assert!(to("GET", session).starts_with("bedrock-agent-runtime."));
        let base = "/tags/arn:aws:bedrock:local:000000000000:knowledge-base%2FABCDEFGHIJ";
        assert!(to("GET", base).starts_with("bedrock-agent."));
        let told = route("GET", base, Some("bedrock-agent-runtime")).unwrap();
        assert_eq!(told.service.name, "bedrock-agent-runtime");
    }

    #[test]
    fn what_is_nowhere_is_unknown() {
        for (method, path) in [
            ("POST", "/"),
            ("POST", ""),
            ("GET", "/model/a/converse"),
            ("POST", "/model//converse"),
        ] {
            assert_eq!(to(method, path), "UnknownOperation", "{method} {path}");
        }
        assert_eq!(to("POST", "/model/%FF/converse"), "BadLabel(\"modelId\")");
    }

    #[test]
    fn percent_signs_are_undone_where_digits_follow() {
        assert_eq!(
            percent_decode("a%20b+c%2", false).as_deref(),
            Some("a b+c%2")
        );
        assert_eq!(percent_decode("a+b%2B", true).as_deref(), Some("a b+"));
        assert_eq!(percent_decode("%+1é%", false).as_deref(), Some("%+1é%"));
    }
}
