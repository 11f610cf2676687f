//! How each model family writes calls of tools: a table, from which calls are read and grammars made.

use super::parameters::{FUNCTION, PARAMETER};

/// How a family writes calls. A reply's calls are `begin`, one or several calls with `between` them,
/// `end`; a call is `open`, its name and arguments, `close`.
#[derive(Debug)]
pub(crate) struct ToolFormat {
    /// Texts of which a chat template of the family holds every one.
    marks: &'static [&'static str],
    /// Texts that are special tokens where the vocabulary has them so.
    pub markers: &'static [&'static str],
    /// What the first call begins with after free text; `None` where calls are the whole reply.
    pub trigger: Option<&'static str>,
    /// What ends the calls; `None` where nothing but the JSON's end does.
    pub stop: Option<&'static str>,
    /// Before the first call.
    pub begin: &'static str,
    /// Before each call.
    pub open: &'static str,
    /// How a call's name and arguments are written.
    pub syntax: CallSyntax,
    /// After each call.
    pub close: &'static str,
    /// Between two calls.
    pub between: &'static str,
    /// After the last call.
    pub end: &'static str,
}

/// How a call's name and arguments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallSyntax {
    /// `{"name": …, KEY: {…}}` with this key for the arguments.
    Object(&'static str),
    /// The name, this text, and the arguments' JSON.
    Named(&'static str),
    /// Each argument by itself, as [`super::parameters`] reads them.
    Parameters,
}

/// The formats, the first of which whose marks a template holds is the model's.
const FORMATS: &[ToolFormat] = &[
    // GPT-OSS (harmony); its channels are read by `Harmony`.
    ToolFormat {
        marks: &["<|channel|>", "<|message|>"],
        markers: &[
            "<|channel|>",
            "<|constrain|>",
            "<|message|>",
            "<|start|>",
            "<|end|>",
            "<|call|>",
        ],
        trigger: None,
        stop: None,
        begin: "<|channel|>commentary to=",
        open: "functions.",
        syntax: CallSyntax::Named(" <|constrain|>json<|message|>"),
        close: "<|call|>",
        between: "",
        end: "",
    },
    // DeepSeek R1 and its distillates.
    ToolFormat {
        marks: &["<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"],
        markers: &[
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
        ],
        trigger: Some("<｜tool▁calls▁begin｜>"),
        stop: Some("<｜tool▁calls▁end｜>"),
        begin: "<｜tool▁calls▁begin｜>",
        open: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        syntax: CallSyntax::Named("\n```json\n"),
        close: "\n```<｜tool▁call▁end｜>",
        between: "\n",
        end: "<｜tool▁calls▁end｜>",
    },
    // Mistral since its eleventh tokenizer.
    ToolFormat {
        marks: &["[TOOL_CALLS]", "[ARGS]"],
        markers: &["[TOOL_CALLS]", "[ARGS]"],
        trigger: Some("[TOOL_CALLS]"),
        stop: None,
        begin: "",
        open: "[TOOL_CALLS]",
        syntax: CallSyntax::Named("[ARGS]"),
        close: "",
        between: "",
        end: "",
    },
    // Mistral and Mixtral from version 0.3, Mistral Nemo.
    ToolFormat {
        marks: &["[TOOL_CALLS]"],
        markers: &["[TOOL_CALLS]"],
        trigger: Some("[TOOL_CALLS]"),
        stop: None,
        begin: "[TOOL_CALLS][",
        open: "",
        syntax: CallSyntax::Object("arguments"),
        close: "",
        between: ", ",
        end: "]",
    },
    // Phi-4-mini.
    ToolFormat {
        marks: &["<|tool|>", "<|/tool|>"],
        markers: &["<|tool_call|>", "<|/tool_call|>"],
        trigger: Some("<|tool_call|>"),
        stop: Some("<|/tool_call|>"),
        begin: "<|tool_call|>[",
        open: "",
        syntax: CallSyntax::Object("arguments"),
        close: "",
        between: ", ",
        end: "]<|/tool_call|>",
    },
    // Granite 3.
    ToolFormat {
        marks: &["<|tool_call|>"],
        markers: &["<|tool_call|>"],
        trigger: Some("<|tool_call|>"),
        stop: None,
        begin: "<|tool_call|>[",
        open: "",
        syntax: CallSyntax::Object("arguments"),
        close: "",
        between: ", ",
        end: "]",
    },
    // Qwen3-Coder.
    ToolFormat {
        marks: &["<tool_call>", FUNCTION, PARAMETER],
        markers: &["<tool_call>", "</tool_call>"],
        trigger: Some("<tool_call>"),
        stop: Some("</tool_call>"),
        begin: "",
        open: "<tool_call>\n",
        syntax: CallSyntax::Parameters,
        close: "\n</tool_call>",
        between: "\n",
        end: "",
    },
    // Hermes, Qwen2.5, Qwen3, SmolLM3.
    ToolFormat {
        marks: &["<tool_call>"],
        markers: &["<tool_call>", "</tool_call>"],
        trigger: Some("<tool_call>"),
        stop: Some("</tool_call>"),
        begin: "",
        open: "<tool_call>\n",
        syntax: CallSyntax::Object("arguments"),
        close: "\n</tool_call>",
        between: "\n",
        end: "",
    },
    // Llama 3.1 and later.
    ToolFormat {
        marks: &["dictionary of argument name"],
        ..WHOLE_REPLY
    },
];

/// Families without a form of their own: the call is the whole reply, as Llama 3 writes it.
const WHOLE_REPLY: ToolFormat = ToolFormat {
    marks: &[],
    markers: &["<|python_tag|>"],
    trigger: None,
    stop: None,
    begin: "",
    open: "",
    syntax: CallSyntax::Object("parameters"),
    close: "",
    between: "; ",
    end: "",
};

/// The format of a model whose chat template holds what `template_holds` says.
pub(crate) fn of_template(template_holds: impl Fn(&str) -> bool) -> &'static ToolFormat {
    let holds_all = |format: &&ToolFormat| format.marks.iter().all(|mark| template_holds(mark));
    FORMATS.iter().find(holds_all).unwrap_or(&WHOLE_REPLY)
}

impl ToolFormat {
    /// Whether replies come in channels (<https://cookbook.openai.com/articles/openai-harmony>).
    pub fn has_channels(&self) -> bool {
        self.marks.contains(&"<|channel|>")
    }

    /// Whether several calls may follow each other.
    pub fn repeats(&self) -> bool {
        !self.has_channels() && self.trigger.is_some()
    }
}
