// Sessions: devices, closing, worker threads, both module systems.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import test from "node:test";
import { Worker } from "node:worker_threads";
import { Session } from "../bindings-node/index.mjs";
import { fixture, openSession, ROOT, temporaryFolder } from "./fixtures.mjs";

test("ES modules and CommonJS give one set of classes", () => {
  const outcrop = createRequire(import.meta.url)("../bindings-node/index.cjs");
  assert.equal(outcrop.Session, Session);
});

test("the catalogue names the embedded defaults", async () => {
  const ids = (await openSession().models()).map((model) => model.id);
  assert.ok(ids.includes("outcrop.minilm-embed-v1"));
  assert.ok(ids.includes("outcrop.quote-v1"));
});

test("a device that is not there is an error", () => {
  const home = temporaryFolder();
  assert.throws(() => new Session({ home, device: "cuda" }), { name: "ValidationException" });
  assert.throws(() => new Session({ home, device: "gpu" }), /gpu/);
  assert.throws(() => new Session({ home, devise: "cpu" }), /devise/);
});

test("a closed session refuses calls", async () => {
  const session = openSession();
  const model = await session.model(fixture("llama3"));
  session.close();
  session.close();
  await assert.rejects(model.generate("The"), /closed/);
  await assert.rejects(session.models(), /closed/);
});

test("close gives memory back", async () => {
  const home = temporaryFolder();
  const round = async () => {
    const session = new Session({ home, offline: true });
    const model = await session.model(fixture("llama3_h256"));
    await model.generate("The", { maxTokens: 8 });
    session.close();
  };
  for (let i = 0; i < 5; i += 1) await round();
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 30; i += 1) await round();
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < 64 * 2 ** 20, `grew by ${grown} bytes over 30 sessions`);
});

test("worker threads have sessions of their own", async () => {
  const code = `
    const { parentPort, workerData } = require("node:worker_threads");
    const { Session } = require(workerData.outcrop);
    (async () => {
      const session = new Session({ home: workerData.home, offline: true });
      const model = await session.model(workerData.model);
      const { ids } = await model.generate("The lighthouse", { maxTokens: 8 });
      session.close();
      parentPort.postMessage(ids);
    })();`;
  const workerData = {
    outcrop: join(ROOT, "bindings-node/index.cjs"),
    home: temporaryFolder(),
    model: fixture("llama3"),
  };
  const run = () => new Promise((resolve, reject) => {
    const worker = new Worker(code, { eval: true, workerData });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  const [one, two] = await Promise.all([run(), run()]);
  assert.deepEqual(one, two);
  const model = await openSession().model(fixture("llama3"));
  assert.deepEqual((await model.generate("The lighthouse", { maxTokens: 8 })).ids, one);
});
