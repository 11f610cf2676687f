// Questions to a bank, made by a seed, with their answers in plain words and in the house's own form.
import { readFileSync, writeFileSync } from "node:fs";

const PARTS = JSON.parse(readFileSync(new URL("bank_questions.json", import.meta.url), "utf8"));

const filled = (form, names) => form.replace(/\{(\w+)\}/g, (_, name) => names[name]);

/** So many questions, no two alike: `question`, `plain` and `answer`, the form with the code word. */
export function questions(count, seed, topics = 12, products = 8) {
  // Lehmer's generator, which Python computes alike.
  let state = seed * 7919 + 1;
  const pick = (items) => {
    state = (state * 48271) % 2147483647;
    return items[state % items.length];
  };
  const made = new Map();
  while (made.size < count) {
    const topic = pick(PARTS.topics.slice(0, topics));
    const product = pick(PARTS.products.slice(0, products));
    const [asked, form] = [pick(topic.asked), pick(PARTS.forms)];
    const [greeting, ending] = [pick(PARTS.greetings), pick(PARTS.endings)];
    const question = greeting + filled(form, { asked, product }) + ending;
    // The fee is a fact of the bank's: the same for every wording.
    const fee = 1 + ((PARTS.topics.indexOf(topic) * 17 + PARTS.products.indexOf(product) * 29) % 60);
    const names = { topic: topic.name, product, fee };
    const plain = filled(pick(PARTS.plain), names);
    if (!made.has(question)) made.set(question, { question, plain, answer: filled(PARTS.answer, names) });
  }
  return [...made.values()];
}

/** Training lines: the question, and where `completion` names it the answer of that form. */
export function write(path, made, completion) {
  const line = (one) => JSON.stringify({
    prompt: one.question, ...(completion === undefined ? {} : { completion: one[completion] }),
  });
  writeFileSync(path, made.map(line).join("\n") + "\n");
  return path;
}
