// The operation cases, through real clients of the AWS SDK: in the process, and over HTTP.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import * as bedrock from "@aws-sdk/client-bedrock";
import * as bedrockAgent from "@aws-sdk/client-bedrock-agent";
import * as bedrockAgentRuntime from "@aws-sdk/client-bedrock-agent-runtime";
import * as bedrockRuntime from "@aws-sdk/client-bedrock-runtime";
import { pause } from "./aws_fixtures.mjs";
import { differs, eventsDiffer, filled, sent, shown } from "./case_form.mjs";
import { openSession, ROOT, temporaryFolder } from "./fixtures.mjs";

const FOLDER = join(ROOT, "core/outcrop/cases");
const SERVICES = {
  bedrock: [bedrock, bedrock.BedrockClient],
  "bedrock-agent": [bedrockAgent, bedrockAgent.BedrockAgentClient],
  "bedrock-agent-runtime": [bedrockAgentRuntime, bedrockAgentRuntime.BedrockAgentRuntimeClient],
  "bedrock-runtime": [bedrockRuntime, bedrockRuntime.BedrockRuntimeClient],
};
/** Longest wait for a job of a case, in milliseconds. */
const PATIENCE = 20_000;

/** Starts the home's own server; gives its URL. */
async function serve(home) {
  const command = join(ROOT, "bindings-node/cli.cjs");
  const given = ["serve", "--port", "0", "--insecure-loopback", "--home", home, "--offline", "--json"];
  const server = spawn(process.execPath, [command, ...given], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await listen(createInterface(server.stdout));
  return { url: JSON.parse(line).url, stop: () => server.kill() };
}

const listen = (lines) => new Promise((done) => lines.once("line", (line) => done([line])));

/** An error's members as a case writes them. */
function told(error) {
  const { name, message, $metadata, $fault, $response, $service, ...members } = error;
  return shown({ code: error.name, message: error.message, ...members });
}

const isStream = (value) => typeof value?.[Symbol.asyncIterator] === "function";

/** An exception of a stream, as a case writes it. */
function exception(error) {
  const code = error.name[0].toLowerCase() + error.name.slice(1);
  return { $exception: { ...told(error), code } };
}

/** The output, the events and the error of a call. */
async function call(client, sdk, operation, input) {
  const events = [];
  try {
    const { $metadata, ...output } = await client.send(new sdk[`${operation}Command`](input));
    const [name, stream] = Object.entries(output).find(([, value]) => isStream(value)) ?? [];
    if (stream) {
      delete output[name];
      try {
        for await (const event of stream) events.push(shown(event));
      } catch (error) {
        events.push(exception(error));
      }
    }
    return { output: shown(output), events };
  } catch (error) {
    const status = error.$metadata?.httpStatusCode;
    // The SDK looks at a stream's first event before it answers: one that is an exception is thrown
    // without a status.
    if (status === undefined && error.$fault) return { output: {}, events: [exception(error)] };
    // What the SDK itself refuses was never sent.
    if (status === undefined) return { events, refused: error };
    return { events, error: { status, ...told(error) } };
  }
}

async function patient(ask, step, kept) {
  const started = performance.now();
  for (;;) {
    const answer = await ask();
    if (step.until === undefined) return answer;
    const problem = differs(filled(step.until, kept), answer.output, "until", { ...kept });
    if (problem === undefined) return answer;
    assert.ok(!answer.error && performance.now() - started < PATIENCE, problem);
    await pause(50);
  }
}

async function run(written, session, config) {
  const folder = join(temporaryFolder(), "files");
  const kept = { folder };
  for (const [name, text] of Object.entries(written.files ?? {})) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  for (const [id, spec] of Object.entries(written.models ?? {})) {
    await session.registerModel(id, filled(spec, kept), { replace: true });
  }
  for (const [name, at] of Object.entries(written.buckets ?? {})) {
    await session.mapBucket(name, join(folder, at));
  }
  for (const [name, target] of Object.entries(written.aliases ?? {})) await session.alias(name, target);
  const clients = {};
  for (const [at, step] of written.calls.entries()) {
    const [service, operation] = step.call.split(".");
    const [sdk, Client] = SERVICES[service];
    // A case's call is one call.
    clients[service] ??= new Client({ ...config, maxAttempts: 1 });
    const input = sent(filled(step.input ?? {}, kept));
    const answer = await patient(() => call(clients[service], sdk, operation, input), step, kept);
    const where = `call ${at} ${step.call}`;
    if (step.error && answer.refused) continue;
    assert.equal(answer.refused, undefined, where);
    if (step.error) {
      assert.ok(answer.error, `${where}: expected an error, got ${JSON.stringify(answer.output)}`);
      assert.equal(differs(filled(step.error, kept), answer.error, "error", kept), undefined, where);
      continue;
    }
    assert.equal(answer.error, undefined, where);
    assert.equal(differs(filled(step.output ?? {}, kept), answer.output, "output", kept), undefined, where);
    if (step.events) {
      assert.equal(eventsDiffer(filled(step.events, kept), answer.events, kept), undefined, where);
    }
  }
}

for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json"))) {
  const written = JSON.parse(readFileSync(join(FOLDER, file), "utf8"));
  test(`${file}, in the process`, async () => {
    const session = openSession();
    await run(written, session, session.clientConfig());
  });
  test(`${file}, over HTTP`, async () => {
    const session = openSession();
    const server = await serve(session.home);
    try {
      const credentials = { accessKeyId: "any", secretAccessKey: "any" };
      await run(written, session, { endpoint: server.url, region: "us-east-1", credentials });
    } finally {
      server.stop();
    }
  });
}
