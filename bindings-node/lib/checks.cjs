// Checks of single arguments: each error names the argument, its value and what was expected.
"use strict";

const { inspect } = require("node:util");
const { validation } = require("./errors.cjs");

/** Most characters of a value that an error shows. */
const SHOWN = 200;
/** Deepest nesting of a value that crosses as JSON. */
const DEPTH = 100;

/** The error of an argument, with its value. */
function wrong(field, expected, got) {
  const form = inspect(got, { depth: 1, breakLength: Infinity, maxStringLength: SHOWN });
  const shown = form.length <= SHOWN ? form : `${form.slice(0, SHOWN - 1)}…`;
  return validation(`${field}: expected ${expected}, got ${shown} (${typeof got})`);
}

function absent(value) {
  return value === undefined || value === null;
}

/** A Unicode text. */
function text(field, value) {
  if (typeof value !== "string") throw wrong(field, "a string", value);
  if (!value.isWellFormed()) throw wrong(field, "Unicode text without lone surrogates", value);
  return value;
}

/** An array of texts; one text stands for an array of one. */
function texts(field, values) {
  const list = typeof values === "string" ? [values] : values;
  if (!Array.isArray(list)) throw wrong(field, "an array of strings", values);
  return Array.from(list, (value, index) => text(`${field}[${index}]`, value));
}

/** A whole number from 0 to `most`. A bigint may be above what a number holds exactly. */
function integer(field, value, most = 2n ** 64n - 1n) {
  const whole = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!whole) throw wrong(field, "a whole number", value);
  if (value < 0 || value > most) throw wrong(field, `0 or more, at most ${most}`, value);
  return value;
}

/** A whole number that 32 bits hold. */
function signed(field, value) {
  if (!Number.isSafeInteger(value)) throw wrong(field, "a whole number", value);
  if (value < -(2 ** 31) || value >= 2 ** 31) throw wrong(field, "-2^31 to 2^31 - 1", value);
  return value;
}

/** One of some words. */
function choice(field, value, choices) {
  if (!choices.includes(value)) throw wrong(field, `one of ${choices.join(", ")}`, value);
  return value;
}

/** A finite number, within what a float32 holds. */
function real(field, value) {
  if (typeof value !== "number" || !(Math.abs(value) <= 3.4e38)) {
    throw wrong(field, "a finite number", value);
  }
  return value;
}

/** True or false. */
function flag(field, value) {
  if (typeof value !== "boolean") throw wrong(field, "true or false", value);
  return value;
}

/** An object that is no array. */
function object(field, value, expected = "an object") {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrong(field, expected, value);
  }
  return value;
}

/** The value by `check`, or undefined where there is none: the core's default holds. */
function optional(check, field, value, ...rest) {
  return absent(value) ? undefined : check(field, value, ...rest);
}

/** A value that JSON holds as it is; JSON itself would turn NaN into null and drop functions. */
function plain(field, value, depth = 0) {
  if (depth > DEPTH) throw validation(`${field}: nested deeper than ${DEPTH}`);
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "string") return text(field, value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw wrong(field, "a finite number", value);
    return value;
  }
  if (typeof value !== "object") throw wrong(field, "a value that JSON holds", value);
  if (typeof value.toJSON === "function") return plain(field, value.toJSON(), depth + 1);
  if (Array.isArray(value)) {
    return Array.from(value, (item, index) => plain(`${field}[${index}]`, item, depth + 1));
  }
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(
    members.map(([name, member]) => [
      text(field, name), plain(`${field}.${name}`, member, depth + 1),
    ]),
  );
}

/** Token ids. */
function ids(field, values) {
  if (values instanceof Uint32Array) return values;
  const list = ArrayBuffer.isView(values) && !(values instanceof DataView)
    ? Array.from(values) : values;
  if (!Array.isArray(list)) throw wrong(field, "an array of token ids", values);
  list.forEach((id, index) => {
    if (!Number.isInteger(id) || id < 0 || id > 0xffffffff) {
      throw wrong(`${field}[${index}]`, "a token id of 0 or more", id);
    }
  });
  return Uint32Array.from(list);
}

module.exports = {
  absent, choice, flag, ids, integer, object, optional, plain, real, signed, text, texts, wrong,
};
