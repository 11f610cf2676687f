// The examples of docs/aws-sdk.md run.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { ROOT, temporaryFolder } from "./fixtures.mjs";

test("the examples of docs/aws-sdk.md", () => {
  const page = readFileSync(join(ROOT, "docs/aws-sdk.md"), "utf8");
  const blocks = [...page.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
  assert.equal(blocks.length, 2);
  const folder = temporaryFolder();
  symlinkSync(join(ROOT, "js-tests/node_modules"), join(folder, "node_modules"));
  const door = pathToFileURL(join(ROOT, "bindings-node/index.mjs")).href;
  const program = blocks.join("\n").replace('from "outcrop"', `from "${door}"`);
  writeFileSync(join(folder, "example.mjs"), program);
  const said = execFileSync(process.execPath, ["example.mjs"], { cwd: folder, encoding: "utf8" });
  assert.equal(said, "Good morning.");
});
