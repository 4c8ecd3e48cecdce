"""The watcher against a service that says what a script says. Needs no Tallystick: python -m unittest."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import unittest
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

import watcher
from contract import ContractBroken
from tallystick.credits.v1 import watch_pb2 as watch
from tallystick.credits.v1.balance_pb2 import Balance
from tallystick.credits.v1.entry_pb2 import Entry
from watcher import (
    BookmarkTaken,
    ChangesTaken,
    Disconnected,
    Reconnected,
    Refused,
    Removed,
    SnapshotTaken,
    Stale,
    Update,
    Watcher,
)

Message = watch.WatchCreditsResponse
# What only a defect exceeds.
LIMIT_S = 30.0
OPERATION = "op_1"


@dataclass
class Stream:
    """What one stream does: says its messages, then ends with the code, or stays when it has none."""

    messages: list[Message] = field(default_factory=list)
    code: grpc.StatusCode | None = None
    details: list[object] = field(default_factory=list)


class Fake:
    """A credits service with a script, which remembers what it was asked."""

    def __init__(self, *streams: Stream) -> None:
        self._streams = list(streams)
        self.seen: list[watch.WatchCreditsRequest] = []
        self.authorization: object = None

    async def watch_credits(
        self, request: watch.WatchCreditsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[Message]:
        self.seen.append(request)
        self.authorization = dict(context.invocation_metadata() or ()).get("authorization")
        stream = self._streams.pop(0) if self._streams else Stream()
        if stream.code is None:
            # As the service does: the answer begins before there is anything to say.
            await context.send_initial_metadata(())
        for message in stream.messages:
            yield message
        if stream.code is None:
            with contextlib.suppress(asyncio.CancelledError):  # the watcher went
                await asyncio.Event().wait()
        elif stream.code is not grpc.StatusCode.OK:
            if stream.details:
                status = Status(code=stream.code.value[0], message="as told")
                for detail in stream.details:
                    packed = Any()
                    packed.Pack(detail)  # type: ignore[arg-type]
                    status.details.append(packed)
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            await context.abort(stream.code, "as told")


def snapshot(version: int, reason: int = watch.SNAPSHOT_REASON_INITIAL, entry_hash: bytes = b"\x01" * 32) -> Message:
    balance = Balance(account_id="a", unit="credits", version=version, entry_hash=entry_hash)
    return Message(snapshot=watch.Snapshot(balance=balance, reason=reason))  # type: ignore[arg-type]


def change(*versions: int, places: list[tuple[int, int]] | None = None, operations: str = OPERATION) -> Message:
    """Entries with these versions; `places` are their places in the operation, each a whole one unless given."""
    entries = [
        Entry(
            account_id="a",
            unit="credits",
            version=version,
            operation_id=operations,
            operation_index=index,
            operation_size=size,
            entry_hash=bytes([version]) * 32,
        )
        for version, (index, size) in zip(versions, places or [(0, 1)] * len(versions), strict=True)
    ]
    return Message(changes=watch.Changes(account_id="a", unit="credits", entries=entries))


def bookmark(token: bytes, in_sync: bool = True) -> Message:
    return Message(bookmark=watch.Bookmark(in_sync=in_sync, resume_token=token))


def go_away(token: bytes, ms: int) -> Message:
    return Message(go_away=watch.GoAway(resume_token=token, reconnect_after=Duration(nanos=ms * 1_000_000)))


class WatcherTest(unittest.IsolatedAsyncioTestCase):
    async def watching(self, fake: Fake, **options: object) -> AsyncIterator[Update]:
        """The updates of a watcher of account "a" at the fake, which serves until the test ends."""
        server = grpc.aio.server()
        handler = grpc.unary_stream_rpc_method_handler(
            fake.watch_credits,
            request_deserializer=watch.WatchCreditsRequest.FromString,
            response_serializer=Message.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler(
            "tallystick.credits.v1.CreditService", {"WatchCredits": handler}
        )
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.addAsyncCleanup(server.stop, None)
        endpoints = [*options.pop("before", []), f"http://127.0.0.1:{port}"]  # type: ignore[misc]
        targets = options.pop("targets", [watch.WatchTarget(account_id="a")])
        updates = Watcher(endpoints, targets, **options).updates()  # type: ignore[arg-type]
        self.addAsyncCleanup(updates.aclose)  # type: ignore[attr-defined]
        return updates

    async def take(self, updates: AsyncIterator[Update], kind: type[Update]) -> Update:
        update = await asyncio.wait_for(anext(updates), LIMIT_S)
        self.assertIsInstance(update, kind)
        return update

    async def broken(self, fake: Fake, *before: type[Update], **options: object) -> str:
        """What the error says that ends the watch after these updates."""
        updates = await self.watching(fake, **options)
        for kind in before:
            await self.take(updates, kind)
        with self.assertRaises(ContractBroken) as caught:
            await asyncio.wait_for(anext(updates), LIMIT_S)
        with self.assertRaises(StopAsyncIteration):
            await asyncio.wait_for(anext(updates), LIMIT_S)
        return str(caught.exception)

    async def test_a_lost_stream_is_resumed_from_the_last_entry_and_token(self) -> None:
        first = Stream([snapshot(3), change(4), bookmark(b"t1"), change(5)], grpc.StatusCode.OK)
        fake = Fake(first, Stream([change(6)]))
        updates = await self.watching(fake, api_key="k\n")
        for kind in (SnapshotTaken, ChangesTaken, BookmarkTaken, ChangesTaken, Disconnected, Reconnected):
            await self.take(updates, kind)
        update = await self.take(updates, ChangesTaken)
        assert isinstance(update, ChangesTaken)
        self.assertEqual([entry.version for entry in update.entries], [6])
        self.assertEqual(fake.authorization, "Bearer k")
        self.assertFalse(fake.seen[0].targets[0].HasField("after_version"))
        target = fake.seen[1].targets[0]
        self.assertEqual((target.after_version, target.after_hash), (5, b"\x05" * 32))
        self.assertEqual(fake.seen[1].resume_token, b"t1")

    async def test_a_gap_and_a_repetition_end_the_watch_loudly(self) -> None:
        for version in (6, 4, 3):
            fake = Fake(Stream([snapshot(3), change(4), change(version)]))
            said = await self.broken(fake, SnapshotTaken, ChangesTaken)
            self.assertEqual(said, f"contract broken for a, credits: expected version 5, got version {version}")
        across = Fake(Stream([snapshot(3)], grpc.StatusCode.OK), Stream([change(5)]))
        said = await self.broken(across, SnapshotTaken, Disconnected, Reconnected)
        self.assertIn("expected version 4, got version 5", said)

    async def test_a_part_of_an_operation_ends_the_watch_loudly(self) -> None:
        for parts in ([(0, 2)], [(1, 2)], [(0, 1), (1, 2)], [(0, 2), (0, 2)], [(2, 2)]):
            message = change(*range(4, 4 + len(parts)), places=parts)
            said = await self.broken(Fake(Stream([snapshot(3), message])), SnapshotTaken)
            self.assertRegex(said, r"^contract broken for a, credits: .* at version [45]$")
        stranger = change(4, 5, places=[(0, 2), (1, 2)])
        stranger.changes.entries[1].operation_id = "op_2"
        said = await self.broken(Fake(Stream([snapshot(3), stranger])), SnapshotTaken)
        self.assertIn("expected entry 1 of the operation before", said)

    async def test_only_the_first_entry_after_a_resume_may_begin_inside_an_operation(self) -> None:
        targets = [watch.WatchTarget(account_id="a", after_version=3)]
        updates = await self.watching(Fake(Stream([change(4, places=[(1, 2)])])), targets=targets)
        await self.take(updates, ChangesTaken)
        twice = Fake(Stream([change(4, places=[(1, 2)]), change(5, places=[(1, 2)])]))
        said = await self.broken(twice, ChangesTaken, targets=targets)
        self.assertIn("expected entry 0 of an operation", said)

    async def test_a_divergent_snapshot_replaces_what_was_and_is_where_the_next_stream_goes_on(self) -> None:
        diverged = snapshot(2, watch.SNAPSHOT_REASON_RESET_DIVERGED, b"\x09" * 32)
        first = Stream([snapshot(3), change(4), diverged], grpc.StatusCode.OK)
        fake = Fake(first, Stream([change(3)]))
        updates = await self.watching(fake)
        await self.take(updates, SnapshotTaken)
        await self.take(updates, ChangesTaken)
        update = await self.take(updates, SnapshotTaken)
        assert isinstance(update, SnapshotTaken)
        self.assertEqual((update.balance.version, update.reason), (2, watch.SNAPSHOT_REASON_RESET_DIVERGED))
        for kind in (Disconnected, Reconnected, ChangesTaken):
            await self.take(updates, kind)
        target = fake.seen[1].targets[0]
        self.assertEqual((target.after_version, target.after_hash), (2, b"\x09" * 32))

    async def test_snapshots_come_only_where_they_may(self) -> None:
        said = await self.broken(Fake(Stream([snapshot(3), snapshot(4)])), SnapshotTaken)
        self.assertIn("expected no INITIAL snapshot after version 3", said)
        conflated = snapshot(5, watch.SNAPSHOT_REASON_CONFLATED)
        said = await self.broken(Fake(Stream([snapshot(3), conflated])), SnapshotTaken)
        self.assertIn("expected every change after version 3", said)
        latest = {"mode": watch.WATCH_MODE_LATEST}
        older = snapshot(4, watch.SNAPSHOT_REASON_CONFLATED)
        said = await self.broken(
            Fake(Stream([snapshot(3), conflated, older])), SnapshotTaken, SnapshotTaken, **latest
        )
        self.assertIn("expected a state not older than version 5", said)
        too_old = Fake(Stream([snapshot(9, watch.SNAPSHOT_REASON_RESET_TOO_OLD)]))
        said = await self.broken(too_old, require_history=True)
        self.assertIn("which was required, got snapshot SNAPSHOT_REASON_RESET_TOO_OLD at version 9", said)
        said = await self.broken(Fake(Stream([change(1)])))
        self.assertIn("expected an INITIAL snapshot first", said)

    async def test_what_no_retry_changes_ends_the_watch(self) -> None:
        for code in watcher.PERMANENT:
            fake = Fake(Stream(code=code))
            updates = await self.watching(fake)
            with self.assertRaises(Refused) as caught:
                await asyncio.wait_for(anext(updates), LIMIT_S)
            self.assertEqual((caught.exception.code, len(fake.seen)), (code, 1))

    async def test_a_retry_waits_as_long_as_the_status_asks(self) -> None:
        details: list[object] = [RetryInfo(retry_delay=Duration(nanos=300_000_000))]
        fake = Fake(Stream(code=grpc.StatusCode.UNAVAILABLE, details=details))
        updates = await self.watching(fake)
        lost = await self.take(updates, Disconnected)
        assert isinstance(lost, Disconnected)
        self.assertGreaterEqual(lost.retry_in, 0.3)
        began = time.monotonic()
        await self.take(updates, Reconnected)
        self.assertGreaterEqual(time.monotonic() - began, 0.29)

    async def test_a_go_away_is_followed_after_the_time_that_it_names(self) -> None:
        fake = Fake(Stream([snapshot(3), go_away(b"t2", 30)]))
        updates = await self.watching(fake)
        await self.take(updates, SnapshotTaken)
        lost = await self.take(updates, Disconnected)
        self.assertEqual(lost, Disconnected("the service asks to connect again", 0.03))
        await self.take(updates, Reconnected)
        self.assertEqual(fake.seen[1].resume_token, b"t2")

    async def test_a_token_that_the_service_does_not_know_is_dropped_and_costs_nothing(self) -> None:
        bad = ErrorInfo(domain="tallystick", reason="BAD_RESUME_TOKEN")
        first = Stream([snapshot(3), bookmark(b"t1")], grpc.StatusCode.OK)
        refusal = Stream(code=grpc.StatusCode.INVALID_ARGUMENT, details=[bad])
        fake = Fake(first, refusal, Stream([change(4)]))
        updates = await self.watching(fake)
        seen: list[type[Update]] = []
        while not seen or seen[-1] is not ChangesTaken:
            seen.append(type(await asyncio.wait_for(anext(updates), LIMIT_S)))
        self.assertEqual([request.resume_token for request in fake.seen], [b"", b"t1", b""])
        self.assertEqual(fake.seen[2].targets[0].after_version, 3)

    async def test_silence_of_three_intervals_is_stale_until_the_next_bookmark(self) -> None:
        updates = await self.watching(Fake(), bookmark_interval_s=0.02)
        await self.take(updates, Stale)
        with self.assertRaises(TimeoutError):
            await asyncio.wait_for(anext(updates), 0.3)  # told once
        # What waits to be read goes first: nothing is stale for a reader that was slow itself.
        slow = await self.watching(Fake(Stream([snapshot(3), bookmark(b"t1")])), bookmark_interval_s=0.05)
        await self.take(slow, SnapshotTaken)
        await asyncio.sleep(0.2)
        await self.take(slow, BookmarkTaken)
        await self.take(slow, Stale)

    async def test_the_second_endpoint_is_tried_after_the_first_failed(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            dead = f"http://127.0.0.1:{free.getsockname()[1]}"
        updates = await self.watching(Fake(Stream([snapshot(3)])), before=[dead])
        for kind in (Disconnected, Reconnected, SnapshotTaken):
            await self.take(updates, kind)

    async def test_removed_targets_are_told_and_the_last_one_ends_the_watch(self) -> None:
        removed = watch.TargetChange(account_id="a", unit="credits", state=watch.TARGET_CHANGE_STATE_REMOVED)
        updates = await self.watching(Fake(Stream([Message(target_change=removed)])))
        await self.take(updates, Removed)
        with self.assertRaises(StopAsyncIteration):
            await asyncio.wait_for(anext(updates), LIMIT_S)

    async def test_members_of_a_later_version_are_ignored(self) -> None:
        unknown = Message.FromString(b"\xfa\x01\x03abc")  # field 31, bytes
        later = watch.TargetChange(account_id="a", unit="credits", state=77)  # type: ignore[arg-type]
        fake = Fake(Stream([unknown, Message(target_change=later), snapshot(3)]))
        updates = await self.watching(fake)
        await self.take(updates, SnapshotTaken)

    async def test_unusable_arguments_are_refused_at_once(self) -> None:
        target = watch.WatchTarget(account_id="a")
        for endpoints, targets in (([], [target]), (["http://127.0.0.1:1"], []), (["http://127.0.0.1:1"], [target] * 2)):
            with self.assertRaises(ValueError):
                Watcher(endpoints, targets)


class WaitsTest(unittest.TestCase):
    def test_waits_double_up_to_the_longest_and_have_full_jitter(self) -> None:
        waiting = Watcher(["http://127.0.0.1:1"], [watch.WatchTarget(account_id="a")])
        for ceiling in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
            self.assertEqual(waiting._ceiling_s, ceiling)
            self.assertTrue(0.0 <= waiting._after_failure() <= ceiling)


if __name__ == "__main__":
    unittest.main()
