//! What the four Bedrock services accept and answer: operations, shapes, errors.
//!
//! The facts come from `services.txt`, which `make_service_model.py` writes from botocore's service
//! models. They are read once, when they are first asked for.

mod parse;
mod pattern;

use std::sync::LazyLock;

pub use pattern::Pattern;

static SERVICES: LazyLock<Vec<ServiceModel>> =
    // That the embedded file can be read is what `parse`'s tests hold.
    LazyLock::new(|| parse::services(include_str!("services.txt")).unwrap_or_default());

/// The four services: bedrock, bedrock-runtime, bedrock-agent and bedrock-agent-runtime.
pub fn services() -> &'static [ServiceModel] {
    &SERVICES
}

/// The service by its endpoint name, such as `bedrock-runtime`.
pub fn service(name: &str) -> Option<&'static ServiceModel> {
    services().iter().find(|service| service.name == name)
}

/// One service: its operations and every shape that they lead to.
#[derive(Debug)]
pub struct ServiceModel {
    /// The endpoint name, such as `bedrock-runtime`.
    pub name: &'static str,
    /// The version of the API, a date.
    pub api_version: &'static str,
    /// The operations, by name.
    pub operations: Vec<OperationModel>,
    shapes: Vec<Shape>,
}

impl ServiceModel {
    /// The shape that `id` stands for.
    pub fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id.0]
    }

    /// The operation by its name, such as `Converse`.
    pub fn operation(&self, name: &str) -> Option<&OperationModel> {
        let at = self.operations.binary_search_by(|it| it.name.cmp(name));
        at.ok().map(|at| &self.operations[at])
    }

    /// The structure behind `id`; every request, answer and error is one.
    pub fn structure(&self, id: ShapeId) -> &Structure {
        match &self.shape(id).kind {
            Kind::Structure(structure) => structure,
            _ => &NO_MEMBERS,
        }
    }

    /// Every shape of the service, by name.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }
}

/// A shape of one service. Only that service's [`ServiceModel::shape`] can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeId(usize);

/// One operation: where it stands in HTTP, what it takes, what it answers.
#[derive(Debug)]
pub struct OperationModel {
    /// Its name, such as `Converse`.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The status of a success.
    pub status: u16,
    /// The path with its labels, such as `/model/{modelId}/converse`.
    pub uri: &'static str,
    /// The request's structure.
    pub input: ShapeId,
    /// The answer's structure.
    pub output: ShapeId,
    /// The structures of the errors that it declares.
    pub errors: Vec<ShapeId>,
}

/// A named type.
#[derive(Debug)]
pub struct Shape {
    /// Its name in the service model.
    pub name: &'static str,
    /// Whether its values are left out of messages.
    pub sensitive: bool,
    /// What it is.
    pub kind: Kind,
}

/// What a shape is, with its constraints.
#[derive(Debug)]
pub enum Kind {
    /// An object of named members.
    Structure(Structure),
    /// An array, with the limits of its length.
    List(ShapeId, Limits),
    /// An object of free keys: the keys' shape, the values' shape, the limits of its size.
    Map(ShapeId, ShapeId, Limits),
    /// One of these texts.
    Enum(Vec<&'static str>),
    /// A text, with the limits of its length in characters.
    String(Limits, Option<Pattern>),
    /// A whole number of 32 bits.
    Integer(Limits),
    /// A whole number of 64 bits.
    Long(Limits),
    /// A number.
    Float(Limits),
    /// True or false.
    Boolean,
    /// Bytes, base64 in JSON, with the limits of their count.
    Blob(Limits),
    /// A moment.
    Timestamp(TimestampForm),
    /// Any JSON value.
    Document,
}

/// An object of named members.
#[derive(Debug)]
pub struct Structure {
    /// Its members, in the order of the service model.
    pub members: Vec<Member>,
    /// Whether exactly one member is set.
    pub union: bool,
    /// Whether its members are the events of a stream.
    pub event_stream: bool,
    /// The HTTP status, where it is an error.
    pub error: Option<u16>,
    /// The member that is the whole body, where there is one.
    pub payload: Option<&'static str>,
}

static NO_MEMBERS: Structure = Structure {
    members: Vec::new(),
    union: false,
    event_stream: false,
    error: None,
    payload: None,
};

impl Structure {
    /// The member by its name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// Its name, in the model as in JSON.
    pub name: &'static str,
    /// Its shape.
    pub shape: ShapeId,
    /// Whether it must be there.
    pub required: bool,
    /// Where it stands in the HTTP message.
    pub place: Place,
    /// Whether it makes a repeated call harmless; the SDKs fill it where the caller does not.
    pub idempotency_token: bool,
}

/// Where a member stands in an HTTP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the JSON body.
    Body,
    /// In the path, as this label.
    Uri(&'static str),
    /// In the query string, under this name.
    Query(&'static str),
    /// In this header.
    Header(&'static str),
}

/// The least and the greatest length or value, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// The least, where there is one.
    pub min: Option<f64>,
    /// The greatest, where there is one.
    pub max: Option<f64>,
}

/// How a moment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampForm {
    /// RFC 3339 in UTC: `2026-11-22T10:00:00Z`.
    Rfc3339,
    /// Seconds since 1970, as a number.
    EpochSeconds,
}
