// Models: chat, embeddings, reranking, tokens.
"use strict";

const { call, callSync, checkOptions, signalOf } = require("./call.cjs");
const { flag, ids: idsOf, integer, optional, text: textOf, texts: textsOf } =
  require("./checks.cjs");
const { Prefix } = require("./prefix.cjs");
const { Completion, Reply } = require("./replies.cjs");
const { PROMPT, compact, converseRequest, generateRequest, promptJson, promptRequest } =
  require("./requests.cjs");
const { TextStream } = require("./stream.cjs");
const { ModelSpan } = require("./telemetry.cjs");

/** The model that chats where none is named; it is part of the package. */
const DEFAULT_CHAT_MODEL = "outcrop.tiny-v1";

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

  /** What a reply needs to know of its request. */
  #asked(options) {
    return {
      schema: options?.responseSchema,
      texts: (ids) => callSync(() => this.#native.tokenTexts(ids)),
    };
  }

  async converse(messages, options) {
    const request = converseRequest(messages, options, "converse");
    const signal = signalOf(options, "converse");
    const span = new ModelSpan("chat", () => this.id, request);
    const value = await span.of(() => call(signal, (c) => this.#native.converse(request, c)));
    return new Reply(JSON.parse(value), this.#asked(options));
  }

  stream(messages, options) {
    const request = converseRequest(messages, options, "stream");
    return new TextStream(
      () => this.#native.stream(request),
      ({ reply }) => reply && new Reply(reply, this.#asked(options)),
      signalOf(options, "stream"),
      () => new ModelSpan("chat", () => this.id, request),
    );
  }

  async generate(prompt, options) {
    const request = generateRequest(prompt, options, "generate");
    const signal = signalOf(options, "generate");
    const span = new ModelSpan("text_completion", () => this.id, request);
    const value = await span.of(() => call(signal, (c) => this.#native.generate(request, c)));
    return new Completion(JSON.parse(value), this.#asked(options));
  }

  generateStream(prompt, options) {
    const request = generateRequest(prompt, options, "generateStream");
    return new TextStream(
      () => this.#native.generateStream(request),
      ({ completion }) => completion && new Completion(completion, this.#asked(options)),
      signalOf(options, "generateStream"),
      () => new ModelSpan("text_completion", () => this.id, request),
    );
  }

  async embed(texts, options) {
    const given = checkOptions(options, ["normalize", "truncate", "prompt", "signal"], "embed");
    const embedOptions = JSON.stringify(compact({
      normalize: optional(flag, "normalize", given.normalize),
      truncate: optional(flag, "truncate", given.truncate),
      prompt: optional(textOf, "prompt", given.prompt),
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
    const given = checkOptions(options, ["adapter", "signal"], "logits");
    const list = idsOf("ids", ids);
    const adapter = optional(textOf, "adapter", given.adapter);
    const { values, width } = await call(signalOf(options, "logits"), (c) =>
      this.#native.logits(list, adapter, c));
    return rows(values, width);
  }

  async score(prompt, continuation, options) {
    const given = checkOptions(options, ["adapter", "signal"], "score");
    const [before, after] = [promptJson("prompt", prompt), promptJson("continuation", continuation)];
    const adapter = optional(textOf, "adapter", given.adapter);
    return call(signalOf(options, "score"), (c) => this.#native.score(before, after, adapter, c));
  }

  get adapters() {
    return callSync(() => JSON.parse(this.#native.adapters()));
  }

  get stats() {
    return callSync(() => JSON.parse(this.#native.stats()));
  }

  async prefix(prompt, options) {
    checkOptions(options, ["signal"], "prefix");
    const start = promptJson("prompt", prompt);
    return new Prefix(await call(signalOf(options, "prefix"), (c) => this.#native.prefix(start, c)));
  }

  async loadPrefix(path, options) {
    checkOptions(options, ["signal"], "loadPrefix");
    const file = textOf("path", path);
    const signal = signalOf(options, "loadPrefix");
    return new Prefix(await call(signal, (c) => this.#native.loadPrefix(file, c)));
  }

  async loadAdapter(name, path, options) {
    checkOptions(options, ["signal"], "loadAdapter");
    const [id, folder] = [textOf("name", name), textOf("path", path)];
    const signal = signalOf(options, "loadAdapter");
    return JSON.parse(await call(signal, (c) => this.#native.loadAdapter(id, folder, c)));
  }

  async unloadAdapter(name) {
    const id = textOf("name", name);
    callSync(() => this.#native.unloadAdapter(id));
  }

  async bench(options) {
    checkOptions(options, ["signal"], "bench");
    return JSON.parse(await call(signalOf(options, "bench"), (c) => this.#native.bench(c)));
  }

  async perplexity(texts, options) {
    const given = checkOptions(options, ["window", "stride", "adapter", "signal"], "perplexity");
    const list = textsOf("texts", texts);
    const count = (name) => optional(integer, name, given[name], Number.MAX_SAFE_INTEGER);
    const settings = JSON.stringify(compact({
      window: count("window"),
      stride: count("stride"),
      adapter: optional(textOf, "adapter", given.adapter),
    }));
    const signal = signalOf(options, "perplexity");
    return JSON.parse(await call(signal, (c) => this.#native.perplexity(list, settings, c)));
  }

  [Symbol.for("nodejs.util.inspect.custom")]() {
    const { id, kind, architecture, parameters, quantization } = this.info;
    return `Model { ${id}: ${kind}, ${architecture}, ${parameters} parameters, ${quantization} }`;
  }
}

module.exports = { DEFAULT_CHAT_MODEL, Model };
