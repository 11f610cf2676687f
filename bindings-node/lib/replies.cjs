// Replies: the core's JSON with the accessors that callers read first.
"use strict";

const { validation } = require("./errors.cjs");

/**
 * Log-probabilities with the tokens' texts; `texts` gives the text of each id on its own. Undefined
 * where none were asked for.
 */
function logprobsOf(entries, texts) {
  if (!entries?.length) return undefined;
  const ids = new Set(entries.flatMap(({ id, top }) => [id, ...top.map(([other]) => other)]));
  const list = [...ids];
  const known = texts(list);
  const names = new Map(list.map((id, index) => [id, known[index]]));
  const token = (id, logprob) => ({ id, text: names.get(id), logprob });
  return entries.map(({ id, logprob, top }) => ({
    ...token(id, logprob),
    top: top.map(([other, value]) => token(other, value)),
  }));
}

/** The members that replies and completions have in common. */
class Answered {
  #schema;

  constructor({ stopReason, usage, latencyMs, logprobs }, { schema, texts }) {
    this.stopReason = stopReason;
    this.usage = { cacheReadInputTokens: 0, cacheWriteInputTokens: 0, ...usage };
    this.latencyMs = latencyMs;
    const tokens = logprobsOf(logprobs, texts);
    if (tokens) this.logprobs = tokens;
    this.#schema = schema;
  }

  get parsed() {
    if (!this.#schema) throw validation("parsed: the request had no responseSchema");
    if (this.stopReason === "max_tokens" || this.stopReason === "stop_sequence") {
      const cut = this.stopReason === "max_tokens" ? "maxTokens" : "a stop sequence";
      throw validation(
        `parsed: the text was cut off by ${cut} after ${this.usage.outputTokens} tokens, so that ` +
          `its JSON is not whole: ${JSON.stringify(this.text.slice(0, 72))}`,
      );
    }
    return JSON.parse(this.text);
  }
}

/** The answer of `converse`. */
class Reply extends Answered {
  constructor(value, request) {
    super(value, request);
    this.content = value.content;
    this.cost = null;
  }

  get text() {
    return this.content
      .map((block) =>
        block.text ?? block.citationsContent?.content.map((part) => part.text).join("") ?? "")
      .join("");
  }

  get toolUses() {
    return this.content.filter((block) => block.toolUse).map((block) => block.toolUse);
  }
}

/** The answer of `generate`. */
class Completion extends Answered {
  constructor(value, request) {
    super(value, request);
    this.text = value.text;
    this.ids = value.ids;
  }
}

module.exports = { Completion, Reply };
