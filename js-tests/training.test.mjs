// Training on one's own data, from Node.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fixture, openSession, temporaryFolder } from "./fixtures.mjs";

function write(count) {
  const data = join(temporaryFolder(), "train.jsonl");
  const lines = Array.from({ length: count }, (_, i) =>
    JSON.stringify({ prompt: `Rate ${i}?`, completion: `${i} %` }));
  writeFileSync(data, lines.join("\n"));
  return data;
}

test("a job trains and its model opens", async () => {
  const session = openSession();
  const data = write(16);
  const options = { name: "advisor", validation: data, batchSize: 4, learningRate: 1e-3, precision: "bfloat16" };
  const job = await session.fineTune(fixture("llama3"), data, options);
  const told = [];
  await job.wait({ onProgress: (now) => told.push(now.status) });
  assert.equal(told.at(-1), "Completed");
  const steps = await (await session.trainingJob("advisor")).metrics();
  assert.equal(steps.length, 12);
  assert.ok(steps[11].loss < steps[0].loss);
  assert.equal(typeof steps[3].validationLoss, "number");
  const { modelArn } = await job.status();
  assert.match(modelArn, /^arn:aws:bedrock:.*custom-model\//);
  const reply = await (await job.model()).converse("Rate 3?", { maxTokens: 3 });
  assert.ok(reply.usage.outputTokens <= 3);
  await assert.rejects(job.stop(), { name: "ConflictException" });
});

test("events give each step once and end with the job", async () => {
  const session = openSession();
  const job = await session.fineTune(fixture("llama3"), write(16), { name: "advisor", batchSize: 4 });
  const [steps, statuses] = [[], []];
  for await (const event of job.events()) {
    steps.push(...event.newSteps.map(({ step }) => step));
    statuses.push(event.status);
  }
  assert.deepEqual(steps, Array.from({ length: 12 }, (_, i) => i + 1));
  assert.equal(statuses.at(-1), "Completed");
  const stopped = job.events({ signal: AbortSignal.abort() });
  await assert.rejects(stopped.next(), { name: "AbortError" });
});

test("what is wrong is told before the job starts", async () => {
  const session = openSession();
  const data = write(2);
  writeFileSync(data, "{broken\n");
  const start = (options) => session.fineTune(fixture("llama3"), data, { name: "advisor", ...options });
  await assert.rejects(start({}), { name: "ValidationException", message: /line 1: expected a JSON/ });
  await assert.rejects(start({ method: "half" }), { message: /method: expected one of/ });
  await assert.rejects(start({ precision: "half" }), { message: /precision: expected one of/ });
  await assert.rejects(start({ epoch: 1 }), { message: /epoch: not an option/ });
  await assert.rejects(session.trainingJob("advisor"), { name: "ResourceNotFoundException" });
});

test("a student learns from a teacher and the report compares them", async () => {
  const session = openSession();
  await session.registerModel("acme.teacher-v1", { script: [{ answer: "7 %" }] });
  const prompts = join(temporaryFolder(), "prompts.jsonl");
  const lines = Array.from({ length: 120 }, (_, i) => JSON.stringify({ prompt: `Rate ${i}?` }));
  writeFileSync(prompts, lines.join("\n"));
  const job = await session.distill({
    teacher: "acme.teacher-v1", student: fixture("llama3"), prompts, name: "pupil", method: "full",
    epochs: 2, learningRate: 3e-3, maxResponseTokens: 8, teacherPrice: { output: 4 },
  });
  const asked = new Set();
  await job.wait({ onProgress: (now) => asked.add(now.asked) });
  assert.ok(asked.has("student"), [...asked]);
  const report = await job.report();
  assert.deepEqual([report.prompts, report.heldOut, report.reference], [108, 12, "teacher"]);
  assert.equal(report.studentBefore.score, 0);
  assert.ok(report.student.score >= 0.9);
  assert.ok(Math.abs(report.teacher.cost - 4e-6 * report.teacher.usage.outputTokens) < 1e-12);
  assert.deepEqual(report.leftOut, { failed: 0, cut: 0, unfit: 0, otherRecords: 0 });
  await assert.rejects(session.distill({ teacher: "acme.teacher-v1", student: "a", name: "b", prompt: "c" }),
    { message: /prompt: not an option/ });
});

test("a tokenizer and a new model are made of text", async () => {
  const [session, folder] = [openSession(), temporaryFolder()];
  const text = join(folder, "text.txt");
  writeFileSync(text, "The overdraft fee is 12 euros.\n".repeat(50));
  const model = {
    hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
    num_key_value_heads: 1,
  };
  const made = await session.trainTokenizer(text, join(folder, "new"), { vocabSize: 300, model });
  assert.ok(made.vocabSize <= 300 && made.parameters > 0 && made.tokens < made.bytes);
  const opened = await session.model(made.folder);
  const ids = await opened.tokenize("overdraft fee: Ω");
  assert.equal(await opened.detokenize(ids), "overdraft fee: Ω");
  await assert.rejects(session.trainTokenizer(text, join(folder, "new")), { name: "ConflictException" });
});

test("an embedding model learns pairs", async () => {
  const session = openSession();
  const topics = {
    "wire money abroad": "A transfer costs 30 euros.", "replace a lost card": "A new one is sent.",
    "close my account": "It ends after notice.", "pay in a cheque": "Drafts are credited.",
  };
  const data = join(temporaryFolder(), "pairs.jsonl");
  const lines = Object.entries(topics).flatMap(([topic, positive]) =>
    [`How do I ${topic}?`, `I want to ${topic}.`].map((anchor) => JSON.stringify({ anchor, positive })));
  writeFileSync(data, lines.join("\n"));
  const options = { name: "finder", epochs: 30, batchSize: 8, learningRate: 2e-3, temperature: 0.1 };
  const job = await (await session.fineTune(fixture("bert_minilm"), data, options)).wait();
  const steps = await job.metrics();
  assert.ok(steps.at(-1).loss < 0.5 * steps[0].loss);
  assert.equal((await job.model()).info.kind, "embedding");
});
