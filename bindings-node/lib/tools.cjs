// Functions that agents may call, and the groups that hold them.
"use strict";

const { checkOptions } = require("./call.cjs");
const { object, optional, plain, text, texts, wrong } = require("./checks.cjs");
const { validation } = require("./errors.cjs");

/** The JSON schema of a tool's arguments: a JSON schema, or a zod schema's own. */
function schemaOf(field, schema) {
  const given = object(field, schema, "a JSON schema or a zod schema");
  // What is given in: a member with a default may be left out.
  if (typeof given.toJSONSchema === "function") return bare(given.toJSONSchema({ io: "input" }));
  if (given["~standard"]?.vendor === "zod" || given._zod) {
    throw validation(
      `${field}: this zod schema has no toJSONSchema(): expected zod 4.2 or later, or the JSON ` +
      "schema by z.toJSONSchema(schema)",
    );
  }
  return plain(field, given);
}

function bare(schema) {
  const { $schema: _, "~standard": __, ...rest } = schema;
  return plain("inputSchema", rest);
}

/** A function that an agent may call. */
class Tool {
  constructor({ name, description, inputSchema, run, parse }) {
    this.name = name;
    this.description = description;
    this.inputSchema = inputSchema;
    this.run = run;
    this.parse = parse;
  }
}

/** Makes a tool of a function: `tool({ name, description, inputSchema, run })`. */
function tool(spec) {
  const given = checkOptions(
    object("tool", spec, "a tool's declaration"), ["name", "description", "inputSchema", "run"],
    "tool",
  );
  const name = text("name", given.name);
  if (typeof given.run !== "function") throw wrong(`${name}: run`, "a function", given.run);
  const schema = given.inputSchema;
  return new Tool({
    name,
    description: optional(text, `${name}: description`, given.description) ?? "",
    inputSchema: schemaOf(`${name}: inputSchema`, schema),
    run: given.run,
    // A zod schema makes values of its own types of the arguments.
    parse: typeof schema.parse === "function" ? (value) => schema.parse(value) : (value) => value,
  });
}

/** A command: its program and its arguments, each a text of its own. */
function commandOf(field, words) {
  if (!Array.isArray(words)) {
    throw wrong(field, 'an array of its words, such as ["npx", "some-server"]', words);
  }
  return texts(field, words);
}

/** The MCP server of a group, and which of its tools the group has. */
function mcpOf(where, { mcp, tools, confirm }) {
  const server = typeof mcp === "string"
    ? { http: { url: mcp } }
    : { stdio: { command: commandOf(`${where}.mcp`, mcp) } };
  return {
    server,
    tools: optional(texts, `${where}.tools`, tools) ?? [],
    confirm: optional(texts, `${where}.confirm`, confirm) ?? [],
  };
}

/** What the runtime calls for a group's functions, where it does. */
function endpointOf(where, group) {
  const { url, lambdaArn, mcp } = group;
  const given = ["url", "lambdaArn", "mcp"].filter((name) => group[name] !== undefined);
  if (given.length > 1) {
    throw validation(
      `${where}: expected one of url, lambdaArn and mcp, got ${given.join(" and ")}`,
    );
  }
  if (mcp !== undefined) return { mcp: mcpOf(where, group) };
  if (url !== undefined) return { http: { url: text(`${where}.url`, url) } };
  if (lambdaArn !== undefined) return { lambda: { arn: text(`${where}.lambdaArn`, lambdaArn) } };
  return undefined;
}

/** A group of tools: `{ name, tools, confirm?, description? }`, as the core reads it. */
function groupOf(group, index) {
  const where = `actionGroups[${index}]`;
  const given = checkOptions(
    object(where, group, "an action group"),
    ["name", "tools", "confirm", "description", "url", "apiSchema", "lambdaArn", "mcp"], where,
  );
  const name = text(`${where}.name`, given.name);
  const endpoint = endpointOf(where, given);
  const apiSchema = optional(text, `${where}.apiSchema`, given.apiSchema);
  const description = optional(text, `${where}.description`, given.description) ?? "";
  if (given.mcp !== undefined && apiSchema === undefined) {
    // Its tools are known once its server has listed them.
    const declaration = { name, description, functions: [], execution: "RUNTIME", endpoint };
    return { declaration, running: [] };
  }
  const items = given.tools ?? (apiSchema === undefined ? undefined : []);
  if (!Array.isArray(items)) throw wrong(`${where}.tools`, "an array of tools", items);
  if (apiSchema !== undefined && (!(endpoint?.http || endpoint?.lambda) || items.length > 0)) {
    throw validation(
      `${where}: expected an apiSchema with a url or a lambdaArn, and no tools beside it`,
    );
  }
  const returned = items.filter((item) => !(item instanceof Tool) && item?.run === undefined);
  if (returned.length > 0 && returned.length < items.length) {
    throw validation(`${where}: expected tools with run or without, got both: make two groups`);
  }
  const tools = items.map((item, at) => {
    if (item instanceof Tool) return item;
    const place = `${where}.tools[${at}]`;
    const spec = object(place, item, "a tool");
    return returned.length === 0 ? tool(spec) : new Tool({
      name: text(`${place}.name`, spec.name),
      description: optional(text, `${place}.description`, spec.description) ?? "",
      inputSchema: schemaOf(`${place}.inputSchema`, spec.inputSchema),
    });
  });
  const confirm = optional(texts, `${where}.confirm`, given.confirm) ?? [];
  const unknown = confirm.find((one) => !tools.some((item) => item.name === one));
  if (unknown !== undefined && apiSchema === undefined) {
    throw wrong(`${where}.confirm`, "names of its tools", unknown);
  }
  const declaration = {
    name,
    description,
    functions: tools.map((item) => ({
      name: item.name,
      description: item.description,
      inputSchema: item.inputSchema,
      requireConfirmation: confirm.includes(item.name),
    })),
    execution: returned.length > 0 ? "RETURN_CONTROL" : "CALLER",
    ...(endpoint && { execution: "RUNTIME", endpoint }),
  };
  const schema = apiSchema === undefined ? undefined : { schema: apiSchema, confirm };
  const running = endpoint || returned.length > 0 ? [] : tools.map((item) => [`${name}.${item.name}`, item]);
  return { declaration, running, schema };
}

module.exports = { Tool, commandOf, groupOf, tool };
