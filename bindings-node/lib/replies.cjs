// Replies: the core's JSON with the accessors that callers read first.
"use strict";

/** The answer of `converse`. */
class Reply {
  constructor({ content, stopReason, usage, latencyMs }) {
    this.content = content;
    this.stopReason = stopReason;
    this.usage = usage;
    this.latencyMs = latencyMs;
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
class Completion {
  constructor({ text, ids, stopReason, usage, latencyMs }) {
    this.text = text;
    this.ids = ids;
    this.stopReason = stopReason;
    this.usage = usage;
    this.latencyMs = latencyMs;
  }
}

module.exports = { Completion, Reply };
