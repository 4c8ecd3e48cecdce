"""Follows balances over WatchCredits for ever: open, read, check, tell; wait and open again.

    async for update in Watcher(["http://127.0.0.1:7070"], [WatchTarget(account_id="user_1")]).updates():
        match update:
            case SnapshotTaken(balance=balance): ...
            case ChangesTaken(entries=entries): ...

Each change is told once and in order, across lost connections. The generator ends with Refused when no retry would
help, with ContractBroken when the service breaks its contract, and quietly when no target is left.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from contract import Places
from tallystick.credits.v1.balance_pb2 import Balance
from tallystick.credits.v1.credit_service_pb2_grpc import CreditServiceStub
from tallystick.credits.v1.entry_pb2 import Entry
from tallystick.credits.v1.error_pb2 import Error
from tallystick.credits.v1.watch_pb2 import (
    TARGET_CHANGE_STATE_REMOVED,
    WATCH_MODE_EVERY_CHANGE,
    WATCH_MODE_LATEST,
    Bookmark,
    WatchCreditsRequest,
    WatchCreditsResponse,
    WatchMode,
    WatchTarget,
)

# A wait is chance times a ceiling that doubles (full jitter), so that the watchers of a service that restarts do not
# come back together. A service may ask for more, but not for ever.
FIRST_CEILING_S, LONGEST_CEILING_S, LONGEST_ASKED_S = 0.2, 5.0, 3600.0
DEFAULT_INTERVAL_S = 5.0
# What waits to be read goes first: a reader that was slow itself must not call the service stale.
READ_GRACE_S = 0.1
CHANNEL_OPTIONS = [
    # A connection whose peer is gone without a word is noticed after 20 s + 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A host that drops packets must not hold a try: this one is also how long a connection may take to be made.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # Each try connects anew: otherwise gRPC shares connections between channels, with a back-off of its own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]
# What no retry changes.
PERMANENT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
}


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """The whole state of a balance; replaces what the reader had. `reason` is a SnapshotReason."""

    balance: Balance
    reason: int


@dataclass(frozen=True, slots=True)
class ChangesTaken:
    """What happened to a balance since; whole operations, checked to be without a gap."""

    account_id: str
    unit: str
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class BookmarkTaken:
    """Everything up to here was told. `in_sync`: every target is as new as it was when the stream was opened."""

    in_sync: bool
    source_lag: timedelta
    resume_token: bytes


@dataclass(frozen=True, slots=True)
class Removed:
    """A target is not watched any more; the others are."""

    account_id: str
    unit: str
    error: Error


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream is lost, or could not be opened; the next try begins after `retry_in` seconds."""

    why: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class Reconnected:
    """A stream is open again."""


@dataclass(frozen=True, slots=True)
class Stale:
    """No bookmark came for three intervals: what is shown may be old. Told once until the next bookmark."""


Update = SnapshotTaken | ChangesTaken | BookmarkTaken | Removed | Disconnected | Reconnected | Stale
Tell = Callable[[Update | Exception | None], Awaitable[None]]


class Refused(Exception):
    """The service refuses in a way that no retry changes."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"refused: {code.name}: {message}")
        self.code = code


class Watcher:
    """What to watch, where, and how."""

    def __init__(
        self,
        endpoints: Sequence[str],
        targets: Sequence[WatchTarget],
        *,
        api_key: str | None = None,
        mode: WatchMode = WATCH_MODE_EVERY_CHANGE,
        require_history: bool = False,
        bookmark_interval_s: float | None = None,
    ) -> None:
        if not endpoints or not targets:
            raise ValueError("it takes an endpoint and a target")
        self._endpoints = list(endpoints)
        self._metadata = [("authorization", f"Bearer {api_key.strip()}")] if api_key else []
        self._places = Places(targets, mode == WATCH_MODE_LATEST, require_history)
        self._mode, self._require_history, self._interval_s = mode, require_history, bookmark_interval_s
        self._token = b""
        self._ceiling_s = FIRST_CEILING_S
        self._lost = False
        self._stale_at: float | None = None

    async def updates(self) -> AsyncIterator[Update]:
        """What happens, for ever. Leave it by closing it (contextlib.aclosing) or by ending its task."""
        # Holds one update: a reader that is slow holds back the stream, not memory.
        told: asyncio.Queue[Update | Exception | None] = asyncio.Queue(maxsize=1)
        self._expect_bookmark()
        follower = asyncio.create_task(self._follow(told.put))
        try:
            while True:
                left = None if self._stale_at is None else max(READ_GRACE_S, self._stale_at - _now())
                try:
                    update = await asyncio.wait_for(told.get(), left)
                except TimeoutError:
                    # A bookmark may have been read meanwhile.
                    if self._stale_at is not None and self._stale_at <= _now():
                        self._stale_at = None
                        yield Stale()
                    continue
                if isinstance(update, Exception):
                    raise update
                if update is None:
                    return
                yield update
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    async def _follow(self, tell: Tell) -> None:
        """One stream after another, the endpoints in turn."""
        try:
            for turn in itertools.count():
                why, wait_s = await self._stream(self._endpoints[turn % len(self._endpoints)], tell)
                if not self._places:
                    return await tell(None)
                self._lost = True
                await tell(Disconnected(why, wait_s))
                await asyncio.sleep(wait_s)
        except Exception as error:  # is raised again where the reader is
            await tell(error)

    async def _stream(self, endpoint: str, tell: Tell) -> tuple[str, float]:
        """One stream, from connecting to its end; why it ended, and how long to wait in seconds."""
        async with _channel(endpoint) as channel:
            call = CreditServiceStub(channel).WatchCredits(self._request(), metadata=self._metadata)
            try:
                await call.wait_for_connection()
                if self._lost:
                    self._lost = False
                    await tell(Reconnected())
                async for message in call:
                    if message.WhichOneof("event") == "go_away":
                        return self._go_away(message)
                    await self._take(message, tell)
                    if not self._places:
                        break
                    self._ceiling_s = FIRST_CEILING_S
            except grpc.aio.AioRpcError as error:
                return self._failed(error)
            return "the service ended the stream", self._after_failure()

    def _request(self) -> WatchCreditsRequest:
        """The targets say where they are; the token says it for those that do not know."""
        request = WatchCreditsRequest(
            targets=self._places.ask(),
            resume_token=self._token,
            mode=self._mode,
            require_history=self._require_history,
        )
        if self._interval_s is not None:
            request.bookmark_interval.FromTimedelta(timedelta(seconds=self._interval_s))
        return request

    async def _take(self, message: WatchCreditsResponse, tell: Tell) -> None:
        """Checks and tells one message. A member that this version does not know is ignored."""
        match message.WhichOneof("event"):
            case "snapshot":
                balance = self._places.snapshot(message.snapshot)
                await tell(SnapshotTaken(balance, message.snapshot.reason))
            case "changes":
                entries = self._places.changes(message.changes)
                await tell(ChangesTaken(message.changes.account_id, message.changes.unit, entries))
            case "bookmark":
                self._expect_bookmark()
                await tell(self._bookmark(message.bookmark))
            case "target_change" if message.target_change.state == TARGET_CHANGE_STATE_REMOVED:
                change = message.target_change
                self._places.remove(change.account_id, change.unit)
                await tell(Removed(change.account_id, change.unit, change.error))

    def _bookmark(self, bookmark: Bookmark) -> BookmarkTaken:
        self._token = bookmark.resume_token or self._token
        return BookmarkTaken(bookmark.in_sync, bookmark.source_lag.ToTimedelta(), bookmark.resume_token)

    def _go_away(self, message: WatchCreditsResponse) -> tuple[str, float]:
        go_away = message.go_away
        self._token = go_away.resume_token or self._token
        self._ceiling_s = FIRST_CEILING_S
        asked = _bounded(go_away.reconnect_after.ToTimedelta()) if go_away.HasField("reconnect_after") else None
        return "the service asks to connect again", self._after_failure() if asked is None else asked

    def _failed(self, error: grpc.aio.AioRpcError) -> tuple[str, float]:
        info, retry = _details(error)
        if self._token and info.reason == "BAD_RESUME_TOKEN":
            # Of an installation that was set up anew; the targets say themselves where they are.
            self._token = b""
            return "the service does not know the resume token", 0.0
        if error.code() in PERMANENT:
            raise Refused(error.code(), error.details() or "")
        why = f"{error.code().name}: {error.details()}"
        return why, max(self._after_failure(), _bounded(retry.retry_delay.ToTimedelta()))

    def _after_failure(self) -> float:
        wait_s = random.uniform(0.0, self._ceiling_s)
        self._ceiling_s = min(self._ceiling_s * 2, LONGEST_CEILING_S)
        return wait_s

    def _expect_bookmark(self) -> None:
        self._stale_at = _now() + 3 * (self._interval_s or DEFAULT_INTERVAL_S)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _bounded(asked: timedelta) -> float:
    return min(max(asked.total_seconds(), 0.0), LONGEST_ASKED_S)


def _channel(endpoint: str) -> grpc.aio.Channel:
    uri = urlsplit(endpoint)
    if uri.scheme == "https":
        return grpc.aio.secure_channel(uri.netloc, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
    if uri.scheme != "http":
        raise ValueError(f"{endpoint!r} is not a URI such as http://127.0.0.1:7070")
    return grpc.aio.insecure_channel(uri.netloc, options=CHANNEL_OPTIONS)


def _details(error: grpc.aio.AioRpcError) -> tuple[ErrorInfo, RetryInfo]:
    """The standard details of a status (google.rpc.*); empty where it has none."""
    info, retry = ErrorInfo(), RetryInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                for detail in Status.FromString(value).details:
                    _ = detail.Unpack(info) or detail.Unpack(retry)
            except DecodeError:
                pass  # not from the service
    return info, retry
