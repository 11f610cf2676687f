// A financial advisor: it looks the policy up, calls a function, asks before it sends an email, and
// is approved in another process. Run: node examples/financial-advisor.mjs
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Session, tool } from "../bindings-node/index.mjs";

const QUESTION = "What's the credit limit for user ID 12345? Then send them an email with the " +
  "updated policy highlights.";
const POLICY = "Credit policy, updated in May: a credit limit may be raised once a year. " +
  "Interest on cards is 19 percent.";

const object = (...names) => ({
  type: "object", required: names, additionalProperties: false,
  properties: Object.fromEntries(names.map((name) => [name, { type: "string" }])),
});
const getCreditLimit = tool({
  name: "getCreditLimit",
  description: "The credit limit of a user.",
  inputSchema: object("userId"),
  run: ({ userId }) => ({ userId, limit: 5000, email: "user12345@bank.example" }),
});
const sendEmail = tool({
  name: "sendEmail",
  description: "Sends an email.",
  inputSchema: object("to", "text"),
  run: ({ to }) => {
    console.log(`(an email goes to ${to})`);
    return "sent";
  },
});
const actionGroups = [{ name: "accounts", tools: [getCreditLimit, sendEmail], confirm: ["sendEmail"] }];

// A model that is declared as data, so that every run is the same. Any chat model may stand here.
const script = [
  {
    match: { tool_result: { name: "sendEmail", status: "success" } },
    answer: "The credit limit of user 12345 is 5000. A limit may be raised once a year [1]. " +
      "The highlights were sent to them.",
  },
  {
    match: { tool_result: { name: "getCreditLimit" } },
    answer: { tool_uses: [{ name: "sendEmail", input: {
      to: "user12345@bank.example", text: "A credit limit may be raised once a year.",
    } }] },
  },
  {
    answer: { tool_uses: [
      { name: "search_policies", input: { query: "updated credit policy" } },
      { name: "getCreditLimit", input: { userId: "12345" } },
    ] },
  },
];

async function ask(home) {
  const session = new Session({ home, offline: true });
  await session.registerModel("acme.words-v1", { embeddings: { dimensions: 128, others: "hashed" } });
  await session.registerModel("acme.advisor-v1", { script });
  const policies = await session.createKnowledgeBase("policies", { embeddingModel: "acme.words-v1" });
  await policies.add([{ text: POLICY, id: "credit-policy.md" }]);
  const agent = await session.createAgent("advisor", {
    model: "acme.advisor-v1",
    instruction: "You advise the staff of a bank. Look policies up before you quote them.",
    actionGroups,
    knowledgeBases: [policies],
    // An email goes to whom the user names, or to the address that the account itself has.
    rules: [{
      function: "accounts.sendEmail",
      require: { from: { arguments: ["to"], sources: ["user", "function:accounts.getCreditLimit#email"] } },
    }],
  });
  console.log(QUESTION);
  const { stopReason, pending } = await agent.invoke(QUESTION, { sessionId: "monday" });
  console.log(`${stopReason}: ${pending.map((call) => call.tool)}`);
  session.close();
}

async function approve(home) {
  const session = new Session({ home, offline: true });
  const agent = await session.agent("advisor", { actionGroups });
  const { pending } = await agent.replay("monday");
  const result = await agent.resume(pending, { approve: true });
  console.log(result.text);
  for (const { passages } of result.citations) console.log(`[1] ${passages[0].location.document}`);
  const decisions = result.trace.filter(({ event }) => event.decision);
  for (const { event } of decisions) {
    console.log(`${event.decision.effect} ${event.decision.call.tool}: ${event.decision.rule}`);
  }
  session.close();
}

const [step, home] = process.argv.slice(2);
if (step === "approve") {
  await approve(home);
} else {
  const folder = mkdtempSync(join(tmpdir(), "advisor-"));
  try {
    await ask(folder);
    const program = fileURLToPath(import.meta.url);
    execFileSync(process.execPath, [program, "approve", folder], { stdio: "inherit" });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
