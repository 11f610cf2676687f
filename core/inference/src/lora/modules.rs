//! The names that PEFT's files have for the projections of a decoder's layers.

use crate::decoder_weights::Site;

/// Linear modules of a layer that are one projection.
const LINEAR: &[(&str, Site)] = &[
    ("self_attn.q_proj", Site::Query),
    ("self_attn.k_proj", Site::Key),
    ("self_attn.v_proj", Site::Value),
    ("self_attn.o_proj", Site::Output),
    ("mlp.gate_proj", Site::Gate),
    ("mlp.up_proj", Site::Up),
    ("mlp.down_proj", Site::Down),
    ("mlp.gate", Site::Router),
    ("mlp.router", Site::Router),
    ("block_sparse_moe.gate", Site::Router),
];

/// Modules that hold several projections, one behind the other.
const FUSED: &[(&str, &[Site])] = &[
    ("self_attn.qkv_proj", &[Site::Query, Site::Key, Site::Value]),
    ("mlp.gate_up_proj", &[Site::Gate, Site::Up]),
];

/// What stands before an expert's number, and its three projections.
const EXPERTS: &[(&str, [&str; 3])] = &[
    ("mlp.experts.", ["gate_proj", "up_proj", "down_proj"]),
    ("block_sparse_moe.experts.", ["w1", "w3", "w2"]),
];

/// The module that holds a layer's experts as two parameters, all in one.
pub(super) const STACKED: &str = "mlp.experts";

/// What PEFT puts behind a module's name where it changes a second parameter of it.
const NESTED: &str = ".base_layer";

/// What a module of a layer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Projections, one behind the other.
    Linear(Vec<Site>),
    /// All of the layer's experts.
    Experts,
}

/// What the module `name` of a layer holds, such as `self_attn.q_proj`, where there is such a module.
pub(super) fn content(name: &str) -> Option<Content> {
    let linear = LINEAR.iter().filter(|(own, _)| *own == name);
    let linear = linear.map(|(_, site)| std::slice::from_ref(site));
    let fused = FUSED.iter().filter(|(own, _)| *own == name);
    let mut whole = linear.chain(fused.map(|(_, sites)| *sites));
    if let Some(sites) = whole.next() {
        return Some(Content::Linear(sites.to_vec()));
    }
    if name.trim_end_matches(NESTED) == STACKED {
        return Some(Content::Experts);
    }
    let (number, [gate, up, down]) = EXPERTS
        .iter()
        .find_map(|(before, kinds)| Some((name.strip_prefix(before)?, kinds)))?;
    let (number, kind) = number.split_once('.')?;
    let number = number.parse().ok()?;
    let site = match kind {
        kind if kind == *gate => Site::ExpertGate(number),
        kind if kind == *up => Site::ExpertUp(number),
        kind if kind == *down => Site::ExpertDown(number),
        _ => return None,
    };
    Some(Content::Linear(vec![site]))
}

/// The names that a layer's projection may have, the usual one first.
pub(super) fn names(site: Site) -> Vec<String> {
    let (number, kind) = match site {
        Site::ExpertGate(number) => (number, 0),
        Site::ExpertUp(number) => (number, 1),
        Site::ExpertDown(number) => (number, 2),
        _ => {
            let own = LINEAR.iter().filter(|(_, of)| *of == site);
            return own.map(|(name, _)| (*name).to_owned()).collect();
        }
    };
    let of_expert =
        |(before, kinds): &(&str, [&str; 3])| format!("{before}{number}.{}", kinds[kind]);
    EXPERTS.iter().map(of_expert).collect()
}

/// What a projection is called in what is told of an adapter: experts have no number there.
pub(super) fn kind(site: Site) -> String {
    let usual = match site {
        Site::ExpertGate(_) => "mlp.experts.gate_proj",
        Site::ExpertUp(_) => "mlp.experts.up_proj",
        Site::ExpertDown(_) => "mlp.experts.down_proj",
        _ => return names(site).swap_remove(0),
    };
    usual.to_owned()
}

/// All that an adapter may change, for a message.
pub(super) fn expected() -> String {
    let linear = LINEAR.iter().map(|(name, _)| (*name).to_owned());
    let fused = FUSED.iter().map(|(name, _)| (*name).to_owned());
    let experts = EXPERTS
        .iter()
        .map(|(before, kinds)| format!("{before}N.{}", kinds.join("|")));
    let all: Vec<String> = linear.chain(fused).chain(experts).collect();
    format!("{}, {STACKED}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_of_the_site_that_has_it() {
        for site in [Site::Query, Site::Down, Site::Router, Site::ExpertUp(12)] {
            for name in names(site) {
                assert_eq!(content(&name), Some(Content::Linear(vec![site])), "{name}");
            }
        }
        let swapped = content("block_sparse_moe.experts.0.w3");
        assert_eq!(swapped, Some(Content::Linear(vec![Site::ExpertUp(0)])));
        for stacked in ["mlp.experts", "mlp.experts.base_layer"] {
            assert_eq!(content(stacked), Some(Content::Experts));
        }
        for unknown in [
            "mlp",
            "mlp.experts.x.up_proj",
            "mlp.experts.0.w1",
            "lm_head",
        ] {
            assert_eq!(content(unknown), None);
        }
    }
}
