//! `adapter_config.json` of PEFT: which projections a LoRA adapter changes, and how strongly.
//!
//! Names are matched as PEFT matches them (`peft/tuners/tuners_utils.py`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::utils::SysRegex;

type Read<T> = Result<T, String>;

/// Fields that say how an adapter was trained or stored, not what it computes. `fan_in_fan_out` is
/// of layers that no decoder here has; PEFT does not follow it for linear layers either.
const UNUSED: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Starts of an adapter's matrices that leave the base's weights as they are.
const KNOWN_STARTS: &[&str] = &["gaussian", "eva", "orthogonal"];

/// The description of a LoRA adapter (arXiv:2106.09685).
#[derive(Debug)]
pub(super) struct LoraConfig {
    r: usize,
    alpha: f64,
    rank_stabilised: bool,
    targets: Modules,
    parameters: Vec<String>,
    excluded: Modules,
    layers: Option<Vec<usize>>,
    layers_pattern: Vec<SysRegex>,
    rank_pattern: Vec<(SysRegex, usize)>,
    alpha_pattern: Vec<(SysRegex, f64)>,
}

/// A choice of modules.
#[derive(Debug)]
enum Modules {
    /// All linear layers of the decoder's layers: not the output.
    AllLinear,
    /// Those whose name is one of these, or ends with one behind a dot.
    Ends(Vec<String>),
    /// Those whose whole name it matches.
    Regex(SysRegex),
}

#[derive(Deserialize)]
struct File {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    target_modules: Value,
    #[serde(default)]
    target_parameters: Option<Vec<String>>,
    #[serde(default)]
    exclude_modules: Value,
    #[serde(default)]
    layers_to_transform: Option<OneOrMany<usize>>,
    #[serde(default)]
    layers_pattern: Option<OneOrMany<String>>,
    #[serde(default)]
    rank_pattern: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    alpha_pattern: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl LoraConfig {
    /// Reads the description from the file's `value`.
    ///
    /// # Errors
    /// What was expected and what came; for a field that is set and not followed, its name.
    pub fn read(value: &Value) -> Read<Self> {
        let file = File::deserialize(value).map_err(|error| error.to_string())?;
        check_followed(&file)?;
        if file.r == 0 {
            return Err("r: expected at least 1, got 0".to_owned());
        }
        let parameters = file.target_parameters.unwrap_or_default();
        let targets = match modules("target_modules", &file.target_modules)? {
            Some(targets) => targets,
            None if !parameters.is_empty() => Modules::Ends(Vec::new()),
            None => {
                let expected = "names, a regular expression or all-linear";
                return Err(format!("target_modules: expected {expected}, got nothing"));
            }
        };
        Ok(Self {
            r: file.r,
            alpha: finite("lora_alpha", file.lora_alpha)?,
            rank_stabilised: file.use_rslora,
            targets,
            parameters,
            excluded: modules("exclude_modules", &file.exclude_modules)?
                .unwrap_or(Modules::Ends(Vec::new())),
            // As in PEFT, an empty list chooses no layers away.
            layers: file
                .layers_to_transform
                .map(OneOrMany::into_vec)
                .filter(|layers| !layers.is_empty()),
            layers_pattern: file
                .layers_pattern
                .map(OneOrMany::into_vec)
                .unwrap_or_default()
                .iter()
                .map(|pattern| {
                    regex(
                        "layers_pattern",
                        &format!(r"\A(?:.*?\.)?(?:{pattern})\.\d+\."),
                    )
                })
                .collect::<Read<_>>()?,
            rank_pattern: patterns("rank_pattern", file.rank_pattern, |field, value| {
                let rank = value.as_u64().and_then(|n| usize::try_from(n).ok());
                rank.filter(|n| *n > 0)
                    .ok_or_else(|| format!("{field}: expected a rank of at least 1, got {value}"))
            })?,
            alpha_pattern: patterns("alpha_pattern", file.alpha_pattern, |field, value| {
                let alpha = value.as_f64();
                finite(
                    field,
                    alpha.ok_or_else(|| format!("{field}: expected a number, got {value}"))?,
                )
            })?,
        })
    }

    /// Whether the adapter changes `module`, a linear layer's name such as
    /// `model.layers.0.self_attn.q_proj`, of `layer`.
    pub fn targets(&self, module: &str, layer: usize) -> bool {
        let is_layer = match (&self.layers, &self.targets) {
            // A whole name goes before the choice of layers, as in PEFT, and so does an expression.
            (_, Modules::Regex(_)) | (None, _) => true,
            (_, Modules::Ends(names)) if names.iter().any(|name| name == module) => true,
            (Some(layers), _) => layers.contains(&layer) && self.has_layers_pattern(module),
        };
        is_layer && self.targets.hold(module) && !self.excluded.hold(module)
    }

    /// Whether the adapter changes the parameter `name`, such as `model.layers.0.mlp.gate.weight`,
    /// by itself instead of by its module. The choice of layers is of modules only, as in PEFT.
    pub fn targets_parameter(&self, name: &str) -> bool {
        has_end(&self.parameters, name)
    }

    fn has_layers_pattern(&self, module: &str) -> bool {
        let patterns = &self.layers_pattern;
        patterns.is_empty()
            || patterns
                .iter()
                .any(|p| p.find_iter(module).next().is_some())
    }

    /// The rank of the matrices of `module`, a module or parameter as the adapter chooses it.
    pub fn rank(&self, module: &str) -> usize {
        first_match(&self.rank_pattern, module).unwrap_or(self.r)
    }

    /// What the product of `module`'s matrices is multiplied by: `alpha / r`, or `alpha / sqrt(r)`
    /// for rank-stabilised adapters (arXiv:2312.03732).
    pub fn scale(&self, module: &str) -> f32 {
        let alpha = first_match(&self.alpha_pattern, module).unwrap_or(self.alpha);
        let rank = self.rank(module) as f64;
        let divisor = if self.rank_stabilised {
            rank.sqrt()
        } else {
            rank
        };
        (alpha / divisor) as f32
    }
}

impl Modules {
    fn hold(&self, module: &str) -> bool {
        match self {
            Self::AllLinear => module.contains("layers."),
            Self::Ends(names) => has_end(names, module),
            Self::Regex(expression) => expression.find_iter(module).next().is_some(),
        }
    }
}

/// Whether `name` is one of `ends`, or ends with one behind a dot.
fn has_end(ends: &[String], name: &str) -> bool {
    ends.iter().any(|end| {
        let start = name.strip_suffix(end.as_str());
        start.is_some_and(|start| start.is_empty() || start.ends_with('.'))
    })
}

/// Refuses fields that are set and that this version does not follow.
fn check_followed(file: &File) -> Read<()> {
    if file.peft_type != "LORA" {
        return Err(format!("peft_type: expected LORA, got {}", file.peft_type));
    }
    if let Some(bias) = file.bias.as_deref().filter(|bias| *bias != "none") {
        return Err(format!("bias: expected none, got {bias}"));
    }
    let start = &file.init_lora_weights;
    let is_known = match start {
        Value::Null | Value::Bool(_) => true,
        Value::String(name) => KNOWN_STARTS.contains(&name.as_str()),
        _ => false,
    };
    if !is_known {
        return Err(format!(
            "init_lora_weights: expected true, false or {}, got {start}: it changes the base's weights",
            KNOWN_STARTS.join(", ")
        ));
    }
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
        _ => true,
    };
    let refused = file
        .others
        .iter()
        .find(|(name, value)| !UNUSED.contains(&name.as_str()) && is_set(value));
    match refused {
        Some((name, value)) => Err(format!(
            "{name}: expected nothing or false, got {value}: it is not supported"
        )),
        None => Ok(()),
    }
}

/// A choice of modules in the file; `None` where there is none.
fn modules(field: &str, value: &Value) -> Read<Option<Modules>> {
    match value {
        Value::Null => Ok(None),
        Value::String(all) if all == "all-linear" => Ok(Some(Modules::AllLinear)),
        Value::String(pattern) => {
            let whole = regex(field, &format!(r"\A(?:{pattern})\z"))?;
            Ok(Some(Modules::Regex(whole)))
        }
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned));
            let names: Option<Vec<String>> = names.collect();
            let names = names.ok_or_else(|| format!("{field}: expected names, got {value}"))?;
            Ok(Some(Modules::Ends(names)))
        }
        other => Err(format!(
            "{field}: expected names or a regular expression, got {other}"
        )),
    }
}

/// What a table says for modules by patterns, in its order.
fn patterns<T>(
    field: &str,
    table: Option<serde_json::Map<String, Value>>,
    read: impl Fn(&str, &Value) -> Read<T>,
) -> Read<Vec<(SysRegex, T)>> {
    let entries = table.unwrap_or_default();
    entries
        .iter()
        .map(|(pattern, value)| {
            let field = format!("{field}.{pattern}");
            let end = regex(&field, &format!(r"\A(?:.*\.)?(?:{pattern})\z"))?;
            Ok((end, read(&field, value)?))
        })
        .collect()
}

fn first_match<T: Copy>(patterns: &[(SysRegex, T)], module: &str) -> Option<T> {
    let mut matching = patterns
        .iter()
        .filter(|(pattern, _)| pattern.find_iter(module).next().is_some());
    matching.next().map(|(_, value)| *value)
}

fn regex(field: &str, pattern: &str) -> Read<SysRegex> {
    SysRegex::new(pattern)
        .map_err(|error| format!("{field}: expected a regular expression: {error}"))
}

fn finite(field: &str, value: f64) -> Read<f64> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(format!("{field}: expected a finite number, got {value}"))
    }
}

#[cfg(test)]
mod tests;
