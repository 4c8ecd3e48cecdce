"""Where each balance stands, what to ask next, and whether what came may follow. No network here.

The rules are those of docs/api.md, "The contract of WatchCredits". A service that breaks one is not believed any
further: ContractBroken ends the watch, and names the balance and the versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.credits.v1.balance_pb2 import Balance
from tallystick.credits.v1.entry_pb2 import Entry
from tallystick.credits.v1.watch_pb2 import (
    SNAPSHOT_REASON_CONFLATED,
    SNAPSHOT_REASON_INITIAL,
    SNAPSHOT_REASON_RESET_TOO_OLD,
    Changes,
    Snapshot,
    SnapshotReason,
    WatchTarget,
)


class ContractBroken(Exception):
    """What the reader has of this balance cannot be trusted any further."""

    def __init__(self, account_id: str, unit: str, expected: str, got: str) -> None:
        super().__init__(f"contract broken for {account_id}, {unit}: expected {expected}, got {got}")
        self.account_id, self.unit, self.expected, self.got = account_id, unit, expected, got


@dataclass(slots=True)
class Place:
    """How far one balance was read."""

    version: int | None = None
    entry_hash: bytes = b""
    initial_due: bool = False  # the stream was asked for a first snapshot, which has not come
    resumed: bool = False  # nothing came since a resume, which may have been inside an operation


class Places:
    """All targets that are still watched."""

    def __init__(self, targets: Sequence[WatchTarget], latest: bool, require_history: bool) -> None:
        self._latest, self._require_history = latest, require_history
        self._places: dict[tuple[str, str], Place] = {}
        for target in targets:
            name = (target.account_id, target.unit or "credits")
            if name in self._places:
                raise ValueError(f"{target.account_id} is named twice")
            version = target.after_version if target.HasField("after_version") else None
            self._places[name] = Place(version, target.after_hash)

    def __len__(self) -> int:
        return len(self._places)

    def remove(self, account_id: str, unit: str) -> None:
        self._places.pop((account_id, unit), None)

    def ask(self) -> list[WatchTarget]:
        """The targets of the next stream, each from where it stands."""
        targets = []
        for (account_id, unit), place in self._places.items():
            place.initial_due, place.resumed = place.version is None, place.version is not None
            target = WatchTarget(account_id=account_id, unit=unit, after_hash=place.entry_hash)
            if place.version is not None:
                target.after_version = place.version
            targets.append(target)
        return targets

    def snapshot(self, snapshot: Snapshot) -> Balance:
        """Takes a snapshot; raises ContractBroken when it may not come here."""
        balance, reason = snapshot.balance, snapshot.reason
        place = self._place(balance.account_id, balance.unit)
        expected = None
        if reason == SNAPSHOT_REASON_INITIAL and not place.initial_due:
            expected = f"no INITIAL snapshot after version {place.version}, none was asked for"
        elif reason == SNAPSHOT_REASON_RESET_TOO_OLD and self._require_history:
            expected = f"history after version {place.version}, which was required"
        elif reason == SNAPSHOT_REASON_CONFLATED and not self._latest:
            expected = f"every change after version {place.version}"
        elif reason == SNAPSHOT_REASON_CONFLATED and balance.version < (place.version or 0):
            expected = f"a state not older than version {place.version}"
        if expected is not None:
            known = SnapshotReason.Name(reason) if reason in SnapshotReason.values() else str(reason)
            got = f"snapshot {known} at version {balance.version}"
            raise ContractBroken(balance.account_id, balance.unit, expected, got)
        self._places[balance.account_id, balance.unit] = Place(balance.version, balance.entry_hash)
        return balance

    def changes(self, changes: Changes) -> list[Entry]:
        """Takes changes; raises ContractBroken for a gap, a repetition or a part of an operation."""

        def broken(expected: str, got: str) -> ContractBroken:
            return ContractBroken(changes.account_id, changes.unit, expected, got)

        place = self._place(changes.account_id, changes.unit)
        if self._latest:
            raise broken("snapshots only", "changes")
        if place.version is None:
            raise broken("an INITIAL snapshot first", "changes")
        if not changes.entries:
            raise broken(f"version {place.version + 1}", "changes without an entry")
        version, before = place.version, None
        for entry in changes.entries:
            if (entry.account_id, entry.unit) != (changes.account_id, changes.unit):
                raise broken("its own entries", f"one of {entry.account_id}, {entry.unit}")
            if entry.version != version + 1:
                raise broken(f"version {version + 1}", f"version {entry.version}")
            expected = _misplaced(before, entry, joined=place.resumed)
            if expected is not None:
                raise broken(expected, f"{_position(entry)} at version {entry.version}")
            place.resumed = False
            version, before = entry.version, entry
        last = changes.entries[-1]
        if not _ends_operation(last):
            raise broken("the whole operation", f"{_position(last)} as the last, at version {last.version}")
        place.version, place.entry_hash = version, last.entry_hash
        return list(changes.entries)

    def _place(self, account_id: str, unit: str) -> Place:
        place = self._places.get((account_id, unit))
        if place is None:
            raise ContractBroken(account_id, unit, "a watched balance", "another")
        return place


def _position(entry: Entry) -> str:
    return f"entry {entry.operation_index} of {entry.operation_size}"


def _ends_operation(entry: Entry) -> bool:
    return entry.operation_index + 1 == entry.operation_size


def _misplaced(before: Entry | None, entry: Entry, joined: bool) -> str | None:
    """What was expected, when the entry may not stand where it does in its operation."""
    if not 0 <= entry.operation_index < entry.operation_size:
        return "a place within its operation"
    if before is not None and not _ends_operation(before):
        same = (entry.operation_id, entry.operation_size) == (before.operation_id, before.operation_size)
        following = before.operation_index + 1
        return None if same and entry.operation_index == following else f"entry {following} of the operation before"
    if entry.operation_index == 0 or (before is None and joined):
        return None
    return "entry 0 of an operation"
