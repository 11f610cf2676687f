#!/usr/bin/env node
// The command line: `npx outcrop`.
"use strict";

const { native } = require("./lib/call.cjs");

// The server lets its answers end when it is told to stop; Node would end at once.
if (process.argv.includes("serve")) {
  for (const name of ["SIGINT", "SIGTERM"]) process.on(name, () => {});
}

// Set, and not exited with, so that what was written is read to its end.
native.Session.runCli(process.argv.slice(2), "{}").then((code) => {
  process.exitCode = code;
});
