// Requests: from what a caller writes to the JSON of the core's requests.
"use strict";

const { checkOptions } = require("./call.cjs");
const {
  absent, choice, flag, ids, integer, object, optional, plain, real, signed, text, texts, wrong,
} = require("./checks.cjs");
const { validation } = require("./errors.cjs");
const { conversation } = require("./messages.cjs");

const SAMPLING = [
  "maxTokens", "temperature", "topP", "topK", "minP", "repetitionPenalty", "stop", "seed",
  "logprobs",
];
const FORMATS = ["responseSchema", "regex", "lark", "quote"];
const SERVING = ["adapter", "speculation", "caller", "priority", "deadlineMs"];
const PROMPT = ["system", "tools", "reasoning", "templateVariables"];
const GENERATE = [...SAMPLING, ...FORMATS, ...SERVING, "signal"];
const CONVERSE = [...PROMPT, "toolChoice", "requestMetadata", ...GENERATE];
/** Ways to guess tokens ahead. */
const SPECULATION = ["off", "prompt_lookup", "draft"];

/** Drops members that are undefined or null, so that the core's defaults hold. */
function compact(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => !absent(value)));
}

/** Lengths and sampling, as JSON: a seed may be a bigint, which JSON.stringify refuses. */
function inferenceConfig(given) {
  const config = compact({
    maxTokens: optional(integer, "maxTokens", given.maxTokens),
    temperature: optional(real, "temperature", given.temperature),
    topP: optional(real, "topP", given.topP),
    topK: optional(integer, "topK", given.topK),
    minP: optional(real, "minP", given.minP),
    repetitionPenalty: optional(real, "repetitionPenalty", given.repetitionPenalty),
    stopSequences: optional(texts, "stop", given.stop),
    seed: optional(integer, "seed", given.seed),
    logprobs: optional(integer, "logprobs", given.logprobs),
  });
  const members = Object.entries(config).map(([name, value]) =>
    `"${name}":${typeof value === "bigint" ? value : JSON.stringify(value)}`);
  return `{${members.join(",")}}`;
}

/** A request's JSON: its members, and the configuration beside them. */
function withConfig(members, config) {
  return `${JSON.stringify(members).slice(0, -1)},"inferenceConfig":${config}}`;
}

/** A tool in Converse's form (`toolSpec`), in OpenAI's (`function`) or plain. */
function toolOf(tool, index) {
  const where = `tools[${index}]`;
  const given = object(where, tool, "a tool");
  const spec = object(where, given.toolSpec ?? given.function ?? given, "a tool's declaration");
  const schema = spec.inputSchema?.json ?? spec.inputSchema ?? spec.parameters;
  return {
    name: text(`${where}.name`, spec.name),
    description: text(`${where}.description`, spec.description ?? ""),
    inputSchema: plain(
      `${where}.inputSchema`, object(`${where}.inputSchema`, schema, "a JSON schema"),
    ),
  };
}

function toolsOf(tools) {
  if (!Array.isArray(tools)) throw wrong("tools", "an array of tools", tools);
  return Array.from(tools, toolOf);
}

/** `auto`, `any`, a tool's name, or Converse's form. */
function toolChoiceOf(choice, tools) {
  const names = (tools ?? []).map((tool) => tool.name);
  if (choice === "auto" || choice === "any") return { [choice]: {} };
  if (typeof choice === "string" && names.includes(choice)) return { tool: { name: choice } };
  const members = choice && typeof choice === "object" ? Object.keys(choice) : [];
  if (members.length === 1 && ["auto", "any", "tool"].includes(members[0])) {
    return plain("toolChoice", choice);
  }
  throw wrong("toolChoice", `one of ${["auto", "any", ...names].join(", ")}`, choice);
}

/** A JSON schema. */
function schemaOf(field, schema) {
  if (typeof schema?.safeParse === "function") {
    throw validation(
      `${field}: expected a JSON schema, got a validator; give the schema that it makes, ` +
        "such as z.toJSONSchema(validator)",
    );
  }
  return plain(field, object(field, schema, "a JSON schema"));
}

/** What JavaScript's classes stand for; the core's are Unicode's. */
const CLASSES = { d: "0-9", w: "A-Za-z0-9_" };

/** A regular expression's text. A RegExp's classes keep JavaScript's meaning: `\d` is 0 to 9. */
function regexOf(field, regex) {
  if (!(regex instanceof RegExp)) return text(field, regex);
  if (regex.flags.replace(/[uv]/, "")) throw wrong(field, "a RegExp without flags", regex);
  let isClass = false;
  return regex.source.replace(/\\(.)|[[\]]/gs, (part, escaped) => {
    if (part === "[" || part === "]") {
      isClass = part === "[";
      return part;
    }
    const members = CLASSES[escaped.toLowerCase()];
    if (!members) return part;
    const isOpposite = escaped !== escaped.toLowerCase();
    if (isClass && isOpposite) {
      throw wrong(field, `no ${part} within brackets; write out what it stands for`, regex);
    }
    return isClass ? members : `[${isOpposite ? "^" : ""}${members}]`;
  });
}

/** What every answer must look like; undefined where nothing is asked. */
function outputFormatOf(given) {
  const asked = FORMATS.filter((name) => !absent(given[name]));
  if (asked.length > 1) {
    throw validation(
      `${asked.join(", ")}: expected at most one of ${FORMATS.join(", ")}, got ${asked.length}`,
    );
  }
  switch (asked[0]) {
    case "responseSchema":
      return { jsonSchema: schemaOf("responseSchema", given.responseSchema) };
    case "regex":
      return { regex: regexOf("regex", given.regex) };
    case "lark":
      return { lark: text("lark", given.lark) };
    case "quote":
      return { quote: texts("quote", given.quote) };
    default:
      return undefined;
  }
}

/** The format, the adapter, the guessing ahead and the place in the queue. */
function servingOf(given) {
  const scheduling = compact({
    caller: optional(text, "caller", given.caller),
    priority: optional(signed, "priority", given.priority),
    deadlineMs: optional(integer, "deadlineMs", given.deadlineMs, Number.MAX_SAFE_INTEGER),
  });
  return {
    outputFormat: outputFormatOf(given),
    adapter: optional(text, "adapter", given.adapter),
    speculation: optional(choice, "speculation", given.speculation, SPECULATION),
    scheduling: Object.keys(scheduling).length ? scheduling : undefined,
  };
}

/** What a chat template is given. */
function promptOf(messages, given) {
  const { system, messages: converse } = conversation(messages);
  if (system !== undefined && !absent(given.system)) {
    throw validation("system: messages[0] gives a system text too");
  }
  const reasoning = optional(flag, "reasoning", given.reasoning);
  const variables = compact({
    ...optional(object, "templateVariables", given.templateVariables),
    enable_thinking: reasoning ?? given.templateVariables?.enable_thinking,
  });
  return {
    messages: converse,
    system: system ?? optional(text, "system", given.system),
    tools: absent(given.tools) ? undefined : toolsOf(given.tools),
    templateVariables:
      Object.keys(variables).length ? plain("templateVariables", variables) : undefined,
  };
}

/** The JSON of a ConverseRequest that only its prompt is wanted of. */
function promptRequest(messages, given) {
  return JSON.stringify(compact(promptOf(messages, given)));
}

/** The JSON of a ConverseRequest. */
function converseRequest(messages, options, call) {
  const given = checkOptions(options, CONVERSE, call);
  const prompt = promptOf(messages, given);
  const members = compact({
    ...prompt,
    toolChoice:
      absent(given.toolChoice) ? undefined : toolChoiceOf(given.toolChoice, prompt.tools),
    ...servingOf(given),
    requestMetadata: optional(tagsOf, "requestMetadata", given.requestMetadata),
  });
  return withConfig(members, inferenceConfig(given));
}

/** Texts by name. */
function tagsOf(field, values) {
  const entries = Object.entries(object(field, values, "an object of texts"));
  return Object.fromEntries(
    entries.map(([name, value]) => [text(field, name), text(`${field}.${name}`, value)]),
  );
}

/** A text or token ids, checked. */
function textOrIds(field, value) {
  return typeof value === "string" ? text(field, value) : Array.from(ids(field, value));
}

/** A text or token ids, as JSON. */
function promptJson(field, value) {
  return JSON.stringify(textOrIds(field, value));
}

/** The JSON of a GenerateRequest. */
function generateRequest(prompt, options, call) {
  const given = checkOptions(options, GENERATE, call);
  const value = textOrIds("prompt", prompt);
  return withConfig(compact({ prompt: value, ...servingOf(given) }), inferenceConfig(given));
}

module.exports = { PROMPT, SPECULATION, compact, converseRequest, generateRequest, promptJson, promptRequest };
