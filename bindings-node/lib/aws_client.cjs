// The transport of the AWS SDK for JavaScript: real clients, answered in this process.
"use strict";

const { ChunkBody, ask, bytesOf, queryOf } = require("./http.cjs");

/** The error that the SDK knows an abort by. */
function abortError(signal) {
  const error = new Error("Request aborted", { cause: signal?.reason });
  error.name = "AbortError";
  return error;
}

/** The error that the SDK knows a timeout by, and tries again after. */
function timeoutError(milliseconds) {
  const error = new Error(`no response within the requestTimeout of ${milliseconds} ms`);
  error.name = "TimeoutError";
  return Object.assign(error, { code: "ETIMEDOUT" });
}

/** Calls `stop` when `signal` aborts; gives what takes the call back. */
function onAbort(signal, stop) {
  if (!signal) return () => {};
  if (typeof signal.addEventListener === "function") {
    signal.addEventListener("abort", stop, { once: true });
    return () => signal.removeEventListener("abort", stop);
  }
  // The SDK's own AbortController of old.
  signal.onabort = stop;
  return () => { signal.onabort = null; };
}

/** A request handler, as the SDK takes one: structurally typed, so that no SDK is depended on. */
class InProcessHandler {
  metadata = { handlerProtocol: "http/1.1" };
  #session;
  #settings;

  constructor(session, settings = {}) {
    this.#session = session;
    this.#settings = { ...settings };
  }

  async handle(request, { abortSignal, requestTimeout } = {}) {
    if (abortSignal?.aborted) throw abortError(abortSignal);
    const limit = requestTimeout ?? this.#settings.requestTimeout ?? 0;
    // A signal costs as much as a short call: it is made where it can come to be used.
    const stopping = abortSignal || limit > 0 ? new AbortController() : undefined;
    const timer = limit > 0 && setTimeout(() => stopping.abort(timeoutError(limit)), limit);
    const release = onAbort(abortSignal, () => stopping.abort(abortError(abortSignal)));
    let response;
    try {
      response = await ask(this.#session, await wireRequest(request), stopping?.signal);
    } catch (thrown) {
      release();
      throw thrown;
    } finally {
      clearTimeout(timer);
    }
    const { status, headers, body } = response;
    // A body that is still being made can be aborted; a whole one is here.
    if (body instanceof ChunkBody) {
      stopping?.signal.addEventListener("abort", () => body.destroy(stopping.signal.reason));
    } else {
      release();
    }
    return { response: { statusCode: status, headers: Object.fromEntries(headers), body } };
  }

  updateHttpClientConfig(key, value) {
    this.#settings[key] = value;
  }

  httpHandlerConfigs() {
    return this.#settings;
  }

  destroy() {}
}

async function wireRequest(request) {
  const headers = ["host", request.hostname ?? ""];
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.toLowerCase() !== "host") headers.push(name, String(value));
  }
  return {
    method: request.method,
    path: request.path,
    query: queryOf(request.query),
    headers,
    body: await bytesOf(request.body),
  };
}

/** An output stream that ends its response's body when its reader leaves the loop. */
function closing(stream, body) {
  return {
    [Symbol.asyncIterator]() {
      const events = stream[Symbol.asyncIterator]();
      return {
        async next() {
          try {
            return await events.next();
          } catch (thrown) {
            body.destroy();
            throw thrown;
          }
        },
        async return(value) {
          body.destroy();
          return { value, done: true };
        },
      };
    },
  };
}

function isStream(value) {
  return typeof value === "object" && value !== null
    && typeof value[Symbol.asyncIterator] === "function";
}

const closed = new WeakSet();

/**
 * Has the streams of a client end their bodies on `break`. The SDK's own decoder only ever asks
 * for the next event, so that a transport is never told that nobody reads on.
 */
function closeOnBreak(config) {
  if (closed.has(config)) return;
  closed.add(config);
  const { protocol, eventStreamMarshaller } = config;
  if (typeof protocol?.deserializeResponse === "function") {
    const deserialize = protocol.deserializeResponse.bind(protocol);
    protocol.deserializeResponse = async (operation, context, response) => {
      const output = await deserialize(operation, context, response);
      if (!(response.body instanceof ChunkBody)) return output;
      for (const [name, value] of Object.entries(output)) {
        if (isStream(value)) output[name] = closing(value, response.body);
      }
      return output;
    };
  } else if (typeof eventStreamMarshaller?.deserialize === "function") {
    // Clients from before the SDK's protocols were objects.
    config.eventStreamMarshaller = {
      serialize: (...given) => eventStreamMarshaller.serialize(...given),
      deserialize(body, read) {
        const stream = eventStreamMarshaller.deserialize(body, read);
        return body instanceof ChunkBody ? closing(stream, body) : stream;
      },
    };
  }
}

/** There is nobody to show credentials to: requests are not signed. */
const SCHEME = "outcrop#inProcess";

/** What a client of the AWS SDK is made with, so that `session` answers it. */
function clientConfig(session, { region = "us-east-1", requestTimeout } = {}) {
  return {
    region,
    credentials: { accessKeyId: "in-process", secretAccessKey: "in-process" },
    requestHandler: new InProcessHandler(session, { requestTimeout }),
    httpAuthSchemes: [{
      schemeId: SCHEME,
      identityProvider: () => async () => ({}),
      signer: { sign: async (request) => request },
    }],
    // The SDK hands the client's configuration to what a scheme asks for, and to nothing else
    // that a configuration brings.
    httpAuthSchemeProvider: () => [{
      schemeId: SCHEME,
      propertiesExtractor(config) {
        closeOnBreak(config);
        return {};
      },
    }],
  };
}

module.exports = { clientConfig };
