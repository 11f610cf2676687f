// Clients of the AWS SDK on a session of the file's own.
import { BedrockRuntimeClient } from "@aws-sdk/client-bedrock-runtime";
import { openSession } from "./fixtures.mjs";

// A machine without AWS's credentials, region or endpoints.
for (const name of Object.keys(process.env)) if (name.startsWith("AWS_")) delete process.env[name];
process.env.AWS_CONFIG_FILE = "/dev/null";
process.env.AWS_SHARED_CREDENTIALS_FILE = "/dev/null";

export const HELLO = [{ role: "user", content: [{ text: "Hello" }] }];
export const session = openSession();

let registered = 0;

/** Registers a scripted model under an id of its own, and gives the id. */
export async function scripted(script) {
  registered += 1;
  const id = `acme.scripted-v${registered}`;
  await session.registerModel(id, { script });
  return id;
}

/** A client of the runtime on the session. */
export const runtime = (options = {}) =>
  new BedrockRuntimeClient({ ...session.clientConfig(), ...options });

/** The texts of a stream's deltas. */
export async function* texts(stream) {
  for await (const event of stream) {
    const text = event.contentBlockDelta?.delta?.text;
    if (text !== undefined) yield text;
  }
}

/** All that an async iterable gives. */
export async function listed(items) {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Waits for `milliseconds`. */
export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
