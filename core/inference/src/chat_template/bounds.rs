//! Bounds on the values of a template, beyond those that fuel sets.
//!
//! Fuel pays for the values that a template makes, but a value that holds another many times, or
//! deep down, costs more to print, to compare and to drop than to make. So what a template keeps in
//! a variable, goes over or prints is measured as the tree that it stands for.

use minijinja::value::{DynObject, ObjectRepr, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// Deepest nesting of a value that a variable may hold.
const MAX_DEPTH: usize = 200;

/// Values that are visited for one unit of fuel.
const VISITS_PER_FUEL: usize = 16;

/// Bytes of text that one unit of fuel pays for.
pub(super) const BYTES_PER_FUEL: usize = 64;

/// What a variable holds: the value, with every list that is not made yet made now.
///
/// The objects of the engine (macros, `loop`, a namespace) may be held as they are, but not in a
/// list, a mapping or a namespace: they could hold themselves, or a chain of any length.
pub(super) fn variable(state: &State, value: Value) -> Result<Value, Error> {
    match value.as_object() {
        Some(object) if is_engines(object) => Ok(value),
        _ => member(state, value),
    }
}

/// What a namespace holds: as [`variable`], without the engine's own objects.
pub(super) fn member(state: &State, value: Value) -> Result<Value, Error> {
    // Text of its own was paid for when it was made.
    if value.as_object().is_none() {
        return Ok(value);
    }
    let mut measure = Measure { state, visits: 0 };
    Ok(measure.settle(&value, 0)?.unwrap_or(value))
}

/// Checks that a value can be printed within the budget.
pub(super) fn printed(state: &State, value: &Value) -> Result<(), Error> {
    match value.as_object() {
        Some(object) if !is_engines(object) => {
            let mut measure = Measure { state, visits: 0 };
            measure.settle(value, 0).map(|_| ())
        }
        _ => Ok(()),
    }
}

/// Whether an object is a part of the engine rather than data.
fn is_engines(object: &DynObject) -> bool {
    let name = object.type_name();
    ["Namespace", "Loop", "Macro"]
        .iter()
        .any(|own| name.ends_with(own))
        || object.repr() == ObjectRepr::Plain
}

/// A walk over a value.
struct Measure<'a, 't, 'e> {
    state: &'a State<'t, 'e>,
    visits: usize,
}

impl Measure<'_, '_, '_> {
    /// The value with its lists made; `None` where it is so already.
    fn settle(&mut self, value: &Value, depth: usize) -> Result<Option<Value>, Error> {
        self.visits += 1;
        if self.visits.is_multiple_of(VISITS_PER_FUEL) {
            self.state.consume_fuel(1)?;
        }
        if let Some(text) = value.as_str() {
            self.state
                .consume_fuel((text.len() / BYTES_PER_FUEL) as u64)?;
            return Ok(None);
        }
        let Some(object) = value.as_object() else {
            return Ok(None);
        };
        if is_engines(object) {
            return Err(invalid(format!(
                "expected text, numbers, lists and mappings in a value, got {}",
                value.kind()
            )));
        }
        if depth == MAX_DEPTH {
            return Err(invalid(format!("expected values at most {MAX_DEPTH} deep")));
        }
        match value.kind() {
            ValueKind::Map => self.settle_map(object, depth),
            _ => self.settle_list(value, object, depth),
        }
    }

    fn settle_list(
        &mut self,
        value: &Value,
        object: &DynObject,
        depth: usize,
    ) -> Result<Option<Value>, Error> {
        let is_tuple = object.downcast_ref::<Tuple>().is_some();
        let mut changes = !is_tuple && object.downcast_ref::<Vec<Value>>().is_none();
        let mut items = Vec::new();
        for item in value.try_iter()?.checked() {
            let item = item?;
            let settled = self.settle(&item, depth + 1)?;
            changes |= settled.is_some();
            items.push(settled.unwrap_or(item));
        }
        Ok(match (changes, is_tuple) {
            (false, _) => None,
            (true, true) => Some(Value::from(Tuple::new(items))),
            (true, false) => Some(Value::from(items)),
        })
    }

    fn settle_map(&mut self, object: &DynObject, depth: usize) -> Result<Option<Value>, Error> {
        let mut changes = !object.type_name().contains("IndexMap<");
        let mut pairs = Vec::new();
        for (key, item) in object.try_iter_pairs().into_iter().flatten() {
            changes |= self.settle(&key, depth + 1)?.is_some();
            let settled = self.settle(&item, depth + 1)?;
            changes |= settled.is_some();
            pairs.push((key, settled.unwrap_or(item)));
        }
        Ok(changes.then(|| Value::from_iter(pairs)))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
