// Agents: functions of this process, approvals, replay, forks, rules.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { tool } from "../bindings-node/index.mjs";
import { ROOT, openSession, temporaryFolder } from "./fixtures.mjs";

const CALL = { tool_uses: [{ name: "getCreditLimit", input: { userId: "12345" } }] };
const SCHEMA = {
  type: "object", properties: { userId: { type: "string" } }, required: ["userId"],
  additionalProperties: false,
};
const getCreditLimit = tool({
  name: "getCreditLimit",
  description: "The credit limit of a user.",
  inputSchema: SCHEMA,
  run: async ({ userId }) => ({ userId, limit: 5000 }),
});

async function advisor(session, script, options = {}, tools = [getCreditLimit]) {
  await session.registerModel("acme.agent-v1", { script }, { replace: true });
  const { confirm, ...rest } = options;
  return session.createAgent("advisor", {
    model: "acme.agent-v1",
    instruction: "Help.",
    actionGroups: [{ name: "accounts", tools, ...(confirm && { confirm }) }],
    replace: true,
    ...rest,
  });
}

test("a function of this process is called, and the replay tells the same", async () => {
  const agent = await advisor(openSession(), [
    { match: { tool_result: { content: { contains: "5000" } } }, answer: "It is 5000." },
    { answer: CALL },
  ]);
  const result = await agent.invoke("The limit of 12345?", { sessionId: "s1" });
  assert.deepEqual([result.text, result.stopReason, result.steps], ["It is 5000.", "end_turn", 2]);
  const kinds = result.trace.map(({ event }) => Object.keys(event)[0]);
  assert.ok(kinds.indexOf("decision") < kinds.indexOf("invocationInput"));
  assert.deepEqual(await agent.replay("s1"), result);
  assert.equal((await agent.replay("s1", { toStep: 1 })).stopReason, "interrupted");
  await assert.rejects(agent.replay("s1", { toStep: 99 }), /step: expected 1\.\.=/);
});

test("calls of one reply run side by side, and what fails is told", async () => {
  let running = 0;
  const wait = tool({
    name: "wait",
    inputSchema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] },
    run: async ({ n }) => {
      running += 1;
      while (running < 2) await new Promise((done) => setTimeout(done, 2));
      if (n === 2) throw new RangeError("two is too much");
      return n;
    },
  });
  const both = [1, 2].map((n) => ({ name: "wait", input: { n } }));
  const agent = await advisor(openSession(), [
    { match: { tool_result: { status: "error", content: { contains: "two is too much" } } }, answer: "One." },
    { answer: { tool_uses: both } },
  ], {}, [wait]);
  assert.equal((await agent.invoke("?")).text, "One.");
});

test("a stream tells text and steps, and stops where the loop is left", async () => {
  const agent = await advisor(openSession(), [
    { match: { tool_result: { name: "getCreditLimit" } }, answer: { text: ["a ", "b"] } },
    { answer: CALL },
  ]);
  const events = [];
  for await (const event of agent.stream("?")) events.push(event);
  assert.equal(events.map((event) => event.text ?? "").join(""), "a b");
  const { result } = events.at(-1);
  assert.deepEqual(events.filter((event) => event.trace).map((event) => event.trace), [...result.trace]);
  assert.match(String(result.trace), /^turn 1 · end_turn · 2 model calls/);
  assert.match(String(result.trace), /call getCreditLimit\(userId="12345"\)[^]*allow the agent/);
  assert.match(result.trace.toHtml(), /^<div class="outcrop-trace">[^]*<\/div>$/);
  for await (const event of agent.stream("?", { sessionId: "left" })) if (event.trace) break;
  assert.equal((await agent.resume("left")).text, "a b");
});

const MAIL = [
  { match: { tool_result: { name: "sendEmail", status: "success" } }, answer: "Sent." },
  { match: { tool_result: { name: "sendEmail", status: "error" } }, answer: "Not sent." },
  { answer: { tool_uses: [{ name: "sendEmail", input: { userId: "7" } }] } },
];

test("an approval is asked, and given in another process", async () => {
  const session = openSession();
  const sent = [];
  const sendEmail = tool({ name: "sendEmail", inputSchema: SCHEMA, run: ({ userId }) => sent.push(userId) });
  const agent = await advisor(session, MAIL, { confirm: ["sendEmail"] }, [sendEmail]);
  const paused = await agent.invoke("Mail 7", { sessionId: "s1" });
  assert.equal(paused.stopReason, "pending");
  assert.deepEqual(paused.pending.map(({ tool: name, asks }) => [name, asks]), [["sendEmail", "USER_CONFIRMATION"]]);
  await assert.rejects(agent.invoke("Again", { sessionId: "s1" }), { name: "ConflictException" });
  await assert.rejects(agent.resume(paused.pending), /expected approve/);
  const program = join(temporaryFolder(), "resume.mjs");
  writeFileSync(program, `
    import { Session, tool } from ${JSON.stringify(pathToFileURL(join(ROOT, "bindings-node/index.mjs")).href)};
    const session = new Session({ home: ${JSON.stringify(session.home)}, offline: true });
    const sendEmail = tool({ name: "sendEmail", inputSchema: ${JSON.stringify(SCHEMA)},
      run: ({ userId }) => process.stdout.write("sent " + userId + ". ") });
    const agent = await session.agent("advisor", { actionGroups: [{ name: "accounts", tools: [sendEmail] }] });
    const { pending } = await agent.replay("s1");
    process.stdout.write((await agent.resume(pending, { approve: true })).text);
  `);
  assert.equal(execFileSync(process.execPath, [program], { encoding: "utf8" }), "sent 7. Sent.");
  const refused = await agent.invoke("Mail 7", { sessionId: "s2" });
  assert.equal((await agent.resume(refused.pending, { approve: false, reason: "no" })).text, "Not sent.");
  await agent.invoke("Mail 7", { sessionId: "s3" });
  assert.equal((await agent.stop("s3")).stopReason, "stopped");
  assert.deepEqual(sent, []);
});

test("a declaration returns control, and its result is given", async () => {
  const agent = await advisor(openSession(), MAIL, {}, [{ name: "sendEmail", inputSchema: SCHEMA }]);
  const { pending } = await agent.invoke("Mail 7");
  assert.equal(pending[0].asks, "RESULT");
  const result = await agent.resume(pending, { results: { [pending[0].id]: "queued" } });
  assert.equal(result.text, "Sent.");
});

test("zod schemas are the arguments of tools, and make values of their own types", async () => {
  const seen = [];
  const order = tool({
    name: "order",
    description: "Orders.",
    inputSchema: z.object({
      item: z.string().min(2),
      count: z.number().int().min(1).default(1),
      level: z.enum(["low", "high"]).optional(),
      to: z.object({ street: z.string() }),
    }),
    run: async (line) => { seen.push(line); return line.count; },
  });
  assert.equal(order.inputSchema.properties.count.minimum, 1);
  assert.deepEqual(order.inputSchema.properties.level.enum, ["low", "high"]);
  const asked = [
    { item: "pen", to: { street: "Elm" } },
    { item: "ink", count: 3, level: "high", to: { street: "Oak" } },
    { item: "x", to: { street: "Elm" } },
    { item: "pen", level: "none", to: {} },
  ];
  const agent = await advisor(openSession(), [
    { match: { tool_result: {} }, answer: "Done." },
    { answer: { tool_uses: asked.map((input) => ({ name: "order", input })) } },
  ], {}, [order]);
  const result = await agent.invoke("?");
  assert.equal(result.text, "Done.");
  // The default is the schema's own.
  assert.deepEqual(seen, [{ ...asked[0], count: 1 }, asked[1]]);
  const outcomes = result.trace.filter(({ event }) => event.observation)
    .map(({ event }) => [event.observation.call.id, Object.keys(event.observation.outcome)[0]]);
  assert.deepEqual(Object.fromEntries(outcomes), {
    "1.1.1": "returned", "1.1.2": "returned", "1.1.3": "malformed", "1.1.4": "malformed",
  });
});

test("a fork takes another course", async () => {
  const agent = await advisor(openSession(), [
    { match: { tool_result: { content: { contains: "9000" } } }, answer: "Nine." },
    { match: { tool_result: { content: { contains: "5000" } } }, answer: "Five." },
    { answer: CALL },
  ]);
  const result = await agent.invoke("?", { sessionId: "s1" });
  const seen = result.trace.find(({ event }) => event.observation);
  const edit = { call: seen.event.observation.call.id, result: 9000 };
  const forked = await agent.fork("s1", { step: seen.step, edit });
  assert.equal((await agent.resume(forked.sessionId)).text, "Nine.");
  assert.equal((await agent.replay("s1")).text, "Five.");
});

test("rules bound calls, and wrong arguments are refused", async () => {
  const session = openSession();
  const agent = await advisor(session, [
    { match: { tool_result: { content: { contains: "must come from user" } } }, answer: "Not that one." },
    { match: { tool_result: { name: "getCreditLimit" } }, answer: "Done." },
    { answer: CALL },
  ], { rules: [{ function: "*", require: { from: { arguments: ["userId"], sources: ["user"] } } }] });
  assert.equal((await agent.invoke("The limit of 12345?")).text, "Done.");
  assert.equal((await agent.invoke("Any limit?")).text, "Not that one.");
  await assert.rejects(agent.invoke(" "), /input: expected a text/);
  await assert.rejects(advisor(session, [{ answer: "x" }], { steps: 1 }), /steps: not an option/);
  await assert.rejects(advisor(session, [{ answer: "x" }], { confirm: ["other"] }), /confirm/);
  assert.deepEqual((await session.agents()).map(({ name }) => name), ["advisor"]);
  await session.deleteAgent("advisor");
  await assert.rejects(session.agent("advisor"), { name: "ResourceNotFoundException" });
});

test("a call that is aborted ends, and the turn can be resumed", async () => {
  const agent = await advisor(openSession(), [
    { answers: [{ fault: { stall: true } }, "Over."] },
  ]);
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 100);
  await assert.rejects(agent.invoke("?", { sessionId: "s1", signal: stop.signal }), { name: "AbortError" });
  assert.equal((await agent.resume("s1")).text, "Over.");
});

test("the financial advisor is approved in another process and sends once", () => {
  const program = join(ROOT, "examples/financial-advisor.mjs");
  const said = execFileSync(process.execPath, [program], { encoding: "utf8" }).split("\n");
  assert.deepEqual(said.slice(1), [
    "pending: sendEmail",
    "(an email goes to user12345@bank.example)",
    "The credit limit of user 12345 is 5000. A limit may be raised once a year [1]. " +
      "The highlights were sent to them.",
    "[1] credit-policy.md",
    "allow search_policies: the agent has the knowledge base",
    "allow getCreditLimit: the agent's action group accounts has it",
    // When it was asked for, and when it was approved.
    "allow sendEmail: the agent's action group accounts has it",
    "allow sendEmail: the agent's action group accounts has it",
    "",
  ]);
});

test("collaborators run their functions here, and pause at the top", async () => {
  const session = openSession();
  await session.registerModel("acme.clerk-v1", { script: [
    { match: { tool_result: { name: "getCreditLimit" } }, answer: "It is 5000." },
    { answer: CALL },
  ] });
  await session.registerModel("acme.boss-v1", { script: [
    { match: { tool_result: { name: "ask_clerk" } }, answer: "The clerk says 5000." },
    { answer: { tool_uses: [{ name: "ask_clerk", input: { message: "The limit?" } }] } },
  ] });
  const clerk = await session.createAgent("clerk", {
    model: "acme.clerk-v1",
    actionGroups: [{ name: "accounts", tools: [getCreditLimit], confirm: ["getCreditLimit"] }],
  });
  const boss = await session.createAgent("boss", {
    model: "acme.boss-v1",
    collaborators: [{ agent: clerk, instruction: "for limits" }],
  });
  const paused = await boss.invoke("The limit of 12345?", { sessionId: "s1" });
  assert.deepEqual(paused.pending.map(({ tool: name, within }) => [name, within]),
    [["getCreditLimit", ["clerk"]]]);
  const result = await boss.resume(paused.pending, { approve: true });
  assert.deepEqual([result.text, result.steps], ["The clerk says 5000.", 4]);
  assert.deepEqual(await boss.replay("s1"), result);
});

test("a Lambda function is one of this process, and hosts must be allowed", async () => {
  const session = openSession();
  const arn = "arn:aws:lambda:us-east-1:123456789012:function:limits";
  await session.registerModel("acme.caller-v1", { script: [
    { match: { tool_result: { content: { contains: "5000" } } }, answer: "It is 5000." },
    { match: { tool_result: { status: "error" } }, answer: "It failed." },
    { answer: CALL },
  ] });
  const group = (more) => ({ name: "bank", tools: [getCreditLimit], ...more });
  const make = (more) => session.createAgent("caller", {
    model: "acme.caller-v1", actionGroups: [group(more)], replace: true,
  });
  const agent = await make({ lambdaArn: arn });
  assert.equal((await agent.invoke("?")).text, "It failed.");
  await session.mapLambda(arn, async ({ parameters }) => ({ response: { functionResponse: {
    responseBody: { TEXT: { body: `${parameters[0].value}: 5000` } } } } }));
  assert.equal((await agent.invoke("?")).text, "It is 5000.");
  await session.mapLambda(arn, null);
  const caller = await make({ url: "http://127.0.0.1:9" });
  assert.match(JSON.stringify((await caller.invoke("?")).trace), /is not allowed/);
  await session.allowHost("127.0.0.1:9", { headers: { authorization: "Bearer x" } });
  assert.equal((await caller.invoke("?")).text, "It failed.");
  await assert.rejects(session.allowHost("http://x"), /host/);
});

const BUTLER = [
  { match: { text: { regex: "has ended[\\s\\S]*I am Ada" } }, answer: "Ada likes tea." },
  { match: { system: { contains: "likes tea" }, text: { contains: "drink" } }, answer: "Tea, as ever." },
  { match: { text: { contains: "drink" } }, answer: "I do not know." },
  { answer: "Hello." },
];

async function butler(session, options) {
  await session.registerModel("acme.butler-v1", { script: BUTLER }, { replace: true });
  return session.createAgent("butler", { model: "acme.butler-v1", replace: true, ...options });
}

test("a session that ends is remembered by the next one", async () => {
  const session = openSession();
  const agent = await butler(session, {
    memory: { storageDays: 3, maxRecentSessions: 2 }, idleSessionTtl: 900,
  });
  const first = await agent.invoke("I am Ada", { sessionId: "s1", memoryId: "ada" });
  assert.deepEqual([first.text, first.sessionEnded, first.summary], ["Hello.", false, undefined]);
  const ended = await agent.invoke("", { sessionId: "s1", endSession: true });
  assert.deepEqual([ended.sessionEnded, ended.summary], [true, "Ada likes tea."]);
  assert.deepEqual(Object.keys(ended.trace.at(-1).event), ["summary"]);
  assert.match(`${ended.trace}`, /Ada likes tea/);
  assert.deepEqual(await agent.replay("s1"), ended);
  const ask = async (sessionId, memoryId) =>
    (await agent.invoke("A drink?", { sessionId, memoryId })).text;
  assert.equal(await ask("s2", "ada"), "Tea, as ever.");
  assert.equal(await ask("s3", "bob"), "I do not know.");
  const kept = await agent.memory("ada");
  assert.deepEqual(kept.map((one) => [one.sessionId, one.summary]),
    [["s2", undefined], ["s1", "Ada likes tea."]]);
  assert.ok(kept[1].expires > kept[1].ended);
  await agent.deleteMemory({ memoryId: "ada", sessionId: "s1" });
  assert.equal(await ask("s4", "ada"), "I do not know.");
  await assert.rejects(agent.deleteMemory({ memoryId: "eve" }), { name: "ResourceNotFoundException" });
  await agent.deleteMemory();
  await assert.rejects(agent.invoke("", { sessionId: "s2" }), { name: "ValidationException" });
  await assert.rejects(agent.invoke("?", { sessionId: "s2", memoryId: "bob" }),
    { name: "ConflictException" });
  await assert.rejects(butler(session, { memory: { days: 3 } }), /days/);
  const plain = await butler(session, {});
  await assert.rejects(plain.invoke("?", { memoryId: "ada" }), /has no memory/);
});

test("an approved call is decided again", async () => {
  const sent = [];
  const mail = tool({
    name: "mail", inputSchema: { type: "object", properties: {} }, run: async () => sent.push(1),
  });
  const session = openSession();
  const agent = await advisor(session, [
    { match: { tool_result: { status: "error", content: { contains: "not permitted" } } }, answer: "I may not." },
    { match: { tool_result: {} }, answer: "Sent." },
    { answer: { tool_uses: [{ name: "mail", input: {} }] } },
  ], { confirm: ["mail"] }, [mail]);
  const paused = await agent.invoke("Mail", { sessionId: "s1" });
  await session.putPolicy("closed",
    'forbid (principal, action == Action::"accounts.mail", resource);');
  assert.equal((await agent.resume(paused.pending, { approve: true })).text, "I may not.");
  await session.deletePolicy("closed");
  const again = await agent.invoke("Mail", { sessionId: "s2" });
  assert.equal((await agent.resume(again.pending, { approve: true })).text, "Sent.");
  assert.equal(sent.length, 1);
});
