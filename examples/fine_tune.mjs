// A private model that answers in the house's own form, and a smaller one that it teaches: what
// fine_tune.ipynb does, from Node. Run: node examples/fine_tune.mjs
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Session } from "../bindings-node/index.mjs";
import { questions, write } from "./bank_questions.mjs";

const COUNT = Number(process.env.OUTCROP_QUESTIONS ?? 5000);
const FEW = COUNT < 2000; // A quick run learns fewer fees.
const [TOPICS, PRODUCTS] = FEW ? [3, 3] : [12, 8];
const HOW = { method: "full", batchSize: FEW ? 8 : 32, warmupSteps: 20 };
const SHAPE = { num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 256 };

const folder = mkdtempSync(join(tmpdir(), "outcrop-"));
const session = new Session({ home: join(folder, "home"), offline: true });

const made = questions(COUNT + 300, 1, TOPICS, PRODUCTS);
const [train, heldOut] = [made.slice(0, COUNT), made.slice(COUNT)];
const answer = async (model, { question }) =>
  (await model.converse(question, { maxTokens: 40, temperature: 0 })).text.trim();
const exactMatch = async (model) => {
  const left = heldOut.values(); // Shared: sixteen ask at once, as the model's queue is not endless.
  const askers = Array.from({ length: 16 }, async () => {
    let right = 0;
    for (const one of left) right += (await answer(model, one)) === one.answer;
    return right;
  });
  return (await Promise.all(askers)).reduce((sum, right) => sum + right) / heldOut.length;
};
const trainOn = async (model, data, options) => {
  const job = await session.fineTune(model, data, { ...HOW, ...options });
  await job.wait({
    onProgress: ({ step, steps, loss }) => process.stderr.write(`\r${step} of ${steps}, loss ${loss ?? "-"}   `),
  });
  process.stderr.write("\n");
  return job;
};

// The base: a new model that knows the fees in plain words. Any model folder may stand here.
const plain = write(join(folder, "plain.jsonl"), questions(COUNT, 2, TOPICS, PRODUCTS), "plain");
const shape = { ...SHAPE, hidden_size: 96, intermediate_size: 288, num_hidden_layers: 3 };
await session.trainTokenizer(plain, join(folder, "new"), { vocabSize: 600, model: shape });
const base = await trainOn(join(folder, "new"), plain,
  { name: "base", epochs: FEW ? 8 : 3, learningRate: 4e-3 });
const before = await exactMatch(await base.model());

const data = write(join(folder, "train.jsonl"), train, "answer");
const job = await trainOn((await base.status()).modelArn, data,
  { name: "advisor", epochs: FEW ? 8 : 2, learningRate: 3e-3 });
const advisor = await job.model();
const after = await exactMatch(advisor);
console.log(heldOut[0].question);
console.log(`    ${await answer(advisor, heldOut[0])}`);
console.log(`exact match before ${before}, after ${after}`);
if (before >= 0.05 || after < (FEW ? 0.8 : 0.95)) throw new Error("the model has not learned the form");

// The advisor teaches a model of a third of its size.
const small = { ...SHAPE, hidden_size: 64, intermediate_size: 160, num_hidden_layers: 2 };
await session.trainTokenizer(plain, join(folder, "student"), { vocabSize: 600, seed: 1, model: small });
const taught = await session.distill({
  ...HOW,
  teacher: (await job.status()).modelArn,
  student: join(folder, "student"),
  prompts: write(join(folder, "asked.jsonl"), train),
  validation: write(join(folder, "held_out.jsonl"), heldOut, "answer"),
  name: "pupil", maxResponseTokens: 40, epochs: FEW ? 16 : 6, learningRate: FEW ? 5e-3 : 1e-2,
});
await taught.wait();
const { teacher, studentBefore, student } = await taught.report();
console.table({ teacher, studentBefore, student }, ["parameters", "score", "tokensPerSecond", "cost"]);
if (student.score < (FEW ? 0.6 : 0.9) * teacher.score || student.parameters > 0.34 * teacher.parameters) {
  throw new Error("the student has not learned what its teacher knows");
}
session.close();
rmSync(folder, { recursive: true });
