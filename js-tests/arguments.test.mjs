// Arguments: a wrong one is an error that names it, and is never taken for its default.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OutcropError } from "../bindings-node/index.mjs";
import { fixture, openSession, temporaryFolder } from "./fixtures.mjs";

/** Asserts that `call` rejects with a ValidationException whose message names `field`. */
async function refuses(field, call) {
  await assert.rejects(async () => call(), (error) => {
    assert.ok(error instanceof OutcropError, `${field}: ${error}`);
    assert.equal(error.name, "ValidationException");
    assert.ok(error.message.startsWith(field), `${field}: ${error.message}`);
    return true;
  });
}

const session = openSession();
const model = await session.model(fixture("qwen3"));
const base = await session.createKnowledgeBase("k", { embeddingModel: fixture("bert_minilm") });
await base.add([{ text: "The cat sat on the mat." }]);

describe("arguments", () => {
  test("sampling options that are not what they should be", async () => {
    const real = [NaN, Infinity, "1", true, 1n, [], {}];
    const whole = [NaN, Infinity, 1.5, -1, -1n, 2n ** 64n, "1", true, []];
    for (const name of ["temperature", "topP", "minP", "repetitionPenalty"]) {
      for (const value of real) {
        await refuses(`${name}:`, () => model.converse("Hi", { [name]: value }));
        await refuses(`${name}:`, () => model.generate("Hi", { [name]: value }));
      }
    }
    for (const name of ["maxTokens", "topK", "seed"]) {
      for (const value of whole) {
        await refuses(`${name}:`, () => model.converse("Hi", { [name]: value }));
      }
    }
    for (const name of ["logprobs", "deadlineMs"]) {
      await refuses(`${name}:`, () => model.generate("Hi", { [name]: -1 }));
      await refuses(`${name}:`, () => model.converse("Hi", { [name]: "1" }));
    }
    await refuses("logprobs:", () => model.generate("Hi", { logprobs: 21 }));
    await refuses("priority:", () => model.generate("Hi", { priority: 0.5 }));
    await refuses("priority:", () => model.generate("Hi", { priority: 2 ** 31 }));
    await refuses("caller:", () => model.generate("Hi", { caller: 1 }));
    await refuses("speculation:", () => model.generate("Hi", { speculation: "fast" }));
    await refuses("adapter:", () => model.generate("Hi", { adapter: true }));
    await refuses("topP:", () => model.generate("Hi", { topP: 2 }));
    await refuses("stop", () => model.generate("Hi", { stop: [1] }));
    await refuses("reasoning:", () => model.converse("Hi", { reasoning: "yes" }));
    await refuses("tools:", () => model.converse("Hi", { tools: {} }));
    await refuses("toolChoice:", () => model.converse("Hi", { toolChoice: "nothing" }));
    await refuses("system:", () => model.converse("Hi", { system: 1 }));
  });

  test("the form of an output", async () => {
    const zod = { safeParse() {}, parse() {} };
    await refuses("responseSchema:", () => model.generate("Hi", { responseSchema: "s" }));
    await refuses("responseSchema: expected a JSON schema, got a validator", () =>
      model.converse("Hi", { responseSchema: zod }));
    await refuses("regex:", () => model.generate("Hi", { regex: 1 }));
    await refuses("regex:", () => model.generate("Hi", { regex: /a/i }));
    await refuses("regex:", () => model.generate("Hi", { regex: /[\D]/ }));
    await refuses("lark:", () => model.generate("Hi", { lark: {} }));
    await refuses("quote[1]:", () => model.generate("Hi", { quote: ["a", 1] }));
    await refuses("responseSchema, regex: expected at most one of", () =>
      model.converse("Hi", { responseSchema: {}, regex: "a" }));
  });

  test("how a model is opened", async () => {
    const open = (options) => () => session.model(fixture("llama3"), options);
    await refuses("contextLength:", open({ contextLength: 1 }));
    await refuses("contextLength:", open({ contextLength: "64" }));
    await refuses("maxBatch:", open({ maxBatch: 0 }));
    await refuses("kvTokens:", open({ kvTokens: 1.5 }));
    await refuses("onProgress:", open({ onProgress: 1 }));
    await refuses("model: context:", open({ context: 1 }));
    await refuses("maxBatch:", () => session.model(fixture("bert_cross_encoder"), { maxBatch: 2 }));
  });

  test("a bigint seed counts in full", async () => {
    const options = { maxTokens: 12, temperature: 1.5 };
    const of = async (seed) => (await model.generate([5, 6, 7], { ...options, seed })).ids;
    assert.deepEqual(await of(7n), await of(7));
    // A float64 does not tell these two apart.
    assert.notDeepEqual(await of(2n ** 63n), await of(2n ** 63n + 1n));
  });

  test("messages are refused by their place", async () => {
    const content = (block) => [{ role: "user", content: [block] }];
    await refuses("messages:", () => model.converse(null));
    await refuses("messages[0]:", () => model.converse([null]));
    await refuses("messages[0].role:", () => model.converse([{ role: "x", content: "a" }]));
    await refuses("messages[0].content:", () => model.converse([{ role: "user", content: 1 }]));
    await refuses("messages[0].content[0]", () => model.converse(content({ text: "\ud800" })));
    await refuses("messages[0].content[0]", () => model.converse(content({ what: "a" })));
    await refuses("messages[0].content[0]", () => model.converse(content({ text: undefined })));
    await refuses("texts[1]:", () => model.rerank("q", ["a", "\udfff"]));
  });

  test("messages of chat completions become the same prompt", async () => {
    const call = { id: "1", type: "function", function: { name: "f", arguments: '{"a":1}' } };
    const plain = await model.chatPrompt(
      [
        { role: "user", content: "Hi" },
        { role: "assistant", content: [{ toolUse: { toolUseId: "1", name: "f", input: { a: 1 } } }] },
        { role: "user", content: [{ toolResult: { toolUseId: "1", content: [{ text: "2" }] } }] },
      ],
      { system: "Be brief." },
    );
    const completions = await model.chatPrompt([
      { role: "system", content: "Be brief." },
      { role: "user", content: [{ type: "text", text: "Hi" }] },
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", tool_call_id: "1", content: "2" },
    ]);
    assert.equal(completions, plain);
  });

  test("knowledge bases", async () => {
    for (const k of [NaN, 1.5, -1, "3", true, 2 ** 32]) {
      await refuses("k:", () => base.retrieve("cat", { k }));
      await refuses("k:", () => base.ask("cat", { k }));
    }
    for (const model of [{}, 1, NaN, false]) {
      await refuses("model:", () => base.ask("cat", { model }));
    }
    await refuses("query:", () => base.retrieve("\ud800"));
    const metadata = { a: [0, NaN] };
    await refuses("documents[0].metadata.a[1]:", () => base.add([{ text: "a", metadata }]));
    await refuses("documents[0].embedding[0]:", () => base.add([{ text: "a", embedding: [NaN] }]));
    await refuses("onProgress:", () => base.sync({ onProgress: 1 }));
    await refuses("name:", () => session.createKnowledgeBase(1));
    const chunking = { maxTokens: -1 };
    await refuses("chunking.maxTokens:", () => session.createKnowledgeBase("c", { chunking }));
    await refuses("id:", () => session.model(1));
  });

  test("an onProgress that throws ends the sync with its error", async () => {
    const folder = temporaryFolder();
    const { writeFileSync } = await import("node:fs");
    writeFileSync(`${folder}/a.txt`, "Something to read.");
    await base.addSource(folder);
    await assert.rejects(base.sync({ onProgress: () => { throw new Error("mine"); } }), /mine/);
    assert.equal((await base.sync()).failed.length, 0);
  });
});
