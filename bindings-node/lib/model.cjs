// Models: chat, embeddings, reranking, tokens.
"use strict";

const { call, callSync, checkOptions, signalOf } = require("./call.cjs");
const { flag, ids: idsOf, optional, text: textOf, texts: textsOf } = require("./checks.cjs");
const { Completion, Reply } = require("./replies.cjs");
const { PROMPT, compact, converseRequest, generateRequest, promptRequest } =
  require("./requests.cjs");
const { TextStream } = require("./stream.cjs");

/** Rows of a matrix, as views of its one buffer. */
function rows(values, width) {
  return Array.from({ length: width ? values.length / width : 0 }, (_, row) =>
    values.subarray(row * width, (row + 1) * width),
  );
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
    const embedOptions = JSON.stringify(compact({
      normalize: optional(flag, "normalize", given.normalize),
      truncate: optional(flag, "truncate", given.truncate),
    }));
    const list = textsOf("texts", texts);
    const { values, width } = await call(signalOf(options, "embed"), (c) =>
      this.#native.embed(list, embedOptions, c));
    return rows(values, width);
  }

  async rerank(query, texts, options) {
    checkOptions(options, ["signal"], "rerank");
    const question = textOf("query", query);
    const list = textsOf("texts", texts);
    return call(signalOf(options, "rerank"), (c) => this.#native.rerank(question, list, c));
  }

  async tokenize(text, options) {
    const given = checkOptions(options, ["addSpecialTokens"], "tokenize");
    const special = optional(flag, "addSpecialTokens", given.addSpecialTokens) ?? true;
    const value = textOf("text", text);
    return call(undefined, () => this.#native.tokenize(value, special));
  }

  async detokenize(ids, options) {
    const given = checkOptions(options, ["skipSpecialTokens"], "detokenize");
    const skip = optional(flag, "skipSpecialTokens", given.skipSpecialTokens) ?? true;
    const list = idsOf("ids", ids);
    return call(undefined, () => this.#native.detokenize(list, skip));
  }

  async chatPrompt(messages, options) {
    const given = checkOptions(options, [...PROMPT, "addGenerationPrompt"], "chatPrompt");
    const generation = optional(flag, "addGenerationPrompt", given.addGenerationPrompt) ?? true;
    const request = promptRequest(messages, given);
    return call(undefined, () => this.#native.chatPrompt(request, generation));
  }

  async logits(ids, options) {
    checkOptions(options, ["signal"], "logits");
    const list = idsOf("ids", ids);
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
