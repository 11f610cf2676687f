//! References within a schema.

use outcrop_api::Result;
use serde_json::Value;

use super::Walk;

impl Walk<'_> {
    /// A `$ref`, which must lead to a schema of the same document.
    pub(super) fn reference(&self, value: &Value, path: &str) -> Result<Value> {
        let reference = self.text(value, path)?;
        match self.target(reference) {
            Some(_) => Ok(value.clone()),
            None => {
                let what = format!(
                    "expected a reference to a part of this schema, such as #/$defs/name, got {reference:?}"
                );
                Err(self.wrong(path, what))
            }
        }
    }

    /// The schema that a reference leads to.
    pub(super) fn target(&self, reference: &str) -> Option<&Value> {
        let pointer = reference.strip_prefix('#')?;
        // Escaped names would have to be spelt for the compiler, which reads them as they stand.
        if pointer.contains(['~', '%']) {
            return None;
        }
        self.root.pointer(pointer)
    }

    /// `schema`, or what it refers to where it is nothing but a reference.
    pub(super) fn resolved<'v>(&'v self, schema: &'v Value) -> &'v Value {
        let mut schema = schema;
        // A chain of references that is longer leads round in a circle, or nowhere soon.
        for _ in 0..8 {
            let reference = schema.get("$ref").and_then(Value::as_str);
            let is_alone = reference.is_some() && !has_more_than_reference(schema);
            match reference.filter(|_| is_alone).and_then(|r| self.target(r)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }
}

/// Whether a schema says something beside its `$ref`.
fn has_more_than_reference(schema: &Value) -> bool {
    let members = schema.as_object();
    members.is_some_and(|members| {
        members
            .keys()
            .any(|keyword| keyword != "$ref" && !super::ANNOTATIONS.contains(&keyword.as_str()))
    })
}
