// Ask a bank's documents, from Node: `make demo` runs this after demo.py, in the same home.
//
// In a program of your own the import is: import { Session } from "outcrop";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Session, tool } from "../bindings-node/index.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const home = join(here, "..", ".demo", "home");
const NAME = "nordhaven-bank";
const WIDTH = 96;
const colour = process.stdout.isTTY && !("NO_COLOR" in process.env);
const style = (code, text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);

function heading(text) {
  console.log(`\n${style("1", text)}\n${style("2", "─".repeat(WIDTH))}`);
}

/** A text in lines of at most WIDTH characters, each set in by three blanks. */
function wrap(text) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1);
    if (line && line.length + word.length + 4 > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines.map((line) => `   ${line}`).join("\n");
}

function place({ document, page, lastPage, start, end }) {
  if (page === undefined) return `${document}, characters ${start}-${end}`;
  if (lastPage === undefined || lastPage === page) return `${document}, page ${page}`;
  return `${document}, pages ${page}-${lastPage}`;
}

/** The question, and each quote with its document, page and score. */
function show(number, question, answer) {
  console.log(`\n${style("1;36", `${number}.  ${question}`)}`);
  if (!answer.answered) {
    const [best] = answer.passages;
    console.log(`   ${style("33", answer.text)}`);
    console.log(style("2", `   nearest passage: ${place(best.location)}, score ${best.score.toFixed(2)}`));
  }
  // Spans count characters, not the UTF-16 units of a JavaScript string.
  const characters = [...answer.text];
  const origin = (citation) => citation?.passages.map(({ id }) => id).join();
  for (const [index, citation] of answer.citations.entries()) {
    const { span, passages } = citation;
    console.log(wrap(`“${characters.slice(span.start, span.end).join("")}”`));
    // Quotes of one passage share one line of origin.
    if (origin(citation) === origin(answer.citations[index + 1])) continue;
    for (const { location, score } of passages) {
      console.log(style("2", `      ${place(location)}, score ${score.toFixed(2)}`));
    }
  }
}

const blockCard = tool({
  name: "block_card",
  description: "Blocks the card.",
  inputSchema: {
    type: "object",
    properties: {
      card_number: { type: "string", description: "The card number." },
      customer: { type: "string", description: "The customer." },
    },
    required: ["card_number", "customer"],
  },
  run: ({ card_number: number, customer }) => {
    console.log(style("2", `   block_card(${number}, ${customer})`));
    return `Card ${number} of ${customer} is blocked.`;
  },
});

/** The embedded language model: it chats and calls a function. */
async function converse(session, asked) {
  const model = await session.model();
  console.log(style("2", `${model.info.id}: ${(model.info.parameters / 1e6).toFixed(1)} million parameters`));
  for (const text of asked.chat) {
    console.log(`\n${style("1;36", text)}\n   ${(await model.converse(text)).text}`);
  }
  const actionGroups = [{ name: "cards", tools: [blockCard] }];
  const agent = await session.createAgent("card-desk", { actionGroups, replace: true });
  console.log(`\n${style("1;36", asked.request)}`);
  console.log(`   ${(await agent.invoke(asked.request)).text}`);
}

const asked = JSON.parse(readFileSync(join(here, "demo_questions.json"), "utf8"));
const session = new Session({ home });
try {
  heading("The same home, asked from Node");
  const kb = await session.knowledgeBase(NAME);
  const report = await kb.sync();
  console.log(
    `${report.scanned} documents: ${report.unchanged} unchanged since Python read them, ` +
      `${report.failed.length} failed`,
  );
  for (const { document, reason } of report.failed) console.log(style("31", `  ${document}: ${reason}`));
  for (const [index, question] of asked.answered.entries()) {
    show(index + 1, question, await kb.ask(question));
  }
  heading("A question that the documents do not answer");
  show(asked.answered.length + 1, asked.unanswered, await kb.ask(asked.unanswered));
  heading("The language model that comes with Outcrop");
  await converse(session, asked);
  console.log();
} finally {
  session.close();
}
