// Knowledge bases: folders of documents that can be searched and asked.
"use strict";

const { call, checkOptions, signalOf } = require("./call.cjs");
const { compact } = require("./requests.cjs");
const { validation } = require("./errors.cjs");

function questionOf(question, name) {
  if (typeof question !== "string") {
    throw validation(`${name}: expected a string, got ${typeof question}`);
  }
  return question;
}

/** A document's JSON, and its vector apart from it. */
function documentOf(document, index) {
  const { text, id, metadata, embedding, ...rest } = document ?? {};
  const unknown = Object.keys(rest)[0];
  if (unknown) throw validation(`documents[${index}].${unknown}: not a member of a document`);
  if (typeof text !== "string") {
    throw validation(`documents[${index}].text: expected a string, got ${typeof text}`);
  }
  return compact({ text, id, metadata, embedding: embedding && Array.from(embedding) });
}

async function infoOf(handle) {
  return JSON.parse(await call(undefined, (c) => handle.info(c)));
}

/** A knowledge base of the session's home. */
class KnowledgeBase {
  #native;

  constructor(handle, { id, name }) {
    this.#native = handle;
    this.id = id;
    this.name = name;
  }

  /** The knowledge base of a native handle. */
  static async of(handle) {
    return new KnowledgeBase(handle, await infoOf(handle));
  }

  async info() {
    return infoOf(this.#native);
  }

  async sources() {
    return JSON.parse(await call(undefined, (c) => this.#native.sources(c)));
  }

  async addSource(path) {
    if (typeof path !== "string") {
      throw validation(`addSource: path: expected a string, got ${typeof path}`);
    }
    return JSON.parse(await call(undefined, (c) => this.#native.addSource(path, c)));
  }

  async sync(options) {
    const { onProgress } = checkOptions(options, ["onProgress", "signal"], "sync");
    const signal = signalOf(options, "sync");
    const running = await call(signal, async () => this.#native.sync());
    const stop = () => running.cancel();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      for (;;) {
        const events = await call(signal, () => running.next());
        if (events === null) throw validation("sync: it ended without a report");
        for (const { progress, report } of JSON.parse(events)) {
          if (report) return report;
          if (progress) onProgress?.(progress);
        }
      }
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  async add(documents, options) {
    checkOptions(options, ["signal"], "add");
    if (!Array.isArray(documents)) {
      throw validation(`add: documents: expected an array, got ${typeof documents}`);
    }
    const json = JSON.stringify(documents.map(documentOf));
    return JSON.parse(await call(signalOf(options, "add"), (c) => this.#native.add(json, c)));
  }

  async delete(ids) {
    if (!Array.isArray(ids)) {
      throw validation(`delete: ids: expected an array of document ids, got ${typeof ids}`);
    }
    return call(undefined, (c) => this.#native.delete(ids, c));
  }

  async documents() {
    return JSON.parse(await call(undefined, (c) => this.#native.documents(c)));
  }

  async retrieve(query, options) {
    const { k = 5 } = checkOptions(options, ["k", "signal"], "retrieve");
    const text = questionOf(query, "retrieve: query");
    return JSON.parse(
      await call(signalOf(options, "retrieve"), (c) => this.#native.retrieve(text, k, c)),
    );
  }

  async ask(question, options) {
    const { k = 5, model } = checkOptions(options, ["k", "model", "signal"], "ask");
    const text = questionOf(question, "ask: question");
    const id = model && typeof model === "object" ? model.id : model;
    return JSON.parse(
      await call(signalOf(options, "ask"), (c) => this.#native.ask(text, id ?? null, k, c)),
    );
  }

  [Symbol.for("nodejs.util.inspect.custom")]() {
    return `KnowledgeBase { ${this.name} (${this.id}) }`;
  }
}

module.exports = { KnowledgeBase };
