// Writes the reference page of the Node door from its types: `node docs.mjs OUT.md`.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
if (!out) throw new Error("usage: node docs.mjs OUT.md");

const text = readFileSync(join(here, "index.d.ts"), "utf8");
const source = ts.createSourceFile("index.d.ts", text, ts.ScriptTarget.Latest, true);

/** The description and tags of a node's comment, as Markdown. */
function comment(node) {
  const [doc] = node.jsDoc ?? [];
  if (!doc) return "";
  const tags = (doc.tags ?? []).map((tag) =>
    `*${tag.tagName.text}*: ${ts.getTextOfJSDocComment(tag.comment) ?? ""}`);
  return [ts.getTextOfJSDocComment(doc.comment) ?? "", ...tags].filter(Boolean).join("\n\n");
}

/** A declaration without its comment, on as few lines as it was written. */
function signature(node) {
  return node.getText(source).replace(/\s*\/\*\*[\s\S]*?\*\//g, "").replace(/;$/, "").trim();
}

function section(node) {
  const kind = ts.isClassDeclaration(node) ? "class" : ts.isInterfaceDeclaration(node) ? "interface" : "type";
  const lines = [`## ${kind} \`${node.name.text}\``, comment(node)];
  if (kind === "type") lines.push("```ts", signature(node).replace(/^export /, ""), "```");
  for (const member of node.members ?? []) {
    const words = comment(member);
    lines.push("```ts", signature(member), "```", words);
  }
  return lines.filter(Boolean).join("\n\n").replace(/```ts\n\n/g, "```ts\n").replace(/\n\n```(?=\n|$)/g, "\n```");
}

const sections = source.statements
  .filter((node) => ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node))
  .map(section);
const page = [
  "# Outcrop for Node",
  "Written from `bindings-node/index.d.ts` by `make docs`.",
  ...sections,
].join("\n\n");
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, `${page}\n`);
