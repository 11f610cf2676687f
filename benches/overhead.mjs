// What a call costs that does nothing, in Node; `overhead.py` runs this.
import { Session } from "../bindings-node/index.mjs";

function nanoseconds(call, number = 200_000) {
  let best = Infinity;
  for (let round = 0; round < 5; round += 1) {
    const started = process.hrtime.bigint();
    for (let i = 0; i < number; i += 1) call();
    best = Math.min(best, Number(process.hrtime.bigint() - started) / number);
  }
  return Math.round(best * 10) / 10;
}

async function awaited(call, number = 300) {
  let best = Infinity;
  for (let round = 0; round < 5; round += 1) {
    const started = process.hrtime.bigint();
    for (let i = 0; i < number; i += 1) await call();
    best = Math.min(best, Number(process.hrtime.bigint() - started) / number);
  }
  return Math.round(best);
}

const session = new Session({ home: process.argv[2], offline: true });
console.log(JSON.stringify({
  bench: "overhead_node",
  unit: "ns/call",
  empty_function: nanoseconds(() => {}),
  home: nanoseconds(() => session.home),
  models_awaited: await awaited(() => session.models()),
}));
session.close();
