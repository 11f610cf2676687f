// Errors: what the core reports becomes an Error whose name is AWS's name for it.
"use strict";

/** Any error of Outcrop. Its `name` is AWS's name, such as `ValidationException`. */
class OutcropError extends Error {
  constructor(name, message, { resource, retryable, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = name;
    this.resource = resource ?? null;
    this.retryable = retryable ?? false;
  }
}

/** A message that begins with an argument's name, written as it is here: `topP` for `top_p`. */
function camelCase(message) {
  return message.replace(/^(?:[a-z]+\.)?[a-z]+(_[a-z]+)+(?=[:.[])/, (name) =>
    name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()));
}

/** The error that a value thrown by the native module stands for. */
function fromNative(thrown) {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  if (text.startsWith('{"outcrop":')) {
    const { name, message, resource, retryable } = JSON.parse(text).outcrop;
    return new OutcropError(name, camelCase(message), { resource, retryable });
  }
  // Arguments of a wrong type are refused by the native module itself.
  return new OutcropError("ValidationException", text, { cause: thrown });
}

/** A ValidationException raised before the native module is reached. */
function validation(message) {
  return new OutcropError("ValidationException", message);
}

module.exports = { OutcropError, fromNative, validation };
