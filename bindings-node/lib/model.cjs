// Models: chat, embeddings, reranking, tokens.
"use strict";

const { call, callSync, checkOptions, signalOf } = require("./call.cjs");
const { Completion, Reply } = require("./replies.cjs");
const { compact, converseRequest, generateRequest, messagesOf, textsOf, toolOf } =
  require("./requests.cjs");
const { TextStream } = require("./stream.cjs");
const { validation } = require("./errors.cjs");

/** Rows of a matrix, as views of its one buffer. */
function rows(values, width) {
  return Array.from({ length: width ? values.length / width : 0 }, (_, row) =>
    values.subarray(row * width, (row + 1) * width),
  );
}

function idsOf(ids, name) {
  if (ids instanceof Uint32Array) return ids;
  const list = ArrayBuffer.isView(ids) ? Array.from(ids) : ids;
  if (!Array.isArray(list)) throw validation(`${name}: ids: expected token ids, got ${typeof ids}`);
  list.forEach((id, index) => {
    if (!Number.isInteger(id) || id < 0 || id > 0xffffffff) {
      throw validation(`${name}: ids[${index}]: expected a token id of 0 or more, got ${id}`);
    }
  });
  return Uint32Array.from(list);
}

/** A loaded model. */
class Model {
  #native;

  constructor(handle) {
    this.#native = handle;
  }

  get info() {
    return callSync(() => JSON.parse(this.#native.info()));
  }

  get id() {
    return this.info.id;
  }

  async converse(messages, options) {
    const request = converseRequest(messages, options, "converse");
    const signal = signalOf(options, "converse");
    return new Reply(JSON.parse(await call(signal, (c) => this.#native.converse(request, c))));
  }

  stream(messages, options) {
    const request = converseRequest(messages, options, "stream");
    return new TextStream(
      () => this.#native.stream(request),
      (gathered) => new Reply(gathered),
      signalOf(options, "stream"),
    );
  }

  async generate(prompt, options) {
    const request = generateRequest(prompt, options, "generate");
    const signal = signalOf(options, "generate");
    return new Completion(JSON.parse(await call(signal, (c) => this.#native.generate(request, c))));
  }

  generateStream(prompt, options) {
    const request = generateRequest(prompt, options, "generateStream");
    return new TextStream(
      () => this.#native.generateStream(request),
      (gathered) => new Completion(gathered),
      signalOf(options, "generateStream"),
    );
  }

  async embed(texts, options) {
    const given = checkOptions(options, ["normalize", "truncate", "signal"], "embed");
    const embedOptions = JSON.stringify(
      compact({ normalize: given.normalize, truncate: given.truncate }),
    );
    const list = textsOf(texts, "embed");
    const { values, width } = await call(signalOf(options, "embed"), (c) =>
      this.#native.embed(list, embedOptions, c));
    return rows(values, width);
  }

  async rerank(query, texts, options) {
    checkOptions(options, ["signal"], "rerank");
    if (typeof query !== "string") {
      throw validation(`rerank: query: expected a string, got ${typeof query}`);
    }
    const list = textsOf(texts, "rerank");
    return call(signalOf(options, "rerank"), (c) => this.#native.rerank(query, list, c));
  }

  async tokenize(text, options) {
    const { addSpecialTokens = true } = checkOptions(options, ["addSpecialTokens"], "tokenize");
    if (typeof text !== "string") {
      throw validation(`tokenize: text: expected a string, got ${typeof text}`);
    }
    return call(undefined, () => this.#native.tokenize(text, addSpecialTokens));
  }

  async detokenize(ids, options) {
    const { skipSpecialTokens = false } = checkOptions(options, ["skipSpecialTokens"], "detokenize");
    const list = idsOf(ids, "detokenize");
    return call(undefined, () => this.#native.detokenize(list, skipSpecialTokens));
  }

  async chatPrompt(messages, options) {
    const known = ["system", "tools", "reasoning", "addGenerationPrompt"];
    const { system, tools, reasoning, addGenerationPrompt = true } =
      checkOptions(options, known, "chatPrompt");
    const request = JSON.stringify(compact({
      messages: messagesOf(messages, "chatPrompt"),
      system,
      tools: tools?.map(toolOf),
      templateVariables:
        typeof reasoning === "boolean" ? { enable_thinking: reasoning } : undefined,
    }));
    return call(undefined, () => this.#native.chatPrompt(request, addGenerationPrompt));
  }

  async logits(ids, options) {
    checkOptions(options, ["signal"], "logits");
    const list = idsOf(ids, "logits");
    const { values, width } = await call(signalOf(options, "logits"), (c) =>
      this.#native.logits(list, c));
    return rows(values, width);
  }

  [Symbol.for("nodejs.util.inspect.custom")]() {
    const { id, kind, architecture, parameters, quantization } = this.info;
    return `Model { ${id}: ${kind}, ${architecture}, ${parameters} parameters, ${quantization} }`;
  }
}

module.exports = { Model };
