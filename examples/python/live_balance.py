"""Prints balances as they change: one line a version on standard output, all else on standard error.

    python live_balance.py user_1 user_2 --endpoint http://127.0.0.1:7070

TALLYSTICK_API_KEY is the credential, where one is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from contract import ContractBroken
from tallystick.credits.v1.balance_pb2 import Balance
from tallystick.credits.v1.entry_pb2 import Entry
from tallystick.credits.v1.watch_pb2 import SNAPSHOT_REASON_RESET_DIVERGED, WatchTarget
from watcher import (
    BookmarkTaken,
    ChangesTaken,
    Disconnected,
    Reconnected,
    Refused,
    Removed,
    SnapshotTaken,
    Stale,
    Watcher,
)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(account: str, unit: str, state: Balance | Entry) -> None:
    """Balance and Entry have the same four figures."""
    figures = f"available {state.available}, held {state.held}, scheduled {state.scheduled}, debt {state.debt}"
    print(f"{account} {unit} version {state.version}: {figures}", flush=True)


async def follow(arguments: argparse.Namespace) -> None:
    targets = [WatchTarget(account_id=account, unit=arguments.unit) for account in arguments.accounts]
    following = Watcher(arguments.endpoint, targets, api_key=os.environ.get("TALLYSTICK_API_KEY"))
    in_sync = False
    async for update in following.updates():
        match update:
            case SnapshotTaken(balance, reason):
                if reason == SNAPSHOT_REASON_RESET_DIVERGED:
                    note(f"{balance.account_id}: what was shown is void")
                show(balance.account_id, balance.unit, balance)
            case ChangesTaken(account_id, unit, entries):
                for entry in entries:
                    show(account_id, unit, entry)
            case BookmarkTaken():
                if update.in_sync and not in_sync:
                    note("up to date")
                in_sync = update.in_sync
            case Removed(account_id, unit, error):
                note(f"{account_id} {unit} is not watched: {error.message}")
            case Disconnected(why, retry_in):
                note(f"updating: {why}; connecting again in {retry_in:.1f} s")
                in_sync = False
            case Reconnected():
                note("connected again")
            case Stale():
                note("what is shown may be old")
                in_sync = False


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints balances as they change.")
    parser.add_argument("accounts", nargs="+", metavar="ACCOUNT")
    parser.add_argument("--unit", default="credits")
    parser.add_argument("--endpoint", action="append", help="several are tried in turn (default http://127.0.0.1:7070)")
    arguments = parser.parse_args()
    arguments.endpoint = arguments.endpoint or ["http://127.0.0.1:7070"]
    try:
        asyncio.run(follow(arguments))
    except (ContractBroken, Refused) as error:
        note(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
