// The watcher against a service that says what a script says. Needs no Tallystick: npm test.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import assert from "node:assert/strict";
import { once } from "node:events";
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ContractBroken } from "./contract.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { CreditService } from "./gen/tallystick/credits/v1/credit_service_pb.js";
import type { EntrySchema } from "./gen/tallystick/credits/v1/entry_pb.js";
import {
  SnapshotReason,
  TargetChangeState,
  type WatchCreditsRequest,
  type WatchCreditsResponse,
  WatchCreditsResponseSchema,
  WatchMode,
} from "./gen/tallystick/credits/v1/watch_pb.js";
import { PERMANENT, Refused, type Update, Watcher, type WatcherOptions } from "./watcher.ts";

/** What only a defect exceeds. */
const LIMIT = { timeout: 30_000 };

/** What one stream does: says its messages (the first opens it), then ends, fails, or stays. */
interface Stream {
  messages?: WatchCreditsResponse[];
  then?: "end" | ConnectError;
}

/** A credits service with a script, which remembers what it was asked. */
class Fake {
  readonly seen: WatchCreditsRequest[] = [];
  authorization: string | null = null;
  readonly #streams: Stream[];

  constructor(...streams: Stream[]) {
    this.#streams = streams;
  }

  /** Serves on a free port until the test ends. */
  async serve(t: TestContext): Promise<string> {
    const watchCredits = this.#watchCredits.bind(this);
    const routes = (router: ConnectRouter) => router.service(CreditService, { watchCredits });
    const server = http2.createServer(connectNodeAdapter({ routes }));
    const sessions = new Set<http2.ServerHttp2Session>();
    server.on("session", (session) => {
      sessions.add(session.once("close", () => sessions.delete(session)));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
      for (const session of sessions) session.destroy();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async *#watchCredits(request: WatchCreditsRequest, context: HandlerContext) {
    this.seen.push(request);
    this.authorization = context.requestHeader.get("authorization");
    const { messages = [], then } = this.#streams.shift() ?? {};
    yield* messages;
    if (then instanceof ConnectError) throw then;
    if (then !== "end") await once(context.signal, "abort");
  }
}

type Event = NonNullable<MessageInitShape<typeof WatchCreditsResponseSchema>["event"]>;
const message = (event: Event) => create(WatchCreditsResponseSchema, { event });
const hash = (byte: number) => new Uint8Array(32).fill(byte);
const target = { accountId: "a" };

function snapshot(version: number, reason = SnapshotReason.INITIAL, byte = 1): WatchCreditsResponse {
  const balance = { ...target, unit: "credits", version: BigInt(version), entryHash: hash(byte) };
  return message({ case: "snapshot", value: { balance, reason } });
}

/** An entry as [version, its place in the operation, the operation's size, the operation]. */
type Line = [version: number, index: number, size: number, operation?: string];

function change(...lines: (Line | number)[]): WatchCreditsResponse {
  const entries = lines.map((line): MessageInitShape<typeof EntrySchema> => {
    const [version, operationIndex, operationSize, operationId = "op_1"] = typeof line === "number" ? [line, 0, 1] : line;
    const place = { operationIndex, operationSize, operationId };
    return { ...target, unit: "credits", version: BigInt(version), entryHash: hash(version), ...place };
  });
  return message({ case: "changes", value: { ...target, unit: "credits", entries } });
}

const bookmark = (token: string) =>
  message({ case: "bookmark", value: { inSync: true, resumeToken: new TextEncoder().encode(token) } });

const text = (token: Uint8Array | undefined) => new TextDecoder().decode(token);

/** The updates of a watcher of account "a" at the fake, until the test ends. */
async function watching(t: TestContext, fake: Fake, options: Partial<WatcherOptions> = {}) {
  const leaving = new AbortController();
  const endpoints = [...(options.endpoints ?? []), await fake.serve(t)];
  const watcher = new Watcher({ targets: [target], signal: leaving.signal, ...options, endpoints });
  const updates = watcher[Symbol.asyncIterator]();
  t.after(async () => {
    leaving.abort();
    await updates.return();
  });
  return updates;
}

type Kind = Update["kind"];
type Updates = Awaited<ReturnType<typeof watching>>;

/** The next update, which has to be of this kind. */
async function take<K extends Kind>(updates: Updates, kind: K): Promise<Extract<Update, { kind: K }>> {
  const { value } = await updates.next();
  assert.equal(value?.kind, kind);
  return value as Extract<Update, { kind: K }>;
}

async function skip(updates: Updates, ...kinds: Kind[]): Promise<void> {
  for (const kind of kinds) await take(updates, kind);
}

/** What the error says that ends the watch after these updates. */
async function broken(t: TestContext, fake: Fake, before: Kind[], options: Partial<WatcherOptions> = {}) {
  const updates = await watching(t, fake, options);
  await skip(updates, ...before);
  const error = await updates.next().then(
    ({ value }) => assert.fail(`not an error: ${value?.kind}`),
    (error: unknown) => error,
  );
  assert.ok(error instanceof ContractBroken, String(error));
  assert.equal((await updates.next()).done, true, "it ended for good");
  return error.message;
}

test("a lost stream is resumed from the last entry and token", LIMIT, async (t) => {
  const first: Stream = { messages: [snapshot(3), change(4), bookmark("t1"), change(5)], then: "end" };
  const fake = new Fake(first, { messages: [change(6)] });
  const updates = await watching(t, fake, { apiKey: "k\n" });
  await skip(updates, "snapshot", "changes", "bookmark", "changes", "disconnected", "reconnected");
  const { entries } = await take(updates, "changes");
  assert.deepEqual(entries.map((entry) => entry.version), [6n]);
  assert.equal(fake.authorization, "Bearer k");
  assert.equal(fake.seen[0]?.targets[0]?.afterVersion, undefined);
  const again = fake.seen[1]?.targets[0];
  assert.equal(again?.afterVersion, 5n);
  assert.deepEqual(again.afterHash, hash(5));
  assert.equal(text(fake.seen[1]?.resumeToken), "t1");
});

test("a gap and a repetition end the watch loudly", LIMIT, async (t) => {
  for (const version of [6, 4, 3]) {
    const fake = new Fake({ messages: [snapshot(3), change(4), change(version)] });
    const said = await broken(t, fake, ["snapshot", "changes"]);
    assert.equal(said, `contract broken for a, credits: expected version 5, got version ${version}`);
  }
  const across = new Fake({ messages: [snapshot(3)], then: "end" }, { messages: [change(5)] });
  const said = await broken(t, across, ["snapshot", "disconnected", "reconnected"]);
  assert.match(said, /expected version 4, got version 5/);
});

test("a part of an operation ends the watch loudly", LIMIT, async (t) => {
  const parts: Line[][] = [
    [[4, 0, 2]],
    [[4, 1, 2]],
    [[4, 0, 1], [5, 1, 2]],
    [[4, 0, 2], [5, 0, 2]],
    [[4, 2, 2]],
    [[4, 0, 2], [5, 1, 2, "op_2"]],
  ];
  for (const lines of parts) {
    const said = await broken(t, new Fake({ messages: [snapshot(3), change(...lines)] }), ["snapshot"]);
    assert.match(said, /^contract broken for a, credits: .* at version [45]$/);
  }
});

test("only the first entry after a resume may begin inside an operation", LIMIT, async (t) => {
  const targets = [{ ...target, afterVersion: 3n }];
  const twice = new Fake({ messages: [change([4, 1, 2]), change([5, 1, 2])] });
  assert.match(await broken(t, twice, ["changes"], { targets }), /expected entry 0 of an operation/);
});

test("a divergent snapshot replaces what was and is where the next stream goes on", LIMIT, async (t) => {
  const diverged = snapshot(2, SnapshotReason.RESET_DIVERGED, 9);
  const fake = new Fake({ messages: [snapshot(3), change(4), diverged], then: "end" }, { messages: [change(3)] });
  const updates = await watching(t, fake);
  await skip(updates, "snapshot", "changes");
  const { balance, reason } = await take(updates, "snapshot");
  assert.deepEqual([balance.version, reason], [2n, SnapshotReason.RESET_DIVERGED]);
  await skip(updates, "disconnected", "reconnected", "changes");
  assert.equal(fake.seen[1]?.targets[0]?.afterVersion, 2n);
  assert.deepEqual(fake.seen[1].targets[0].afterHash, hash(9));
});

test("snapshots come only where they may", LIMIT, async (t) => {
  const conflated = snapshot(5, SnapshotReason.CONFLATED);
  let said = await broken(t, new Fake({ messages: [snapshot(3), snapshot(4)] }), ["snapshot"]);
  assert.match(said, /expected no INITIAL snapshot after version 3/);
  said = await broken(t, new Fake({ messages: [snapshot(3), conflated] }), ["snapshot"]);
  assert.match(said, /expected every change after version 3/);
  const older = new Fake({ messages: [snapshot(3), conflated, snapshot(4, SnapshotReason.CONFLATED)] });
  said = await broken(t, older, ["snapshot", "snapshot"], { mode: WatchMode.LATEST });
  assert.match(said, /expected a state not older than version 5/);
  const tooOld = new Fake({ messages: [snapshot(9, SnapshotReason.RESET_TOO_OLD)] });
  said = await broken(t, tooOld, [], { requireHistory: true });
  assert.match(said, /which was required, got snapshot RESET_TOO_OLD at version 9/);
  said = await broken(t, new Fake({ messages: [change(1)] }), []);
  assert.match(said, /expected an INITIAL snapshot first/);
});

test("what no retry changes ends the watch", LIMIT, async (t) => {
  for (const code of PERMANENT) {
    const fake = new Fake({ then: new ConnectError("as told", code) });
    const updates = await watching(t, fake);
    await assert.rejects(updates.next(), (error) => error instanceof Refused && error.code === code);
    assert.equal(fake.seen.length, 1);
  }
});

test("a retry waits as long as the status asks", LIMIT, async (t) => {
  const retry = { desc: RetryInfoSchema, value: { retryDelay: { seconds: 0n, nanos: 300_000_000 } } };
  const busy = new ConnectError("busy", Code.Unavailable, {}, [retry]);
  const updates = await watching(t, new Fake({ then: busy }, { messages: [bookmark("t1")] }));
  const { retryInMs } = await take(updates, "disconnected");
  assert.ok(retryInMs >= 300, String(retryInMs));
  const began = performance.now();
  await take(updates, "reconnected");
  assert.ok(performance.now() - began >= 290);
});

test("a GoAway is followed after the time that it names", LIMIT, async (t) => {
  const value = { resumeToken: new TextEncoder().encode("t2"), reconnectAfter: { nanos: 30_000_000 } };
  const fake = new Fake({ messages: [snapshot(3), message({ case: "goAway", value })] }, { messages: [bookmark("t3")] });
  const updates = await watching(t, fake);
  await take(updates, "snapshot");
  const { why, retryInMs } = await take(updates, "disconnected");
  assert.deepEqual([why, retryInMs], ["the service asks to connect again", 30]);
  await take(updates, "reconnected");
  assert.equal(text(fake.seen[1]?.resumeToken), "t2");
});

test("a token that the service does not know is dropped and costs nothing", LIMIT, async (t) => {
  const bad = { desc: ErrorInfoSchema, value: { domain: "tallystick", reason: "BAD_RESUME_TOKEN" } };
  const refusal = new ConnectError("not ours", Code.InvalidArgument, {}, [bad]);
  const first: Stream = { messages: [snapshot(3), bookmark("t1")], then: "end" };
  const fake = new Fake(first, { then: refusal }, { messages: [change(4)] });
  const updates = await watching(t, fake);
  for (;;) {
    const { value } = await updates.next();
    assert.ok(value !== undefined);
    if (value.kind === "changes") break;
  }
  assert.deepEqual(fake.seen.map((request) => text(request.resumeToken)), ["", "t1", ""]);
  assert.equal(fake.seen[2]?.targets[0]?.afterVersion, 3n);
});

test("silence of three intervals is stale until the next bookmark", LIMIT, async (t) => {
  const updates = await watching(t, new Fake(), { bookmarkIntervalMs: 20 });
  await take(updates, "stale");
  assert.equal(await Promise.race([updates.next(), sleep(300, "told once")]), "told once");
  // What waits to be read goes first: nothing is stale for a reader that was slow itself.
  const slow = await watching(t, new Fake({ messages: [snapshot(3), bookmark("t1")] }), { bookmarkIntervalMs: 50 });
  await take(slow, "snapshot");
  await sleep(250);
  await skip(slow, "bookmark", "stale");
});

test("the second endpoint is tried after the first failed", LIMIT, async (t) => {
  const free = http2.createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const dead = `http://127.0.0.1:${(free.address() as AddressInfo).port}`;
  await new Promise((closed) => free.close(closed));
  const updates = await watching(t, new Fake({ messages: [snapshot(3)] }), { endpoints: [dead] });
  await skip(updates, "disconnected", "reconnected", "snapshot");
});

test("removed targets are told and the last one ends the watch", LIMIT, async (t) => {
  const value = { ...target, unit: "credits", state: TargetChangeState.REMOVED };
  const updates = await watching(t, new Fake({ messages: [message({ case: "targetChange", value })] }));
  await take(updates, "removed");
  assert.equal((await updates.next()).done, true);
});

test("members of a later version are ignored", LIMIT, async (t) => {
  const unknown = create(WatchCreditsResponseSchema);
  unknown.$unknown = [{ no: 31, wireType: 2, data: Uint8Array.of(3, 97, 98, 99) }];
  const value = { ...target, unit: "credits", state: 77 as TargetChangeState };
  const later = message({ case: "targetChange", value });
  const updates = await watching(t, new Fake({ messages: [unknown, later, snapshot(3)] }));
  await take(updates, "snapshot");
});

test("leaving the loop and aborting the signal end it without an error", LIMIT, async (t) => {
  const endpoints = [await new Fake({ messages: [snapshot(3)] }).serve(t)];
  for await (const update of new Watcher({ endpoints, targets: [target] })) {
    assert.equal(update.kind, "snapshot");
    break;
  }
  const leaving = new AbortController();
  for await (const _ of new Watcher({ endpoints, targets: [target], signal: leaving.signal, bookmarkIntervalMs: 1 })) {
    leaving.abort(); // told stale, since the fake has nothing more to say
  }
});

test("unusable options are refused at once", () => {
  const endpoints = ["http://127.0.0.1:1"];
  assert.throws(() => new Watcher({ endpoints: [], targets: [target] }));
  assert.throws(() => new Watcher({ endpoints, targets: [] }));
  assert.throws(() => new Watcher({ endpoints, targets: [target, { ...target, unit: "credits" }] }));
  assert.throws(() => new Watcher({ endpoints: ["nowhere"], targets: [target] }));
});

test("waits double up to the longest and have full jitter", LIMIT, async (t) => {
  t.mock.method(Math, "random", () => 0.001);
  const busy: Stream = { then: new ConnectError("busy", Code.Unavailable) };
  const updates = await watching(t, new Fake(...Array.from({ length: 7 }, () => busy)));
  const waits: number[] = [];
  while (waits.length < 7) {
    const { value } = await updates.next();
    if (value?.kind === "disconnected") waits.push(value.retryInMs * 1000);
  }
  assert.deepEqual(waits.map(Math.round), [200, 400, 800, 1600, 3200, 5000, 5000]);
});
