// OpenTelemetry spans of turns, model calls, tools and look-ups, by an exporter in memory.
import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";
import { SpanKind, SpanStatusCode, context, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { tool } from "../bindings-node/index.mjs";
import { openSession } from "./fixtures.mjs";

const exporter = new InMemorySpanExporter();
trace.setGlobalTracerProvider(
  new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
);
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());

beforeEach(() => {
  exporter.reset();
  delete process.env.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT;
});

const ended = () => Object.fromEntries(exporter.getFinishedSpans().map((span) => [span.name, span]));
const object = (properties) => ({ type: "object", properties, required: Object.keys(properties) });
const ms = ([seconds, nanoseconds]) => seconds * 1000 + nanoseconds / 1e6;

async function advisor(session) {
  const getLimit = tool({
    name: "getLimit",
    inputSchema: object({ user: { type: "string" } }),
    run: async () => trace.getTracer("the-bank").startActiveSpan("query of the bank", (span) => {
      span.end();
      return { limit: 5000 };
    }),
  });
  const broken = tool({
    name: "broken",
    inputSchema: object({ n: { type: "integer" } }),
    run: () => { throw new RangeError("no such account"); },
  });
  await session.registerModel("acme.words-v1", { embeddings: { dimensions: 64, others: "hashed" } });
  const base = await session.createKnowledgeBase("policies", { embeddingModel: "acme.words-v1" });
  await base.add([{ text: "Cards are replaced within two days.", id: "cards.md" }]);
  const script = [
    { match: { tool_result: { name: "getLimit" } }, answer: "It is 5000." },
    { answer: { tool_uses: [
      { name: "search_policies", input: { query: "a secret question" } },
      { name: "getLimit", input: { user: "a-private-name" } },
      { name: "broken", input: { n: 1 } },
    ] } },
  ];
  await session.registerModel("acme.agent-v1", { script });
  const agent = await session.createAgent("advisor", {
    model: "acme.agent-v1", knowledgeBases: [base],
    actionGroups: [{ name: "accounts", tools: [getLimit, broken] }],
  });
  return { agent, base };
}

test("a turn is a span with its calls in it", async () => {
  const { agent, base } = await advisor(openSession());
  const result = await agent.invoke("?", { sessionId: "s1" });
  const seen = ended();
  const turn = seen["invoke_agent advisor"];
  const expected = {
    "gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "outcrop",
    "gen_ai.agent.id": agent.id, "gen_ai.agent.name": "advisor", "gen_ai.conversation.id": "s1",
    "gen_ai.request.model": "acme.agent-v1",
    "gen_ai.usage.input_tokens": result.usage.inputTokens,
    "gen_ai.usage.output_tokens": result.usage.outputTokens,
    "gen_ai.response.finish_reasons": ["end_turn"],
  };
  assert.deepEqual(turn.attributes, expected);
  const decided = turn.events.map(({ attributes }) => attributes);
  assert.deepEqual(
    decided.map((one) => one["gen_ai.tool.name"]), ["search_policies", "getLimit", "broken"],
  );
  assert.deepEqual(decided[0]["outcrop.decision.policies"], ["default"]);

  const chats = exporter.getFinishedSpans().filter(({ name }) => name === "chat acme.agent-v1");
  const told = result.trace.map(({ event }) => event.modelInvocationOutput).filter(Boolean);
  assert.deepEqual(
    chats.map((span) => span.attributes["gen_ai.usage.input_tokens"]),
    told.map(({ usage }) => usage.inputTokens),
  );
  // The times are those that the turn measured.
  assert.deepEqual(
    chats.map((span) => Math.round(ms(span.endTime) - ms(span.startTime))),
    told.map(({ tookMs }) => tookMs),
  );
  const lookUp = seen[`retrieval ${base.id}`];
  assert.equal(lookUp.attributes["gen_ai.data_source.id"], base.id);
  const called = seen["execute_tool getLimit"];
  assert.equal(called.attributes["gen_ai.tool.call.id"], "1.1.2");
  // What a function does of its own is in its span.
  assert.equal(seen["query of the bank"].parentSpanContext.spanId, called.spanContext().spanId);
  const failed = seen["execute_tool broken"];
  assert.equal(failed.attributes["error.type"], "RangeError");
  assert.equal(failed.status.code, SpanStatusCode.ERROR);
  for (const span of [...chats, lookUp, called, failed]) {
    assert.equal(span.parentSpanContext.spanId, turn.spanContext().spanId);
    assert.equal(span.kind, SpanKind.INTERNAL);
  }
  // What was said is in none of them.
  const all = exporter.getFinishedSpans().map(({ attributes, events }) => ({ attributes, events }));
  assert.doesNotMatch(JSON.stringify(all), /secret|private/);
});

test("content is told where it is asked for", async () => {
  process.env.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT = "true";
  const { agent } = await advisor(openSession());
  await agent.invoke("What is my limit?");
  const seen = ended();
  const { attributes } = seen["invoke_agent advisor"];
  const said = JSON.parse(attributes["gen_ai.input.messages"]);
  assert.deepEqual(said, [{ role: "user", parts: [{ type: "text", content: "What is my limit?" }] }]);
  assert.equal(JSON.parse(attributes["gen_ai.output.messages"])[0].parts[0].content, "It is 5000.");
  const asked = JSON.parse(seen["chat acme.agent-v1"].attributes["gen_ai.input.messages"]);
  const kinds = asked.flatMap(({ parts }) => parts.map(({ type }) => type));
  assert.ok(kinds.includes("tool_call") && kinds.includes("tool_call_response"));
});

test("a failure is an error of its span, and a model's own calls are spans", async () => {
  const session = openSession();
  const fault = { fault: { error: "ThrottlingException", message: "busy" } };
  await session.registerModel("acme.busy-v1", { script: [{ answer: fault }] });
  const agent = await session.createAgent("busy", { model: "acme.busy-v1" });
  await assert.rejects(agent.invoke("?"), { name: "ThrottlingException" });
  assert.equal(ended()["chat acme.busy-v1"].attributes["error.type"], "ThrottlingException");
  assert.equal(ended()["invoke_agent busy"].status.code, SpanStatusCode.ERROR);
  exporter.reset();
  await session.registerModel("acme.chat-v1", { script: [{ answer: { text: ["a ", "b"] } }] });
  const model = await session.model("acme.chat-v1");
  await model.converse("?");
  for await (const _ of model.stream("?"));
  const spans = exporter.getFinishedSpans();
  assert.deepEqual(spans.map(({ name }) => name), Array(2).fill("chat acme.chat-v1"));
  for (const { attributes, status } of spans) {
    assert.equal(status.code, SpanStatusCode.UNSET);
    assert.deepEqual(attributes["gen_ai.response.finish_reasons"], ["end_turn"]);
    assert.ok(attributes["gen_ai.usage.output_tokens"] > 0);
  }
});
