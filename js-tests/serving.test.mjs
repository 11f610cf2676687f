// The prefix cache, deadlines, and what an engine counts.
import assert from "node:assert/strict";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

test("a held prefix is read, forked, saved and brought back", async () => {
  const session = openSession();
  const model = await session.model(fixture("llama3"), { kvTokens: 512 });
  const ids = Array.from({ length: 100 }, (_, i) => i + 5);
  const expected = (await model.generate([...ids, 7, 8], { maxTokens: 6 })).ids;
  const prefix = await model.prefix(ids);
  for (let start = 200; start < 204; start += 1) {
    await model.generate(new Array(300).fill(start), { maxTokens: 2 });
  }
  const known = await model.generate([...ids, 7, 8], { maxTokens: 6 });
  assert.deepEqual(known.ids, expected);
  assert.ok(known.usage.cacheReadInputTokens >= 100);
  const fork = await prefix.fork([7]);
  assert.deepEqual(Array.from(fork.ids), [...ids, 7]);
  const file = join(await mkdtemp(join(tmpdir(), "outcrop-")), "a.prefix");
  await fork.save(file);
  fork.release();
  await assert.rejects(fork.fork(), { name: "ValidationException", message: /released/ });
  prefix.release();
  // The engine hears of it at its next turn.
  for (const end = Date.now() + 10_000; model.stats.pinnedPages > 0; ) {
    assert.ok(Date.now() < end);
    await new Promise((wake) => setTimeout(wake, 10));
  }

  const again = await openSession().model(fixture("llama3"));
  assert.equal((await again.loadPrefix(file)).ids.length, 101);
  const found = await again.generate([...ids, 7, 8], { maxTokens: 6 });
  assert.deepEqual([found.ids, found.usage.cacheReadInputTokens], [expected, 101]);
  const other = await session.model(fixture("qwen3"));
  await assert.rejects(other.loadPrefix(file), { name: "ConflictException", message: /KV dtype/ });
  const damaged = await readFile(file);
  damaged[damaged.length - 100] ^= 1;
  await writeFile(file, damaged);
  await assert.rejects(again.loadPrefix(file), { name: "InternalServerException" });
});
