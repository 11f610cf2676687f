// Knowledge bases: folders of documents that can be searched and asked.
"use strict";

const { call, checkOptions, signalOf } = require("./call.cjs");
const { absent, integer, object, optional, plain, real, text: textOf, texts, wrong } =
  require("./checks.cjs");
const { validation } = require("./errors.cjs");
const { Model } = require("./model.cjs");
const { compact } = require("./requests.cjs");

/** Most passages that a call may ask for by a number; the core has a lower bound of its own. */
const MOST = 0xffffffff;

function embeddingOf(field, embedding) {
  const numbers = Array.isArray(embedding) ||
    (ArrayBuffer.isView(embedding) && !(embedding instanceof DataView));
  if (!numbers) throw wrong(field, "an array of numbers", embedding);
  return Array.from(embedding, (value, index) => real(`${field}[${index}]`, value));
}

function metadataOf(field, metadata) {
  return plain(field, object(field, metadata));
}

/** The options that say how passages are looked for. */
const RETRIEVAL = ["k", "filter", "search", "rerank"];

function filterOf(field, filter) {
  return plain(field, object(field, filter, "a filter"));
}

function retrievalOf({ k, filter, search, rerank }) {
  return {
    k: Number(optional(integer, "k", k, MOST) ?? 5),
    filter: optional(filterOf, "filter", filter),
    search: optional(textOf, "search", search),
    rerank: modelOf("rerank", rerank),
  };
}

/** A document's JSON. */
function documentOf(document, index) {
  const where = `documents[${index}]`;
  const { text, id, metadata, embedding, ...rest } = object(where, document, "a document");
  const unknown = Object.keys(rest)[0];
  if (unknown) throw validation(`${where}.${unknown}: not a member of a document`);
  return compact({
    text: textOf(`${where}.text`, text),
    id: optional(textOf, `${where}.id`, id),
    metadata: optional(metadataOf, `${where}.metadata`, metadata),
    embedding: optional(embeddingOf, `${where}.embedding`, embedding),
  });
}

function modelOf(field, model) {
  if (absent(model)) return null;
  return model instanceof Model ? model.id : textOf(field, model);
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
    const place = textOf("path", path);
    return JSON.parse(await call(undefined, (c) => this.#native.addSource(place, c)));
  }

  async removeSource(source) {
    const name = textOf("source", source?.id ?? source);
    return JSON.parse(await call(undefined, (c) => this.#native.removeSource(name, c)));
  }

  async sync(options) {
    const { onProgress } = checkOptions(options, ["onProgress", "signal"], "sync");
    if (!absent(onProgress) && typeof onProgress !== "function") {
      throw wrong("onProgress", "a function", onProgress);
    }
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
      // Where `onProgress` threw, nobody waits for the rest.
      stop();
    }
  }

  async add(documents, options) {
    checkOptions(options, ["signal"], "add");
    if (!Array.isArray(documents)) {
      throw wrong("documents", "an array of documents", documents);
    }
    const json = JSON.stringify(Array.from(documents, documentOf));
    return JSON.parse(await call(signalOf(options, "add"), (c) => this.#native.add(json, c)));
  }

  async delete(ids) {
    const list = texts("ids", ids);
    return call(undefined, (c) => this.#native.delete(list, c));
  }

  async documents() {
    return JSON.parse(await call(undefined, (c) => this.#native.documents(c)));
  }

  async retrieve(query, options) {
    const given = checkOptions(options, [...RETRIEVAL, "signal"], "retrieve");
    const [text, json] = [textOf("query", query), JSON.stringify(retrievalOf(given))];
    return JSON.parse(
      await call(signalOf(options, "retrieve"), (c) => this.#native.retrieve(text, json, c)),
    );
  }

  async ask(question, options) {
    const known = [...RETRIEVAL, "model", "sessionId", "signal"];
    const given = checkOptions(options, known, "ask");
    const text = textOf("question", question);
    const json = JSON.stringify({
      ...retrievalOf(given),
      model: modelOf("model", given.model),
      sessionId: optional(textOf, "sessionId", given.sessionId),
    });
    return JSON.parse(await call(signalOf(options, "ask"), (c) => this.#native.ask(text, json, c)));
  }

  [Symbol.for("nodejs.util.inspect.custom")]() {
    return `KnowledgeBase { ${this.name} (${this.id}) }`;
  }
}

module.exports = { KnowledgeBase };
