//! Where a member stands in a request, written as the service writes it.

use std::fmt;

/// A path from the request's root to a member. It lives on the stack and costs nothing until shown.
#[derive(Clone, Copy, Debug)]
pub enum MemberPath<'p> {
    /// The request itself.
    Root,
    /// A step further than another path.
    Deeper(&'p MemberPath<'p>, Step<'p>),
    /// The same, where the value and all that is in it is confidential.
    Secret(&'p MemberPath<'p>, Step<'p>),
}

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub enum Step<'p> {
    /// To the member of a structure, or the entry of a map, by its name.
    Member(&'p str),
    /// To the item of a list, counted from 1.
    Item(usize),
    /// To the value of a map's entry.
    Entry,
}

impl<'p> MemberPath<'p> {
    /// The path one step further.
    pub fn then(&'p self, step: Step<'p>) -> MemberPath<'p> {
        MemberPath::Deeper(self, step)
    }

    /// The path one step further, to a confidential value.
    pub fn secret(&'p self, step: Step<'p>) -> MemberPath<'p> {
        MemberPath::Secret(self, step)
    }

    /// Whether the value there is confidential, or part of one that is.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Root => false,
            Self::Deeper(before, _) => before.is_secret(),
            Self::Secret(..) => true,
        }
    }

    /// The path in the form that some messages have: `messages.0.content.1`.
    pub fn counted_from_zero(&self) -> String {
        let (Self::Deeper(before, step) | Self::Secret(before, step)) = self else {
            return String::new();
        };
        let mut text = before.counted_from_zero();
        let step = match step {
            Step::Member(name) => (*name).to_string(),
            Step::Item(at) => (at - 1).to_string(),
            Step::Entry => return text,
        };
        if !text.is_empty() {
            text.push('.');
        }
        text + &step
    }
}

impl fmt::Display for MemberPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Deeper(before, step) | Self::Secret(before, step)) = self else {
            return Ok(());
        };
        before.fmt(f)?;
        if !matches!(before, MemberPath::Root) {
            f.write_str(".")?;
        }
        match step {
            Step::Member(name) => f.write_str(name),
            Step::Item(at) => write!(f, "{at}.member"),
            Step::Entry => f.write_str("member"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{MemberPath, Step};

    #[test]
    fn items_are_counted_from_one_and_followed_by_member() {
        let messages = MemberPath::Root.then(Step::Member("messages"));
        let second = messages.then(Step::Item(2));
        let role = second.then(Step::Member("role"));
        assert_eq!(role.to_string(), "messages.2.member.role");
        assert_eq!(role.counted_from_zero(), "messages.1.role");
        assert_eq!(MemberPath::Root.to_string(), "");
    }
}
