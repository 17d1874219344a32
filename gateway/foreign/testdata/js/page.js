// Runs the scenario in a browser, with the transports that browsers have, and tells
// the server that the page comes from what came of it. What the query names as
// "open" are base URLs of gateways that let the page in; "closed" ones do not, and
// "wide" ones speak HTTP/2, so that a browser opens more than six streams to them.
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { Desk } from "./gen/desk/v1/desk_pb.js";
import { crowd, run } from "./scenario.js";

const transports = {
  Connect: (baseUrl) => createConnectTransport({ baseUrl }),
  "Connect with binary messages and GET": (baseUrl) => createConnectTransport({ baseUrl, useBinaryFormat: true, useHttpGet: true }),
  "gRPC-Web": (baseUrl) => createGrpcWebTransport({ baseUrl }),
};

// attempt is a step that tells whether it has worked, in the page and in the report.
const report = {};
async function attempt(name, step) {
  const line = document.createElement("li");
  document.getElementById("results").append(line);
  line.textContent = `running ${name}`;
  try {
    await step();
    report[name] = "ok";
  } catch (e) {
    report[name] = String(e.stack ?? e);
  }
  line.textContent = `${name}: ${report[name]}`;
}

const query = new URLSearchParams(location.search);
for (const base of query.getAll("open")) {
  for (const [name, transport] of Object.entries(transports)) {
    await attempt(`${name} to ${base}`, () => run(`${name} at ${base}`, base, transport));
  }
}
for (const base of query.getAll("wide")) {
  for (const [name, transport] of Object.entries(transports)) {
    await attempt(`${name} to ${base}`, () => crowd(`${name} at ${base}`, base, transport));
  }
}
for (const base of query.getAll("closed")) {
  for (const [name, transport] of Object.entries(transports)) {
    await attempt(`${name} to ${base}`, async () => {
      try {
        await createClient(Desk, transport(`${base}/actors/closed`)).add({ amount: 1n });
      } catch (e) {
        // The browser does not tell scripts why it has refused.
        const error = ConnectError.from(e);
        if (error.code === Code.Unknown && error.cause instanceof TypeError) return;
        throw e;
      }
      throw new Error("the browser has let the page call a gateway that names no origins");
    });
  }
}
await fetch("/report", { method: "POST", body: JSON.stringify({ report, page: document.getElementById("results").innerText }) });
