// Where each balance stands, what to ask next, and whether what came may follow. No network here.
//
// The rules are those of docs/api.md, "The contract of WatchCredits". A service that breaks one is not believed any
// further: ContractBroken ends the watch, and names the balance and the versions.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Balance } from "./gen/tallystick/credits/v1/balance_pb.js";
import type { Entry } from "./gen/tallystick/credits/v1/entry_pb.js";
import {
  type Changes,
  type Snapshot,
  SnapshotReason,
  type WatchTarget,
  WatchTargetSchema,
} from "./gen/tallystick/credits/v1/watch_pb.js";

/** What the reader has of this balance cannot be trusted any further. */
export class ContractBroken extends Error {
  override readonly name = "ContractBroken";
  readonly accountId: string;
  readonly unit: string;
  readonly expected: string;
  readonly got: string;

  constructor(accountId: string, unit: string, expected: string, got: string) {
    super(`contract broken for ${accountId}, ${unit}: expected ${expected}, got ${got}`);
    this.accountId = accountId;
    this.unit = unit;
    this.expected = expected;
    this.got = got;
  }
}

/** How far one balance was read. */
interface Place {
  readonly accountId: string;
  readonly unit: string;
  version: bigint | undefined;
  entryHash: Uint8Array;
  /** The stream was asked for a first snapshot, which has not come. */
  initialDue: boolean;
  /** Nothing came since a resume, which may have been inside an operation. */
  resumed: boolean;
}

/** All targets that are still watched. */
export class Places {
  readonly #places = new Map<string, Place>();
  readonly #latest: boolean;
  readonly #requireHistory: boolean;

  constructor(targets: readonly MessageInitShape<typeof WatchTargetSchema>[], latest: boolean, requireHistory: boolean) {
    this.#latest = latest;
    this.#requireHistory = requireHistory;
    for (const init of targets) {
      const { accountId, unit, afterVersion, afterHash } = create(WatchTargetSchema, init);
      const place = { accountId, unit: unit || "credits", version: afterVersion, entryHash: afterHash };
      if (this.#places.has(key(place.accountId, place.unit))) throw new Error(`${accountId} is named twice`);
      this.#places.set(key(place.accountId, place.unit), { ...place, initialDue: false, resumed: false });
    }
  }

  get size(): number {
    return this.#places.size;
  }

  remove(accountId: string, unit: string): void {
    this.#places.delete(key(accountId, unit));
  }

  /** The targets of the next stream, each from where it stands. */
  ask(): WatchTarget[] {
    return [...this.#places.values()].map((place) => {
      place.initialDue = place.version === undefined;
      place.resumed = place.version !== undefined;
      const { accountId, unit, version, entryHash } = place;
      const target = create(WatchTargetSchema, { accountId, unit, afterHash: entryHash });
      if (version !== undefined) target.afterVersion = version;
      return target;
    });
  }

  /** Takes a snapshot; throws ContractBroken when it may not come here. */
  snapshot({ balance, reason }: Snapshot): Balance {
    if (balance === undefined) throw new ContractBroken("", "", "a snapshot with a balance", "none");
    const place = this.#place(balance.accountId, balance.unit);
    const expected = this.#unwelcome(place, balance.version, reason);
    if (expected !== undefined) {
      const got = `snapshot ${SnapshotReason[reason] ?? reason} at version ${balance.version}`;
      throw new ContractBroken(balance.accountId, balance.unit, expected, got);
    }
    place.version = balance.version;
    place.entryHash = balance.entryHash;
    place.initialDue = place.resumed = false;
    return balance;
  }

  /** Takes changes; throws ContractBroken for a gap, a repetition or a part of an operation. */
  changes({ accountId, unit, entries }: Changes): Entry[] {
    const broken = (expected: string, got: string) => new ContractBroken(accountId, unit, expected, got);
    const place = this.#place(accountId, unit);
    if (this.#latest) throw broken("snapshots only", "changes");
    if (place.version === undefined) throw broken("an INITIAL snapshot first", "changes");
    let version = place.version;
    let before: Entry | undefined;
    for (const entry of entries) {
      if (entry.accountId !== accountId || entry.unit !== unit) {
        throw broken("its own entries", `one of ${entry.accountId}, ${entry.unit}`);
      }
      if (entry.version !== version + 1n) throw broken(`version ${version + 1n}`, `version ${entry.version}`);
      const expected = misplaced(before, entry, place.resumed);
      if (expected !== undefined) throw broken(expected, `${position(entry)} at version ${entry.version}`);
      place.resumed = false;
      version = entry.version;
      before = entry;
    }
    if (before === undefined) throw broken(`version ${version + 1n}`, "changes without an entry");
    if (!endsOperation(before)) {
      throw broken("the whole operation", `${position(before)} as the last, at version ${before.version}`);
    }
    place.version = version;
    place.entryHash = before.entryHash;
    return entries;
  }

  #place(accountId: string, unit: string): Place {
    const place = this.#places.get(key(accountId, unit));
    if (place === undefined) throw new ContractBroken(accountId, unit, "a watched balance", "another");
    return place;
  }

  /** What was expected, when such a snapshot may not come here. */
  #unwelcome(place: Place, version: bigint, reason: SnapshotReason): string | undefined {
    switch (reason) {
      case SnapshotReason.INITIAL:
        return place.initialDue ? undefined : `no INITIAL snapshot after version ${place.version}, none was asked for`;
      case SnapshotReason.RESET_TOO_OLD:
        return this.#requireHistory ? `history after version ${place.version}, which was required` : undefined;
      case SnapshotReason.CONFLATED:
        if (!this.#latest) return `every change after version ${place.version}`;
        return version < (place.version ?? 0n) ? `a state not older than version ${place.version}` : undefined;
      default:
        return undefined;
    }
  }
}

/** No account and no unit has a space. */
const key = (accountId: string, unit: string) => `${accountId} ${unit}`;

const position = (entry: Entry) => `entry ${entry.operationIndex} of ${entry.operationSize}`;

const endsOperation = (entry: Entry) => entry.operationIndex + 1 === entry.operationSize;

/** What was expected, when the entry may not stand where it does in its operation. */
function misplaced(before: Entry | undefined, entry: Entry, joined: boolean): string | undefined {
  if (entry.operationIndex < 0 || entry.operationIndex >= entry.operationSize) return "a place within its operation";
  if (before !== undefined && !endsOperation(before)) {
    const next = before.operationIndex + 1;
    const same = entry.operationId === before.operationId && entry.operationSize === before.operationSize;
    return same && entry.operationIndex === next ? undefined : `entry ${next} of the operation before`;
  }
  if (entry.operationIndex === 0 || (before === undefined && joined)) return undefined;
  return "entry 0 of an operation";
}
