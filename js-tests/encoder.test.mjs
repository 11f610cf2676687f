// Encoders: golden vectors and scores.
import assert from "node:assert/strict";
import test from "node:test";
import { distance, fixture, golden, openSession } from "./fixtures.mjs";

const session = openSession();

test("embeddings are the golden ones, one typed array a text", async () => {
  const model = await session.model(fixture("bert_minilm"));
  const { texts } = golden("bert_minilm");
  const vectors = await model.embed(texts.map((t) => t.text), { truncate: true });
  texts.forEach(({ embedding }, i) => {
    assert.ok(vectors[i] instanceof Float32Array);
    assert.ok(distance(vectors[i], embedding) <= 1e-4);
  });
});

test("a batch of 64 equals the 64 single calls, bit for bit", async () => {
  const model = await session.model(fixture("bert_minilm"));
  const texts = Array.from({ length: 64 }, (_, i) => `note ${i} ${"of the bank ".repeat(i % 11)}`);
  const batch = await model.embed(texts);
  for (let i = 0; i < texts.length; i += 1) {
    const [single] = await model.embed([texts[i]]);
    assert.deepEqual(batch[i], single);
  }
});

test("a text that is too long is an error with both numbers", async () => {
  const model = await session.model(fixture("bert_minilm"));
  await assert.rejects(model.embed(["word ".repeat(400)]), (error) => {
    assert.equal(error.name, "ValidationException");
    assert.match(error.message, /128/);
    assert.match(error.message, /\b4\d\d\b|\b[89]\d\d\b|\b\d{3,4}\b/);
    return true;
  });
});

test("no texts give no vectors", async () => {
  const model = await session.model(fixture("bert_minilm"));
  assert.deepEqual(await model.embed([]), []);
});

test("rerank scores are the golden ones", async () => {
  const model = await session.model(fixture("bert_cross_encoder"));
  for (const { query, document, score } of golden("bert_cross_encoder").pairs) {
    const scores = await model.rerank(query, [document]);
    assert.ok(scores instanceof Float32Array);
    assert.ok(Math.abs(scores[0] - score) <= 1e-3);
  }
});
