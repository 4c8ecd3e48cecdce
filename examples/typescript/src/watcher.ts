// Follows balances over WatchCredits for ever: open, read, check, tell; wait and open again.
//
//   for await (const update of new Watcher({ endpoints: ["http://127.0.0.1:7070"], targets: [{ accountId: "user_1" }] })) {
//     if (update.kind === "changes") …
//   }
//
// Each change is told once and in order, across lost connections. The loop ends with Refused when no retry would help,
// with ContractBroken when the service breaks its contract, and quietly when no target is left.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, type Duration } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { setTimeout as sleep } from "node:timers/promises";
import { Places } from "./contract.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { Balance } from "./gen/tallystick/credits/v1/balance_pb.js";
import { CreditService } from "./gen/tallystick/credits/v1/credit_service_pb.js";
import type { Entry } from "./gen/tallystick/credits/v1/entry_pb.js";
import type { Error as Reason } from "./gen/tallystick/credits/v1/error_pb.js";
import {
  type SnapshotReason,
  TargetChangeState,
  type WatchCreditsRequest,
  WatchCreditsRequestSchema,
  type WatchCreditsResponse,
  WatchMode,
  type WatchTargetSchema,
} from "./gen/tallystick/credits/v1/watch_pb.js";

// A wait is chance times a ceiling that doubles (full jitter), so that the watchers of a service that restarts do not
// come back together. A service may ask for more, but not for ever.
const FIRST_CEILING_MS = 200;
const LONGEST_CEILING_MS = 5_000;
const LONGEST_ASKED_MS = 3_600_000;
const DEFAULT_INTERVAL_MS = 5_000;
/** What waits to be read goes first: a reader that was slow itself must not call the service stale. */
const READ_GRACE_MS = 100;
/** A host that drops packets must not hold a try. */
const CONNECT_TIMEOUT_MS = 5_000;
/** A connection whose peer is gone without a word is noticed after 20 s + 10 s. */
const KEEPALIVE = { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 };
/** What no retry changes. */
export const PERMANENT: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.OutOfRange,
  Code.NotFound,
  Code.Unimplemented,
]);

export type Update =
  /** The whole state of a balance; replaces what the reader had. */
  | { kind: "snapshot"; balance: Balance; reason: SnapshotReason }
  /** What happened to a balance since; whole operations, checked to be without a gap. */
  | { kind: "changes"; accountId: string; unit: string; entries: Entry[] }
  /** Everything up to here was told. `inSync`: every target is as new as it was when the stream was opened. */
  | { kind: "bookmark"; inSync: boolean; sourceLagMs: number; resumeToken: Uint8Array }
  /** A target is not watched any more; the others are. */
  | { kind: "removed"; accountId: string; unit: string; error: Reason | undefined }
  /** The stream is lost, or could not be opened; the next try begins after this time. */
  | { kind: "disconnected"; why: string; retryInMs: number }
  /** A stream is open again. */
  | { kind: "reconnected" }
  /** No bookmark came for three intervals: what is shown may be old. Told once until the next bookmark. */
  | { kind: "stale" };

/** The service refuses in a way that no retry changes. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly code: Code;

  constructor(cause: ConnectError) {
    super(`refused: ${Code[cause.code]}: ${cause.rawMessage}`, { cause });
    this.code = cause.code;
  }
}

export interface WatcherOptions {
  /** Such as `http://127.0.0.1:7070`; several are tried in turn. */
  endpoints: readonly string[];
  targets: readonly MessageInitShape<typeof WatchTargetSchema>[];
  apiKey?: string | undefined;
  mode?: WatchMode;
  /** Rather be refused than jump over changes. */
  requireHistory?: boolean;
  bookmarkIntervalMs?: number;
  /** Ends the loop, without an error. */
  signal?: AbortSignal;
}

type Updates<Result> = AsyncGenerator<Update, Result, undefined>;
type Lost = { why: string; waitMs: number };

export class Watcher implements AsyncIterable<Update> {
  readonly #options: WatcherOptions;
  readonly #places: Places;
  #token: Uint8Array = new Uint8Array();
  #ceilingMs = FIRST_CEILING_MS;
  #lost = false;
  /** Infinite: told. */
  #staleAt = Number.POSITIVE_INFINITY;

  constructor(options: WatcherOptions) {
    if (options.endpoints.length === 0 || options.targets.length === 0) {
      throw new Error("it takes an endpoint and a target");
    }
    for (const endpoint of options.endpoints) new URL(endpoint);
    this.#options = options;
    this.#places = new Places(options.targets, options.mode === WatchMode.LATEST, options.requireHistory ?? false);
  }

  /** What happens, for ever. Leaving the loop closes the connection. Once a watcher. */
  async *[Symbol.asyncIterator](): Updates<void> {
    const left = new AbortController();
    const signal = AbortSignal.any([left.signal, ...(this.#options.signal ? [this.#options.signal] : [])]);
    const updates = this.#follow(signal);
    this.#expectBookmark();
    try {
      for (;;) {
        const next = updates.next();
        // One read, which goes on while staleness is told.
        while ((await settled(next, this.#staleAt)) === "late") {
          // A bookmark may have been read meanwhile.
          if (performance.now() < this.#staleAt) continue;
          this.#staleAt = Number.POSITIVE_INFINITY;
          yield { kind: "stale" };
        }
        const { done, value } = await next;
        if (done) return;
        yield value;
      }
    } finally {
      left.abort();
      await updates.return();
    }
  }

  /** One stream after another, the endpoints in turn. */
  async *#follow(signal: AbortSignal): Updates<void> {
    const { endpoints } = this.#options;
    for (let turn = 0; !signal.aborted; turn = (turn + 1) % endpoints.length) {
      let lost: Lost;
      try {
        lost = yield* this.#stream(endpoints[turn] ?? "", signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof ConnectError)) throw error;
        lost = this.#failed(error);
      }
      if (this.#places.size === 0) return;
      this.#lost = true;
      yield { kind: "disconnected", why: lost.why, retryInMs: lost.waitMs };
      await sleep(lost.waitMs, undefined, { signal }).catch(() => {});
    }
  }

  /** One stream on a connection of its own, so that each try may reach another replica. */
  async *#stream(endpoint: string, signal: AbortSignal): Updates<Lost> {
    const session = new Http2SessionManager(endpoint, KEEPALIVE);
    const stop = () => session.abort();
    signal.addEventListener("abort", stop);
    try {
      await connected(session);
      const client = createClient(CreditService, createGrpcTransport({ baseUrl: endpoint, sessionManager: session }));
      const opened = Promise.withResolvers<void>();
      const { apiKey } = this.#options;
      const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey.trim()}` } : {};
      const call = client.watchCredits(this.#request(), { headers, signal, onHeader: () => opened.resolve() });
      const messages = call[Symbol.asyncIterator]();
      let next = messages.next();
      await Promise.race([opened.promise, next]);
      if (this.#lost) {
        this.#lost = false;
        yield { kind: "reconnected" };
      }
      for (let read = await next; !read.done; next = messages.next(), read = await next) {
        const { event } = read.value;
        if (event.case === "goAway") {
          this.#keep(event.value.resumeToken);
          this.#ceilingMs = FIRST_CEILING_MS;
          const asked = event.value.reconnectAfter;
          const waitMs = asked === undefined ? this.#afterFailure() : bounded(asked);
          return { why: "the service asks to connect again", waitMs };
        }
        const update = this.#take(event);
        if (update !== undefined) yield update;
        if (this.#places.size === 0) break;
        this.#ceilingMs = FIRST_CEILING_MS;
      }
      return { why: "the service ended the stream", waitMs: this.#afterFailure() };
    } finally {
      signal.removeEventListener("abort", stop);
      session.abort();
    }
  }

  /** The targets say where they are; the token says it for those that do not know. */
  #request(): WatchCreditsRequest {
    const { mode, requireHistory, bookmarkIntervalMs } = this.#options;
    const request = create(WatchCreditsRequestSchema, {
      targets: this.#places.ask(),
      resumeToken: this.#token,
      mode: mode ?? WatchMode.EVERY_CHANGE,
      requireHistory: requireHistory ?? false,
    });
    if (bookmarkIntervalMs !== undefined) request.bookmarkInterval = durationFromMs(bookmarkIntervalMs);
    return request;
  }

  /** Checks one message. A member that this version does not know is ignored. */
  #take(event: WatchCreditsResponse["event"]): Update | undefined {
    switch (event.case) {
      case "snapshot":
        return { kind: "snapshot", balance: this.#places.snapshot(event.value), reason: event.value.reason };
      case "changes": {
        const { accountId, unit } = event.value;
        return { kind: "changes", accountId, unit, entries: this.#places.changes(event.value) };
      }
      case "bookmark": {
        const { inSync, sourceLag, resumeToken } = event.value;
        this.#expectBookmark();
        this.#keep(resumeToken);
        return { kind: "bookmark", inSync, sourceLagMs: sourceLag ? durationMs(sourceLag) : 0, resumeToken };
      }
      case "targetChange": {
        const { accountId, unit, state, error } = event.value;
        if (state !== TargetChangeState.REMOVED) return undefined;
        this.#places.remove(accountId, unit);
        return { kind: "removed", accountId, unit, error };
      }
      default:
        return undefined;
    }
  }

  #failed(error: ConnectError): Lost {
    const reason = error.findDetails(ErrorInfoSchema)[0]?.reason;
    if (this.#token.length > 0 && reason === "BAD_RESUME_TOKEN") {
      // Of an installation that was set up anew; the targets say themselves where they are.
      this.#token = new Uint8Array();
      return { why: "the service does not know the resume token", waitMs: 0 };
    }
    if (PERMANENT.has(error.code)) throw new Refused(error);
    const asked = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    const waitMs = Math.max(this.#afterFailure(), asked === undefined ? 0 : bounded(asked));
    return { why: `${Code[error.code]}: ${error.rawMessage}`, waitMs };
  }

  #afterFailure(): number {
    const waitMs = Math.random() * this.#ceilingMs;
    this.#ceilingMs = Math.min(this.#ceilingMs * 2, LONGEST_CEILING_MS);
    return waitMs;
  }

  #keep(token: Uint8Array): void {
    if (token.length > 0) this.#token = token;
  }

  #expectBookmark(): void {
    this.#staleAt = performance.now() + 3 * (this.#options.bookmarkIntervalMs ?? DEFAULT_INTERVAL_MS);
  }
}

const bounded = (asked: Duration) => Math.min(Math.max(durationMs(asked), 0), LONGEST_ASKED_MS);

/** Waits for the connection, not for ever. */
async function connected(session: Http2SessionManager): Promise<void> {
  const late = new ConnectError("no connection after 5 s", Code.Unavailable);
  const timer = setTimeout(() => session.abort(late), CONNECT_TIMEOUT_MS);
  const state = await session.connect();
  clearTimeout(timer);
  if (state === "error") throw ConnectError.from(session.error() ?? late);
}

/** Whether the read has ended, or the time for it has. */
async function settled(read: Promise<unknown>, at: number): Promise<"read" | "late"> {
  const leftMs = Math.max(READ_GRACE_MS, at - performance.now());
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    if (Number.isFinite(leftMs)) timer = setTimeout(resolve, leftMs, "late");
  });
  const ended = () => "read" as const;
  try {
    return await Promise.race([read.then(ended, ended), late]);
  } finally {
    clearTimeout(timer);
  }
}
