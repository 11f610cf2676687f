// The trace of a turn: its events, which show as a tree.
"use strict";

const { callSync } = require("./call.cjs");
const native = require("../outcrop.node");

/** The events of a turn, in order. */
class Trace extends Array {
  static get [Symbol.species]() {
    return Array;
  }

  /** The trace as lines for a terminal. */
  toString() {
    return callSync(() => native.traceTree(JSON.stringify(this), false));
  }

  /** The trace as HTML that stands alone: no script, nothing from elsewhere, all text escaped. */
  toHtml() {
    return callSync(() => native.traceTree(JSON.stringify(this), true));
  }

  [Symbol.for("Jupyter.display")]() {
    return { "text/plain": this.toString(), "text/html": this.toHtml() };
  }
}

module.exports = { Trace };
