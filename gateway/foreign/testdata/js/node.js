// Runs the scenario under Node with all transports: node node.js <base URL>.
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { crowd, run } from "./scenario.js";

const transports = {
  "Connect over HTTP/1.1": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" }),
  "Connect over HTTP/2": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" }),
  "Connect with JSON and GET": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false, useHttpGet: true }),
  "gRPC-Web over HTTP/1.1": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web over HTTP/2": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
};

const base = process.argv[2];
let failed = 0;
for (const [name, transport] of Object.entries(transports)) {
  try {
    await run(`${name} at ${base}`, base, transport);
    await crowd(`${name} at ${base}`, base, transport);
    console.log(`ok ${name}`);
  } catch (e) {
    failed++;
    console.log(`failed ${name}: ${e.stack}`);
  }
}
process.exit(failed);
