// The command line that the npm package brings.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import test from "node:test";
import { fixture, openSession, ROOT, temporaryFolder } from "./fixtures.mjs";

const home = temporaryFolder();

/** Runs `outcrop` and gives its exit code and what it wrote. */
const outcrop = (...args) => new Promise((resolve) => {
  const env = { ...process.env, OUTCROP_HOME: home, HF_HUB_OFFLINE: "1" };
  execFile(process.execPath, [join(ROOT, "bindings-node/cli.cjs"), ...args], { env },
    (error, out, err) => resolve({ code: error?.code ?? 0, out, err }));
});

test("help, version and wrong usage", async () => {
  const help = await outcrop("--help");
  assert.deepEqual([help.code, help.err], [0, ""]);
  assert.match(help.out, /usage: outcrop COMMAND/);
  assert.match((await outcrop("--version")).out, /^outcrop \d+\.\d+\.\d+\n$/);
  for (const args of [[], ["frob"], ["bench"], ["models", "--fast"]]) {
    const { code, out, err } = await outcrop(...args);
    assert.deepEqual([code, out], [2, ""]);
    assert.match(err, /^outcrop: .*\nTry: outcrop --help\n$/);
  }
});

test("models", async () => {
  const session = openSession({ home });
  await session.importModel(fixture("llama3"), "acme.reader-v1");
  const { code, out } = await outcrop("models", "--json");
  assert.equal(code, 0);
  const entries = out.trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(entries.find((entry) => entry.id === "acme.reader-v1").kind, "chat");
  assert.match((await outcrop("models")).out, /^ID +KIND +HERE +SIZE +FITS +SOURCE\n/);
  const info = JSON.parse((await outcrop("models", "info", "acme.reader-v1", "--json")).out);
  assert.equal(info.architecture, "llama");
  assert.ok(info.memory.total > info.memory.weights);
});

test("bench, and its failure", async () => {
  const { code, out } = await outcrop("bench", fixture("llama3"), "--json");
  assert.equal(code, 0);
  const found = out.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(found.map(({ measure, sequences }) => [measure, sequences]),
    [["load", 1], ["prefill", 1], ["decode", 1], ["decode", 8]]);
  assert.ok(found.every(({ value }) => value > 0));
  const failed = await outcrop("bench", "nothing-here");
  assert.equal(failed.code, 1);
  assert.match(failed.err, /^outcrop: ResourceNotFoundException: [^\n]*\n$/);
});
