// Prints balances as they change: one line a version on standard output, all else on standard error.
//
//   node src/live-balance.ts user_1 user_2 --endpoint http://127.0.0.1:7070
//
// TALLYSTICK_API_KEY is the credential, where one is needed.

import { parseArgs } from "node:util";
import { ContractBroken } from "./contract.ts";
import type { Balance } from "./gen/tallystick/credits/v1/balance_pb.js";
import type { Entry } from "./gen/tallystick/credits/v1/entry_pb.js";
import { SnapshotReason } from "./gen/tallystick/credits/v1/watch_pb.js";
import { Refused, type Update, Watcher } from "./watcher.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    unit: { type: "string", default: "credits" },
    endpoint: { type: "string", multiple: true, default: ["http://127.0.0.1:7070"] },
  },
});

function show(accountId: string, unit: string, state: Balance | Entry): void {
  const { version, available, held, scheduled, debt } = state;
  const figures = `available ${available}, held ${held}, scheduled ${scheduled}, debt ${debt}`;
  console.log(`${accountId} ${unit} version ${version}: ${figures}`);
}

let inSync = false;

function tell(update: Update): void {
  switch (update.kind) {
    case "snapshot":
      if (update.reason === SnapshotReason.RESET_DIVERGED) {
        console.error(`${update.balance.accountId}: what was shown is void`);
      }
      return show(update.balance.accountId, update.balance.unit, update.balance);
    case "changes":
      for (const entry of update.entries) show(update.accountId, update.unit, entry);
      return;
    case "bookmark":
      if (update.inSync && !inSync) console.error("up to date");
      inSync = update.inSync;
      return;
    case "removed":
      return console.error(`${update.accountId} ${update.unit} is not watched: ${update.error?.message ?? ""}`);
    case "disconnected":
      inSync = false;
      return console.error(`updating: ${update.why}; connecting again in ${(update.retryInMs / 1000).toFixed(1)} s`);
    case "reconnected":
      return console.error("connected again");
    case "stale":
      inSync = false;
      return console.error("what is shown may be old");
  }
}

if (positionals.length === 0) {
  console.error("usage: node src/live-balance.ts ACCOUNT… [--unit UNIT] [--endpoint URL]…");
  process.exit(2);
}
try {
  const watcher = new Watcher({
    endpoints: values.endpoint,
    targets: positionals.map((accountId) => ({ accountId, unit: values.unit })),
    apiKey: process.env["TALLYSTICK_API_KEY"],
  });
  for await (const update of watcher) tell(update);
} catch (error) {
  if (!(error instanceof ContractBroken || error instanceof Refused)) throw error;
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}
