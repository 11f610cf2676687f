// The AWS SDK for JavaScript's own clients, answered in this process.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BedrockAgentClient, CreateFlowCommand, CreatePromptCommand, paginateListPrompts,
} from "@aws-sdk/client-bedrock-agent";
import * as runtimeSdk from "@aws-sdk/client-bedrock-runtime";
import { HELLO, listed, pause, runtime, scripted, session, texts } from "./aws_fixtures.mjs";
import { fixture } from "./fixtures.mjs";
import { refused } from "./no_network.mjs";

const { ConverseCommand, ConverseStreamCommand, InvokeModelCommand } = runtimeSdk;
const ECHO = [{ answer: { text: ["Good ", "morning", "."] } }];
const STALLS = [{ answer: { text: ["one", "two"], fault: { stall: true, after_deltas: 1 } } }];

const converse = (client, modelId, options) =>
  client.send(new ConverseCommand({ modelId, messages: HELLO }), options);
const converseStream = async (client, modelId, options) =>
  (await client.send(new ConverseStreamCommand({ modelId, messages: HELLO }), options)).stream;

test("Converse, by the SDK's own parsing", async () => {
  const response = await converse(runtime(), await scripted(ECHO));
  assert.deepEqual(response.output.message.content, [{ text: "Good morning." }]);
  assert.equal(response.$metadata.httpStatusCode, 200);
  assert.equal(response.$metadata.attempts, 1);
  assert.equal(response.$metadata.requestId.length, 36);
});

test("streams", async () => {
  const stream = await converseStream(runtime(), await scripted(ECHO));
  assert.deepEqual(await listed(texts(stream)), ["Good ", "morning", "."]);
});

test("ids with colons and slashes", async () => {
  const name = "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-text-express-v1";
  await session.alias(name, await scripted(ECHO));
  assert.equal((await converse(runtime(), name)).stopReason, "end_turn");
});

test("nothing is looked for: no credentials, no region, no name", async () => {
  process.env.AWS_BEARER_TOKEN_BEDROCK = "a-token";
  try {
    await converse(runtime(), await scripted(ECHO));
  } finally {
    delete process.env.AWS_BEARER_TOKEN_BEDROCK;
  }
  await converse(runtime(), await scripted(ECHO));
  assert.deepEqual(refused, []);
});

test("bodies of InvokeModel", async () => {
  const modelId = "amazon.titan-embed-text-v2:0";
  await session.registerModel(modelId, { embeddings: { dimensions: 256, others: "hashed" } });
  const body = JSON.stringify({ inputText: "a river", dimensions: 256 });
  for (const form of [body, Buffer.from(body), new TextEncoder().encode(body)]) {
    const response = await runtime().send(new InvokeModelCommand({ modelId, body: form }));
    assert.equal(JSON.parse(response.body.transformToString()).embedding.length, 256);
  }
});

test("paginators and the control plane; what is not here says so", async () => {
  const client = new BedrockAgentClient(session.clientConfig());
  const made = [];
  for (let n = 0; n < 3; n += 1) {
    made.push((await client.send(new CreatePromptCommand({ name: `prompt-${n}` }))).id);
  }
  const found = [];
  for await (const page of paginateListPrompts({ client, pageSize: 2 }, {})) {
    found.push(...page.promptSummaries.map((prompt) => prompt.id));
  }
  assert.deepEqual(found.sort(), made.sort());
  const flow = { name: "flow", executionRoleArn: "arn:aws:iam::000000000000:role/r" };
  await assert.rejects(client.send(new CreateFlowCommand(flow)), (error) =>
    error.name === "NotImplementedException" && error.$metadata.httpStatusCode === 501
    && error.message.includes("CreateFlow"));
});

const DECLARED = {
  AccessDeniedException: 403,
  InternalServerException: 500,
  ModelErrorException: 424,
  ModelNotReadyException: 429,
  ModelTimeoutException: 408,
  ResourceNotFoundException: 404,
  ServiceUnavailableException: 503,
  ThrottlingException: 429,
  ValidationException: 400,
};

test("each error is the SDK's own class", async () => {
  const client = runtime({ maxAttempts: 1 });
  for (const [name, status] of Object.entries(DECLARED)) {
    const modelId = await scripted([{ answer: { fault: { error: name, message: "was scripted" } } }]);
    for (const call of [converse, converseStream]) {
      await assert.rejects(call(client, modelId), (error) => {
        assert.ok(error instanceof runtimeSdk[name], `${name} came as ${error.name}`);
        assert.equal(error.$metadata.httpStatusCode, status);
        assert.match(error.message, /was scripted/);
        return true;
      });
    }
  }
});

test("members of an error", async () => {
  const fault = { error: "ModelErrorException", original_status_code: 418, resource_name: "acme" };
  const modelId = await scripted([{ answer: { fault } }]);
  await assert.rejects(converse(runtime({ maxAttempts: 1 }), modelId), (error) =>
    error.originalStatusCode === 418 && error.resourceName === "acme");
});

test("retries are AWS's", async () => {
  const throttled = { fault: { error: "ThrottlingException" } };
  const modelId = await scripted([{ answers: [throttled, throttled, "At last."] }]);
  const response = await converse(runtime({ maxAttempts: 3 }), modelId);
  assert.equal(response.$metadata.attempts, 3);
});

test("errors in a stream", async () => {
  const names = ["ModelStreamErrorException", "ThrottlingException", "ValidationException",
    "InternalServerException", "ServiceUnavailableException"];
  for (const error of names) {
    const fault = { error, message: "broke off", after_deltas: 1 };
    const modelId = await scripted([{ answer: { text: ["one", "two"], fault } }]);
    const seen = [];
    await assert.rejects(async () => {
      for await (const text of texts(await converseStream(runtime(), modelId))) seen.push(text);
    }, (thrown) => thrown instanceof runtimeSdk[error] && thrown.message.includes("broke off"));
    assert.deepEqual(seen, ["one"]);
  }
});

test("requestTimeout", async () => {
  const modelId = await scripted([{ answer: { text: "late", delay_ms: 60_000 } }]);
  const given = session.clientConfig({ requestTimeout: 100 });
  const client = runtime({ ...given, maxAttempts: 1 });
  await assert.rejects(converse(client, modelId), { name: "TimeoutError" });
});

test("an AbortSignal ends a call, before, during and in its stream", async () => {
  const late = await scripted([{ answer: { text: "late", delay_ms: 60_000 } }]);
  const isAbort = { name: "AbortError" };
  await assert.rejects(converse(runtime(), late, { abortSignal: AbortSignal.abort() }), isAbort);
  await assert.rejects(converse(runtime(), late, { abortSignal: AbortSignal.timeout(100) }), isAbort);
  const stopping = new AbortController();
  const options = { abortSignal: stopping.signal };
  const stream = await converseStream(runtime(), await scripted(STALLS), options);
  const seen = [];
  await assert.rejects(async () => {
    for await (const text of texts(stream)) {
      seen.push(text);
      setTimeout(() => stopping.abort(), 50);
    }
  }, isAbort);
  assert.deepEqual(seen, ["one"]);
});

test("each event comes when it is made", async () => {
  const answer = { text: Array.from({ length: 10 }, (_, n) => `word${n} `), delta_delay_ms: 50 };
  const times = [];
  for await (const _ of texts(await converseStream(runtime(), await scripted([{ answer }])))) {
    times.push(performance.now());
  }
  assert.equal(times.length, 10);
  assert.ok(times.at(-1) - times[0] > 350, `all came within ${times.at(-1) - times[0]} ms`);
});

test("nothing is asked for ahead of its reader", async () => {
  const modelId = await scripted([{ answer: { text: Array(6).fill("word "), delta_delay_ms: 100 } }]);
  const reading = texts(await converseStream(runtime(), modelId));
  await reading.next();
  await pause(500);
  const asked = performance.now();
  assert.equal((await listed(reading)).length, 5);
  // Had four of them been made in the meantime, they would all be here at once.
  assert.ok(performance.now() - asked > 350);
});

/** A long answer of a real model, and its engine's statistics. */
async function llama() {
  await session.registerModel("acme.llama-v1", { path: fixture("llama3") });
  const model = await session.model("acme.llama-v1");
  const start = async (options) => {
    const inferenceConfig = { maxTokens: 1500 };
    const command = new ConverseStreamCommand({ modelId: "acme.llama-v1", messages: HELLO, inferenceConfig });
    return (await runtime().send(command, options)).stream;
  };
  return { start, stats: () => model.stats };
}

/** Waits until the engine runs nothing. */
async function idle(stats) {
  const until = performance.now() + 2000;
  while (stats().running > 0) {
    assert.ok(performance.now() < until, "the engine runs on");
    await pause(1);
  }
}

test("break and abort stop the engine within a step", async () => {
  const { start, stats } = await llama();
  for await (const _ of texts(await start())) {
    assert.equal(stats().running, 1);
    break;
  }
  // From when it was told: the step that was running, and one that began while it was told.
  let told = stats().steps;
  await idle(stats);
  assert.ok(stats().steps - told <= 2, `${stats().steps - told} steps after break`);

  const stopping = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of texts(await start({ abortSignal: stopping.signal }))) {
      stopping.abort();
      told = stats().steps;
    }
  }, { name: "AbortError" });
  await idle(stats);
  assert.ok(stats().steps - told <= 2, `${stats().steps - told} steps after abort`);
});

// The figure of the project is with 10,000.
const STREAMS = Number(process.env.OUTCROP_STREAMS ?? 300);

test(`${STREAMS} streams that are left leave nothing behind`, async () => {
  const modelId = await scripted([{ answer: { text: Array(200).fill("word ") } }]);
  const client = runtime();
  const leave = async (count) => {
    for (let n = 0; n < count; n += 1) {
      for await (const _ of texts(await converseStream(client, modelId))) break;
    }
  };
  await leave(Math.max(50, STREAMS / 10));
  const before = process.memoryUsage.rss();
  await leave(STREAMS);
  const grown = process.memoryUsage.rss() - before;
  // The heap of JavaScript breathes; a stream that stayed would hold tens of kilobytes.
  assert.ok(grown < 48 * 2 ** 20 + 200 * STREAMS, `${grown} bytes after ${STREAMS} streams`);
});
