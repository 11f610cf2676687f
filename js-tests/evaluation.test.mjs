// What is measured: log-probabilities, scores, perplexity.
import assert from "node:assert/strict";
import test from "node:test";
import { fixture, openSession } from "./fixtures.mjs";

const session = openSession();
const model = await session.model(fixture("llama3"));
const near = (a, b, by = 1e-4) => assert.ok(Math.abs(a - b) <= by, `${a} and ${b}`);

/** The natural logarithms of the softmax of a row. */
function logSoftmax(row) {
  const most = row.reduce((a, b) => Math.max(a, b));
  const sum = row.reduce((total, logit) => total + Math.exp(logit - most), 0);
  return Array.from(row, (logit) => logit - most - Math.log(sum));
}

test("log-probabilities are those of the logits", async () => {
  const options = { maxTokens: 6, logprobs: 3, temperature: 1.5, seed: 5 };
  const done = await model.generate("The river", options);
  const prompt = Array.from(await model.tokenize("The river"));
  const logits = (await model.logits([...prompt, ...done.ids])).slice(prompt.length - 1);
  assert.deepEqual(done.logprobs.map((entry) => entry.id), done.ids);
  for (const [index, entry] of done.logprobs.entries()) {
    const row = logSoftmax(logits[index]);
    near(entry.logprob, row[entry.id]);
    assert.equal(entry.top.length, 3);
    near(entry.top[0].logprob, Math.max(...row));
    assert.equal(entry.text, await model.detokenize([entry.id], { skipSpecialTokens: false }));
  }
  const stream = model.generateStream("The river", options);
  for await (const delta of stream) assert.equal(typeof delta, "string");
  assert.deepEqual(stream.reply.logprobs, done.logprobs);
  assert.equal((await model.generate("The river", { maxTokens: 2 })).logprobs, undefined);
});

test("a score is the log-softmax of the logits", async () => {
  const ids = Array.from(await model.tokenize("The river runs to the sea."));
  const scores = await model.score(ids.slice(0, 3), ids.slice(3));
  assert.ok(scores instanceof Float32Array);
  const logits = await model.logits(ids);
  scores.forEach((score, at) => near(score, logSoftmax(logits[at + 2])[ids[at + 3]]));
  const text = await model.score("The river", " runs to the sea.");
  assert.deepEqual(text, await model.score(ids.slice(0, -text.length), ids.slice(-text.length)));
});

test("perplexity is that of the scores", async () => {
  const texts = ["The river runs to the sea.", "A loan is repaid in parts."];
  const found = await model.perplexity(texts);
  for (const [index, text] of texts.entries()) {
    const ids = Array.from(await model.tokenize(text));
    const nll = -(await model.score(ids.slice(0, 1), ids.slice(1))).reduce((a, b) => a + b);
    assert.equal(found.texts[index].tokens, ids.length - 1);
    near(found.texts[index].nll, nll, 1e-3);
  }
  assert.equal(found.overall.tokens, found.texts[0].tokens + found.texts[1].tokens);
  near(found.overall.perplexity, Math.exp(found.overall.nll / found.overall.tokens), 1e-9);
  await assert.rejects(model.perplexity(texts[0], { window: 4 }), /stride/);
  assert.ok((await model.perplexity(texts[0], { window: 4, stride: 2 })).overall.tokens > 4);
  await assert.rejects(model.perplexity([]), { name: "ValidationException" });
});
