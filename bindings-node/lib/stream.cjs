// Streams: text deltas as an async iterable that ends in a reply and stops the engine on `break`.
"use strict";

const { fromNative } = require("./errors.cjs");

/** Blocks of a reply, gathered from its events. */
class Gathered {
  content = [];
  ids = [];
  done = null;

  /** Takes one event; gives the text that it adds, or undefined. */
  take(event) {
    if (event.textDelta !== undefined) {
      const last = this.content.at(-1);
      if (last && last.text !== undefined) last.text += event.textDelta;
      else this.content.push({ text: event.textDelta });
      return event.textDelta;
    }
    if (event.ids !== undefined) this.ids.push(...event.ids);
    if (event.done !== undefined) this.done = event.done;
    if (event.block !== undefined) {
      this.content.push(event.block);
      return event.block.citationsContent?.content.map((part) => part.text).join("");
    }
    return undefined;
  }
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
  #gathered = new Gathered();
  #started = performance.now();
  #ended = false;
  #stopped;
  #stop;
  #onAbort;

  /** The whole answer; null until the stream has ended. */
  reply = null;

  constructor(start, finish, signal) {
    this.#start = start;
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
        const text = this.#gathered.take(event);
        if (this.#gathered.done) this.#complete();
        if (text) return { value: text, done: false };
      }
      return { value: undefined, done: true };
    } catch (thrown) {
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
    if (!this.#native) await Promise.race([this.#open(), this.#stopped]);
    if (this.#ended) return;
    const events = await Promise.race([this.#native.next(), this.#stopped]);
    if (events === null) this.#end();
    else this.#pending.push(...JSON.parse(events));
  }

  async #open() {
    this.#native = await this.#start();
    // Left before the engine had answered: the work that began meanwhile ends here.
    if (this.#ended) this.#native.cancel();
  }

  #complete() {
    const { stopReason, usage } = this.#gathered.done;
    this.reply = this.#finish({
      content: this.#gathered.content,
      ids: this.#gathered.ids,
      text: this.#gathered.content.map((block) => block.text ?? "").join(""),
      stopReason,
      usage,
      latencyMs: Math.round(performance.now() - this.#started),
    });
    this.#end();
  }

  #end() {
    this.#ended = true;
    this.#native?.cancel();
    if (this.#onAbort) this.#signal.removeEventListener("abort", this.#onAbort);
  }
}

module.exports = { TextStream };
