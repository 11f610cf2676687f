// Models that are declared as data, and aliases.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";
import { fixture, openSession } from "./fixtures.mjs";

const HAIKU = "anthropic.claude-3-haiku-20240307-v1:0";

const SCRIPT = {
  script: [
    {
      match: { text: { contains: "weather" } },
      answer: { text: ["Let me ", "look."], tool_uses: [{ name: "sky", input: { at: "Oslo" } }] },
    },
    { match: { tool_result: { name: "sky" } }, answer: "It is blue." },
    { match: { tag: { case: "busy" } }, answer: { fault: { error: "ThrottlingException" } } },
    { match: { text: "stall" }, answer: { text: ["a"], fault: { stall: true } } },
  ],
};

async function scripted() {
  const session = openSession();
  const entry = await session.registerModel("acme.scripted-v1", SCRIPT);
  assert.deepEqual([entry.kind, entry.source], ["chat", "script"]);
  return { session, model: await session.model("acme.scripted-v1") };
}

test("a script runs a tool turn", async () => {
  const { model } = await scripted();
  const tools = [{ name: "sky", description: "", inputSchema: { type: "object" } }];
  const messages = [{ role: "user", content: "How is the weather?" }];
  const reply = await model.converse(messages, { tools });
  assert.deepEqual([reply.stopReason, reply.text], ["tool_use", "Let me look."]);
  const [use] = reply.toolUses;
  assert.deepEqual(use.input, { at: "Oslo" });
  const result = { toolUseId: use.toolUseId, content: [{ text: "blue" }] };
  messages.push({ role: "assistant", content: reply.content });
  messages.push({ role: "user", content: [{ toolResult: result }] });
  assert.equal((await model.converse(messages, { tools })).text, "It is blue.");
});

test("faults, tags and stalls", async () => {
  const { model } = await scripted();
  await assert.rejects(model.converse("x", { requestMetadata: { case: "busy" } }), {
    name: "ThrottlingException",
  });
  await assert.rejects(model.converse("x"), { name: "ValidationException", message: /script\[3\]/ });
  const deltas = [];
  await assert.rejects(
    async () => {
      for await (const delta of model.stream("stall", { signal: AbortSignal.timeout(100) })) {
        deltas.push(delta);
      }
    },
    (error) => /Abort|Timeout|Cancel/.test(error.name),
  );
  assert.deepEqual(deltas, ["a"]);
});

test("a declaration is checked, kept and replaced", async () => {
  const session = openSession();
  const register = (answer, options) =>
    session.registerModel("acme.a", { script: [{ answer }] }, options);
  await assert.rejects(register({ text: "x", delay_ms: -1 }), {
    name: "ValidationException",
    message: /^script\[0\]\.answer\.delay_ms: expected a whole number/,
  });
  await register("1");
  await register("1");
  await assert.rejects(register("2"), { name: "ConflictException" });
  await register("2", { replace: true });
  const again = openSession({ home: session.home });
  assert.equal((await (await again.model("acme.a")).converse("x")).text, "2");
  await session.unregisterModel("acme.a");
  await assert.rejects(session.model("acme.a"), { name: "ResourceNotFoundException" });
  const entry = await session.registerModel("acme.path", { path: fixture("llama3") });
  assert.equal(entry.source, fixture("llama3"));
});

test("aliases lead names of AWS to a model", async () => {
  const { session } = await scripted();
  await session.alias(HAIKU, "acme.scripted-v1");
  assert.deepEqual(await session.aliases(), { [HAIKU]: "acme.scripted-v1" });
  const arn = `arn:aws:bedrock:us-east-1::foundation-model/${HAIKU}`;
  for (const name of [HAIKU, `us.${HAIKU}`, arn]) {
    assert.equal((await session.model(name)).info.id, "acme.scripted-v1");
  }
  await session.alias(HAIKU, null);
  assert.deepEqual(await session.aliases(), {});
  await assert.rejects(session.alias(HAIKU), { name: "ValidationException", message: /^target/ });
});

test("a server of OpenAI's form", async (t) => {
  const server = createServer((request, response) => {
    const chunks = [
      { choices: [{ delta: { content: "Hi" } }] },
      { choices: [{ delta: {}, finish_reason: "stop" }] },
      { choices: [], usage: { prompt_tokens: 3, completion_tokens: 1 } },
    ];
    request.resume().on("end", () => {
      for (const chunk of chunks) response.write(`data: ${JSON.stringify(chunk)}\n\n`);
      response.end("data: [DONE]\n\n");
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const session = openSession();
  const base_url = `http://127.0.0.1:${server.address().port}/v1`;
  await session.registerModel("acme.remote", { openai: { base_url, model: "m" } });
  const reply = await (await session.model("acme.remote")).converse("hello");
  assert.deepEqual([reply.text, reply.usage.inputTokens], ["Hi", 3]);
});
