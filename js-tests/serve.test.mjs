// The server, as the AWS SDK for JavaScript (HTTP/2) and fetch meet it.
import assert from "node:assert/strict";
import test from "node:test";
import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand }
  from "@aws-sdk/client-bedrock-runtime";
import { CHAT, serve, SLOW } from "./served.mjs";

const server = await serve();
const messages = [{ role: "user", content: [{ text: "Hi" }] }];

const runtime = (credentials = {}) => new BedrockRuntimeClient({
  region: "eu-west-1",
  endpoint: server.url,
  maxAttempts: 1,
  credentials: {
    accessKeyId: server.key.accessKeyId, secretAccessKey: server.key.secretAccessKey, ...credentials,
  },
});

test("the SDK signs over HTTP/2 and is answered", async () => {
  const client = runtime();
  assert.equal(client.config.requestHandler.metadata.handlerProtocol, "h2");
  const answer = await client.send(new ConverseCommand({ modelId: CHAT, messages }));
  assert.deepEqual(answer.output.message.content, [{ text: "Hello there!" }]);
  const { stream } = await client.send(new ConverseStreamCommand({ modelId: CHAT, messages }));
  const kinds = [];
  for await (const event of stream) kinds.push(Object.keys(event)[0]);
  assert.deepEqual([kinds[0], kinds.at(-1)], ["messageStart", "metadata"]);
  client.destroy();
});

test("a wrong secret and an ARN", async () => {
  const refused = (client, modelId) => client.send(new ConverseCommand({ modelId, messages }))
    .then(() => assert.fail("it was answered"), (error) => error);
  const wrong = await refused(runtime({ secretAccessKey: "another" }), CHAT);
  assert.deepEqual([wrong.name, wrong.$metadata.httpStatusCode], ["InvalidSignatureException", 403]);
  const arn = "arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.amazon.nova-lite-v1:0";
  assert.notEqual((await refused(runtime(), arn)).$metadata.httpStatusCode, 403);
});

test("an exception in the stream, and a caller that goes", async () => {
  const client = runtime();
  const asked = [{ role: "user", content: [{ text: "break" }] }];
  const { stream } = await client.send(new ConverseStreamCommand({ modelId: CHAT, messages: asked }));
  await assert.rejects(async () => { for await (const _ of stream); },
    { name: "ModelStreamErrorException" });
  const abort = new AbortController();
  const slow = await client.send(new ConverseStreamCommand({ modelId: SLOW, messages }),
    { abortSignal: abort.signal });
  let seen = 0;
  for await (const _ of slow.stream) {
    seen += 1;
    abort.abort();
  }
  assert.ok(seen < 100, `${seen} events came after it was aborted`);
  const whole = await client.send(new ConverseCommand({ modelId: CHAT, messages }));
  assert.equal(whole.stopReason, "end_turn");
  client.destroy();
});

test("twenty streams on one connection", async () => {
  const client = runtime();
  const one = async () => {
    const { stream } = await client.send(new ConverseStreamCommand({ modelId: CHAT, messages }));
    let last;
    for await (const event of stream) last = event;
    return "metadata" in last;
  };
  const all = await Promise.all(Array.from({ length: 20 }, one));
  assert.deepEqual(all, Array(20).fill(true));
  client.destroy();
});

test("fetch reads the events of both vendors", async () => {
  const ask = async (path, body, headers) => {
    const answer = await fetch(server.url + path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ model: CHAT, stream: true, messages: [{ role: "user", content: "Hi" }], ...body }),
    });
    return [answer.status, answer.headers.get("content-type"), await answer.text()];
  };
  const [status, type, text] = await ask("/v1/chat/completions", {},
    { authorization: `Bearer ${server.key.bearerToken}` });
  assert.deepEqual([status, type], [200, "text/event-stream; charset=utf-8"]);
  const chunks = text.trim().split("\n\n").map((line) => line.replace(/^data: /, ""));
  assert.equal(chunks.pop(), "[DONE]");
  const said = chunks.map((chunk) => JSON.parse(chunk).choices[0].delta.content ?? "");
  assert.equal(said.join(""), "Hello there!");
  const [, , events] = await ask("/v1/messages", { max_tokens: 9 }, { "x-api-key": server.key.bearerToken });
  assert.match(events, /^event: message_start\ndata: \{/);
  assert.match(events, /event: message_stop\ndata: \{"type":"message_stop"\}\n\n$/);
  assert.equal((await ask("/v1/messages", {}, {}))[0], 401);
});

test("it lets answers end when it is told to stop", async () => {
  const client = runtime();
  const { stream } = await client.send(new ConverseStreamCommand({ modelId: SLOW, messages }));
  let last;
  for await (const event of stream) {
    if (last === undefined) server.child.kill("SIGTERM");
    last = event;
  }
  assert.ok("metadata" in last, "it was cut off");
  client.destroy();
  assert.equal(await server.ended, 0);
});
