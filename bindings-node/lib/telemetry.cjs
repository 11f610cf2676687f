// OpenTelemetry spans by its conventions for generative AI: turns, model calls, tools, look-ups. They
// are made where @opentelemetry/api is installed, and go where the program's own provider sends them.
"use strict";

const { version } = require("../package.json");

const PROVIDER = "outcrop";
const UNRUN = ["denied", "rejected", "malformed", "repeated"];

let found;

/** OpenTelemetry's API, where the program has it. */
function api() {
  if (found === undefined) {
    try {
      found = require("@opentelemetry/api");
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
      found = null;
    }
  }
  return found;
}

/** Whether spans may hold what was said. */
function capturesContent() {
  const asked = process.env.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT ?? "";
  return ["true", "span_only", "span_and_event"].includes(asked.toLowerCase());
}

function part(block) {
  if (block.toolUse) {
    const { toolUseId: id, name, input } = block.toolUse;
    return { type: "tool_call", id, name, arguments: input };
  }
  if (block.toolResult) {
    const { toolUseId: id, content } = block.toolResult;
    return { type: "tool_call_response", id, response: content };
  }
  if (block.text !== undefined) return { type: "text", content: block.text };
  const [[kind, told]] = Object.entries(block);
  return { type: kind, content: told };
}

/** The messages of a request's JSON, in OpenTelemetry's form; a prompt is one of the user's. */
function messages(request) {
  const asked = JSON.parse(request);
  const given = asked.messages ?? [{ role: "user", content: [{ text: String(asked.prompt ?? "") }] }];
  return JSON.stringify(given.map(({ role, content }) => ({ role, parts: content.map(part) })));
}

/** What a model answered, in OpenTelemetry's form. */
function output(content, reason) {
  const said = { role: "assistant", parts: content.map(part), finish_reason: reason };
  return JSON.stringify([said]);
}

function startSpan(name, operation, attributes, options = {}, inside = undefined) {
  const { SpanKind, trace } = api();
  const about = {
    "gen_ai.operation.name": operation, "gen_ai.provider.name": PROVIDER, ...attributes,
  };
  const made = { kind: SpanKind.INTERNAL, attributes: about, ...options };
  return trace.getTracer("outcrop", version).startSpan(name, made, inside);
}

function fail(span, type, message) {
  span.setAttribute("error.type", type);
  span.setStatus({ code: api().SpanStatusCode.ERROR, message });
}

function usageOf({ inputTokens, outputTokens }, reason) {
  return {
    "gen_ai.response.finish_reasons": [reason],
    "gen_ai.usage.input_tokens": inputTokens,
    "gen_ai.usage.output_tokens": outputTokens,
  };
}

function toolAttributes({ id, tool, arguments: given }) {
  return {
    "gen_ai.tool.name": tool,
    "gen_ai.tool.type": "function",
    "gen_ai.tool.call.id": id,
    ...(capturesContent() && { "gen_ai.tool.call.arguments": JSON.stringify(given) }),
  };
}

/**
 * The spans of one turn: `invoke_agent`, and in it `chat`, `execute_tool` and `retrieval`. All are made
 * of what the turn tells; times are those that it measured.
 */
class TurnSpans {
  #root = null;
  #inside;
  #last = Date.now();
  #asked = null;
  #ran = new Set();
  /** The turns of agents that were handed work, by the call that handed it over. */
  #handed = new Map();

  constructor(id, name) {
    if (!api()) return;
    const { context, trace } = api();
    const about = { "gen_ai.agent.id": id, "gen_ai.agent.name": name };
    this.#root = startSpan(`invoke_agent ${name}`, "invoke_agent", about);
    this.#inside = trace.setSpan(context.active(), this.#root);
  }

  /** Makes spans of what an event of the turn tells. */
  saw(event) {
    if (!this.#root?.isRecording()) return;
    if (event.result) this.#result(event.result);
    if (event.delegated) this.#delegated(event.delegated);
    if (!event.trace) return;
    const [[kind, detail]] = Object.entries(event.trace.event);
    const now = Date.parse(event.trace.time);
    const inside = this.#context(event.trace.within?.at(-1)?.call);
    if (kind === "modelInvocationInput") this.#asked = detail;
    else if (kind === "modelInvocationOutput") this.#chat(detail, now, inside);
    else if (kind === "decision") this.#decision(detail);
    else if (kind === "observation") this.#observation(detail, now, inside);
    else if (kind === "failure" && detail.reason === "model_failed" && this.#asked) {
      const failed = { "error.type": detail.message.split(":")[0] };
      this.#modelSpan([this.#last, now], failed, inside, detail.message);
    } else if (kind === "input" && capturesContent()) {
      const said = [{ role: "user", parts: [{ type: "text", content: detail.text }] }];
      this.#root.setAttribute("gen_ai.input.messages", JSON.stringify(said));
    }
    this.#last = now;
  }

  /** Runs a function of this process in a span of its own. */
  async tool(asked, run) {
    if (!this.#root) return run();
    const { context, trace } = api();
    this.#ran.add(asked.id);
    const about = toolAttributes(asked);
    const inside = this.#context(asked.id.split("/").slice(0, -1).join("/"));
    const span = startSpan(`execute_tool ${asked.tool}`, "execute_tool", about, {}, inside);
    try {
      return await context.with(trace.setSpan(inside, span), run);
    } catch (thrown) {
      fail(span, thrown?.name ?? typeof thrown, String(thrown?.message ?? thrown));
      throw thrown;
    } finally {
      span.end();
    }
  }

  /** Notes that the turn's driving failed. */
  failed(error) {
    if (this.#root) fail(this.#root, error?.name ?? typeof error, String(error?.message ?? error));
  }

  end() {
    for (const span of this.#handed.values()) span.end();
    this.#root?.end();
  }

  /** Where spans stand of the agent that `call` handed work to. */
  #context(call) {
    const span = this.#handed.get(call);
    return span ? api().trace.setSpan(this.#inside, span) : this.#inside;
  }

  #delegated({ call, definition: { id, name } }) {
    const about = { "gen_ai.agent.id": id, "gen_ai.agent.name": name };
    const inside = this.#context(call.split("/").slice(0, -1).join("/"));
    this.#handed.set(call, startSpan(`invoke_agent ${name}`, "invoke_agent", about, {}, inside));
  }

  #chat({ usage, stopReason, tookMs, content }, now, inside) {
    const about = usageOf(usage, stopReason);
    if (capturesContent()) about["gen_ai.output.messages"] = output(content, stopReason);
    this.#modelSpan([now - tookMs, now], about, inside);
  }

  #modelSpan([startTime, end], attributes, inside, error) {
    const { model, text } = this.#asked ?? { model: "", text: "{}" };
    const about = { "gen_ai.request.model": model, ...attributes };
    if (capturesContent()) about["gen_ai.input.messages"] = messages(text);
    const span = startSpan(`chat ${model}`, "chat", about, { startTime }, inside);
    this.#root.setAttribute("gen_ai.request.model", model);
    if (error !== undefined) fail(span, about["error.type"], error);
    span.end(end);
    this.#asked = null;
  }

  #decision({ call, effect, rule, policies }) {
    this.#root.addEvent("outcrop.decision", {
      "gen_ai.tool.name": call.tool,
      "gen_ai.tool.call.id": call.id,
      "outcrop.decision.effect": effect,
      "outcrop.decision.rule": rule,
      "outcrop.decision.policies": policies ?? [],
    });
  }

  #observation({ call, outcome, tookMs }, now, inside) {
    const [[what, told]] = Object.entries(outcome);
    if (this.#ran.has(call.id) || UNRUN.includes(what)) return;
    const handed = this.#handed.get(call.id);
    this.#handed.delete(call.id);
    let [operation, on, about] = ["execute_tool", call.tool, toolAttributes(call)];
    if (call.target?.knowledgeBase) {
      [operation, on] = ["retrieval", call.target.knowledgeBase.id];
      about = { "gen_ai.data_source.id": on };
      if (capturesContent()) about["gen_ai.retrieval.query.text"] = String(call.arguments.query ?? "");
    } else if (call.target?.collaborator) {
      [operation, on] = ["invoke_agent", call.target.collaborator.name];
      about = { "gen_ai.agent.name": on };
    }
    const times = { startTime: now - tookMs };
    const span = handed ?? startSpan(`${operation} ${on}`, operation, about, times, inside);
    if (["failed", "timedOut", "unknown"].includes(what)) fail(span, what, JSON.stringify(told));
    span.end(now);
  }

  #result({ sessionId, stopReason, spent, message, text }) {
    this.#root.setAttributes({
      "gen_ai.conversation.id": sessionId, ...usageOf(spent.usage, stopReason),
    });
    if (message) fail(this.#root, stopReason, message);
    else if (capturesContent() && text) {
      this.#root.setAttribute("gen_ai.output.messages", output([{ text }], stopReason));
    }
  }
}

/** The span of a model's own call: `chat`, or `text_completion`. */
class ModelSpan {
  #span = null;

  constructor(operation, model, request) {
    if (!api()) return;
    const about = { "gen_ai.request.model": model() };
    if (capturesContent()) about["gen_ai.input.messages"] = messages(request);
    this.#span = startSpan(`${operation} ${about["gen_ai.request.model"]}`, operation, about);
  }

  /** What `call` gives, an answer's JSON, in the span. */
  async of(call) {
    try {
      const text = await call();
      if (this.#span) this.replied(JSON.parse(text));
      return text;
    } catch (thrown) {
      this.end(thrown);
      throw thrown;
    }
  }

  /** Ends the span with what the reply tells. */
  replied({ usage, stopReason, content, text }) {
    if (!this.#span) return;
    this.#span.setAttributes(usageOf(usage, stopReason));
    if (capturesContent()) {
      const said = output(content ?? [{ text: text ?? "" }], stopReason);
      this.#span.setAttribute("gen_ai.output.messages", said);
    }
    this.end();
  }

  /** Ends the span, by an error where there was one. Ending it again does nothing. */
  end(error) {
    if (error && this.#span) fail(this.#span, error.name ?? typeof error, String(error.message ?? error));
    this.#span?.end();
    this.#span = null;
  }
}

module.exports = { ModelSpan, TurnSpans };
