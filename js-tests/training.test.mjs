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
