// MCP servers as action groups: the test server over both transports.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import test, { after } from "node:test";
import { ROOT, openSession, temporaryFolder } from "./fixtures.mjs";

const SERVER = join(ROOT, "core/outcrop/tests/fixtures/mcp_server.py");

/** What the server was asked and has done, of the member `name`. */
function said(log, name) {
  if (!existsSync(log)) return [];
  const entries = readFileSync(log, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
  return entries.filter((entry) => name in entry).map((entry) => entry[name]);
}

function isRunning(pid) {
  if (!existsSync(`/proc/${pid}/stat`)) return false;
  return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)[0] !== "Z";
}

async function until(what, holds) {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, what);
    await wait(20);
  }
}

/** What a group's `mcp` is, where the session may reach it, and the server's log. */
async function serverOf(session, form) {
  const log = join(temporaryFolder(), "log");
  const command = ["python3", SERVER, log];
  if (form === "stdio") {
    await session.allowCommand(command);
    return { mcp: command, log };
  }
  const child = spawn(command[0], [...command.slice(1), "http", form], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  after(() => child.kill("SIGKILL"));
  for await (const url of createInterface({ input: child.stdout })) {
    await session.allowHost(new URL(url).host);
    return { mcp: url, log };
  }
  throw new Error("the server told no URL");
}

/** An agent of a server that makes the calls one after the other. */
async function clerk(session, group, ...calls) {
  const script = calls.map(([name, input], at) => (
    { match: { turn: at + 1 }, answer: { tool_uses: [{ name, input }] } }
  ));
  script.push({ answer: "Done." });
  await session.registerModel("acme.mcp-v1", { script }, { replace: true });
  return session.createAgent("clerk", {
    model: "acme.mcp-v1", actionGroups: [{ name: "bank", ...group }], replace: true,
  });
}

const outcomes = (result) =>
  result.trace.filter(({ event }) => event.observation).map(({ event }) => event.observation.outcome);

for (const form of ["stdio", "json", "sse"]) {
  test(`an agent calls the tools of a server: ${form}`, async () => {
    const session = openSession();
    const { mcp, log } = await serverOf(session, form);
    const group = { mcp, tools: ["limit", "send.mail"], confirm: "send.mail" };
    const agent = await clerk(
      session, group, ["limit", { user: "12345" }],
      ["send_mail", { to: "a@bank.example", text: "5000" }],
    );
    const [made] = (await agent.info()).definition.actionGroups;
    assert.deepEqual(made.functions.map(({ name }) => name), ["limit", "send_mail"]);
    const paused = await agent.invoke("Do it.", { sessionId: "s1" });
    assert.deepEqual(paused.pending.map(({ tool }) => tool), ["send_mail"]);
    assert.deepEqual(outcomes(paused)[0], { returned: { user: "12345", limit: 5000 } });
    assert.deepEqual(said(log, "called"), ["limit"]);
    const result = await agent.resume(paused.pending, { approve: true });
    assert.equal(result.text, "Done.");
    await agent.replay("s1");
    await agent.fork("s1", { newSessionId: "s2" });
    assert.deepEqual(said(log, "called"), ["limit", "send.mail"]);
    assert.equal(said(log, "began").length, 1);
  });
}

test("nothing is started that is not allowed, and what is ends with the session", async () => {
  const session = openSession();
  const log = join(temporaryFolder(), "log");
  const command = ["python3", SERVER, log, "stubborn"];
  await assert.rejects(clerk(session, { mcp: command }), /allow_command/);
  await assert.rejects(session.allowCommand("python3 server.py"), /an array of its words/);
  await assert.rejects(clerk(session, { mcp: command, url: "http://x" }), /url and mcp/);
  assert.deepEqual(said(log, "pid"), []);
  await session.allowCommand(command, { env: { TOKEN: "s3cret" } });
  const agent = await clerk(session, { mcp: command }, ["environment", {}]);
  const environment = outcomes(await agent.invoke("Do it."))[0].returned;
  assert.equal(environment.TOKEN, "s3cret");
  assert.ok(!("NODE_TEST_CONTEXT" in environment));
  const started = [...said(log, "pid"), ...said(log, "child")];
  session.close();
  await until("the server and what it started end", () => !started.some(isRunning));
});

test("an aborted turn tells the server, and its call is unknown", async () => {
  const session = openSession();
  const { mcp, log } = await serverOf(session, "stdio");
  const agent = await clerk(session, { mcp }, ["slow", { seconds: 600 }]);
  const abort = new AbortController();
  const turn = agent.invoke("Do it.", { sessionId: "s1", signal: abort.signal });
  await until("the call is made", () => said(log, "called").length === 1);
  abort.abort();
  await assert.rejects(turn, { name: "AbortError" });
  await until("the server is told", () => said(log, "cancelled").length === 1);
  const result = await agent.resume("s1");
  assert.deepEqual(outcomes(result), [{ unknown: {} }]);
  assert.deepEqual(said(log, "called"), ["slow"]);
});
