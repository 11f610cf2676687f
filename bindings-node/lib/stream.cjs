// Streams: text deltas as an async iterable that ends in a reply and stops the engine on `break`.
"use strict";

const { fromNative } = require("./errors.cjs");

/** The text that an event adds; undefined where it adds none. */
function textOf(event) {
  return event.textDelta ?? event.block?.citationsContent?.content.map((part) => part.text).join("");
}

/**
 * Text deltas of a running answer, in order. `for await` reads them; leaving the loop early stops
 * the engine within one step. `reply` holds the whole answer once the stream has ended.
 */
class TextStream {
  #start;
  #native = null;
  #finish;
  #signal;
  #pending = [];
  #ended = false;
  #stopped;
  #stop;
  #onAbort;
  #openSpan;
  #span;

  /** The whole answer; null until the stream has ended. */
  reply = null;

  constructor(start, finish, signal, openSpan) {
    this.#start = start;
    this.#openSpan = openSpan;
    this.#finish = finish;
    this.#signal = signal;
    this.#stopped = new Promise((_, reject) => { this.#stop = reject; });
    this.#stopped.catch(() => {});
    if (signal) {
      this.#onAbort = () => {
        this.#end();
        this.#stop(signal.reason);
      };
      signal.addEventListener("abort", this.#onAbort, { once: true });
    }
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async next() {
    if (this.#signal?.aborted && !this.reply) throw this.#signal.reason;
    try {
      while (!this.#ended) {
        if (this.#pending.length === 0) await this.#fill();
        const event = this.#pending.shift();
        if (event === undefined) continue;
        const reply = this.#finish(event);
        if (reply) {
          this.#span?.replied(event.reply ?? event.completion);
          this.reply = reply;
          this.#end();
        }
        const text = textOf(event);
        if (text) return { value: text, done: false };
      }
      return { value: undefined, done: true };
    } catch (thrown) {
      this.#span?.end(thrown);
      this.#end();
      if (this.#signal?.aborted && thrown === this.#signal.reason) throw thrown;
      throw fromNative(thrown);
    }
  }

  /** Stops the engine; `for await` calls it when the loop is left early. */
  async return() {
    this.#end();
    return { value: undefined, done: true };
  }

  /** Stops the engine. */
  close() {
    this.#end();
  }

  async [Symbol.asyncDispose]() {
    this.#end();
  }

  async #fill() {
    this.#span ??= this.#openSpan();
    this.#native ??= this.#start();
    const events = await Promise.race([this.#native.next(), this.#stopped]);
    if (events === null) this.#end();
    else this.#pending.push(...JSON.parse(events));
  }

  #end() {
    this.#ended = true;
    this.#span?.end();
    this.#native?.cancel();
    if (this.#onAbort) this.#signal.removeEventListener("abort", this.#onAbort);
  }
}

module.exports = { TextStream };
