// How soon a token is seen in Node; `stream_latency.py` runs this and says what is timed.
import { createRequire } from "node:module";
import { Session } from "../bindings-node/index.mjs";

const { BedrockRuntimeClient, ConverseStreamCommand } =
  createRequire(new URL("../js-tests/", import.meta.url))("@aws-sdk/client-bedrock-runtime");

const MODEL = "acme.ticking-v1";
const HELLO = [{ role: "user", content: [{ text: "Hello" }] }];

const delay = (text) => Number(process.hrtime.bigint() - BigInt(text.trim()));

function report(face, delays) {
  const kept = delays.sort((a, b) => a - b);
  const at = (share) => Math.round(kept[Math.floor((kept.length - 1) * share)] / 1000) / 1000;
  console.log(JSON.stringify({
    bench: "stream_latency", face, unit: "ms", tokens: kept.length,
    p50: at(0.5), p95: at(0.95), max: at(1),
  }));
}

const session = new Session({ home: process.argv[2], offline: true });
const model = await session.model(MODEL);
let delays = [];
for await (const text of model.stream("Hello")) delays.push(delay(text));
report("model.stream, Node", delays);

delays = [];
const client = new BedrockRuntimeClient(session.clientConfig());
const command = new ConverseStreamCommand({ modelId: MODEL, messages: HELLO });
const { stream } = await client.send(command);
for await (const { contentBlockDelta } of stream) {
  if (contentBlockDelta) delays.push(delay(contentBlockDelta.delta.text));
}
report("AWS SDK for JavaScript in the process", delays);
session.close();
