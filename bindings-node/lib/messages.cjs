// Messages of a conversation, in Converse's form or in that of chat completions.
"use strict";

const { absent, object, plain, text, wrong } = require("./checks.cjs");
const { validation } = require("./errors.cjs");

/** The kinds of content blocks. */
const BLOCKS = ["text", "toolUse", "toolResult", "searchResult", "document", "citationsContent"];

/** A message's content: a text, or blocks; a text among them is a block too. */
function contentBlocks(where, content) {
  const list = typeof content === "string" ? [content] : content;
  if (!Array.isArray(list)) throw wrong(where, "a string or an array of content blocks", content);
  return Array.from(list, (block, index) => {
    const place = `${where}[${index}]`;
    if (typeof block === "string") return { text: text(place, block) };
    const { type, ...rest } = object(place, block, "a string or a content block");
    const made = object(place, plain(place, type === "text" ? rest : block), "a content block");
    const members = Object.keys(made);
    if (members.length !== 1 || !BLOCKS.includes(members[0])) {
      throw wrong(place, `a block of one member: ${BLOCKS.join(", ")}`, block);
    }
    if ("text" in made) text(`${place}.text`, made.text);
    return made;
  });
}

/** A chat completion's tool call as a `toolUse` block. */
function toolUse(where, call) {
  const spec = call?.function ?? call;
  if (typeof spec?.name !== "string") {
    throw wrong(where, "a tool call with a name and arguments", call);
  }
  let input = spec.arguments ?? {};
  if (typeof input === "string") {
    try {
      input = JSON.parse(input);
    } catch (error) {
      throw validation(`${where}.arguments: ${error.message}`);
    }
  }
  const toolUseId = call.id ?? "";
  return { toolUse: plain(where, { toolUseId, name: spec.name, input }) };
}

/** One message in Converse's form. */
function converseMessage(where, message) {
  if (message.role === "tool") {
    const content = contentBlocks(`${where}.content`, message.content);
    const toolResult = { toolUseId: text(`${where}.tool_call_id`, message.tool_call_id), content };
    return { role: "user", content: [{ toolResult }] };
  }
  const { tool_calls, content, ...rest } = message;
  const calls = tool_calls ?? [];
  if (!Array.isArray(calls)) throw wrong(`${where}.tool_calls`, "an array of tool calls", calls);
  if (content === undefined && calls.length === 0) {
    throw validation(`${where}: missing member \`content\``);
  }
  // A message of tool calls alone has no text, or an empty one.
  const bare = absent(content) || content.length === 0;
  const blocks = calls.length && bare ? [] : contentBlocks(`${where}.content`, content);
  calls.forEach((call, index) => blocks.push(toolUse(`${where}.tool_calls[${index}]`, call)));
  return { ...plain(where, rest), content: blocks };
}

/** The instructions that a first message of role `system` gives, and the Converse messages. */
function conversation(messages) {
  if (typeof messages === "string") {
    const content = [{ text: text("messages", messages) }];
    return { system: undefined, messages: [{ role: "user", content }] };
  }
  if (!Array.isArray(messages)) {
    throw wrong("messages", "a string or an array of messages", messages);
  }
  let system;
  let afterTool = false;
  const converse = [];
  Array.from(messages).forEach((message, index) => {
    const where = `messages[${index}]`;
    const role = text(`${where}.role`, object(where, message, "{ role, content }").role);
    if (!["system", "user", "assistant", "tool"].includes(role)) {
      throw wrong(`${where}.role`, "user or assistant", role);
    }
    if (role === "system") {
      if (index > 0) {
        throw validation(`${where}.role: a system message stands first, or in the option system`);
      }
      system = text(`${where}.content`, message.content);
      return;
    }
    const made = converseMessage(where, message);
    // Converse holds the results of one turn's calls in one message.
    if (role === "tool" && afterTool) converse.at(-1).content.push(...made.content);
    else converse.push(made);
    afterTool = role === "tool";
  });
  return { system, messages: converse };
}

module.exports = { conversation };
