"""The example commands against a running service that is killed, and asked to stop, while credits are spent.

    live.py PROGRAM NODE

Starts `tallystick dev` on free ports and an empty data directory, lets examples/python and examples/typescript follow two
balances, and spends from both all the while. Each command must print every version exactly once. Prints one line a
check; exits 1 when one fails.

Must not know anything of the program and the examples but their documented outside.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES / "python"))

import grpc
from google.protobuf.duration_pb2 import Duration

from tallystick.credits.v1 import credit_service_pb2 as credits
from tallystick.credits.v1 import credit_service_pb2_grpc, hold_pb2

LIMIT_S = 120
ACCOUNTS = ("example_1", "example_2")
# How many versions pass between two things that happen.
STEP = 100
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED)
LINE = re.compile(r"(\S+) credits version (\d+): available (\d+), held (\d+), scheduled 0, debt 0\n")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Service:
    """A `tallystick dev` that comes back at the same address with the same data."""

    def __init__(self, program: str, data: Path) -> None:
        self.port = free_port()
        self._data, self.log = data, data.with_suffix(".log")
        addresses = [f"--grpc-addr=127.0.0.1:{self.port}", "--edge-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"]
        self._command = [program, "dev", f"--data-dir={data}", *addresses]
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TALLYSTICK_") or name == "TALLYSTICK_POSTGRES_BIN_DIR"
        } | {"TALLYSTICK_LOG": "error"}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, env=self._environment, text=True
            )
        self.process = process
        overdue = threading.Timer(LIMIT_S, process.kill)
        overdue.start()
        line = process.stdout.readline()
        overdue.cancel()
        assert line and json.loads(line)["ready"] is True, f"not ready: {line!r}, {self.log.read_text()}"

    def kill(self) -> None:
        """Without a word, as when a machine loses its power."""
        self.process.kill()
        self.process.wait(LIMIT_S)

    def stop(self) -> int:
        """Orderly: streams get a GoAway."""
        self.process.terminate()
        return self.process.wait(LIMIT_S)

    def clean_up(self) -> None:
        """Leaves nothing running, not even the PostgreSQL that a killed dev leaves."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        pid_file = self._data / "cluster" / "postmaster.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)


class Follower:
    """An example command, and what it has printed."""

    def __init__(self, name: str, command: list[str], directory: Path, changed: threading.Condition) -> None:
        self.name, self._changed = name, changed
        self.versions: dict[str, list[int]] = {account: [] for account in ACCOUNTS}
        self.available: dict[str, int] = {}
        self.strange: list[str] = []
        self.notes: list[str] = []
        self.process = subprocess.Popen(
            command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        for pipe, take in ((self.process.stdout, self._line), (self.process.stderr, self._note)):
            threading.Thread(target=self._read, args=(pipe, take), daemon=True).start()

    def _read(self, pipe, take: Callable[[str], None]) -> None:
        for line in pipe:
            with self._changed:
                take(line)
                self._changed.notify_all()

    def _line(self, line: str) -> None:
        match = LINE.fullmatch(line)
        if match is None or match[1] not in self.versions:
            self.strange.append(line)
            return
        self.versions[match[1]].append(int(match[2]))
        self.available[match[1]] = int(match[3])

    def _note(self, line: str) -> None:
        self.notes.append(line.rstrip())

    def least(self) -> int:
        """The version that it has reached of every balance."""
        return min(max(versions, default=0) for versions in self.versions.values())

    def count(self, note: str) -> int:
        return sum(note in said for said in self.notes)


class Load:
    """Spends from one account until it is told to stop; what fails is sent again with the same key."""

    def __init__(self, port: int, account: str, changed: threading.Condition) -> None:
        self._changed = changed
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._stub = credit_service_pb2_grpc.CreditServiceStub(self._channel)
        self._account, self._stopping = account, threading.Event()
        self._thread = threading.Thread(target=self._spend, daemon=True)
        self.failure: str | None = None
        self.call("GrantCredits", credits.GrantCreditsRequest, "grant", amount=10**12)

    def start(self) -> None:
        self._thread.start()

    def stop(self):
        """The balance as it is in the end."""
        self._stopping.set()
        self._thread.join(LIMIT_S)
        balance = self.call("GetBalance", credits.GetBalanceRequest).balance
        self._channel.close()
        return balance

    def call(self, method: str, request: type, key: str | None = None, **fields: object):
        if key is not None:
            fields["idempotency_key"] = key
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                return getattr(self._stub, method)(request(account_id=self._account, **fields), timeout=10)
            except grpc.RpcError as error:
                if error.code() not in RETRIED or time.monotonic() > deadline:
                    raise
                self._stopping.wait(0.05)

    def _spend(self) -> None:
        try:
            number = 0
            while not self._stopping.is_set():
                number += 1
                self.call("SpendCredits", credits.SpendCreditsRequest, f"spend-{number}", amount=1)
                # Its final capture leaves something: an operation of two entries, CAPTURE and RELEASE.
                reserve = {"amount": 3, "ttl": Duration(seconds=3600)}
                hold = self.call("HoldCredits", hold_pb2.HoldCreditsRequest, f"hold-{number}", **reserve).hold
                capture = {"hold_id": hold.hold_id, "amount": 1, "final": True}
                self.call("CaptureHold", hold_pb2.CaptureHoldRequest, f"capture-{number}", **capture)
        except Exception as error:  # the checks tell it
            with self._changed:
                self.failure = repr(error)
                self._changed.notify_all()


class Checks:
    """Counts; one line each."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def equal(self, name: str, actual: object, expected: object) -> None:
        good = actual == expected
        self.passed += good
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}" + ("" if good else f": {actual!r}, expected {expected!r}"))


def first_fault(versions: list[int]) -> str | None:
    """Where the versions are not 1, 2, 3, …"""
    for place, version in enumerate(versions, 1):
        if version != place:
            return f"version {version} where {place} belongs"
    return None


def play(checks: Checks, service: Service, followers: list[Follower], changed: threading.Condition) -> None:
    loads = [Load(service.port, account, changed) for account in ACCOUNTS]

    def until(what: str, holds: Callable[[Follower], bool]) -> None:
        """Waits until it holds for every follower."""
        with changed:
            for follower in followers:
                changed.wait_for(lambda f=follower: holds(f) or over(f), LIMIT_S)
                checks.equal(f"{follower.name}: {what}", holds(follower) and not over(follower), True)
                if checks.failed:
                    raise RuntimeError("\n".join([*follower.notes[-20:], *(str(load.failure) for load in loads)]))

    def over(follower: Follower) -> bool:
        """Nothing more will come."""
        return follower.process.poll() is not None or any(load.failure for load in loads)

    until("shows the balances", lambda f: f.least() >= 1)
    for load in loads:
        load.start()
    until("follows", lambda f: f.least() >= STEP)

    reached = max(follower.least() for follower in followers)
    service.kill()
    service.start()
    until("goes on after a kill", lambda f: f.least() >= reached + STEP and f.count("connected again") > 0)

    before = {follower: follower.count("connected again") for follower in followers}
    reached = max(follower.least() for follower in followers)
    checks.equal("the service: an orderly end", service.stop(), 0)
    service.start()
    until(
        "goes on after a GoAway",
        lambda f: f.least() >= reached + STEP
        and f.count("the service asks to connect again") == 1
        and f.count("connected again") > before[f],
    )

    for load in loads:
        balance = load.stop()
        checks.equal(f"load on {balance.account_id}", load.failure, None)
        until(f"reaches the end of {balance.account_id}", lambda f: balance.version in f.versions[balance.account_id])
        for follower in followers:
            seen = follower.versions[balance.account_id]
            name = f"{follower.name}: each of {balance.version} versions once, {balance.account_id}"
            checks.equal(name, first_fault(seen) or len(seen), balance.version)
            figures = follower.available[balance.account_id]
            checks.equal(f"{follower.name}: the figures at the end", figures, balance.available)
    for follower in followers:
        checks.equal(f"{follower.name}: nothing else on standard output", follower.strange, [])


def main() -> int:
    program, node = sys.argv[1:]
    checks, changed = Checks(), threading.Condition()
    with tempfile.TemporaryDirectory(prefix="tallystick-examples-") as scratch:
        # PostgreSQL refuses to run as root: `dev` runs it as a user that has to get through here.
        os.chmod(scratch, 0o711)
        service = Service(os.path.abspath(program), Path(scratch) / "data")
        followers: list[Follower] = []
        try:
            service.start()
            # The first place is one where nobody listens: it costs a try, and no more.
            places = [f"--endpoint=http://127.0.0.1:{port}" for port in (free_port(), service.port)]
            python = [sys.executable, "live_balance.py", *ACCOUNTS, *places]
            typescript = [node, "src/live-balance.ts", *ACCOUNTS, *places]
            followers.append(Follower("python", python, EXAMPLES / "python", changed))
            followers.append(Follower("typescript", typescript, EXAMPLES / "typescript", changed))
            play(checks, service, followers, changed)
        finally:
            for follower in followers:
                follower.process.kill()
            service.clean_up()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
