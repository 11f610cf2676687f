// The form of the operation cases: whether an SDK's answer is as expected. See core/outcrop/cases/README.md.

const absent = Symbol("absent");
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Bytes as a case writes them. */
export const bytesOf = (value) =>
  Buffer.from("$text" in value ? value.$text : JSON.stringify(value.$json));

/** A request's value as the SDK takes it. */
export function sent(value) {
  if (Array.isArray(value)) return value.map(sent);
  if (!isObject(value)) return value;
  if ("$text" in value || "$json" in value) return bytesOf(value);
  if ("$time" in value) return new Date(value.$time);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, sent(item)]));
}

/** An answer's value as a case writes it. */
export function shown(value) {
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) {
    const text = Buffer.from(value).toString();
    try {
      return { $json: JSON.parse(text) };
    } catch {
      return { $text: text };
    }
  }
  if (Array.isArray(value)) return value.map(shown);
  if (!isObject(value)) return value;
  const members = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(members.map(([name, item]) => [name, shown(item)]));
}

/** A value whose `${NAME}` are what was kept. */
export function filled(value, kept) {
  if (typeof value === "string") {
    let text = value;
    for (const [name, known] of Object.entries(kept)) {
      if (text === `\${${name}}`) return known;
      text = text.replaceAll(`\${${name}}`, typeof known === "string" ? known : JSON.stringify(known));
    }
    return text;
  }
  if (Array.isArray(value)) return value.map((item) => filled(item, kept));
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, filled(item, kept)]));
}

const WORDS = {
  $any: () => true,
  $string: (value) => typeof value === "string",
  $number: (value) => typeof value === "number",
  $integer: (value) => Number.isInteger(value),
  $object: isObject,
  $array: Array.isArray,
  $time: (value) => typeof value === "string" && !Number.isNaN(Date.parse(value)),
};

function wordDiffers(word, found, kept) {
  if (word.startsWith("$as ")) {
    kept[word.slice(4)] = found;
    return false;
  }
  if (word.startsWith("$match: ")) {
    return typeof found !== "string" || !new RegExp(word.slice(8)).test(found);
  }
  return !WORDS[word](found);
}

/** What differs, with its place; undefined where all is as expected. */
export function differs(expected, found, at, kept) {
  if (expected === "$absent") {
    return found === absent ? undefined : `${at}: expected nothing, got ${JSON.stringify(found)}`;
  }
  const wrong = `${at}: expected ${JSON.stringify(expected)}, got ${
    found === absent ? "nothing" : JSON.stringify(found)}`;
  if (found === absent) return wrong;
  if (typeof expected === "string" && expected.startsWith("$")) {
    return wordDiffers(expected, found, kept) ? wrong : undefined;
  }
  if (isObject(expected) && "$contains" in expected) {
    const missing = expected.$contains.find((wanted) =>
      !found.some((item) => differs(wanted, item, at, kept) === undefined));
    return missing && `${at}: ${JSON.stringify(missing)} is not in ${JSON.stringify(found)}`;
  }
  if (isObject(expected)) {
    if (!isObject(found)) return wrong;
    for (const [name, wanted] of Object.entries(expected)) {
      const item = Object.hasOwn(found, name) ? found[name] : absent;
      const problem = differs(wanted, item, `${at}.${name}`, kept);
      if (problem) return problem;
    }
    return undefined;
  }
  if (Array.isArray(expected)) {
    if (!Array.isArray(found) || found.length !== expected.length) return wrong;
    for (const [index, item] of expected.entries()) {
      const problem = differs(item, found[index], `${at}[${index}]`, kept);
      if (problem) return problem;
    }
    return undefined;
  }
  return expected === found ? undefined : wrong;
}

/** What differs in a stream, `$more` standing for any number of events. */
export function eventsDiffer(expected, found, kept, at = 0) {
  const [first, ...rest] = expected;
  if (first === undefined) {
    return found.length ? `events[${at}]: expected the end, got ${JSON.stringify(found[0])}` : undefined;
  }
  if (first === "$more") {
    let problem;
    for (let skipped = 0; skipped <= found.length; skipped += 1) {
      const tried = { ...kept };
      problem = eventsDiffer(rest, found.slice(skipped), tried, at + skipped);
      if (problem === undefined) {
        Object.assign(kept, tried);
        return undefined;
      }
    }
    return problem;
  }
  if (found.length === 0) return `events[${at}]: expected ${JSON.stringify(first)}, got the end`;
  return differs(first, found[0], `events[${at}]`, kept)
    ?? eventsDiffer(rest, found.slice(1), kept, at + 1);
}
