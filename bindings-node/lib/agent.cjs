// Agents: models that call functions, look things up and ask before they act.
"use strict";

const { call, checkOptions, signalOf } = require("./call.cjs");
const {
  absent, flag, integer, object, optional, plain, real, text, wrong,
} = require("./checks.cjs");
const { fromNative, validation } = require("./errors.cjs");
const { DEFAULT_CHAT_MODEL, Model } = require("./model.cjs");
const { compact } = require("./requests.cjs");
const { TurnSpans } = require("./telemetry.cjs");
const { groupOf } = require("./tools.cjs");
const { Trace } = require("./trace.cjs");

const AGENT_OPTIONS = [
  "model", "instruction", "actionGroups", "knowledgeBases", "collaborators", "collaboration",
  "rules", "policy", "description",
  "temperature", "seed", "maxSteps", "maxTokens", "maxSeconds", "maxCost", "price",
  "memory", "idleSessionTtl", "replace",
  "signal",
];
const INVOKE_OPTIONS = [
  "sessionId", "sessionAttributes", "promptSessionAttributes", "memoryId", "endSession", "signal",
];
const STEPS = 0xffffffff;
/** An agent's tools that run here, for those that hand work to it. */
const TOOLS = Symbol("tools");

function named(field, items) {
  if (absent(items)) return [];
  if (!Array.isArray(items)) throw wrong(field, "an array", items);
  return items.map((item, at) => text(`${field}[${at}]`, item?.id ?? item));
}

/** The groups of an agent, and the tools of them that run here, by `group.function`. */
function groupsOf(groups) {
  if (!absent(groups) && !Array.isArray(groups)) throw wrong("actionGroups", "an array", groups);
  const read = (groups ?? []).map(groupOf);
  return {
    declarations: read.map((group) => group.declaration),
    schemas: Object.fromEntries(
      read.filter((group) => group.schema).map((group) => [group.declaration.name, group.schema]),
    ),
    tools: new Map(read.flatMap((group) => group.running)),
  };
}

/** The agents that another may hand work to, as the core reads them, and the tools of handles. */
function teamOf(given) {
  if (absent(given)) return { team: [], tools: new Map() };
  if (!Array.isArray(given)) throw wrong("collaborators", "an array", given);
  const tools = new Map();
  const team = given.map((item, at) => {
    const place = `collaborators[${at}]`;
    const bare = typeof item === "string" || item instanceof Agent;
    const said = checkOptions(
      bare ? { agent: item } : object(place, item, "an agent, its name or a collaborator"),
      ["agent", "name", "instruction", "relayHistory"], place,
    );
    if (said.agent instanceof Agent) {
      for (const [name, made] of said.agent[TOOLS]) {
        tools.set(name.includes("/") ? name : `${said.agent.id}/${name}`, made);
      }
    }
    return compact({
      agent: text(`${place}.agent`, said.agent?.id ?? said.agent),
      name: optional(text, `${place}.name`, said.name),
      instruction: optional(text, `${place}.instruction`, said.instruction),
      relaysHistory: optional(flag, `${place}.relayHistory`, said.relayHistory),
    });
  });
  return { team, tools };
}

/** An agent's request as JSON, and its tools. */
function agentRequest(name, options) {
  const given = checkOptions(options, AGENT_OPTIONS, "createAgent");
  const { declarations, schemas, tools } = groupsOf(given.actionGroups);
  const { team, tools: others } = teamOf(given.collaborators);
  for (const [other, made] of others) tools.set(other, made);
  const model = given.model instanceof Model
    ? given.model.id
    : text("model", given.model ?? DEFAULT_CHAT_MODEL);
  const count = (field) => {
    const value = optional(integer, field, given[field], Number.MAX_SAFE_INTEGER);
    return value === undefined ? undefined : Number(value);
  };
  const price = optional(object, "price", given.price);
  const request = compact({
    name: text("name", name),
    model,
    instruction: optional(text, "instruction", given.instruction),
    description: optional(text, "description", given.description),
    actionGroups: declarations,
    apiSchemas: schemas,
    knowledgeBases: named("knowledgeBases", given.knowledgeBases),
    collaborators: team,
    collaboration: optional(text, "collaboration", given.collaboration),
    rules: optional(plain, "rules", given.rules),
    policy: optional(text, "policy", given.policy),
    inferenceConfig: compact({
      temperature: optional(real, "temperature", given.temperature),
      seed: count("seed"),
    }),
    limits: compact({
      maxSteps: count("maxSteps"),
      maxTokens: count("maxTokens"),
      maxSeconds: optional(real, "maxSeconds", given.maxSeconds),
      maxCost: optional(real, "maxCost", given.maxCost),
    }),
    price: price && {
      input: real("price.input", price.input),
      output: real("price.output", price.output),
    },
    memory: memoryOf(given.memory),
    idleSessionSeconds: optional(real, "idleSessionTtl", given.idleSessionTtl),
    replace: optional(flag, "replace", given.replace),
  });
  return { request: JSON.stringify(request), tools };
}

/** How an agent remembers, as the core reads it. */
function memoryOf(given) {
  if (absent(given) || given === false) return undefined;
  if (given === true) return {};
  const names = ["storageDays", "maxRecentSessions", "template"];
  const said = checkOptions(object("memory", given, "true or an object"), names, "memory");
  const count = (name) => {
    const value = optional(integer, `memory.${name}`, said[name], STEPS);
    return value === undefined ? undefined : Number(value);
  };
  return compact({
    storageDays: count("storageDays"),
    maxRecentSessions: count("maxRecentSessions"),
    template: optional(text, "memory.template", said.template),
  });
}

function attributes(field, given) {
  const members = Object.entries(object(field, given));
  return Object.fromEntries(members.map(([key, value]) => [key, text(`${field}.${key}`, value)]));
}

/** What a call that has run gave, as the core reads it. */
function returned(value) {
  return { returned: value === undefined ? null : plain("result", value) };
}

function resumeRequest(pending, options) {
  const given = checkOptions(options, ["approve", "reason", "results", "signal"], "resume");
  if (typeof pending === "string") return { sessionId: text("pending", pending) };
  const calls = Array.isArray(pending) ? pending : [pending];
  if (calls.length === 0 || !calls.every((one) => one?.id && one?.sessionId)) {
    throw wrong("pending", "what a result's pending gave, or a session's id", pending);
  }
  const results = new Map(Object.entries(optional(object, "results", given.results) ?? {}));
  const answers = calls.map(({ id, tool, asks }) => {
    if (results.has(id)) {
      const result = returned(results.get(id));
      results.delete(id);
      return { call: id, answer: { result } };
    }
    if (absent(given.approve)) {
      throw validation(
        `call ${id} of ${tool} waits for ${asks}: expected approve, or a result of it in results`,
      );
    }
    const reason = optional(text, "reason", given.reason) ?? "";
    const answer = flag("approve", given.approve) ? { approved: {} } : { rejected: { reason } };
    return { call: id, answer };
  });
  const unknown = [...results.keys()][0];
  if (unknown !== undefined) {
    throw validation(`results: ${unknown}: no pending call has this id`);
  }
  return { sessionId: calls[0].sessionId, answers };
}

/** An `Edit` as JSON. */
function editOf(edit) {
  if (absent(edit)) return undefined;
  const names = Object.keys(object("edit", edit)).sort().join(",");
  if (names === "instruction") {
    return JSON.stringify({ instruction: text("edit.instruction", edit.instruction) });
  }
  if (names === "call,result") {
    const outcome = returned(edit.result);
    return JSON.stringify({ result: { call: text("edit.call", edit.call), outcome } });
  }
  throw wrong("edit", "an object of instruction, or of call and result", edit);
}

/** A result of the core as callers read it. */
function resultOf(value) {
  const { spent, pending, message, ...rest } = value;
  return {
    ...rest,
    message: message ?? "",
    sessionEnded: value.sessionEnded ?? false,
    trace: Trace.from(value.trace),
    pending: pending.map(({ call: asked, asks, within }) => ({
      id: asked.id,
      tool: asked.tool,
      arguments: asked.arguments,
      asks,
      actionGroup: asked.target?.function?.actionGroup ?? null,
      sessionId: value.sessionId,
      toolUseId: asked.toolUseId,
      within: (within ?? []).map((one) => one.name),
    })),
    steps: spent.steps,
    usage: spent.usage,
    cost: spent.cost,
    tookMs: spent.tookMs,
  };
}

/** An agent of the session's home. */
class Agent {
  #native;
  #tools;

  constructor(handle, { id, name }, tools) {
    this.#native = handle;
    this.#tools = tools;
    this.id = id;
    this.name = name;
  }

  /** The agent of a native handle, whose `tools` run here. */
  static async of(handle, tools) {
    return new Agent(handle, JSON.parse(await call(undefined, (c) => handle.info(c))), tools);
  }

  get [TOOLS]() {
    return this.#tools;
  }

  async info() {
    return JSON.parse(await call(undefined, (c) => this.#native.info(c)));
  }

  async invoke(input, options) {
    return last(this.stream(input, options));
  }

  stream(input, options) {
    const given = checkOptions(options, INVOKE_OPTIONS, "invoke");
    const request = JSON.stringify(compact({
      input: text("input", input ?? ""),
      memoryId: optional(text, "memoryId", given.memoryId),
      endSession: optional(flag, "endSession", given.endSession),
      sessionId: optional(text, "sessionId", given.sessionId),
      sessionAttributes: optional(attributes, "sessionAttributes", given.sessionAttributes),
      promptSessionAttributes:
        optional(attributes, "promptSessionAttributes", given.promptSessionAttributes),
      // The turn is paused for a function that this process has not.
      runs: [...this.#tools.keys()],
    }));
    return this.#events(signalOf(options, "invoke"), (c) => this.#native.invoke(request, c));
  }

  async resume(pending, options) {
    const request = JSON.stringify(resumeRequest(pending, options));
    const signal = signalOf(options, "resume");
    return last(this.#events(signal, (c) => this.#native.resume(request, c)));
  }

  async stop(sessionId, options) {
    const given = checkOptions(options, ["reason", "signal"], "stop");
    const name = text("sessionId", sessionId);
    const reason = optional(text, "reason", given.reason) ?? "stopped by its caller";
    const signal = signalOf(options, "stop");
    return last(this.#events(signal, (c) => this.#native.stop(name, reason, c)));
  }

  async replay(sessionId, options) {
    const given = checkOptions(options, ["toStep", "signal"], "replay");
    const name = text("sessionId", sessionId);
    const step = stepOf("toStep", given.toStep);
    const signal = signalOf(options, "replay");
    return resultOf(JSON.parse(await call(signal, (c) => this.#native.replay(name, step, c))));
  }

  async memory(memoryId, options) {
    checkOptions(options, ["signal"], "memory");
    const name = text("memoryId", memoryId);
    const signal = signalOf(options, "memory");
    return JSON.parse(await call(signal, (c) => this.#native.memory(name, c)));
  }

  async deleteMemory(options) {
    const given = checkOptions(options, ["memoryId", "sessionId", "signal"], "deleteMemory");
    const memory = optional(text, "memoryId", given.memoryId);
    const session = optional(text, "sessionId", given.sessionId);
    const signal = signalOf(options, "deleteMemory");
    await call(signal, (c) => this.#native.deleteMemory(memory, session, c));
  }

  async fork(sessionId, options) {
    const given = checkOptions(options, ["step", "edit", "newSessionId", "signal"], "fork");
    const name = text("sessionId", sessionId);
    const step = stepOf("step", given.step);
    const edit = editOf(given.edit);
    const to = optional(text, "newSessionId", given.newSessionId);
    const signal = signalOf(options, "fork");
    return resultOf(JSON.parse(
      await call(signal, (c) => this.#native.fork(name, step, edit, to, c)),
    ));
  }

  async *#events(signal, start) {
    const run = await call(signal, start);
    const spans = new TurnSpans(this.id, this.name);
    const onAbort = () => run.cancel();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for (;;) {
        const batch = await run.next();
        if (batch === null) {
          // An abort ends the events too.
          signal?.throwIfAborted();
          return;
        }
        for (const event of JSON.parse(batch)) {
          spans.saw(event);
          if (event.calls) {
            const { agent } = event;
            const calls = event.calls.map((one) => ({ ...one, agent }));
            await Promise.all(calls.map((one) => this.#run(run, one, spans, signal)));
          } else if (event.delegated) continue;
          else if (event.text !== undefined) yield { text: event.text };
          else if (event.trace) yield { trace: event.trace };
          else yield { result: resultOf(event.result) };
        }
      }
    } catch (thrown) {
      const error = signal?.aborted ? signal.reason : fromNative(thrown);
      spans.failed(error);
      throw error;
    } finally {
      spans.end();
      signal?.removeEventListener("abort", onAbort);
      run.cancel();
    }
  }

  async #run(run, asked, spans, signal) {
    const { actionGroup, function: name } = asked.target.function;
    const over = asked.agent === this.id ? "" : `${asked.agent}/`;
    const tool = this.#tools.get(`${over}${actionGroup}.${name}`);
    let outcome;
    try {
      outcome = await spans.tool(asked, async () => {
        if (!tool) {
          throw new Error(`the function ${actionGroup}.${name} is not known in this process`);
        }
        return returned(await tool.run(tool.parse(asked.arguments), { signal }));
      });
    } catch (thrown) {
      const error = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
      outcome = { failed: { error } };
    }
    run.give(asked.id, JSON.stringify(outcome));
  }

  [Symbol.for("nodejs.util.inspect.custom")]() {
    return `Agent { ${this.name} (${this.id}) }`;
  }
}

function stepOf(field, step) {
  const value = optional(integer, field, step, STEPS);
  return value === undefined ? undefined : Number(value);
}

/** The result that a turn's events end in. */
async function last(events) {
  let result;
  for await (const event of events) result = event.result ?? result;
  return result;
}

module.exports = { Agent, agentRequest, groupsOf, teamOf };
