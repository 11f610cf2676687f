// Functions of this process that stand for Lambda functions.
"use strict";

const { randomBytes } = require("node:crypto");
const { createServer } = require("node:http");

/** The functions that are served, by their secret paths. */
const functions = new Map();
let serving;

function answer(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value ?? null));
}

async function run(request, response) {
  const found = functions.get(request.url);
  if (!found) return answer(response, 404, { message: "there is no such function" });
  try {
    const parts = [];
    for await (const part of request) parts.push(part);
    const event = JSON.parse(Buffer.concat(parts).toString());
    const { arn, handler } = found;
    const context = { invokedFunctionArn: arn, functionName: arn.split(":").at(-1) };
    return answer(response, 200, await handler(event, context));
  } catch (thrown) {
    // What a Lambda function throws is told as Lambda tells it.
    const told = { errorMessage: String(thrown?.message ?? thrown), errorType: thrown?.name };
    return answer(response, 502, told);
  }
}

/** The URL of this machine at which `handler` answers the events for `arn`. */
async function serve(arn, handler) {
  serving ??= new Promise((resolve, reject) => {
    const server = createServer(run);
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server));
    // A program that is done ends, whatever is served.
    server.unref();
  });
  const server = await serving;
  const path = `/${randomBytes(24).toString("base64url")}`;
  functions.set(path, { arn, handler });
  return `http://127.0.0.1:${server.address().port}${path}`;
}

module.exports = { serve };
