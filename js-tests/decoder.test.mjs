// Decoders: golden logits, greedy ids, streams, cancellation.
import assert from "node:assert/strict";
import test from "node:test";
import { distance, fixture, golden, openSession } from "./fixtures.mjs";

const session = openSession();

for (const name of ["llama3", "llama3_h256", "qwen3"]) {
  test(`${name}: logits and greedy ids are the golden ones`, async () => {
    const model = await session.model(fixture(name));
    for (const prompt of golden(name).prompts) {
      const logits = await model.logits(prompt.ids);
      assert.equal(logits.length, prompt.ids.length);
      assert.ok(logits[0] instanceof Float32Array);
      assert.ok(distance(logits.at(-1), prompt.last_logits) <= 2e-3);
      const completion = await model.generate(prompt.ids, { maxTokens: 32 });
      const expected = prompt.greedy.slice(0, completion.ids.length);
      assert.deepEqual(completion.ids, expected);
      if (completion.stopReason === "max_tokens") assert.equal(completion.ids.length, 32);
      const { cacheReadInputTokens, cacheWriteInputTokens, ...usage } = completion.usage;
      assert.ok(cacheReadInputTokens + cacheWriteInputTokens <= prompt.ids.length);
      assert.deepEqual(usage, {
        inputTokens: prompt.ids.length,
        outputTokens: completion.ids.length,
        totalTokens: prompt.ids.length + completion.ids.length,
      });
    }
  });

  test(`${name}: tokenizer strings are the golden ones`, async () => {
    const model = await session.model(fixture(name));
    for (const { text, ids, ids_no_special: bare, decoded } of golden(name).tokenizer) {
      assert.deepEqual(Array.from(await model.tokenize(text)), ids);
      assert.deepEqual(Array.from(await model.tokenize(text, { addSpecialTokens: false })), bare);
      assert.equal(await model.detokenize(ids, { skipSpecialTokens: true }), decoded);
    }
  });
}

test("GGUF files open by path", async () => {
  const model = await session.model(fixture("llama3/model-Q8_0.gguf"));
  assert.equal(model.info.quantization, "Q8_0");
  const [prompt] = golden("llama3").prompts;
  const [row] = (await model.logits(prompt.ids)).slice(-1);
  // Twice the distance at which llama.cpp itself stands from its dequantised weights.
  assert.ok(distance(row, prompt.last_logits) <= 2 * 0.36599 + 0.28024);
});

test("concurrent calls equal the calls alone", async () => {
  const model = await session.model(fixture("llama3"));
  const options = (i) => ({ maxTokens: 12 + i, temperature: i % 2 ? 0.8 : 0, seed: i });
  const prompt = (i) => `The lighthouse keeper wrote ${"again ".repeat(i * 3)}`;
  const alone = [];
  for (let i = 0; i < 8; i += 1) alone.push((await model.generate(prompt(i), options(i))).ids);
  const together = await Promise.all(
    Array.from({ length: 8 }, (_, i) => model.generate(prompt(i), options(i))),
  );
  assert.deepEqual(together.map((completion) => completion.ids), alone);
});

test("a stream gives the text of the call, and its reply", async () => {
  const model = await session.model(fixture("qwen3"));
  const whole = await model.converse("Hi!", { maxTokens: 24 });
  const stream = model.stream("Hi!", { maxTokens: 24 });
  let text = "";
  for await (const delta of stream) text += delta;
  assert.equal(text, whole.text);
  assert.equal(stream.reply.text, whole.text);
  assert.equal(stream.reply.usage.totalTokens, whole.usage.totalTokens);
  assert.equal(stream.reply.stopReason, whole.stopReason);
});

test("break stops the engine and leaves it usable", async () => {
  const model = await session.model(fixture("llama3"));
  for (let i = 0; i < 20; i += 1) {
    for await (const delta of model.generateStream("The", { maxTokens: 1500 })) {
      assert.equal(typeof delta, "string");
      break;
    }
  }
  assert.equal((await model.generate("The", { maxTokens: 4 })).usage.outputTokens <= 4, true);
});

test("an AbortSignal ends a call with its reason", async () => {
  const model = await session.model(fixture("llama3"));
  const controller = new AbortController();
  const running = model.generate("The", { maxTokens: 1900, signal: controller.signal });
  setTimeout(() => controller.abort(), 5);
  await assert.rejects(running, { name: "AbortError" });
  await assert.rejects(
    model.converse("Hi!", { signal: AbortSignal.abort(new Error("no longer wanted")) }),
    /no longer wanted/,
  );
  const stream = model.generateStream("The", { maxTokens: 1900, signal: AbortSignal.timeout(5) });
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, { name: "TimeoutError" });
});

test("the event loop runs on while the engine works", async () => {
  const model = await session.model(fixture("llama3_h256"));
  let ticks = 0;
  const timer = setInterval(() => { ticks += 1; }, 1);
  const started = performance.now();
  await Promise.all(
    Array.from({ length: 8 }, (_, i) => model.generate(`The ${i}`, { maxTokens: 200 })),
  );
  const elapsed = performance.now() - started;
  clearInterval(timer);
  assert.ok(ticks >= elapsed / 50, `${ticks} ticks in ${elapsed} ms`);
});

test("bad input is a typed error that names the field", async () => {
  const model = await session.model(fixture("llama3"));
  const refused = (call, message) =>
    assert.rejects(call, (error) => {
      assert.equal(error.name, "ValidationException");
      assert.match(error.message, message);
      return true;
    });
  await refused(model.generate("The", { temperature: -1.7 }), /temperature.*-1\.7/);
  await refused(model.generate("The", { topP: 0 }), /top_?p/i);
  await refused(model.generate("The", { maxTokens: 0 }), /max_?tokens/i);
  await refused(model.generate("The", { maxTokns: 3 }), /maxTokns/);
  await refused(model.generate([999999]), /999999/);
  await refused(model.generate([]), /prompt|empty/i);
  await refused(model.generate("word ".repeat(4000)), /2048/);
  await refused(model.embed(["text"]), /embed/);
  await refused(model.converse([{ role: "nobody", content: "x" }]), /nobody/);
  await refused(model.logits([-1]), /-1/);
  await assert.rejects(session.model("no/such/model"), { name: "ResourceNotFoundException" });
});
