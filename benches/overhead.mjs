// What a call costs beside the model's work, in Node; `overhead.py` runs this and says what is timed.
import { createRequire } from "node:module";
import { Session } from "../bindings-node/index.mjs";

const {
  BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand,
} = createRequire(new URL("../js-tests/", import.meta.url))("@aws-sdk/client-bedrock-runtime");

const ROUNDS = 400;
// A process that has served for a moment: V8 compiles what it has seen a few hundred times.
const WARM = 400;
const MODEL = "acme.instant-v1";
const HELLO = [{ role: "user", content: [{ text: "Hello" }] }];

function nanoseconds(call, number = 200_000) {
  let best = Infinity;
  for (let round = 0; round < 5; round += 1) {
    const started = process.hrtime.bigint();
    for (let i = 0; i < number; i += 1) call();
    best = Math.min(best, Number(process.hrtime.bigint() - started) / number);
  }
  return Math.round(best * 10) / 10;
}

/** The median nanoseconds of each awaited call, one after the other, round by round. */
async function byTurns(calls) {
  const times = calls.map(() => []);
  for (let round = 0; round < ROUNDS + WARM; round += 1) {
    for (const [at, call] of calls.entries()) {
      const started = process.hrtime.bigint();
      await call();
      if (round >= WARM) times[at].push(Number(process.hrtime.bigint() - started));
    }
  }
  return times.map((kept) => Math.round(kept.sort((a, b) => a - b)[kept.length >> 1]));
}

/** A client whose transport hands out what the session once answered. */
async function stubbed(session, operation) {
  const config = session.clientConfig();
  let kept;
  const recording = {
    ...config.requestHandler,
    metadata: config.requestHandler.metadata,
    async handle(request, options) {
      const { response } = await config.requestHandler.handle(request, options);
      const parts = [];
      if (response.body instanceof Uint8Array) parts.push(response.body);
      else for await (const part of response.body) parts.push(part);
      kept = { ...response, body: Buffer.concat(parts) };
      return { response: ready(kept, response.body instanceof Uint8Array) };
    },
  };
  let whole;
  const ready = (response, isWhole) => {
    whole = isWhole;
    const { body } = response;
    return { ...response, body: isWhole ? body : (async function* chunks() { yield body; })() };
  };
  await operation(new BedrockRuntimeClient({ ...config, requestHandler: recording }));
  const instant = { ...recording, handle: async () => ({ response: ready(kept, whole) }) };
  return new BedrockRuntimeClient({ ...config, requestHandler: instant });
}

async function sdk(session, name, operation) {
  const client = new BedrockRuntimeClient(session.clientConfig());
  const stub = await stubbed(session, operation);
  const [ours, theirs] = await byTurns([() => operation(client), () => operation(stub)]);
  console.log(JSON.stringify({
    bench: `overhead_aws_sdk_js_${name}`,
    unit: "us/call",
    outcrop: ours / 1000,
    stub_transport: theirs / 1000,
    ratio: Math.round((ours / theirs) * 1000) / 1000,
  }));
}

const converse = (client) => client.send(new ConverseCommand({ modelId: MODEL, messages: HELLO }));
async function converseStream(client) {
  const { stream } = await client.send(new ConverseStreamCommand({ modelId: MODEL, messages: HELLO }));
  for await (const event of stream) void event;
}

const session = new Session({ home: process.argv[2], offline: true });
const model = await session.model(MODEL);
const [conversed] = await byTurns([() => model.converse("Hello")]);
const [models] = await byTurns([() => session.models()]);
console.log(JSON.stringify({
  bench: "overhead_node",
  unit: "ns/call",
  empty_function: nanoseconds(() => {}),
  home: nanoseconds(() => session.home),
  models_awaited: models,
  converse_awaited: conversed,
}));
await sdk(session, "converse", converse);
await sdk(session, "converse_stream", converseStream);
session.close();
