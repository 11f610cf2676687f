// Sessions: devices, closing, worker threads, both module systems.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readdirSync, writeFileSync } from "node:fs";
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
  assert.ok(ids.includes("outcrop.tiny-v1"));
});

test("a device that is not there is an error", () => {
  const home = temporaryFolder();
  assert.throws(() => new Session({ home, device: "cuda:999" }), {
    name: "ValidationException",
    message: /"cuda:999" cannot be used: no /,
  });
  assert.throws(() => new Session({ home, device: "gpu" }), /gpu/);
  assert.throws(() => new Session({ home, devise: "cpu" }), /devise/);
});

test("options of an open model agree or conflict", async () => {
  const session = openSession();
  const open = (options) => session.model(fixture("llama3"), options);
  assert.equal((await open({ contextLength: 64, maxBatch: 2 })).info.contextLength, 64);
  assert.equal((await open()).info.contextLength, 64);
  assert.equal((await open({ contextLength: 64 })).info.contextLength, 64);
  await assert.rejects(open({ contextLength: 32 }), {
    name: "ConflictException",
    message: /^contextLength: .* with 64, and 32 is asked for/,
  });
});

test("a damaged record is listed as damaged", async () => {
  const session = openSession();
  await session.importModel(fixture("llama3"), "acme.good-v1");
  await session.importModel(fixture("qwen3"), "acme.bad-v1");
  const folder = join(session.home, "records/models");
  const file = join(folder, readdirSync(folder).find((name) => name.includes("bad")));
  writeFileSync(file, "{");
  const models = new Map((await session.models()).map((model) => [model.id, model]));
  assert.ok(models.get("acme.good-v1").bytes > 1000);
  assert.equal(models.get("acme.good-v1").damaged, undefined);
  assert.ok(models.get("acme.bad-v1").damaged.includes(file));
  assert.equal(models.get("acme.bad-v1").available, false);
});

test("a session says its device and whether it is closed", () => {
  const session = openSession();
  assert.deepEqual([session.device, session.closed], ["cpu", false]);
  session.close();
  assert.equal(session.closed, true);
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

test("a bucket is a folder until its mapping is taken away", async () => {
  const [session, folder] = [openSession(), temporaryFolder()];
  await session.mapBucket("acme-data", folder);
  assert.deepEqual(Object.keys(await session.buckets()), ["acme-data"]);
  await assert.rejects(session.mapBucket("No Bucket", folder), { name: "ValidationException" });
  await session.mapBucket("acme-data", null);
  assert.deepEqual(await session.buckets(), {});
  await assert.rejects(session.mapBucket("acme-data", null), { name: "ResourceNotFoundException" });
});
