// Calls into the native module: their errors, and their cancellation by an AbortSignal.
"use strict";

const { fromNative, validation } = require("./errors.cjs");
const native = require("../outcrop.node");

/** The signal of a call's options, checked. */
function signalOf(options, call) {
  const signal = options?.signal;
  if (signal === undefined || signal === null) return undefined;
  if (typeof signal.addEventListener !== "function") {
    throw validation(`${call}: signal: expected an AbortSignal, got ${typeof signal}`);
  }
  return signal;
}

/**
 * Runs `start(cancellation)`, a native call, and gives its promise. An abort rejects at once with
 * the signal's reason and stops the work in the core within one engine step; without a signal there
 * is nothing to cancel by.
 */
async function call(signal, start) {
  try {
    return await (signal ? untilAborted(signal, start) : start());
  } catch (thrown) {
    if (signal?.aborted && thrown === signal.reason) throw thrown;
    throw fromNative(thrown);
  }
}

async function untilAborted(signal, start) {
  signal.throwIfAborted();
  const cancellation = new native.Cancellation();
  let onAbort;
  const aborted = new Promise((_, reject) => {
    onAbort = () => {
      cancellation.cancel();
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([start(cancellation), aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** A synchronous native call. */
function callSync(start) {
  try {
    return start();
  } catch (thrown) {
    throw fromNative(thrown);
  }
}

/** Refuses option names that the call does not know: a misspelt option is never ignored. */
function checkOptions(options, known, call) {
  if (options === undefined || options === null) return {};
  if (typeof options !== "object" || Array.isArray(options)) {
    throw validation(`${call}: options: expected an object, got ${typeof options}`);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw validation(`${call}: ${name}: not an option; expected one of ${known.join(", ")}`);
    }
  }
  return options;
}

module.exports = { native, call, callSync, checkOptions, signalOf };
