// The beginning of prompts that a model's cache holds.
"use strict";

const { call, callSync, checkOptions, signalOf } = require("./call.cjs");
const { text: textOf } = require("./checks.cjs");
const { promptJson } = require("./requests.cjs");

/** A held prefix. */
class Prefix {
  #native;

  constructor(handle) {
    this.#native = handle;
  }

  get ids() {
    return callSync(() => this.#native.ids());
  }

  async fork(more = [], options = undefined) {
    checkOptions(options, ["signal"], "fork");
    const rest = promptJson("more", more);
    return new Prefix(await call(signalOf(options, "fork"), (c) => this.#native.fork(rest, c)));
  }

  async save(path, options) {
    checkOptions(options, ["signal"], "save");
    const file = textOf("path", path);
    await call(signalOf(options, "save"), (c) => this.#native.save(file, c));
  }

  release() {
    callSync(() => this.#native.release());
  }

  [Symbol.for("nodejs.util.inspect.custom")]() {
    return `Prefix { ${this.ids.length} tokens }`;
  }
}

module.exports = { Prefix };
