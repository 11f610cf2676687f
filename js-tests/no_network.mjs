// Refuses every connection that leaves this machine, and every name that would be looked up.
import dns from "node:dns";
import net from "node:net";

/** What was tried, for a test that asks. */
export const refused = [];

const LOCAL = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/;

function refuse(what, host) {
  refused.push(`${what} ${host}`);
  throw new Error(`${what} ${host}: tests reach nothing but this machine`);
}

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function checked(...given) {
  const [first] = Array.isArray(given[0]) ? given[0] : given;
  const place = typeof first === "object" && first !== null ? first : { port: first, host: given[1] };
  const host = place.path ? "localhost" : place.host ?? "localhost";
  if (!LOCAL.test(host)) refuse("connect", host);
  return connect.apply(this, given);
};

for (const owner of [dns, dns.promises]) {
  const lookup = owner.lookup;
  owner.lookup = function checked(host, ...rest) {
    if (!LOCAL.test(host)) refuse("lookup", host);
    return lookup.call(this, host, ...rest);
  };
}
