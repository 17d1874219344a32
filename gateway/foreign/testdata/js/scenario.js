// What every client of the gateway in JavaScript does, under Node and in a
// browser. A scenario gets a way to make a client for a base URL, and throws when
// the gateway does something else than it should.
import { createClient, Code, ConnectError } from "@connectrpc/connect";
import { CallStatusSchema, Outcome } from "./gen/cajun/v1/options_pb.js";
import { Desk } from "./gen/desk/v1/desk_pb.js";

function check(holds, what) {
  if (!holds) throw new Error(what);
}

// refused is the error with which a call ends.
async function refused(call, code) {
  try {
    await call;
  } catch (e) {
    const error = ConnectError.from(e);
    check(error.code === code, `the code is ${Code[error.code]} and not ${Code[code]}: ${error.message}`);
    return error;
  }
  throw new Error(`the call succeeded, and should have ended as ${Code[code]}`);
}

// outcome is what the error's detail says.
const outcome = (error) => error.findDetails(CallStatusSchema)[0]?.outcome;

// run does everything with one transport. Keys begin with the name, so that runs do
// not see each other. transportTo makes a transport for a base URL.
export async function run(name, base, transportTo) {
  // The only thing that is not as with every other service: the base URL.
  const actor = (key) => createClient(Desk, transportTo(`${base}/actors/${encodeURIComponent(key)}`));
  const key = `${name}/a desk`;
  const desk = actor(key);

  const added = await desk.add({ amount: 2n });
  check(added.desk === key && added.sum === 2n, `the sum of ${added.desk} is ${added.sum}`);
  const looked = await createClient(Desk, transportTo(base)).look({ desk: key });
  check(looked.sum === 2n, `the key in the request leads to the sum ${looked.sum}`);
  const tried = await createClient(Desk, transportTo(base)).try({}, { headers: { "Cajun-Key": encodeURIComponent(key) } });
  check(tried.desk === key, `the key in the header leads to ${tried.desk}`);
  const large = await desk.try({ padding: new Uint8Array(100_000) });
  check(large.padding.length === 100_000, `of 100000 bytes ${large.padding.length} came back`);
  await desk.tellOnce({ amount: 1n });

  let error = await refused(desk.try({ script: "refuse" }), Code.NotFound);
  check(error.rawMessage === "no such thing", error.message);
  check(outcome(error) === Outcome.ANSWERED, `the outcome is ${outcome(error)}`);
  error = await refused(createClient(Desk, transportTo(base)).try({}), Code.InvalidArgument);
  check(outcome(error) === Outcome.NOT_EXECUTED, `without a key the outcome is ${outcome(error)}`);

  const timed = await desk.try({}, { timeoutMs: 60_000 });
  check(timed.left > 0n && timed.left <= 60_000n, `${timed.left} ms are left of a minute`);
  await refused(desk.try({ script: "wait" }, { timeoutMs: 200 }), Code.DeadlineExceeded);
  const waiting = new AbortController();
  const waits = desk.try({ script: "wait" }, { signal: waiting.signal });
  await actor(`${name}/another`).look({});
  waiting.abort();
  await refused(waits, Code.Canceled);

  const once = actor(`${name}/once`);
  for (const replayed of [null, "true"]) {
    let headers;
    const { sum } = await once.add({ amount: 5n }, { headers: { "Idempotency-Key": "order-4711" }, onHeader: (h) => (headers = h) });
    check(sum === 5n, `a repeated call leads to the sum ${sum}`);
    check(headers.get("Idempotency-Replayed") === replayed, `Idempotency-Replayed is ${headers.get("Idempotency-Replayed")}`);
  }

  await follow(actor(`${name}/followed`));
}

// follow follows a desk while it is called, and leaves.
async function follow(desk) {
  const leaving = new AbortController();
  let sum = 0n;
  try {
    for await (const event of desk.watch({}, { signal: leaving.signal })) {
      check(event.sum === sum, `the event tells the sum ${event.sum} and not ${sum}`);
      if (sum === 20n) leaving.abort();
      else sum = (await desk.add({ amount: 1n })).sum;
    }
    throw new Error("the stream ended by itself");
  } catch (e) {
    const error = ConnectError.from(e);
    check(error.code === Code.Canceled, error.message);
  }
  check(sum === 20n, `the stream ended at the sum ${sum}`);
  await desk.try({ script: "left" }, { timeoutMs: 20_000 }); // it answers when the stream has ended for the actor
}

// crowd has ten follow a desk at once: all get each event.
export async function crowd(name, base, transportTo) {
  const desk = createClient(Desk, transportTo(`${base}/actors/${encodeURIComponent(`${name}/crowded`)}`));
  const leaving = new AbortController();
  const streams = Array.from({ length: 10 }, () => desk.watch({}, { signal: leaving.signal })[Symbol.asyncIterator]());
  for (let sum = 0n; sum < 3n; sum++) {
    for (const { value } of await Promise.all(streams.map((stream) => stream.next()))) {
      check(value.sum === sum, `an event tells the sum ${value?.sum} and not ${sum}`);
    }
    await desk.add({ amount: 1n });
  }
  leaving.abort();
}
