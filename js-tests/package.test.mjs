// The packed package, installed into an empty folder, works without the source tree.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fixture, ROOT, temporaryFolder } from "./fixtures.mjs";

test("the tarball installs and answers, in both module systems", () => {
  const folder = temporaryFolder();
  const run = (command, ...args) => execFileSync(command, args, { cwd: folder, encoding: "utf8" });
  execFileSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", folder], {
    cwd: join(ROOT, "bindings-node"),
  });
  const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz"));
  writeFileSync(join(folder, "package.json"), '{"name":"empty","version":"1.0.0"}');
  run("npm", "install", "--silent", "--no-audit", "--no-fund", `./${tarball}`);
  const body = `
    const session = new Session({ home: ${JSON.stringify(join(folder, "home"))}, offline: true });
    const main = async () => {
      const model = await session.model(${JSON.stringify(fixture("llama3"))});
      const { usage } = await model.generate("The", { maxTokens: 3 });
      console.log(usage.outputTokens);
      session.close();
    };
    main();`;
  writeFileSync(join(folder, "a.mjs"), `import { Session } from "outcrop";${body}`);
  writeFileSync(join(folder, "b.cjs"), `const { Session } = require("outcrop");${body}`);
  assert.match(run("node", "a.mjs"), /^[1-3]\n$/);
  assert.match(run("node", "b.cjs"), /^[1-3]\n$/);
  // The kernels of `make kernels`; without them it says that it has none.
  const packs = readdirSync(join(ROOT, "kernels/pack")).filter((name) => name.endsWith(".pack"));
  const report = JSON.parse(run("node", "node_modules/outcrop/cli.cjs", "doctor", "--json"));
  assert.deepEqual(report.images.toSorted(), packs.map((name) => name.slice(0, -5)).toSorted());
  const sizes = packs.map((name) => statSync(join(ROOT, "kernels/pack", name)).size);
  assert.equal(report.imageBytes, sizes.reduce((sum, size) => sum + size, 0));
});

test("a client's configuration is one of the AWS SDK's own types", () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "use.ts"), `
    import { BedrockClient } from "@aws-sdk/client-bedrock";
    import { BedrockRuntimeClient } from "@aws-sdk/client-bedrock-runtime";
    import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
    import { Session } from "outcrop";
    const session = new Session();
    new BedrockClient(session.clientConfig());
    new BedrockRuntimeClient({ ...session.clientConfig({ requestTimeout: 5 }), maxAttempts: 1 });
    createAmazonBedrock({ fetch: session.fetch, region: "us-east-1", apiKey: "in-process" });
    // @ts-expect-error: an unknown option does not compile.
    session.clientConfig({ requestTimout: 5 });`);
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({
    compilerOptions: {
      strict: true, noEmit: true, target: "es2022", module: "nodenext", skipLibCheck: true,
      lib: ["es2022", "esnext.disposable", "dom"], types: ["node"],
      typeRoots: [join(ROOT, "bindings-node/node_modules/@types")],
      paths: {
        outcrop: [join(ROOT, "bindings-node/index.d.ts")],
        "*": [join(ROOT, "js-tests/node_modules/*")],
      },
    },
    files: ["use.ts"],
  }));
  const compiler = join(ROOT, "bindings-node/node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [compiler, "-p", folder], { encoding: "utf8", stdio: "pipe" });
});

test("the types compile in strict TypeScript", () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "use.ts"), `
    import outcrop, { Session, type Answer, type Reply, OutcropError } from "outcrop";
    async function main(): Promise<void> {
      const session = new Session({ home: "x", device: "cpu" });
      const model = await session.model("outcrop.quote-v1");
      const reply: Reply = await model.converse("Hi", { maxTokens: 3, signal: AbortSignal.timeout(5) });
      for await (const delta of model.stream([{ role: "user", content: "Hi" }])) delta.toUpperCase();
      const vectors: Float32Array[] = await model.embed(["a"]);
      const kb = await session.createKnowledgeBase("a", { chunking: { maxTokens: 100 } });
      const answer: Answer = await kb.ask("Why?", { k: 3, model });
      const first = answer.citations[0]?.passages[0]?.location.page ?? 0;
      // @ts-expect-error: an unknown option does not compile.
      await model.converse("Hi", { maxTokns: 3 });
      console.log(reply.text, vectors.length, first + 1, outcrop.Session === Session, OutcropError.name);
      session.close();
    }
    void main();`);
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({
    compilerOptions: {
      strict: true, noEmit: true, target: "es2022", module: "nodenext", skipLibCheck: false,
      lib: ["es2022", "esnext.disposable", "dom"], types: ["node"],
      typeRoots: [join(ROOT, "bindings-node/node_modules/@types")],
      paths: { outcrop: [join(ROOT, "bindings-node/index.d.ts")] },
    },
    files: ["use.ts"],
  }));
  const compiler = join(ROOT, "bindings-node/node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [compiler, "-p", folder], { encoding: "utf8", stdio: "pipe" });
});
