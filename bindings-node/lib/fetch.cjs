// `fetch` for libraries that speak HTTP themselves, answered in this process.
"use strict";

const { ChunkBody, ask } = require("./http.cjs");

/** A body as a stream that asks the core for the next bytes when its reader does. */
function readable(body, release) {
  return new ReadableStream({
    async pull(controller) {
      try {
        const chunk = await body.read();
        if (chunk !== undefined) return controller.enqueue(new Uint8Array(chunk));
        release();
        return controller.close();
      } catch (thrown) {
        release();
        return controller.error(thrown);
      }
    },
    cancel() {
      release();
      body.destroy();
    },
  }, { highWaterMark: 0 });
}

/** The `fetch` of a session: every request is answered by it, whatever the host. */
function fetchOf(session) {
  return async function fetch(input, init) {
    const request = new Request(input, init);
    const { signal } = request;
    signal.throwIfAborted();
    const place = new URL(request.url);
    const headers = ["host", place.host];
    for (const [name, value] of request.headers) headers.push(name, value);
    const { status, headers: told, body } = await ask(session, {
      method: request.method,
      path: place.pathname,
      query: place.search.slice(1),
      headers,
      body: new Uint8Array(await request.arrayBuffer()),
    }, signal);
    if (!(body instanceof ChunkBody)) {
      // A response of these has no body, not even an empty one.
      const bare = [204, 205, 304].includes(status);
      return new Response(bare ? null : body, { status, headers: told });
    }
    const stop = () => body.destroy(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    const release = () => signal.removeEventListener("abort", stop);
    return new Response(readable(body, release), { status, headers: told });
  };
}

module.exports = { fetchOf };
