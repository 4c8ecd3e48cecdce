"""What a figure means nothing without: the machine, processor time by process, and the shape of tables.

Must not know: PostgreSQL, the service, which bench asks.
"""

import contextlib
import json
import math
import os
import platform
import sys
import threading
import time

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def say(text):
    """Progress, for people; results go to standard output."""
    print(text, file=sys.stderr, flush=True)


def facts():
    """Cores, kernel, memory and load: taken before anything was started."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as lines:
        memory_kb = int(next(line for line in lines if line.startswith("MemTotal")).split()[1])
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "kernel": platform.release(),
        "memory_gib": round(memory_kb / 2**20, 1),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _stat(pid):
    """Fields of /proc/PID/stat after the name, which may hold anything (proc(5)): state is the first."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def cpu_s(pid):
    """Processor seconds of a process and of its children that were waited for."""
    return sum(int(field) for field in _stat(pid)[11:15]) / TICKS_A_SECOND


def children(pid):
    """Ids of the children of a process."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if int(_stat(name)[1]) == pid:
                    found.append(int(name))
    return found


def family_cpu_s(pid):
    """Processor seconds of a process and all its children, those that ended included."""
    total = cpu_s(pid)
    for child in children(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += sum(int(field) for field in _stat(child)[11:13]) / TICKS_A_SECOND
    return total


def resident_kib(pid):
    """Resident memory of a process, in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


class Memory:
    """Resident memory of a process over time, sampled ten times a second, for a `with` block."""

    def __init__(self, pid):
        self.pid, self.samples, self.over = pid, [], threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()

    def _sample(self):
        while not self.over.wait(0.1):
            try:
                self.samples.append((time.monotonic(), resident_kib(self.pid)))
            except (FileNotFoundError, ProcessLookupError, StopIteration):
                return

    def peak_kib(self, since, until):
        """The most between two moments."""
        return max((kib for at, kib in self.samples if since <= at <= until), default=None)


def quantile(values, share):
    """The value that `share` of the values do not exceed; `None` without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def number(value, digits=0):
    """A number as people read it."""
    return "-" if value is None else f"{value:,.{digits}f}"


def milliseconds(us):
    """Microseconds as milliseconds."""
    return "-" if us is None else f"{us / 1000:.2f}"


def table(header, rows):
    """Prints columns: the first to the left, the others to the right."""
    rows = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for place, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())
        if place == 0:
            print("  ".join("-" * width for width in widths))
    print(flush=True)


def verdict(value, aim, at_least=True):
    """`met` or `missed`; `-` when nothing was measured."""
    if value is None:
        return "-"
    return "met" if (value >= aim if at_least else value <= aim) else "MISSED"


def write_json(path, report):
    """Writes the report, when a file was asked for."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
            file.write("\n")
        say(f"wrote {path}")
