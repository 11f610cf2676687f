// The session: one home folder, its models, its knowledge bases and its agents.
"use strict";

const { serve: serveLambda } = require("./local_lambda.cjs");
const { Agent, agentRequest, groupsOf, teamOf } = require("./agent.cjs");
const { clientConfig } = require("./aws_client.cjs");
const { call, callSync, checkOptions, native, signalOf } = require("./call.cjs");
const {
  absent, choice, flag, integer, object, optional, plain, text, wrong,
} = require("./checks.cjs");
const { fetchOf } = require("./fetch.cjs");
const { KnowledgeBase } = require("./knowledge_base.cjs");
const { DEFAULT_CHAT_MODEL, Model } = require("./model.cjs");
const { SPECULATION, compact } = require("./requests.cjs");
const { commandOf } = require("./tools.cjs");
const {
  TrainingJob, distillRequest, fineTuneRequest, tokenizerRequest,
} = require("./training.cjs");

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

const OPEN_OPTIONS = [
  "contextLength", "draft", "kvBytes", "kvDtype", "kvTokens", "maxBatch", "precision",
  "speculation", "onProgress", "signal",
];
/** Most milliseconds of a timer of JavaScript. */
const MOST_TIMER = 2 ** 31 - 1;
/** Milliseconds between two looks at a download. */
const LOOK = 50;

/** How a model is opened, as JSON. */
function loadOptions(given) {
  const count = (name) => optional(integer, name, given[name], Number.MAX_SAFE_INTEGER);
  return JSON.stringify(compact({
    contextLength: count("contextLength"),
    kvBytes: count("kvBytes"),
    kvTokens: count("kvTokens"),
    maxBatch: count("maxBatch"),
    precision: optional(text, "precision", given.precision),
    kvDtype: optional(choice, "kvDtype", given.kvDtype, ["f32", "f16", "q8_0"]),
    speculation: optional(choice, "speculation", given.speculation, SPECULATION),
    draft: optional(text, "draft", given.draft),
  }));
}

/** Runs `start(meter, cancellation)`, telling `onProgress` of a download on its way. */
async function watched(options, name, start) {
  const signal = signalOf(options, name);
  const { onProgress } = options ?? {};
  const meter = new native.Meter();
  if (absent(onProgress)) return call(signal, (c) => start(meter, c));
  if (typeof onProgress !== "function") throw wrong("onProgress", "a function", onProgress);
  let last = null;
  let timer;
  const look = () => {
    const latest = meter.latest();
    if (latest !== null && latest !== last) onProgress(JSON.parse(latest));
    last = latest;
  };
  const failed = new Promise((_, reject) => {
    timer = setInterval(() => {
      try {
        look();
      } catch (thrown) {
        reject(thrown);
      }
    }, LOOK);
  });
  // Where `onProgress` throws, nobody waits for the rest.
  const stop = new AbortController();
  const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  try {
    const value = await Promise.race([call(both, (c) => start(meter, c)), failed]);
    look();
    return value;
  } finally {
    clearInterval(timer);
    stop.abort();
  }
}

/** An open home. */
class Session {
  #native;

  /** Needs no `this`, as the global `fetch` does not. */
  fetch;

  constructor(options) {
    const given = checkOptions(options, SESSION_OPTIONS, "Session");
    const settings = JSON.stringify(compact({
      home: optional(text, "home", given.home),
      device: optional(text, "device", given.device),
      offline: optional(flag, "offline", given.offline),
    }));
    this.#native = callSync(() => new native.Session(settings));
    this.fetch = fetchOf(this.#native);
  }

  clientConfig(options) {
    const given = checkOptions(options, ["region", "requestTimeout"], "clientConfig");
    return clientConfig(this.#native, compact({
      region: optional(text, "region", given.region),
      requestTimeout: optional(integer, "requestTimeout", given.requestTimeout, MOST_TIMER),
    }));
  }

  get home() {
    return callSync(() => this.#native.home());
  }

  get device() {
    return callSync(() => this.#native.device());
  }

  get closed() {
    return callSync(() => this.#native.closed());
  }

  async model(id = DEFAULT_CHAT_MODEL, options = undefined) {
    const settings = loadOptions(checkOptions(options, OPEN_OPTIONS, "model"));
    const name = text("id", id);
    return new Model(await watched(options, "model", (meter, c) =>
      this.#native.model(name, settings, meter, c)));
  }

  async models() {
    return JSON.parse(await call(undefined, (c) => this.#native.models(c)));
  }

  async importModel(source, id, options) {
    checkOptions(options, ["onProgress", "signal"], "importModel");
    const [place, name] = [text("source", source), text("id", id)];
    return JSON.parse(await watched(options, "importModel", (meter, c) =>
      this.#native.importModel(place, name, meter, c)));
  }

  async registerModel(id, spec, options) {
    const given = checkOptions(options, ["replace", "onProgress", "signal"], "registerModel");
    const replace = optional(flag, "replace", given.replace) ?? false;
    const [name, declared] = [text("id", id), plain("spec", object("spec", spec))];
    return JSON.parse(await watched(options, "registerModel", (meter, c) =>
      this.#native.registerModel(name, JSON.stringify(declared), replace, meter, c)));
  }

  async unregisterModel(id) {
    const name = text("id", id);
    await call(undefined, (c) => this.#native.unregisterModel(name, c));
  }

  async alias(name, target) {
    const [from, to] = [text("name", name), optional(text, "target", target)];
    if (target === undefined) throw wrong("target", "a model's name, or null", target);
    await call(undefined, (c) => this.#native.alias(from, to, c));
  }

  async aliases() {
    const aliases = JSON.parse(await call(undefined, (c) => this.#native.aliases(c)));
    return Object.fromEntries(aliases.map(({ name, target }) => [name, target]));
  }

  async fineTune(baseModel, trainingData, options) {
    const request = fineTuneRequest(baseModel, trainingData, options);
    const status = await call(signalOf(options, "fineTune"), (c) => this.#native.fineTune(request, c));
    return new TrainingJob(this.#native, this, status);
  }

  async distill(options) {
    const request = distillRequest(options);
    const status = await call(signalOf(options, "distill"), (c) => this.#native.distill(request, c));
    return new TrainingJob(this.#native, this, status);
  }

  async trainTokenizer(trainingData, folder, options) {
    const request = tokenizerRequest(trainingData, folder, options);
    const signal = signalOf(options, "trainTokenizer");
    const made = JSON.parse(await call(signal, (c) => this.#native.trainTokenizer(request, c)));
    const { folder: at, vocab_size: vocabSize, bytes, tokens, parameters } = made;
    return { folder: at, vocabSize, bytes, tokens, parameters };
  }

  async trainingJob(name) {
    const job = text("name", name);
    const status = await call(undefined, (c) => this.#native.trainingJob(job, c));
    return new TrainingJob(this.#native, this, status);
  }

  async mapBucket(name, folder) {
    const [bucket, at] = [text("name", name), optional(text, "folder", folder)];
    if (folder === undefined) throw wrong("folder", "a folder's path, or null", folder);
    await call(undefined, (c) => this.#native.mapBucket(bucket, at, c));
  }

  async allowHost(host, options) {
    const given = checkOptions(options, ["allow", "headers", "private"], "allowHost");
    const named = text("host", host);
    const forbids = given.allow !== undefined && !flag("allow", given.allow);
    const headers = Object.entries(optional(object, "headers", given.headers) ?? {});
    const access = JSON.stringify({
      headers: Object.fromEntries(
        headers.map(([name, value]) => [name, text(`headers.${name}`, value)]),
      ),
      private: optional(flag, "private", given.private) ?? false,
    });
    await call(undefined, (c) => this.#native.allowHost(named, forbids ? undefined : access, c));
  }

  async allowCommand(command, options) {
    const given = checkOptions(options, ["allow", "env", "cwd"], "allowCommand");
    const named = commandOf("command", command);
    const forbids = given.allow !== undefined && !flag("allow", given.allow);
    const env = Object.entries(optional(object, "env", given.env) ?? {});
    const access = JSON.stringify({
      env: Object.fromEntries(env.map(([name, value]) => [name, text(`env.${name}`, value)])),
      cwd: optional(text, "cwd", given.cwd),
    });
    await call(undefined, (c) => this.#native.allowCommand(named, forbids ? undefined : access, c));
  }

  async mapLambda(arn, target) {
    const named = text("arn", arn);
    const isFunction = typeof target === "function";
    if (!isFunction && target !== null && typeof target !== "string") {
      throw wrong("target", "a function, a URL or null", target);
    }
    const url = isFunction ? await serveLambda(named, target) : target ?? undefined;
    await call(undefined, (c) => this.#native.mapLambda(named, url, isFunction, c));
  }

  async buckets() {
    const buckets = JSON.parse(await call(undefined, (c) => this.#native.buckets(c)));
    return Object.fromEntries(buckets.map(({ name, folder }) => [name, folder]));
  }

  async createAgent(name, options) {
    const { request, tools } = agentRequest(name, options);
    const signal = signalOf(options, "createAgent");
    return Agent.of(await call(signal, (c) => this.#native.createAgent(request, c)), tools);
  }

  async agent(nameOrId, options) {
    const given = checkOptions(options, ["actionGroups", "collaborators", "signal"], "agent");
    const { tools } = groupsOf(given.actionGroups);
    for (const [other, made] of teamOf(given.collaborators).tools) tools.set(other, made);
    const name = text("nameOrId", nameOrId);
    const signal = signalOf(options, "agent");
    return Agent.of(await call(signal, (c) => this.#native.agent(name, c)), tools);
  }

  async agents() {
    return JSON.parse(await call(undefined, (c) => this.#native.agents(c)));
  }

  async deleteAgent(nameOrId) {
    const name = text("nameOrId", nameOrId);
    await call(undefined, (c) => this.#native.deleteAgent(name, c));
  }

  async putPolicy(name, policy, options) {
    const given = checkOptions(options, ["agent", "signal"], "putPolicy");
    const request = JSON.stringify({
      name: text("name", name),
      text: text("text", policy),
      agent: optional(text, "agent", given.agent?.id ?? given.agent),
    });
    const signal = signalOf(options, "putPolicy");
    return JSON.parse(await call(signal, (c) => this.#native.putPolicy(request, c)));
  }

  async listPolicies() {
    return JSON.parse(await call(undefined, (c) => this.#native.policies(c)));
  }

  async deletePolicy(name) {
    const policy = text("name", name);
    await call(undefined, (c) => this.#native.deletePolicy(policy, c));
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
