// The prefix cache, deadlines, and what an engine counts.
import assert from "node:assert/strict";
import test from "node:test";
import { fixture, openSession } from "./fixtures.mjs";

const LONG = "The river runs to the sea, and the lighthouse keeper writes it down again. ".repeat(12);

test("a known prefix is read from the cache, with the same bytes", async () => {
  const model = await openSession().model(fixture("llama3"), { kvTokens: 1024 });
  const options = { maxTokens: 8, temperature: 0.9, seed: 1 };
  const first = await model.generate(`${LONG}Why?`, options);
  assert.equal(first.usage.cacheReadInputTokens, 0);
  assert.ok(first.usage.cacheWriteInputTokens > 0);
  const again = await model.generate(`${LONG}Why?`, options);
  assert.ok(again.usage.cacheReadInputTokens > 0);
  assert.deepEqual(again.ids, first.ids);
  const { stats } = model;
  assert.equal(stats.cacheReadTokens, again.usage.cacheReadInputTokens);
  assert.equal(stats.freePages + stats.cachedPages, stats.pages);
  assert.deepEqual([stats.running, stats.waiting], [0, 0]);
});

test("a deadline ends a request", async () => {
  const model = await openSession().model(fixture("llama3"));
  await assert.rejects(model.generate("The river", { maxTokens: 2000, deadlineMs: 1 }), {
    name: "ModelTimeoutException",
  });
  const done = await model.generate("The", { maxTokens: 2, deadlineMs: 60_000, priority: 3, caller: "a" });
  assert.equal(done.usage.outputTokens, 2);
});

test("guessing ahead changes no bytes", async () => {
  const folder = fixture("llama3");
  const model = await openSession().model(folder, { draft: folder, speculation: "prompt_lookup" });
  const options = { maxTokens: 40, temperature: 0.8, seed: 3 };
  const prompt = "again and again and again and";
  const off = await model.generate(prompt, { ...options, speculation: "off" });
  for (const speculation of ["prompt_lookup", "draft", undefined]) {
    assert.deepEqual((await model.generate(prompt, { ...options, speculation })).ids, off.ids);
  }
  const { guessedTokens, acceptedTokens } = model.stats;
  assert.ok(acceptedTokens > 0 && acceptedTokens <= guessedTokens);
});
