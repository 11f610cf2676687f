#!/usr/bin/env node
// The command line: `npx outcrop`.
"use strict";

const { native } = require("./lib/call.cjs");

// Set, and not exited with, so that what was written is read to its end.
native.Session.runCli(process.argv.slice(2), "{}").then((code) => {
  process.exitCode = code;
});
