"""The two generators: `tallystick bench` against the service, pgbench against the tables. And credits to spend.

Both are measured in the same way: a warm-up, then a window in which processor time is read and, halfway, a
checkpoint happens.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
import uuid

import machine
from lab import OWNER, Failed, Window, end
from machine import say

HERE = pathlib.Path(__file__).resolve().parent
PREFIX = "bench_"
# Enough for every run: 30,000 spends a second of 1 credit on one account for nine hours.
CREDITS_EACH = 1_000_000_000
# What a run may take beyond its own time.
SPARE_S = 60
# The bounds for our side: calls in flight, connections.
FULL_LOAD = (256, 16)


def fund(lab, cluster, database, accounts):
    """Gives every account one lot of credits, by the product itself; says how long an event of a spend is."""
    say(f"funding {accounts:,} accounts")
    commands = lab.dir / "fund.jsonl"
    with open(commands, "w", encoding="ascii") as file:
        for n in range(accounts):
            file.write(f'{{"grant":{{"account_id":"{PREFIX}{n}","amount":"{CREDITS_EACH}",'
                       f'"idempotency_key":"fund-{n}"}}}}\n')
        file.write(f'{{"spend":{{"account_id":"{PREFIX}0","amount":"1","idempotency_key":"{uuid.uuid4()}-000000"}}}}\n')
    with lab.service(cluster.url(database)) as service:
        lab.run(["batch", str(commands)], caller(service))
    commands.unlink()
    cluster.sql("vacuum (analyze)", database)
    cluster.checkpoint()
    return int(cluster.sql("select octet_length(event) from outbox order by xid desc, seq desc limit 1", database))


def caller(service):
    """The variables of a client of the service."""
    return {"TALLYSTICK_ADDR": service.grpc, "TALLYSTICK_API_KEY_FILE": str(service.key)}


class Bench:
    """A running `tallystick bench`, for a `with` block; `result()` waits for its end."""

    def __init__(self, lab, service, kind, flags, lasts_s, environment=None):
        self.kind, self.lasts_s = kind, lasts_s
        command = [lab.binary, "bench", kind, *flags, "--json"]
        environment = os.environ | (caller(service) if service else {}) | (environment or {})
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process, signal.SIGTERM)

    def result(self):
        """What it measured."""
        try:
            out, err = self.process.communicate(timeout=self.lasts_s + SPARE_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"tallystick bench {self.kind} did not end in time") from None
        if self.process.returncode != 0:
            raise Failed(f"tallystick bench {self.kind}: {err.strip()[-2000:]}")
        return json.loads(out.strip().splitlines()[-1])


def spends(lab, service, *, accounts, warm_up, seconds, in_flight=None, connections=None, rate=None):
    """A running bench of spends: closed loop of `in_flight` calls, or open loop at `rate`."""
    flags = ["--accounts", str(accounts), "--account-prefix", PREFIX, "--skip-funding",
             "--warm-up", f"{warm_up}s", "--duration", f"{seconds}s"]
    flags += ["--rate", str(rate)] if rate else ["--in-flight", str(in_flight)]
    if connections:
        flags += ["--connections", str(connections)]
    return Bench(lab, service, "spend", flags, warm_up + seconds)


def ours(lab, cluster, service, *, accounts, in_flight, connections, warm_up, seconds):
    """Spends through the service, with a checkpoint halfway."""
    meters = {"service": lambda: machine.cpu_s(service.pid), "postgresql": cluster.cpu_s}
    with spends(lab, service, accounts=accounts, in_flight=in_flight, connections=connections, warm_up=warm_up,
                seconds=seconds) as bench:
        window = Window(meters, warm_up, seconds, cluster.checkpoint)
        result = bench.result()
    if result["refused"]["count"]:
        say(f"  note: {result['refused']['count']} refused: {result['refused']['by_reason']}")
    cpu = window.per_call_us(result["per_second"])
    cpu["generator"] = result["generator_cpu_us_per_call"]
    return {"per_second": result["per_second"], "p50_us": result["latency_us"]["p50"],
            "p99_us": result["latency_us"]["p99"], "max_us": result["latency_us"]["max"], "cpu_us": cpu,
            "in_flight": in_flight, "connections": connections, "bench": result}


def reference(lab, cluster, database, *, accounts, clients, event_bytes, warm_up, seconds, checkpoint=True):
    """Spends by `spend.sql`, one transaction each, over the Unix socket, prepared."""
    logs = lab.dir / "pgbench"
    variables = {"accounts": accounts, "prefix": PREFIX, "run": uuid.uuid4(), "i": 0, "event_bytes": event_bytes,
                 "actor": "bench"}
    command = [lab.pg("pgbench"), "-n", "-M", "prepared", "-f", str(HERE / "spend.sql"), "-c", str(clients),
               "-j", str(min(clients, os.cpu_count() or 1)), "-T", str(warm_up + seconds + 1), "-l",
               f"--log-prefix={logs}", "-h", str(lab.dir), "-p", str(cluster.port), "-U", OWNER]
    for name, value in variables.items():
        command += ["-D", f"{name}={value}"]
    process = subprocess.Popen([*command, database], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begin_us = time.time_ns() // 1000 + warm_up * 1_000_000
    try:
        meters = {"postgresql": cluster.cpu_s, "generator": lambda: machine.cpu_s(process.pid)}
        window = Window(meters, warm_up, seconds, cluster.checkpoint if checkpoint else None)
        _, errors = process.communicate(timeout=warm_up + seconds + SPARE_S)
    finally:
        end(process, signal.SIGTERM)
    times = logged_us(lab.dir, process.pid, begin_us, begin_us + seconds * 1_000_000)
    if process.returncode != 0 or "aborted" in errors or not times:
        raise Failed(f"pgbench: {errors.strip()[-2000:]}")
    per_second = len(times) / seconds
    return {"per_second": per_second, "p50_us": machine.quantile(times, 0.5), "p99_us": machine.quantile(times, 0.99),
            "max_us": max(times), "cpu_us": window.per_call_us(per_second), "clients": clients}


def logged_us(directory, pid, begin_us, end_us):
    """Times of the transactions that ended within the window, from pgbench's logs, which are then removed."""
    times = []
    for path in directory.glob(f"pgbench.{pid}*"):
        with open(path, encoding="ascii") as lines:
            for line in lines:
                # client, transaction, time, script, epoch s, epoch us (PostgreSQL manual, pgbench)
                fields = line.split()
                with contextlib.suppress(ValueError, IndexError):
                    if begin_us <= int(fields[4]) * 1_000_000 + int(fields[5]) < end_us:
                        times.append(int(fields[2]))
        path.unlink()
    return times
