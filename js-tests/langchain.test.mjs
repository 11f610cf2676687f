// @langchain/aws, unchanged, on a client of a session.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BedrockEmbeddings, ChatBedrockConverse } from "@langchain/aws";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { z } from "zod";
import { runtime, scripted, session } from "./aws_fixtures.mjs";

const chat = async (script) =>
  new ChatBedrockConverse({ client: runtime(), region: "us-east-1", model: await scripted(script) });

test("chat, and its stream", async () => {
  const model = await chat([{ answer: { text: ["Good ", "morning", "."] } }]);
  const reply = await model.invoke([["system", "Be brief."], ["human", "Hello"]]);
  assert.equal(reply.text, "Good morning.");
  assert.ok(reply.usage_metadata.total_tokens > 0);
  const pieces = [];
  for await (const chunk of await model.stream("Hello")) if (chunk.text) pieces.push(chunk.text);
  assert.deepEqual(pieces, ["Good ", "morning", "."]);
});

test("a client of its own, by clientOptions", async () => {
  const model = new ChatBedrockConverse({
    region: "us-east-1", model: await scripted([{ answer: "Yes." }]),
    clientOptions: session.clientConfig(),
    credentials: { accessKeyId: "in-process", secretAccessKey: "in-process" },
  });
  assert.equal((await model.invoke("Hello")).text, "Yes.");
});

test("tools", async () => {
  const limit = tool(async ({ user }) => (user === "12345" ? "5000" : "0"), {
    name: "limit", description: "The credit limit of a user.", schema: z.object({ user: z.string() }),
  });
  const model = (await chat([
    { match: { tool_result: { name: "limit" } }, answer: "It is 5000." },
    { answer: { tool_uses: [{ name: "limit", input: { user: "12345" } }] } },
  ])).bindTools([limit]);
  const question = new HumanMessage("What is the limit of 12345?");
  const called = await model.invoke([question]);
  const [call] = called.tool_calls;
  assert.deepEqual(call.args, { user: "12345" });
  const result = new ToolMessage({ content: await limit.invoke(call.args), tool_call_id: call.id });
  assert.equal((await model.invoke([question, called, result])).text, "It is 5000.");
});

test("structured output", async () => {
  const answer = { tool_uses: [{ name: "person", input: { name: "Ada", age: 36 } }] };
  const model = (await chat([{ answer }])).withStructuredOutput(
    z.object({ name: z.string(), age: z.number() }), { name: "person" });
  assert.deepEqual(await model.invoke("Who?"), { name: "Ada", age: 36 });
});

test("embeddings", async () => {
  const model = "amazon.titan-embed-text-v1";
  await session.registerModel(model, { embeddings: { dimensions: 1536, others: "hashed" } });
  const embeddings = new BedrockEmbeddings({ client: runtime(), region: "us-east-1", model });
  const [one, other] = await embeddings.embedDocuments(["a river", "a mountain"]);
  assert.equal(one.length, 1536);
  assert.notDeepEqual(one, other);
  assert.deepEqual(await embeddings.embedQuery("a river"), one);
});
