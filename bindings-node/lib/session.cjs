// The session: one home folder, its models and its knowledge bases.
"use strict";

const { call, callSync, checkOptions, native, signalOf } = require("./call.cjs");
const { flag, integer, object, optional, text } = require("./checks.cjs");
const { KnowledgeBase } = require("./knowledge_base.cjs");
const { Model } = require("./model.cjs");
const { compact } = require("./requests.cjs");

const SESSION_OPTIONS = ["home", "device", "offline"];
const CREATE_OPTIONS = ["embeddingModel", "chunking", "description", "signal"];

function chunkingOf(field, chunking) {
  const given = checkOptions(object(field, chunking), ["maxTokens", "overlapTokens"], field);
  const tokens = (name) => {
    const count = optional(integer, `${field}.${name}`, given[name], Number.MAX_SAFE_INTEGER);
    return count === undefined ? undefined : Number(count);
  };
  return compact({ maxTokens: tokens("maxTokens"), overlapTokens: tokens("overlapTokens") });
}

/** An open home. */
class Session {
  #native;

  constructor(options) {
    const given = checkOptions(options, SESSION_OPTIONS, "Session");
    const settings = JSON.stringify(compact({
      home: optional(text, "home", given.home),
      device: optional(text, "device", given.device),
      offline: optional(flag, "offline", given.offline),
    }));
    this.#native = callSync(() => new native.Session(settings));
  }

  get home() {
    return callSync(() => this.#native.home());
  }

  async model(id, options) {
    checkOptions(options, ["signal"], "model");
    const signal = signalOf(options, "model");
    const name = text("id", id);
    return new Model(await call(signal, (c) => this.#native.model(name, c)));
  }

  async models() {
    return JSON.parse(await call(undefined, (c) => this.#native.models(c)));
  }

  async importModel(source, id, options) {
    checkOptions(options, ["signal"], "importModel");
    const signal = signalOf(options, "importModel");
    const [place, name] = [text("source", source), text("id", id)];
    return JSON.parse(await call(signal, (c) => this.#native.importModel(place, name, c)));
  }

  async createKnowledgeBase(name, options) {
    const given = checkOptions(options, CREATE_OPTIONS, "createKnowledgeBase");
    const spec = JSON.stringify(compact({
      name: text("name", name),
      embeddingModel: optional(text, "embeddingModel", given.embeddingModel),
      chunking: optional(chunkingOf, "chunking", given.chunking),
      description: optional(text, "description", given.description),
    }));
    const signal = signalOf(options, "createKnowledgeBase");
    return KnowledgeBase.of(await call(signal, (c) => this.#native.createKnowledgeBase(spec, c)));
  }

  async knowledgeBase(nameOrId) {
    const name = text("nameOrId", nameOrId);
    return KnowledgeBase.of(await call(undefined, (c) => this.#native.knowledgeBase(name, c)));
  }

  async knowledgeBases() {
    return JSON.parse(await call(undefined, (c) => this.#native.knowledgeBases(c)));
  }

  async deleteKnowledgeBase(nameOrId) {
    const name = text("nameOrId", nameOrId);
    await call(undefined, (c) => this.#native.deleteKnowledgeBase(name, c));
  }

  close() {
    callSync(() => this.#native.close());
  }

  [Symbol.dispose]() {
    this.close();
  }

  async [Symbol.asyncDispose]() {
    this.close();
  }
}

module.exports = { Session };
