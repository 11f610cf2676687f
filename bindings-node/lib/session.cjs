// The session: one home folder, its models and its knowledge bases.
"use strict";

const { call, callSync, checkOptions, native, signalOf } = require("./call.cjs");
const { KnowledgeBase } = require("./knowledge_base.cjs");
const { Model } = require("./model.cjs");
const { compact } = require("./requests.cjs");

const CREATE_OPTIONS = ["embeddingModel", "chunking", "description", "signal"];

/** An open home. */
class Session {
  #native;

  constructor(options) {
    const { home, device, offline } =
      checkOptions(options, ["home", "device", "offline"], "Session");
    this.#native = callSync(
      () => new native.Session(JSON.stringify(compact({ home, device, offline }))),
    );
  }

  get home() {
    return callSync(() => this.#native.home());
  }

  async model(id, options) {
    checkOptions(options, ["signal"], "model");
    const signal = signalOf(options, "model");
    return new Model(await call(signal, (c) => this.#native.model(id, c)));
  }

  async models() {
    return JSON.parse(await call(undefined, (c) => this.#native.models(c)));
  }

  async importModel(source, id, options) {
    checkOptions(options, ["signal"], "importModel");
    const signal = signalOf(options, "importModel");
    return JSON.parse(await call(signal, (c) => this.#native.importModel(source, id, c)));
  }

  async createKnowledgeBase(name, options) {
    const { embeddingModel, chunking, description } =
      checkOptions(options, CREATE_OPTIONS, "createKnowledgeBase");
    const spec = JSON.stringify(compact({ name, embeddingModel, chunking, description }));
    const signal = signalOf(options, "createKnowledgeBase");
    return KnowledgeBase.of(await call(signal, (c) => this.#native.createKnowledgeBase(spec, c)));
  }

  async knowledgeBase(nameOrId) {
    return KnowledgeBase.of(await call(undefined, (c) => this.#native.knowledgeBase(nameOrId, c)));
  }

  async knowledgeBases() {
    return JSON.parse(await call(undefined, (c) => this.#native.knowledgeBases(c)));
  }

  async deleteKnowledgeBase(nameOrId) {
    await call(undefined, (c) => this.#native.deleteKnowledgeBase(nameOrId, c));
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
