"""A laboratory for the benches: a PostgreSQL cluster of its own, the service on it, the load generator against it.

Everything lives in one temporary directory and ends with the `with` block, also after an error, Ctrl-C or SIGTERM;
only processes that were started here are ended, by their id. Python 3.11, standard library only.
"""

import contextlib
import glob
import json
import os
import pathlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import machine
from machine import say

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Longest path of a Unix socket, from sun_path (unix(7)), less PostgreSQL's own file name.
MAX_SOCKET_DIR = 107 - len("/.s.PGSQL.65535")
START_S = 60
STOP_S = 30
OWNER = "tallystick"
WEBHOOK_SECRET = "whsec_bench_0123456789abcdef"
# Same for every side of a comparison; shown with each result.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
    "autovacuum": "on",
}
SHOWN = ["server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers",
         "max_wal_size", "checkpoint_timeout", "autovacuum"]
CATALOGUE = """[units.credits]
scale = 0

[[packs]]
id = "starter"
credits = 1000
currency = "usd"
unit_amount = 1000
"""


class Failed(Exception):
    """Something that makes a result impossible; its text is for the user."""


def options(parser):
    """The flags that every bench has."""
    parser.add_argument("--binary", type=pathlib.Path, metavar="FILE",
                        default=pathlib.Path(os.environ.get("TALLYSTICK_BENCH_BINARY",
                                                            ROOT / "target/release/tallystick")),
                        help="the release binary of tallystick [env TALLYSTICK_BENCH_BINARY; default "
                             "target/release/tallystick]")
    parser.add_argument("--pg-bin", type=pathlib.Path, metavar="DIR",
                        default=os.environ.get("PG_BIN"),
                        help="PostgreSQL's programs, pgbench too [env PG_BIN; default: the newest of "
                             "/usr/lib/postgresql/*/bin]")
    parser.add_argument("--pg-setting", action="append", default=[], metavar="NAME=VALUE",
                        help="a setting of the server, for all sides; may be given again")
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path("/tmp"), metavar="DIR",
                        help="where the throw-away cluster is made: on the disk that is to be measured, with a short "
                             "path [default /tmp]")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the directory with data and logs")


def parse(parser, limits, quick):
    """Reads the command line. `limits` bounds numbers by flag; `quick` has the defaults of a mere look."""
    options(parser)
    parser.add_argument("--quick", action="store_true", help="a look that everything works, no result: "
                        + ", ".join(f"{flag(name)} {value}" for name, value in quick.items()))
    if "--quick" in sys.argv[1:]:
        parser.set_defaults(**quick)
    given = parser.parse_args()
    for name, (least, most) in limits.items():
        if not least <= getattr(given, name) <= most:
            parser.error(f"{flag(name)} must be {least} to {most}")
    return given


def name_and_value(setting):
    """NAME=VALUE as a pair."""
    name, sign, value = setting.partition("=")
    if not (name and sign):
        raise Failed(f"--pg-setting {setting}: must be NAME=VALUE")
    return name, value


def flag(name):
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def main(bench, arguments):
    """Runs a bench in a laboratory of its own; the exit status is the bench's."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        facts = machine.facts()
        with Lab(arguments) as lab:
            sys.exit(bench(lab, arguments, facts))
    except Failed as failure:
        say(f"error: {failure}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


class Lab:
    """The directory, the programs, and everything that was started."""

    def __init__(self, arguments):
        self.binary = arguments.binary.resolve()
        if not os.access(self.binary, os.X_OK):
            raise Failed(f"--binary {self.binary}: no such program; `cargo build --release` makes it")
        self.pg_bin = pathlib.Path(arguments.pg_bin) if arguments.pg_bin else newest_postgres()
        for program in ["initdb", "postgres", "psql", "pgbench"]:
            if not (self.pg_bin / program).exists() and not shutil.which(program):
                raise Failed(f"--pg-bin {self.pg_bin}: has no {program}")
        self.settings = SETTINGS | dict(name_and_value(setting) for setting in arguments.pg_setting)
        self.keep = arguments.keep
        self.parent = arguments.dir
        self.exits = contextlib.ExitStack()

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ts-", dir=self.parent))
        if len(str(self.dir)) > MAX_SOCKET_DIR:
            shutil.rmtree(self.dir)
            raise Failed(f"--dir {self.parent}: at most {MAX_SOCKET_DIR} bytes fit a Unix socket's path")
        os.chmod(self.dir, 0o755)
        self.exits.callback(self._remove)
        self.catalogue = self.dir / "catalogue.toml"
        self.catalogue.write_text(CATALOGUE)
        return self

    def __exit__(self, *_):
        # A second signal must not leave processes behind.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        self.exits.close()

    def _remove(self):
        if self.keep:
            say(f"kept {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def pg(self, program):
        """A program of PostgreSQL."""
        own = self.pg_bin / program
        return str(own if own.exists() else shutil.which(program))

    def cluster(self):
        """Starts the cluster; it ends with the laboratory."""
        return self.exits.enter_context(Cluster(self))

    def service(self, database, roles="credits", flags=()):
        """A service on a database, for a `with` block."""
        return Service(self, database, roles, flags)

    def keys(self):
        """The file of keys of every service here, and that with the one key; made when first asked for."""
        keys, key = self.dir / "keys.toml", self.dir / "bench.key"
        if not key.exists():
            key.write_text(self.run(["key", "new", "--id", "bench", "--scopes", "read,grant,spend",
                                     "--keys-file", str(keys)]))
            key.chmod(0o600)
        return keys, key

    def run(self, arguments, environment=None, **more):
        """Runs the product's binary to its end."""
        done = subprocess.run([self.binary, *arguments], env={**os.environ, **(environment or {})},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        if done.returncode != 0:
            problem = f"status {done.returncode}: {done.stderr.strip()[-2000:]}"
            raise Failed(f"tallystick {' '.join(arguments[:3])}: {problem}")
        return done.stdout


def newest_postgres():
    """The newest installed PostgreSQL."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    if not found:
        raise Failed("no PostgreSQL in /usr/lib/postgresql: name its programs with --pg-bin")
    return pathlib.Path(found[-1])


def free_port():
    """A free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end(process, first, last=signal.SIGKILL):
    """Ends a process that was started here."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.send_signal(last)
            process.wait(STOP_S)


class Cluster:
    """PostgreSQL in the laboratory's directory."""

    def __init__(self, lab):
        self.lab = lab
        self.data = lab.dir / "data"
        self.log = lab.dir / "postgres.log"
        self.port = free_port()
        # The server refuses to run as root.
        self.user = {}
        if os.geteuid() == 0:
            try:
                found = pwd.getpwnam("postgres")
            except KeyError:
                raise Failed("PostgreSQL refuses root, and there is no user `postgres`: run as another user") from None
            self.user = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
            os.chown(lab.dir, found.pw_uid, found.pw_gid)

    def __enter__(self):
        say("starting a PostgreSQL of its own")
        initdb = [self.lab.pg("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        done = subprocess.run(initdb, capture_output=True, text=True, cwd="/", **self.user)
        if done.returncode != 0:
            raise Failed(f"initdb: {done.stderr.strip()}")
        own = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": str(self.lab.dir),
               "log_line_prefix": "@@%m [%p] "}
        command = [self.lab.pg("postgres"), "-D", str(self.data)]
        for name, value in (self.lab.settings | own).items():
            command += ["-c", f"{name}={value}"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/",
                                            start_new_session=True, **self.user)
        try:
            self._wait()
            self.sql(f"create role {OWNER} login")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end(self.process, signal.SIGINT, signal.SIGQUIT)

    def _wait(self):
        limit = time.monotonic() + START_S
        ready = [self.lab.pg("psql"), "-X", "-q", "-h", str(self.lab.dir), "-p", str(self.port), "-U", "postgres",
                 "-c", "select 1", "postgres"]
        while subprocess.run(ready, capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > limit:
                raise Failed(f"PostgreSQL did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def sql(self, text, database="postgres", user="postgres"):
        """Runs statements, by default as superuser; rows as text, columns with `|` between them."""
        command = [self.lab.pg("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.lab.dir),
                   "-p", str(self.port), "-U", user, "-d", database, "-f", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"SQL on {database}: {done.stderr.strip()}")
        return done.stdout.strip()

    def create(self, database, template=None):
        """A database of the owner that is no superuser."""
        more = f" template {template} strategy file_copy" if template else ""
        self.sql(f"create database {database} owner {OWNER}{more}")
        return database

    def create_migrated(self, database):
        """A database with the product's schema."""
        self.create(database)
        self.lab.run(["migrate"], {"TALLYSTICK_DATABASE_URL": self.url(database)})
        return database

    def drop(self, database):
        """Removes a database."""
        self.sql(f"drop database {database} with (force)")

    def url(self, database):
        """For programs: over the Unix socket, as the reference has it."""
        return f"postgres://{OWNER}@localhost:{self.port}/{database}?host={self.lab.dir}"

    def checkpoint(self):
        """A checkpoint now."""
        self.sql("checkpoint")

    def cpu_s(self):
        """Processor seconds of all of the cluster's processes so far."""
        return machine.family_cpu_s(self.process.pid)

    def shown(self):
        """The settings that a figure depends on."""
        lines = self.sql("\n".join(f"show {name};" for name in SHOWN)).splitlines()
        return dict(zip(SHOWN, lines, strict=True))


class CpuGroup:
    """A cgroup that gives a process and its children a share of the cores, for a `with` block; of version 1's
    controller `cpu`, or of version 2."""

    # Short: a server that has used its share stands still for the rest of a period.
    PERIOD_US = 10_000
    LEAST_QUOTA_US = 1000
    # The group above, which everything returns to, and the files that set the share.
    KINDS = [("/sys/fs/cgroup/cpu", {"cpu.cfs_period_us": "{period}", "cpu.cfs_quota_us": "{quota}"}),
             ("/sys/fs/cgroup", {"cpu.max": "{quota} {period}"})]

    def __init__(self, cores):
        self.quota = max(self.LEAST_QUOTA_US, int(cores * self.PERIOD_US))

    def __enter__(self):
        problem = None
        for base, files in self.KINDS:
            self.base = pathlib.Path(base)
            self.path = self.base / f"tallystick-bench-{os.getpid()}"
            try:
                self.path.mkdir()
                for file, text in files.items():
                    (self.path / file).write_text(text.format(quota=self.quota, period=self.PERIOD_US))
                return self
            except OSError as error:
                problem = error
                with contextlib.suppress(OSError):
                    self.path.rmdir()
        raise Failed(f"--pg-cores needs a cgroup with the cpu controller that can be written: {problem}")

    def take_family(self, pid):
        """Takes a process and its children in; those that it starts later come along."""
        for one in [pid, *machine.children(pid)]:
            with contextlib.suppress(ProcessLookupError):
                (self.path / "cgroup.procs").write_text(str(one))

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            for pid in (self.path / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (self.base / "cgroup.procs").write_text(pid)
            self.path.rmdir()


class Service:
    """`tallystick serve` with an API key, as in production."""

    def __init__(self, lab, url, roles, flags):
        self.lab, self.url, self.roles, self.flags = lab, url, roles, flags

    def __enter__(self):
        lab, any_port = self.lab, "127.0.0.1:0"
        keys, self.key = lab.keys()
        command = [lab.binary, "serve", "--roles", self.roles, "--grpc-addr", any_port, "--ops-addr", any_port,
                   "--catalogue", lab.catalogue, "--api-keys-file", keys, *self.flags]
        environment = os.environ | {"TALLYSTICK_DATABASE_URL": self.url}
        if "edge" in self.roles:
            command += ["--edge-addr", any_port]
            environment["TALLYSTICK_STRIPE_WEBHOOK_SECRETS"] = WEBHOOK_SECRET
        with open(lab.dir / "service.log", "ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            self.ready = json.loads(first_line(self.process, "tallystick serve"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end(self.process, signal.SIGTERM)

    @property
    def pid(self):
        """The process."""
        return self.process.pid

    @property
    def grpc(self):
        """host:port."""
        return self.ready["grpc"]

    @property
    def webhooks(self):
        """The URL that Stripe would be given."""
        return f"http://{self.ready['edge']}/api/v1/webhooks/stripe"


def first_line(process, name):
    """The first line on a process's standard output, waited for within a limit."""
    readable, _, _ = select.select([process.stdout], [], [], START_S)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise Failed(f"{name} did not become ready; see service.log (--keep)")
    return line


class Window:
    """What processes used between two moments: `meters` are functions that return processor seconds."""

    def __init__(self, meters, starts_in_s, lasts_s, halfway=None):
        self.meters, self.used, self.failure = meters, {}, None
        self.begin = time.monotonic() + starts_in_s
        self.length, self.halfway = lasts_s, halfway
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _until(self, moment):
        time.sleep(max(0.0, moment - time.monotonic()))

    def _watch(self):
        try:
            self._until(self.begin)
            before, started = {name: meter() for name, meter in self.meters.items()}, time.monotonic()
            self._until(self.begin + self.length / 2)
            if self.halfway:
                threading.Thread(target=self.halfway, daemon=True).start()
            self._until(self.begin + self.length)
            self.used = {name: meter() - before[name] for name, meter in self.meters.items()}
            self.length = time.monotonic() - started
        except Exception as error:  # noqa: BLE001 - told by `per_call_us`, where it matters
            self.failure = error

    def per_call_us(self, calls_a_second):
        """Processor microseconds a call, by name."""
        self.thread.join(STOP_S)
        if self.failure:
            raise Failed(f"processor time could not be read: {self.failure}")
        calls = calls_a_second * self.length
        return {name: used * 1e6 / calls for name, used in self.used.items()} if calls else {}
