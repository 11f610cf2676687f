// A server in a process of its own, with a key and models that answer by a script.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

export const CHAT = "acme.scripted-v1";
export const SLOW = "acme.slow-v1";

const MODELS = {
  [CHAT]: {
    script: [
      { match: { text: { contains: "break" } },
        answer: { text: ["One ", "two"], fault: { error: "ModelStreamErrorException", message: "it broke", after_deltas: 1 } } },
      { answer: { text: ["Hello", " there", "!"], usage: { input_tokens: 7, output_tokens: 3 } } },
    ],
  },
  [SLOW]: { script: [{ answer: { text: Array.from({ length: 400 }, (_, at) => `word${at} `), delta_delay_ms: 5 } }] },
};

const cli = join(dirname(fileURLToPath(import.meta.url)), "../bindings-node/cli.cjs");
// Another build of the command line may be tested by the same tests.
const [program, ...first] = process.env.OUTCROP_COMMAND?.split(" ") ?? [process.execPath, cli];

/** Starts a server; gives its address, its key and its process. */
export async function serve(...options) {
  const folder = mkdtempSync(join(tmpdir(), "outcrop-serve-"));
  const home = join(folder, "home");
  const outcrop = (...words) =>
    execFileSync(program, [...first, ...words, "--home", home, "--json"], { encoding: "utf8" });
  for (const [name, spec] of Object.entries(MODELS)) {
    writeFileSync(join(folder, "model.json"), JSON.stringify(spec));
    outcrop("models", "register", name, join(folder, "model.json"));
  }
  const key = JSON.parse(outcrop("keys", "create", "--name", "tests"));
  const words = [...first, "serve", "--home", home, "--port", "0", "--json", ...options];
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("exit", (code) => resolve(code)));
  after(async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  const line = await new Promise((resolve) => createInterface(child.stdout).once("line", resolve));
  return { url: JSON.parse(line).url, key, child, ended };
}
