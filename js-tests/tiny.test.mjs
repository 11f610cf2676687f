// `outcrop.tiny-v1`, the language model that is part of the package.
import assert from "node:assert/strict";
import test from "node:test";
import { Session, tool } from "../bindings-node/index.mjs";
import { temporaryFolder } from "./fixtures.mjs";

const CARD = "Please block the card with card number KX-4471 and customer Anna Keller.";
const inputSchema = {
  type: "object",
  properties: {
    card_number: { type: "string", description: "The card number." },
    customer: { type: "string", description: "The customer." },
  },
  required: ["card_number", "customer"],
};

test("it is the model where none is named, and says the same each time", async () => {
  const session = new Session({ home: temporaryFolder(), offline: true });
  const model = await session.model();
  assert.equal(model.info.id, "outcrop.tiny-v1");
  const first = (await model.converse("Hello")).text;
  assert.ok(first.startsWith("Hello!"), first);
  assert.equal((await model.converse("Hello")).text, first);
  session.close();
});

test("an agent of it calls a function", async () => {
  const session = new Session({ home: temporaryFolder(), offline: true });
  const blockCard = tool({
    name: "block_card",
    description: "Blocks the card.",
    inputSchema,
    run: ({ card_number: number, customer }) => `Card ${number} of ${customer} is blocked.`,
  });
  const actionGroups = [{ name: "cards", tools: [blockCard] }];
  const agent = await session.createAgent("desk", { actionGroups });
  assert.equal((await agent.invoke(CARD)).text, "Card KX-4471 of Anna Keller is blocked.");
  session.close();
});
