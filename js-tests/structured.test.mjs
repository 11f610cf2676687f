// Output that cannot leave its form, and adapters.
import assert from "node:assert/strict";
import test from "node:test";
import { distance, fixture, golden, openSession } from "./fixtures.mjs";

const session = openSession();
const model = await session.model(fixture("llama3"));
const LOAN = {
  type: "object",
  properties: { months: { type: "integer", minimum: 1, maximum: 360 } },
  required: ["months"],
  additionalProperties: false,
};
const isLoan = ({ months, ...rest }) =>
  Number.isInteger(months) && months >= 1 && months <= 360 && Object.keys(rest).length === 0;

test("a reply follows its schema, and parsed is its value", async () => {
  const options = { responseSchema: LOAN, maxTokens: 60, temperature: 1 };
  for (let seed = 0; seed < 8; seed += 1) {
    const reply = await model.converse("A loan?", { ...options, seed });
    assert.equal(reply.stopReason, "end_turn");
    assert.ok(isLoan(reply.parsed), reply.text);
    const stream = model.stream("A loan?", { ...options, seed });
    for await (const delta of stream) assert.equal(typeof delta, "string");
    assert.deepEqual(stream.reply.parsed, reply.parsed);
  }
  const cut = await model.converse("A loan?", { responseSchema: LOAN, maxTokens: 3 });
  assert.equal(cut.stopReason, "max_tokens");
  assert.throws(() => cut.parsed, /cut off by maxTokens after 3 tokens/);
  const free = await model.generate("A loan?", { maxTokens: 3 });
  assert.throws(() => free.parsed, { name: "ValidationException", message: /no responseSchema/ });
});

test("regular expressions, grammars and quotes", async () => {
  const texts = ["The fee is 25 EUR a year.", "Cards are replaced within five days."];
  for (let seed = 0; seed < 6; seed += 1) {
    const options = { maxTokens: 64, temperature: 1.5, seed };
    const code = await model.generate("Code:", { ...options, regex: /[A-Z]{2}[0-9]{4}/ });
    assert.match(code.text, /^[A-Z]{2}\d{4}$/);
    const lark = 'start: "red" | "green"';
    assert.match((await model.converse("?", { ...options, lark })).text, /^(red|green)$/);
    const { text } = await model.converse("?", { ...options, quote: texts });
    assert.ok(texts.some((whole) => whole.includes(text)), text);
  }
  await assert.rejects(model.generate("?", { responseSchema: { type: "strange" } }), /strange/);
  await assert.rejects(model.generate("?", { regex: "(" }), { name: "ValidationException" });
});

test("a forced tool is called with its schema", async () => {
  const tools = [{ name: "terms", inputSchema: LOAN }];
  const reply = await model.converse("Terms?", {
    tools, toolChoice: "any", maxTokens: 120, temperature: 1, seed: 3,
  });
  assert.equal(reply.stopReason, "tool_use");
  assert.equal(reply.toolUses.length, 1);
  assert.ok(isLoan(reply.toolUses[0].input));
});

test("adapters: golden tokens, one batch, listing and unloading", async () => {
  const own = openSession();
  const base = await own.model(fixture("llama3"));
  const names = ["lora_trained", "patterns"];
  for (const name of names) {
    assert.equal((await base.loadAdapter(name, fixture(`lora/${name}`))).name, name);
  }
  assert.deepEqual(base.adapters.map((adapter) => adapter.name), names);
  const expected = golden("lora");
  for (const name of names) {
    const row = (await base.logits(expected[name].ids, { adapter: name })).at(-1);
    assert.ok(distance(row, expected[name].last_logits) <= 2e-3);
  }
  const calls = (n) => base.generate(expected.patterns.ids, {
    maxTokens: 12, temperature: 0.9, seed: n, adapter: [undefined, ...names][n % 3],
  });
  const alone = [];
  for (let n = 0; n < 9; n += 1) alone.push((await calls(n)).ids);
  const together = await Promise.all(Array.from({ length: 9 }, (_, n) => calls(n)));
  assert.deepEqual(together.map((done) => done.ids), alone);
  const plain = await base.score("The river", " runs");
  assert.notDeepEqual(await base.score("The river", " runs", { adapter: "patterns" }), plain);
  await base.unloadAdapter("patterns");
  await assert.rejects(base.generate("a", { adapter: "patterns" }), {
    name: "ResourceNotFoundException", message: /lora_trained/,
  });
  await assert.rejects(base.unloadAdapter("patterns"), { name: "ResourceNotFoundException" });
  await assert.rejects(base.loadAdapter("x", "/nowhere"), { name: "ResourceNotFoundException" });
});
