"""Runs the pods of the chart inside the image's root, as a cluster would: their arguments, files, users and names.

Each pod has a loopback address of its own, so that both roles have their usual ports. Names come from a DNS server in
here, since a program without libraries has to resolve them by itself; the database speaks TLS with a certificate of a
private authority. Prints one line a check; exits 1 with the first that fails.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import socketserver
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import rendered
from test_objects import containers, sources

ROOT, INSPECT = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
SETTINGS = ROOT / "etc/tallystick"
CHROOT = shutil.which("chroot")
UID = 65532
LIMIT_S = 30
WEBHOOK_SECRET = "whsec_of_the_smoke_test"
DNS, DATABASE, CREDITS, EDGE = "127.0.0.53", "127.0.0.2", "127.0.0.3", "127.0.0.4"
NAMES = {"database.test": DATABASE, "demo-tallystick-credits.prod.svc": CREDITS}


def check(fact, good, seen=""):
    print(f"{'ok  ' if good else 'FAIL'}  {fact}{f': {seen}' if seen else ''}", flush=True)
    if not good:
        sys.exit(1)


class Answer(socketserver.BaseRequestHandler):
    """A DNS answer (RFC 1035): the address of a name of NAMES, or that there is none."""

    def handle(self):
        query, sock = self.request
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question, kind = query[12:at + 5], struct.unpack(">H", query[at + 1:at + 3])[0]
        address = NAMES.get(".".join(labels).lower())
        found = address and kind == 1
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if address else 0x8183, 1, 1 if found else 0, 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address) if found else b""
        sock.sendto(head + question + record, self.client_address)


class Postgres:
    """A server with TLS and one database, in a folder that is thrown away."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self.data = folder / "data"

    def run(self, program, *words):
        subprocess.run(["runuser", "-u", "postgres", "--", self.bin / program, *words], check=True, cwd="/",
                       stdout=subprocess.DEVNULL)

    def start(self):
        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, cwd=self.folder, capture_output=True)
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=private authority")
        openssl("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=database")
        (self.folder / "names").write_text("subjectAltName = DNS:database.test\nbasicConstraints = CA:FALSE\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", "server.crt", "-extfile", "names")
        for path in [self.folder, *self.folder.iterdir()]:
            shutil.chown(path, "postgres")
        (self.folder / "server.key").chmod(0o600)
        (self.folder / "password").write_text("smoke")
        self.run("initdb", "--pgdata", self.data, "--username", "tallystick", "--auth", "scram-sha-256",
                 "--pwfile", self.folder / "password")
        options = {"listen_addresses": DATABASE, "port": 5432, "unix_socket_directories": self.folder, "ssl": "on",
                   "ssl_cert_file": self.folder / "server.crt", "ssl_key_file": self.folder / "server.key"}
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        # Encrypted connections only.
        (self.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.0/8 scram-sha-256\nlocal all all trust\n")
        self.run("pg_ctl", "--pgdata", self.data, "--log", self.folder / "log", "--wait", "start")
        self.run("createdb", "--host", self.folder, "--username", "tallystick", "credits")

    def stop(self):
        self.run("pg_ctl", "--pgdata", self.data, "--mode", "fast", "--wait", "stop")


def inside(*words, env=None, **kwargs):
    """The image's program in the image's root, as its user, with nothing of this machine's environment."""
    command = [CHROOT, f"--userspec={UID}:{UID}", "--groups=", ROOT, "/tallystick", *words]
    return subprocess.Popen(command, env=env or {}, text=True, **kwargs)


def called(*words, env=None):
    process = inside(*words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def mounted(contents):
    """The files of all pods, readable for their group alone, as with fsGroup."""
    SETTINGS.mkdir(parents=True, exist_ok=True)
    for path, text in contents.items():
        (SETTINGS / path).write_text(text)
        os.chown(SETTINGS / path, 0, UID)
        (SETTINGS / path).chmod(0o440)


def answer(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def ready(address, process):
    url, end = f"http://{address}:7073/readyz", time.monotonic() + LIMIT_S
    while (seen := answer(url))[0] != 200 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    return seen


def pods(database_url, ca):
    """Component → arguments and environment of the chart's pods, their files being written."""
    given = rendered.values("minimal")
    given["database"]["ca"] = {"existingConfigMap": "database-ca"}
    objects = rendered.objects_of(given)
    keys = {}
    for who, scopes in [("edge", "stripe"), ("operator", "grant,spend,read")]:
        code, keys[who], entry = called("key", "new", "--id", who, "--scopes", scopes)
        check(f"key new --id {who}", code == 0 and keys[who].startswith("tsk_"), "" if code == 0 else entry)
        keys["file"] = keys.get("file", "") + "\n" + entry[entry.index("[[keys]]"):]
    catalogue = next(found["data"]["catalogue.toml"] for found in objects if found["kind"] == "ConfigMap")
    contents = {"api-keys.toml": keys["file"], "edge-api-key": keys["edge"], "webhook-secrets": WEBHOOK_SECRET,
                "catalogue.toml": catalogue, "database-ca.crt": ca}
    told = {}
    for found in objects:
        if found["kind"] in {"Deployment", "Job"}:
            pod = found["spec"]["template"]
            container, = containers(pod)
            check(f"{container['name']}: its files are known", {path for *_, path in sources(pod)} <= set(contents))
            env = {one["name"]: one.get("value", database_url) for one in container["env"]}
            told[container["name"]] = container["args"], env
    mounted(contents)
    return told, keys["operator"].strip()


def configured():
    config = json.loads(INSPECT.read_text())["OCIv1"]["config"]
    check("the image runs as a number that is not root", config["User"] == f"{UID}:{UID}", config["User"])
    check("the image runs the program", config["Entrypoint"] == ["/tallystick"])
    check("the image is labelled", config["Labels"]["org.opencontainers.image.title"] == "tallystick",
          config["Labels"]["org.opencontainers.image.version"])
    files = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
    check("the image holds the program alone", files == ["tallystick"], " ".join(files))
    code, out, _ = called("--version")
    check("--version", code == 0, out.strip())


def furnished():
    """What every runtime puts into a container: devices (a static program takes its randomness from one) and names."""
    for name, minor in {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}.items():
        (ROOT / "dev").mkdir(exist_ok=True)
        os.mknod(ROOT / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        (ROOT / "dev" / name).chmod(0o666)
    (ROOT / "etc").mkdir(exist_ok=True)
    (ROOT / "etc/resolv.conf").write_text(f"nameserver {DNS}\n")


def used(operator, credits, edge):
    """Credits in by gRPC and by a webhook, credits out, all from inside the image."""
    env = {"TALLYSTICK_ADDR": f"{CREDITS}:7070", "TALLYSTICK_API_KEY": operator}
    code, _, err = called("grant", "user_1", "500", "--idempotency-key", "smoke-1", env=env)
    check("grant user_1 500", code == 0, err.strip())
    paid = {"TALLYSTICK_EDGE_ADDR": f"{EDGE}:7071", "TALLYSTICK_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TALLYSTICK_CATALOGUE": "/etc/tallystick/catalogue.toml"}
    code, _, err = called("simulate", "checkout", "--account", "user_1", "--pack", "starter", env=paid)
    check("a signed webhook through the edge", code == 0, err.strip())
    code, out, err = called("balance", "user_1", "--json", env=env)
    available = json.loads(out)["balance"]["available"] if code == 0 else err
    check("balance user_1 is 500 + 1000", str(available) == "1500", available)
    code, _, err = called("balance", "user_1", env={"TALLYSTICK_ADDR": f"{CREDITS}:7070"})
    check("a caller without a key is refused", code == 1, err.splitlines()[0])
    for name, process in [("credits", credits), ("edge", edge)]:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        user = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
        memory = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        check(f"{name} runs as {UID}", set(user) == {str(UID)}, f"{int(memory) // 1024} MiB resident")


def main():
    configured()
    furnished()
    server = socketserver.ThreadingUDPServer((DNS, 53), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tallystick-image-"))
    postgres, processes = Postgres(folder), []
    try:
        postgres.start()
        # With the line end that a Secret made from a file has.
        url = "postgres://tallystick:smoke@database.test:5432/credits?sslmode=verify-full\n"
        told, operator = pods(url, (folder / "ca.crt").read_text())
        words, env = told["migrate"]
        without = {name: value for name, value in env.items() if name != "PGSSLROOTCERT"}
        code, _, err = called(*words, env=without)
        refusal = next((line.strip() for line in err.splitlines() if "certificate" in line), "")
        check("without the private authority the database is refused", code == 1 and refusal, refusal or err)
        for again in ["", ", again"]:
            code, _, err = called(*words, env=env)
            check(f"migrate, over verified TLS{again}", code == 0, err.strip().splitlines()[-1])
        for name, address, flag in [("credits", CREDITS, "GRPC_ADDR"), ("edge", EDGE, "EDGE_ADDR")]:
            words, env = told[name]
            port = {"credits": 7070, "edge": 7071}[name]
            env |= {f"TALLYSTICK_{flag}": f"{address}:{port}", "TALLYSTICK_OPS_ADDR": f"{address}:7073"}
            process = inside(*words, env=env, stdout=subprocess.DEVNULL, stderr=open(folder / f"{name}.log", "w"))
            processes.append(process)
            status, body = ready(address, process)
            check(f"{name}: /readyz", status == 200, body.strip() or (folder / f"{name}.log").read_text())
            check(f"{name}: /healthz", answer(f"http://{address}:7073/healthz")[0] == 200)
        used(operator, *processes)
        for name, process in reversed(list(zip(["credits", "edge"], processes))):
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            code = process.wait(LIMIT_S)
            check(f"{name}: SIGTERM ends it with 0", code == 0, f"{time.monotonic() - started:.1f} s")
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        postgres.stop()
        server.shutdown()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
