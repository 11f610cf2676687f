// Requests: from what a caller writes to the JSON of the core's requests.
"use strict";

const { checkOptions } = require("./call.cjs");
const { validation } = require("./errors.cjs");

const SAMPLING = [
  "maxTokens", "temperature", "topP", "topK", "minP", "repetitionPenalty", "stop", "seed",
];
const CONVERSE = [
  "system", ...SAMPLING, "tools", "toolChoice", "responseSchema", "reasoning", "signal",
];
const GENERATE = [...SAMPLING, "signal"];

/** Drops members that are undefined or null, so that the core's defaults hold. */
function compact(object) {
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== undefined && value !== null),
  );
}

function inferenceConfig(options) {
  const { maxTokens, temperature, topP, topK, minP, repetitionPenalty, stop, seed } = options;
  return compact({
    maxTokens, temperature, topP, topK, minP, repetitionPenalty,
    stopSequences: typeof stop === "string" ? [stop] : stop,
    seed: typeof seed === "bigint" ? Number(seed) : seed,
  });
}

/** Converse messages of a string, or of messages whose content may be a string. */
function messagesOf(messages, call) {
  if (typeof messages === "string") {
    return [{ role: "user", content: [{ text: messages }] }];
  }
  if (!Array.isArray(messages)) {
    throw validation(
      `${call}: messages: expected a string or an array of messages, got ${typeof messages}`,
    );
  }
  return messages.map((message) =>
    typeof message?.content === "string"
      ? { ...message, content: [{ text: message.content }] }
      : message,
  );
}

/** A tool in Converse's form (`toolSpec`), in OpenAI's (`function`) or plain. */
function toolOf(tool, index) {
  const spec = tool?.toolSpec ?? tool?.function ?? tool;
  if (typeof spec?.name !== "string") {
    throw validation(`tools[${index}].name: expected a string, got ${typeof spec?.name}`);
  }
  const schema = spec.inputSchema?.json ?? spec.inputSchema ?? spec.parameters;
  return { name: spec.name, description: spec.description ?? "", inputSchema: schema ?? {} };
}

function toolChoiceOf(choice) {
  if (choice === "auto" || choice === "any") return { [choice]: {} };
  if (typeof choice === "string") return { tool: { name: choice } };
  return choice;
}

/** The JSON of a ConverseRequest. */
function converseRequest(messages, options, call) {
  const given = checkOptions(options, CONVERSE, call);
  return JSON.stringify(compact({
    messages: messagesOf(messages, call),
    system: given.system,
    inferenceConfig: inferenceConfig(given),
    tools: given.tools?.map(toolOf),
    toolChoice: toolChoiceOf(given.toolChoice),
    responseSchema: given.responseSchema,
    templateVariables:
      typeof given.reasoning === "boolean" ? { enable_thinking: given.reasoning } : undefined,
  }));
}

/** The JSON of a GenerateRequest. */
function generateRequest(prompt, options, call) {
  const given = checkOptions(options, GENERATE, call);
  const ids = ArrayBuffer.isView(prompt) ? Array.from(prompt) : prompt;
  if (typeof ids !== "string" && !Array.isArray(ids)) {
    throw validation(`${call}: prompt: expected a string or token ids, got ${typeof prompt}`);
  }
  return JSON.stringify({ prompt: ids, inferenceConfig: inferenceConfig(given) });
}

/** Texts as an array of strings; a single string stands for an array of one. */
function textsOf(texts, call) {
  const list = typeof texts === "string" ? [texts] : texts;
  if (!Array.isArray(list)) {
    throw validation(`${call}: texts: expected an array of strings, got ${typeof texts}`);
  }
  list.forEach((text, index) => {
    if (typeof text !== "string") {
      throw validation(`${call}: texts[${index}]: expected a string, got ${typeof text}`);
    }
  });
  return list;
}

module.exports = { compact, converseRequest, generateRequest, messagesOf, textsOf, toolOf };
