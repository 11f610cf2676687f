// The Vercel AI SDK and its Amazon Bedrock provider, unchanged, by `session.fetch`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
import { embed, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { listed, scripted, session } from "./aws_fixtures.mjs";

// The provider wants a key to put into a header; nobody reads it.
const bedrock = createAmazonBedrock({
  fetch: session.fetch, region: "us-east-1", apiKey: "in-process",
});
const PERSON = z.object({ name: z.string(), age: z.number() });

test("generateText", async () => {
  const model = bedrock(await scripted([{ match: { system: "Be brief." }, answer: "Good morning." }]));
  const { text, usage, finishReason } = await generateText({
    model, system: "Be brief.", prompt: "Hello",
  });
  assert.equal(text, "Good morning.");
  assert.equal(finishReason, "stop");
  assert.ok(usage.totalTokens > 0);
});

test("streamText", async () => {
  const model = bedrock(await scripted([{ answer: { text: ["Good ", "morning", "."] } }]));
  const { textStream } = streamText({ model, prompt: "Hello" });
  assert.deepEqual(await listed(textStream), ["Good ", "morning", "."]);
});

test("tools", async () => {
  const model = bedrock(await scripted([
    { match: { tool_result: { name: "limit" } }, answer: "It is 5000." },
    { answer: { tool_uses: [{ name: "limit", input: { user: "12345" } }] } },
  ]));
  const limit = tool({
    description: "The credit limit of a user.",
    inputSchema: z.object({ user: z.string() }),
    execute: async ({ user }) => (user === "12345" ? 5000 : 0),
  });
  const { text, steps } = await generateText({
    model, prompt: "What is the limit of 12345?", tools: { limit }, stopWhen: stepCountIs(3),
  });
  assert.equal(text, "It is 5000.");
  assert.deepEqual(steps[0].toolResults[0].output, 5000);
});

test("generateObject", async () => {
  const answer = { tool_uses: [{ name: "json", input: { name: "Ada", age: 36 } }] };
  const model = bedrock(await scripted([{ answer }]));
  const { object } = await generateObject({ model, schema: PERSON, prompt: "Who?" });
  assert.deepEqual(object, { name: "Ada", age: 36 });
});

test("embed", async () => {
  const id = "amazon.titan-embed-text-v2:0";
  await session.registerModel(id, { embeddings: { dimensions: 1024, others: "hashed" } });
  const { embedding } = await embed({ model: bedrock.embedding(id), value: "a river" });
  assert.equal(embedding.length, 1024);
});

test("errors and aborts", async () => {
  const throttled = bedrock(await scripted([{ answer: { fault: { error: "ThrottlingException" } } }]));
  await assert.rejects(generateText({ model: throttled, prompt: "Hello", maxRetries: 0 }),
    (error) => error.statusCode === 429);
  const late = bedrock(await scripted([{ answer: { text: "late", delay_ms: 60_000 } }]));
  const abortSignal = AbortSignal.timeout(100);
  await assert.rejects(generateText({ model: late, prompt: "Hello", abortSignal }),
    { name: "TimeoutError" });
});

test("fetch itself", async () => {
  const url = `https://bedrock-runtime.us-east-1.amazonaws.com/model/${await scripted([{ answer: "Yes." }])}/converse`;
  const body = JSON.stringify({ messages: [{ role: "user", content: [{ text: "Hello" }] }] });
  const { fetch } = session;
  const response = await fetch(new Request(url, { method: "POST", body }));
  assert.equal(response.status, 200);
  assert.equal((await response.json()).output.message.content[0].text, "Yes.");
  await assert.rejects(fetch(url, { method: "POST", body, signal: AbortSignal.abort() }),
    { name: "AbortError" });
});
