// The AWS wire in this process: requests of the AWS SDK and of fetch, answered by the core.
"use strict";

const { absent, wrong } = require("./checks.cjs");
const { call, callSync, native } = require("./call.cjs");

/** Percent-encodes a part of a query as the SDKs sign it. */
function encoded(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, (letter) =>
    `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The query of an SDK's request, which holds it as an object. */
function queryOf(query) {
  const parts = [];
  for (const [name, values] of Object.entries(query ?? {})) {
    for (const value of Array.isArray(values) ? values : [values]) {
      parts.push(absent(value) ? encoded(name) : `${encoded(name)}=${encoded(value)}`);
    }
  }
  return parts.join("&");
}

/** The bytes of a request's body. An SDK's own kind of Uint8Array is read as what it is. */
async function bytesOf(body) {
  if (absent(body)) return new Uint8Array();
  if (typeof body === "string") return Buffer.from(body);
  if (ArrayBuffer.isView(body)) {
    return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  }
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (typeof body[Symbol.asyncIterator] !== "function") {
    throw wrong("body", "bytes, a string or a stream", body);
  }
  const parts = [];
  for await (const part of body) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}

/** Asks the core; gives its status, its headers and its body: bytes, or a `ChunkBody`. */
async function ask(session, { method, path, query, headers, body }, signal) {
  // A line break in one of them would be read as the next: no sender of HTTP lets one pass.
  const head = [method, path, query, ...headers];
  const broken = head.find((part) => part.includes("\n"));
  if (broken !== undefined) throw wrong("request", "a head without line breaks", broken);
  const response = await call(signal, (c) => session.handle(head.join("\n"), body, c));
  const [status, ...lines] = response.head.split("\n");
  const pairs = [];
  for (let at = 0; at < lines.length; at += 2) pairs.push([lines[at], lines[at + 1]]);
  const { text, bytes, chunks } = response;
  const whole = text === undefined ? bytes : Buffer.from(text);
  return { status: Number(status), headers: pairs, body: whole ?? new ChunkBody(chunks) };
}

/**
 * A body that is made as it is read: nothing is asked of the core before its reader is ready for
 * it. `destroy` stops the engine within one step.
 */
class ChunkBody {
  #native;
  #error;
  #ended = false;
  #stopped;
  #stop;

  constructor(chunks) {
    this.#native = chunks;
    this.#stopped = new Promise((resolve) => { this.#stop = resolve; });
  }

  /** The next bytes, or undefined after the last. */
  async read() {
    if (!this.#ended) {
      const chunk = await Promise.race([this.#native.next(), this.#stopped]);
      if (!this.#ended && chunk) return chunk;
      this.#ended = true;
    }
    if (this.#error !== undefined) throw this.#error;
    return undefined;
  }

  /** Ends the body; who reads it is given `error`, where there is one. */
  destroy(error) {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    callSync(() => this.#native.close());
    this.#stop();
  }

  [Symbol.asyncIterator]() {
    return {
      next: async () => {
        const value = await this.read();
        return { value, done: value === undefined };
      },
      return: async () => {
        this.destroy();
        return { value: undefined, done: true };
      },
    };
  }
}

module.exports = { ChunkBody, ask, bytesOf, queryOf };
