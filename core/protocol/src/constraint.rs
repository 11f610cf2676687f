//! The constraints of the service model, in the words of the service's messages.

use std::fmt;

use crate::service_model::{Kind, Limits, Shape};

/// A constraint, such as a value did not keep.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// At most this long: characters, items, entries or bytes.
    LongestLength(f64),
    /// At least this long.
    ShortestLength(f64),
    /// At most this.
    GreatestValue(f64),
    /// At least this.
    LeastValue(f64),
    /// Matches the whole of this regular expression.
    Pattern(&'static str),
    /// One of these.
    OneOf(Vec<&'static str>),
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongestLength(most) => {
                write!(f, "Member must have length less than or equal to {most}")
            }
            Self::ShortestLength(least) => {
                write!(
                    f,
                    "Member must have length greater than or equal to {least}"
                )
            }
            Self::GreatestValue(most) => {
                write!(f, "Member must have value less than or equal to {most}")
            }
            Self::LeastValue(least) => {
                write!(f, "Member must have value greater than or equal to {least}")
            }
            Self::Pattern(pattern) => {
                write!(
                    f,
                    "Member must satisfy regular expression pattern: {pattern}"
                )
            }
            Self::OneOf(values) => {
                write!(
                    f,
                    "Member must satisfy enum value set: [{}]",
                    values.join(", ")
                )
            }
        }
    }
}

/// The limits that a length breaks.
pub fn length(limits: Limits, length: usize) -> Vec<Constraint> {
    let length = length as f64;
    let most = limits.max.filter(|most| length > *most);
    let least = limits.min.filter(|least| length < *least);
    let most = most.map(Constraint::LongestLength).into_iter();
    most.chain(least.map(Constraint::ShortestLength)).collect()
}

/// The limits that a value breaks.
pub fn range(limits: Limits, value: f64) -> Vec<Constraint> {
    let most = limits.max.filter(|most| value > *most);
    let least = limits.min.filter(|least| value < *least);
    let most = most.map(Constraint::GreatestValue).into_iter();
    most.chain(least.map(Constraint::LeastValue)).collect()
}

/// Nothing where `text` is one of `values`.
pub fn one_of(values: &[&'static str], text: &str) -> Vec<Constraint> {
    match values.contains(&text) {
        true => Vec::new(),
        false => vec![Constraint::OneOf(values.to_vec())],
    }
}

/// Every constraint of a scalar shape, as lists and maps of it show them together.
pub fn all(shape: &Shape) -> Vec<String> {
    let lengths = |limits: Limits| {
        let most = limits.max.map(Constraint::LongestLength);
        vec![most, limits.min.map(Constraint::ShortestLength)]
    };
    let constraints = match &shape.kind {
        Kind::String(limits, pattern) => {
            let mut constraints = lengths(*limits);
            constraints.push(pattern.as_ref().map(|it| Constraint::Pattern(it.source())));
            constraints
        }
        Kind::Blob(limits) => lengths(*limits),
        Kind::Enum(values) => vec![Some(Constraint::OneOf(values.clone()))],
        Kind::Integer(limits) | Kind::Long(limits) | Kind::Float(limits) => vec![
            limits.max.map(Constraint::GreatestValue),
            limits.min.map(Constraint::LeastValue),
        ],
        _ => Vec::new(),
    };
    constraints
        .iter()
        .flatten()
        .map(Constraint::to_string)
        .collect()
}
