// What the tests share: golden models, temporary homes.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { after } from "node:test";
import "./no_network.mjs";
import { Session } from "../bindings-node/index.mjs";

const here = dirname(fileURLToPath(import.meta.url));
export const ROOT = join(here, "..");
export const FIXTURES = join(ROOT, "core/inference/tests/fixtures");

/** The path of a golden model. */
export const fixture = (name) => join(FIXTURES, name);

/** A golden model's expected values. */
export const golden = (name, file = "golden.json") =>
  JSON.parse(readFileSync(join(FIXTURES, name, file), "utf8"));

/** An empty folder that is removed when the tests of the file have ended. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "outcrop-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A session in a home of its own. */
export function openSession(options = {}) {
  const session = new Session({ home: temporaryFolder(), offline: true, ...options });
  after(() => session.close());
  return session;
}

/** The largest absolute difference of two vectors of one length. */
export function distance(a, b) {
  if (a.length !== b.length) throw new Error(`lengths differ: ${a.length} and ${b.length}`);
  let largest = 0;
  for (let i = 0; i < a.length; i += 1) largest = Math.max(largest, Math.abs(a[i] - b[i]));
  return largest;
}
