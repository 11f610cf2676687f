// Builds the native module with cargo and puts it beside the JavaScript: `npm install` and `npm pack` run it.
import { spawnSync } from "node:child_process";
import { copyFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const build = spawnSync(
  "cargo",
  ["build", "--release", "-p", "outcrop-node", "--message-format=json-render-diagnostics"],
  { cwd: here, stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 28, encoding: "utf8" },
);
if (build.error) throw new Error(`cargo could not be started: ${build.error.message}`);
if (build.status !== 0) process.exit(build.status ?? 1);

const library = build.stdout
  .split("\n")
  .filter((line) => line.startsWith("{"))
  .map((line) => JSON.parse(line))
  .filter((message) => message.reason === "compiler-artifact" && message.target.name === "outcrop_node")
  .flatMap((message) => message.filenames)
  .find((name) => /\.(so|dylib|dll)$/.test(name));
if (!library) throw new Error("cargo built no library for outcrop-node");

// Renamed into place, so that a process that has the old module mapped keeps it whole.
copyFileSync(library, join(here, "outcrop.node.new"));
renameSync(join(here, "outcrop.node.new"), join(here, "outcrop.node"));
copyFileSync(join(here, "..", "LICENSE"), join(here, "LICENSE"));
