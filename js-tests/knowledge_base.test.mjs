// Knowledge bases: sync, search, answers.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fixture, openSession, temporaryFolder } from "./fixtures.mjs";

const DOCUMENTS = {
  "fees.md": "# Fees\n\nA wire transfer costs 12 euros. A paper statement costs 3 euros a month.\n",
  "leave.txt": "Employees have 28 days of annual leave. Unused days lapse in March.\n",
  "deep/safe.html": "<h1>Safe</h1><p>The night safe is emptied at seven. Two people must be present.</p>",
};

function folderOf(documents) {
  const folder = temporaryFolder();
  for (const [name, text] of Object.entries(documents)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const embeddingModel = fixture("bert_minilm");

test("a source that is gone is removed", async () => {
  const session = openSession();
  const [stays, goes] = [folderOf(DOCUMENTS), folderOf({ "bees.txt": "Bees hum." })];
  const kb = await session.createKnowledgeBase("removal", { embeddingModel });
  const first = await kb.addSource(stays);
  const second = await kb.addSource(goes);
  await kb.sync();
  rmSync(goes, { recursive: true });
  const notFound = { name: "ResourceNotFoundException" };
  await assert.rejects(kb.sync(), notFound);
  assert.deepEqual(await kb.removeSource(second), second);
  assert.equal((await kb.sync()).deleted, 1);
  await assert.rejects(kb.removeSource(second.id), notFound);
  await kb.removeSource(first.path);
  assert.deepEqual(await kb.sources(), []);
  await assert.rejects(kb.removeSource(1), { name: "ValidationException", message: /^source:/ });
});

test("sync is incremental and names what failed", async () => {
  const session = openSession();
  const folder = folderOf(DOCUMENTS);
  writeFileSync(join(folder, "broken.pdf"), "%PDF-1.4 and nothing more");
  const kb = await session.createKnowledgeBase("rules", { embeddingModel });
  await kb.addSource(folder);
  const seen = [];
  const first = await kb.sync({ onProgress: (progress) => seen.push(progress) });
  assert.equal(first.added, 3);
  assert.deepEqual(first.failed.map((failure) => failure.document), ["broken.pdf"]);
  assert.ok(first.failed[0].reason.length > 0);
  assert.ok(seen.length > 0);

  writeFileSync(join(folder, "leave.txt"), "Employees have 30 days of annual leave.\n");
  rmSync(join(folder, "fees.md"));
  const second = await kb.sync();
  assert.equal(second.modified, 1);
  assert.equal(second.deleted, 1);
  assert.equal(second.unchanged, 1);
  const passages = await kb.retrieve("annual leave", { k: 10 });
  const texts = passages.map((passage) => passage.text).join("\n");
  assert.match(texts, /30 days/);
  assert.doesNotMatch(texts, /28 days|wire transfer/);
});

const minilm = process.env.OUTCROP_MINILM;
const skip = minilm ? false : "OUTCROP_MINILM names no folder of all-MiniLM-L6-v2";

test("answers quote the documents word for word, and spans fit the text", { skip }, async () => {
  const home = temporaryFolder();
  cpSync(minilm, join(home, "models/outcrop.minilm-embed-v1"), { recursive: true });
  const session = openSession({ home });
  const kb = await session.createKnowledgeBase("rules");
  await kb.addSource(folderOf(DOCUMENTS));
  await kb.sync();
  const answer = await kb.ask("What is the price of sending money to another bank?", { k: 3 });
  assert.match(answer.text, /12 euros/);
  assert.equal(answer.answered, true);
  assert.ok(answer.citations.length > 0);
  for (const { span, quotes, passages } of answer.citations) {
    const cited = Array.from(answer.text).slice(span.start, span.end).join("");
    assert.ok(cited.length > 0);
    for (const quote of quotes) {
      assert.ok(answer.text.includes(quote));
      assert.ok(passages.some((passage) => passage.text.includes(quote)));
    }
  }
  assert.ok(answer.usage.inputTokens > 0);
  const unanswered = await kb.ask("Who won the football match in Lisbon?");
  assert.equal(unanswered.answered, false);
  assert.deepEqual(unanswered.citations, []);
});

test("a home is found again by another session", async () => {
  const home = temporaryFolder();
  const first = openSession({ home });
  const kb = await first.createKnowledgeBase("notes", { embeddingModel, description: "mine" });
  const ids = await kb.add([{ id: "n1", text: "The vault code changes on Fridays.", metadata: { floor: 2 } }]);
  assert.deepEqual(ids, ["n1"]);
  const second = openSession({ home });
  const again = await second.knowledgeBase("notes");
  assert.equal(again.id, kb.id);
  const [passage] = await again.retrieve("vault code", { k: 1 });
  assert.equal(passage.location.document, "n1");
  assert.equal(passage.metadata.floor, 2);
  assert.equal(await again.delete(["n1"]), 1);
  assert.deepEqual(await again.retrieve("vault code"), []);
  await assert.rejects(again.delete(["n1"]), { name: "ResourceNotFoundException" });
});

test("wrong input is a typed error", async () => {
  const session = openSession();
  const kb = await session.createKnowledgeBase("rules", { embeddingModel });
  await assert.rejects(session.createKnowledgeBase("rules", { embeddingModel }), { name: "ConflictException" });
  await assert.rejects(session.createKnowledgeBase("no spaces here", { embeddingModel }), { name: "ValidationException" });
  await assert.rejects(session.knowledgeBase("absent"), { name: "ResourceNotFoundException" });
  await assert.rejects(kb.retrieve("x", { k: 0 }), /k: expected 1/);
  await assert.rejects(kb.retrieve(" "), { name: "ValidationException" });
  await assert.rejects(kb.addSource("/no/such/folder"), { name: "ResourceNotFoundException" });
  await assert.rejects(kb.add([{ text: "x", embedding: [1, 2] }]), /dimension|length|64/i);
});

test("an aborted sync leaves the last good state", async () => {
  const session = openSession();
  const many = Object.fromEntries(
    Array.from({ length: 200 }, (_, i) => [`n${i}.txt`, `Note number ${i} of the branch.`]),
  );
  const kb = await session.createKnowledgeBase("many", { embeddingModel });
  await kb.addSource(folderOf(many));
  await assert.rejects(kb.sync({ signal: AbortSignal.timeout(1) }), { name: "TimeoutError" });
  const report = await kb.sync();
  assert.equal(report.added + report.unchanged, 200);
  assert.equal((await kb.documents()).length, 200);
});

test("filters choose the documents", async () => {
  const session = openSession();
  const kb = await session.createKnowledgeBase("filtered", { embeddingModel });
  const years = [2000, 2001, 2002, 2003];
  await kb.add(years.map((year) => ({ id: `n${year}`, text: `The vault opened in ${year}.`, metadata: { year } })));
  const filter = { andAll: [
    { greaterThan: { key: "year", value: 2000 } },
    { notIn: { key: "year", value: [2002] } },
  ] };
  const found = await kb.retrieve("vault", { filter });
  assert.deepEqual(found.map((p) => p.metadata.year).sort(), [2001, 2003]);
  await session.registerModel("acme.reader-v1", { script: [{ answer: "In 2001 [1]." }] });
  const answer = await kb.ask("When did the vault open?", { model: "acme.reader-v1", filter });
  assert.equal(answer.passages.length, 2);
  const wrong = { name: "ValidationException", message: /^filter\.like: expected one of equals/ };
  await assert.rejects(kb.retrieve("vault", { filter: { like: {} } }), wrong);
  await assert.rejects(kb.ask("vault?", { filter: 5 }), { message: /^filter: expected a filter/ });
  await session.close();
});

test("words find what vectors do not, and a conversation goes on", async () => {
  const session = openSession();
  const kb = await session.createKnowledgeBase("words", { embeddingModel });
  await kb.add([
    { id: "form", text: "Form K-4711 closes an account." },
    { id: "river", text: "The river froze." },
    { id: "bees", text: "Bees hum." },
  ]);
  const ids = (found) => found.map((passage) => passage.location.document);
  assert.deepEqual(ids(await kb.retrieve("4711", { search: "keyword" })), ["form"]);
  assert.deepEqual(await kb.retrieve("mortgage", { search: "keyword" }), []);
  const hybrid = await kb.retrieve("form 4711", { search: "hybrid" });
  assert.equal(hybrid.length, 3);
  assert.ok(hybrid[0].score <= 1 && hybrid[2].score > 0);
  const rerank = [
    { text: { contains: "Bees" }, score: 2 },
    { text: { regex: "." }, score: -2 },
  ];
  await session.registerModel("acme.rerank-v1", { rerank });
  const [best] = await kb.retrieve("form", { rerank: "acme.rerank-v1" });
  assert.equal(best.location.document, "bees");
  assert.ok(Math.abs(best.score - 1 / (1 + Math.exp(-2))) < 1e-6);
  await assert.rejects(kb.retrieve("x", { search: "fuzzy" }), { message: /^search: expected "semantic"/ });

  const script = [
    { match: { turn: 1 }, answer: "Form K-4711 [1]." },
    { match: { turn: 2 }, answer: "As I said [1]." },
  ];
  await session.registerModel("acme.reader-v1", { script });
  const ask = async (options) => (await kb.ask("Which form?", { model: "acme.reader-v1", ...options })).text;
  assert.equal(await ask({ sessionId: "ada" }), "Form K-4711 [1].");
  assert.equal(await ask({}), "Form K-4711 [1].");
  assert.equal(await ask({ sessionId: "ada" }), "As I said [1].");
  await session.close();
});
